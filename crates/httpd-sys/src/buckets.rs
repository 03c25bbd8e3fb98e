//! The macros of `apr_ring.h` and `apr_buckets.h`: brigades are rings of buckets.

use std::mem::offset_of;

use crate::{
    apr_bucket, apr_bucket_alloc_t, apr_bucket_brigade, apr_pool_t, apr_read_type_e, apr_status_t,
};

/// `APR_BRIGADE_SENTINEL`: the bucket that stands for the brigade itself in its ring. It is no
/// bucket and may only be compared.
///
/// # Safety
///
/// `brigade` must point to a brigade.
pub unsafe fn apr_brigade_sentinel(brigade: *mut apr_bucket_brigade) -> *mut apr_bucket {
    // SAFETY: the caller passes a brigade, so the field is inside an allocation.
    let head = unsafe { &raw mut (*brigade).list };
    head.cast::<apr_bucket>()
        .wrapping_byte_sub(offset_of!(apr_bucket, link))
}

/// Makes a brigade of memory that is no pool's: what `apr_brigade_create` does, without the
/// allocation and the cleanup.
///
/// # Safety
///
/// - `brigade` must be writable, and stay where it is for as long as it is used as a brigade.
/// - `pool` and `bucket_alloc` must be valid for as long.
pub unsafe fn apr_brigade_init(
    brigade: *mut apr_bucket_brigade,
    pool: *mut apr_pool_t,
    bucket_alloc: *mut apr_bucket_alloc_t,
) {
    // SAFETY: the place is writable; the sentinel is computed from its address only.
    unsafe {
        (*brigade).p = pool;
        (*brigade).bucket_alloc = bucket_alloc;
        let sentinel = apr_brigade_sentinel(brigade);
        (*brigade).list.next = sentinel;
        (*brigade).list.prev = sentinel;
    }
}

/// `APR_BRIGADE_FIRST`, or null if the brigade is empty.
///
/// # Safety
///
/// `brigade` must point to a brigade.
pub unsafe fn apr_brigade_first(brigade: *mut apr_bucket_brigade) -> *mut apr_bucket {
    // SAFETY: the caller passes a brigade.
    let (first, sentinel) = unsafe { ((*brigade).list.next, apr_brigade_sentinel(brigade)) };
    if first == sentinel {
        return std::ptr::null_mut();
    }
    first
}

/// `APR_BRIGADE_INSERT_TAIL`.
///
/// # Safety
///
/// `brigade` must point to a brigade, `bucket` to a bucket that is in no brigade.
pub unsafe fn apr_brigade_insert_tail(brigade: *mut apr_bucket_brigade, bucket: *mut apr_bucket) {
    // SAFETY: the sentinel shares its `link` with the head of the ring, so the neighbours'
    // links, the bucket's and the head's are all valid to write.
    unsafe {
        let last = (*brigade).list.prev;
        (*bucket).link.next = apr_brigade_sentinel(brigade);
        (*bucket).link.prev = last;
        (*last).link.next = bucket;
        (*brigade).list.prev = bucket;
    }
}

/// `apr_bucket_delete`: takes the bucket out of its brigade and destroys it.
///
/// # Safety
///
/// `bucket` must point to a bucket that is in a brigade; it is gone afterwards.
pub unsafe fn apr_bucket_delete(bucket: *mut apr_bucket) {
    // SAFETY: a bucket in a ring has valid neighbours; its type's functions and `free` are those
    // it was created with.
    unsafe {
        let link = (*bucket).link;
        (*link.prev).link.next = link.next;
        (*link.next).link.prev = link.prev;
        if let Some(destroy) = (*(*bucket).type_).destroy {
            destroy((*bucket).data);
        }
        if let Some(free) = (*bucket).free {
            free(bucket.cast());
        }
    }
}

/// `apr_bucket_read`.
///
/// # Safety
///
/// `bucket` must point to a bucket that is in a brigade, `data` and `length` must be writable.
pub unsafe fn apr_bucket_read(
    bucket: *mut apr_bucket,
    data: *mut *const std::ffi::c_char,
    length: *mut usize,
    block: apr_read_type_e,
) -> apr_status_t {
    // SAFETY: passes on what the caller promises.
    unsafe {
        match (*(*bucket).type_).read {
            Some(read) => read(bucket, data, length, block),
            None => crate::APR_ENOTIMPL,
        }
    }
}

/// `APR_BUCKET_IS_METADATA`.
///
/// # Safety
///
/// `bucket` must point to a bucket.
pub unsafe fn apr_bucket_is_metadata(bucket: *const apr_bucket) -> bool {
    // SAFETY: the caller passes a bucket, whose type is a static table.
    unsafe { (*(*bucket).type_).is_metadata != crate::apr_bucket_type_t_APR_BUCKET_DATA }
}

/// `APR_BUCKET_IS_EOS`.
///
/// # Safety
///
/// `bucket` must point to a bucket.
pub unsafe fn apr_bucket_is_eos(bucket: *const apr_bucket) -> bool {
    // SAFETY: the caller passes a bucket.
    unsafe { std::ptr::eq((*bucket).type_, &raw const crate::apr_bucket_type_eos) }
}

/// `apr_bucket_split`: leaves `point` bytes in the bucket and puts the rest in one behind it.
///
/// # Safety
///
/// `bucket` must point to a bucket that is in a brigade.
pub unsafe fn apr_bucket_split(bucket: *mut apr_bucket, point: usize) -> apr_status_t {
    // SAFETY: passes on what the caller promises.
    unsafe {
        match (*(*bucket).type_).split {
            Some(split) => split(bucket, point),
            None => crate::APR_ENOTIMPL,
        }
    }
}
