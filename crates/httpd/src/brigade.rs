//! Brigades: the response, on its way through the output filters; the body, on its way in.

use std::ffi::{CStr, c_char, c_int};
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::os::fd::{FromRawFd as _, OwnedFd};
use std::ptr::{self, NonNull};

use httpd_sys as sys;
use nix::fcntl::OFlag;
use nix::unistd::dup3;

use crate::request::Request;
use crate::status::{AprStatus, Status};

/// A brigade of buckets for the response of a request. It may borrow data, for `'d`, that the
/// filters copy if they cannot send it at once.
#[derive(Debug)]
pub struct Brigade<'r, 'd> {
    buckets: Buckets,
    request: Request<'r>,
    data: PhantomData<&'d [u8]>,
}

/// A list of buckets. Its head is on the heap, where it stays, and not in a pool, which would grow
/// with each part of a long response.
#[derive(Debug)]
pub(crate) struct Buckets(NonNull<sys::apr_bucket_brigade>);

impl Buckets {
    /// An empty list of buckets of `request`, during which it must be dropped.
    pub(crate) fn new(request: Request<'_>) -> Self {
        let head = Box::into_raw(Box::<sys::apr_bucket_brigade>::default());
        // SAFETY: the place is fresh and stays where it is until it is dropped; the request's pool
        // and its connection's allocator live as long as the request.
        unsafe {
            sys::buckets::apr_brigade_init(head, request.pool().as_ptr(), bucket_alloc(request));
            Self(NonNull::new_unchecked(head))
        }
    }

    pub(crate) fn as_ptr(&self) -> *mut sys::apr_bucket_brigade {
        self.0.as_ptr()
    }
}

impl Drop for Buckets {
    fn drop(&mut self) {
        // SAFETY: made by `new` from a box, and dropped once. The buckets that are left belong to
        // an allocator that still lives, as the request does.
        unsafe {
            sys::apr_brigade_cleanup(self.as_ptr().cast());
            drop(Box::from_raw(self.as_ptr()));
        }
    }
}

/// A part of an open file, to be sent.
#[derive(Debug)]
pub struct FilePart {
    /// The file. The brigade closes it.
    pub file: OwnedFd,
    /// Where to begin.
    pub offset: i64,
    /// How many bytes to send.
    pub length: i64,
    /// Whether the kernel may send it without copying, if httpd was built for that.
    pub sendfile: bool,
    /// Whether httpd may map it to read it. Reading a mapped file that somebody else cuts short
    /// ends the process.
    pub mmap: bool,
}

/// How much of a file is read at a time where it is not mapped, in bytes: APR would read 8000.
const FILE_READ: usize = 64 * 1024;

impl<'r, 'd> Brigade<'r, 'd> {
    /// An empty brigade for the response of `request`.
    pub fn new(request: Request<'r>) -> Self {
        Self {
            buckets: Buckets::new(request),
            request,
            data: PhantomData,
        }
    }

    /// Adds data. Filters that keep it copy it.
    pub fn push_data(&mut self, data: &'d [u8]) {
        // SAFETY: the data lives for 'd, and `pass` empties the brigade before that ends: filters
        // that keep a transient bucket set it aside, which copies it.
        self.push(|alloc| unsafe {
            sys::apr_bucket_transient_create(data.as_ptr().cast::<c_char>(), data.len(), alloc)
        });
    }

    /// Adds data to which there must be no reference, as another process may write there. Filters
    /// that keep it copy it.
    ///
    /// # Safety
    ///
    /// The data must stay readable until the brigade was passed on or dropped.
    pub unsafe fn push_shared(&mut self, data: NonNull<[u8]>) {
        // SAFETY: as in `push_data`, where the caller promises what a borrow does there.
        self.push(|alloc| unsafe {
            sys::apr_bucket_transient_create(data.as_ptr().cast::<c_char>(), data.len(), alloc)
        });
    }

    /// Adds a part of a file, in buckets of the size that httpd can handle.
    pub fn push_file(&mut self, part: FilePart) -> Result<(), AprStatus> {
        let pool = self.request.pool().as_ptr();
        let sendfile = if part.sendfile {
            sys::APR_FOPEN_SENDFILE_ENABLED
        } else {
            0
        };
        let file = take_over(part.file, sendfile, pool)?;
        // SAFETY: the file and the brigade live in the same pool.
        unsafe {
            let brigade = self.buckets.as_ptr();
            let last = sys::apr_brigade_insert_file(brigade, file, part.offset, part.length, pool);
            // Large files are in several buckets, which share what this sets.
            sys::apr_bucket_file_enable_mmap(last, c_int::from(part.mmap));
            if !part.mmap {
                sys::apr_bucket_file_set_buf_size(last, FILE_READ);
            }
        }
        Ok(())
    }

    /// Asks the filters to send what they have before they return.
    pub fn push_flush(&mut self) {
        // SAFETY: the allocator lives as long as the request.
        self.push(|alloc| unsafe { sys::apr_bucket_flush_create(alloc) });
    }

    /// Marks the end of the response.
    pub fn push_eos(&mut self) {
        // SAFETY: as in `push_flush`.
        self.push(|alloc| unsafe { sys::apr_bucket_eos_create(alloc) });
    }

    /// Tells the filters that the response failed, although its head may have been sent.
    pub fn push_error(&mut self, status: Status) {
        let pool = self.request.pool().as_ptr();
        // SAFETY: as in `push_flush`; the message is null, which stands for the usual one.
        self.push(|alloc| unsafe {
            sys::ap_bucket_error_create(status.0, ptr::null(), pool, alloc)
        });
    }

    /// Passes everything to the request's output filters. The brigade is empty afterwards.
    pub fn pass(&mut self) -> Result<(), AprStatus> {
        // SAFETY: the request is valid.
        self.pass_to(unsafe { (*self.request.as_ptr()).output_filters })
    }

    /// The same, past the filters that change its content.
    pub fn pass_to_protocol(&mut self) -> Result<(), AprStatus> {
        // SAFETY: as in `pass`.
        self.pass_to(unsafe { (*self.request.as_ptr()).proto_output_filters })
    }

    fn pass_to(&mut self, filters: *mut sys::ap_filter_t) -> Result<(), AprStatus> {
        let brigade = self.buckets.as_ptr();
        // SAFETY: the filters are those of the request, whose thread this is.
        let status = unsafe {
            let status = sys::ap_pass_brigade(filters, brigade);
            sys::apr_brigade_cleanup(brigade.cast());
            status
        };
        AprStatus::check(status)
    }

    fn push(&mut self, bucket: impl FnOnce(*mut sys::apr_bucket_alloc_t) -> *mut sys::apr_bucket) {
        let bucket = bucket(bucket_alloc(self.request));
        // SAFETY: the bucket is fresh and in no brigade.
        unsafe { sys::buckets::apr_brigade_insert_tail(self.buckets.as_ptr(), bucket) };
    }
}

/// The allocator of buckets of the request's connection.
fn bucket_alloc(request: Request<'_>) -> *mut sys::apr_bucket_alloc_t {
    // SAFETY: the connection lives as long as the request.
    unsafe { (*request.connection().as_ptr()).bucket_alloc }
}

/// Has APR own a file, and close it with the pool that it is in at last.
///
/// For a client that is slow, filters move a file to a pool that lives longer. APR has that pool
/// close what it opened itself, and leaves open what was put into a file of its
/// (`apr_os_file_put`). So it opens a file, and ours takes the descriptor's place.
fn take_over(
    file: OwnedFd,
    flags: i32,
    pool: *mut sys::apr_pool_t,
) -> Result<*mut sys::apr_file_t, AprStatus> {
    let open = |place: &CStr| {
        let (flags, mode) = (sys::APR_FOPEN_READ | flags, sys::APR_FPROT_OS_DEFAULT);
        let mut opened = ptr::null_mut();
        // SAFETY: the pool lives as long as the request; the file is set when the call succeeds.
        let status =
            unsafe { sys::apr_file_open(&raw mut opened, place.as_ptr(), flags, mode, pool) };
        AprStatus::check(status).map(|()| opened)
    };
    // Where ChrootDir says that httpd is there may be no devices.
    let opened = open(c"/dev/null").or_else(|_| open(c"/"))?;
    let mut descriptor = -1;
    // SAFETY: the file was opened. The descriptor is APR's, and stays so: it is not closed here.
    let mut place = unsafe {
        sys::apr_os_file_get(&raw mut descriptor, opened);
        ManuallyDrop::new(OwnedFd::from_raw_fd(descriptor))
    };
    dup3(file, &mut place, OFlag::O_CLOEXEC).map_err(std::io::Error::from)?;
    Ok(opened)
}
