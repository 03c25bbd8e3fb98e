//! Pools: memory that lives as long as a request, a connection, a process or a configuration.

use std::alloc::{Layout, handle_alloc_error};
use std::any::{Any, type_name};
use std::cell::RefCell;
use std::ffi::{CStr, c_void};
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::ptr::NonNull;

use httpd_sys as sys;

use crate::panic;

/// A pool that is not cleared during `'p`.
#[repr(transparent)]
#[derive(Clone, Copy, Debug)]
pub struct Pool<'p> {
    raw: NonNull<sys::apr_pool_t>,
    lifetime: PhantomData<&'p ()>,
}

/// What `apr_palloc` aligns to, on every platform.
const ALIGNMENT: usize = 8;

impl<'p> Pool<'p> {
    /// Wraps a pool of httpd's.
    ///
    /// # Safety
    ///
    /// - `raw` must point to a pool that is neither cleared nor destroyed during `'p`.
    /// - Only the calling thread may allocate from it during `'p`.
    pub unsafe fn from_raw(raw: *mut sys::apr_pool_t) -> Self {
        Self {
            // SAFETY: the caller passes a pool, which is not null.
            raw: unsafe { NonNull::new_unchecked(raw) },
            lifetime: PhantomData,
        }
    }

    /// The pointer, for httpd's own functions.
    pub fn as_ptr(self) -> *mut sys::apr_pool_t {
        self.raw.as_ptr()
    }

    /// Copies bytes into the pool as a C string, up to their first NUL.
    pub fn copy(self, bytes: &[u8]) -> &'p CStr {
        let length = bytes
            .iter()
            .position(|&byte| byte == 0)
            .unwrap_or(bytes.len());
        self.join(&[&bytes[..length]])
    }

    /// Copies the pieces, one after the other, into one C string in the pool. It ends, for whoever
    /// reads it, at the first NUL.
    pub fn join(self, pieces: &[&[u8]]) -> &'p CStr {
        let length: usize = pieces.iter().map(|piece| piece.len()).sum();
        let buffer = self.uninit_slice::<u8>(length + 1);
        let mut rest = &mut *buffer;
        for piece in pieces {
            let (start, end) = rest.split_at_mut(piece.len());
            for (slot, byte) in start.iter_mut().zip(*piece) {
                slot.write(*byte);
            }
            rest = end;
        }
        rest[0].write(0);
        // SAFETY: all bytes are written, the last is NUL.
        unsafe { CStr::from_ptr(buffer.as_ptr().cast()) }
    }

    /// A number in decimal digits.
    pub fn decimal(self, mut number: u64) -> &'p CStr {
        // The longest has 20 digits.
        let mut digits = [0; 20];
        let mut first = digits.len();
        loop {
            first -= 1;
            digits[first] = b'0' + (number % 10) as u8;
            number /= 10;
            if number == 0 {
                return self.copy(&digits[first..]);
            }
        }
    }

    /// Collects at most `capacity` items into a slice in the pool.
    pub fn collect<T: Copy>(
        self,
        capacity: usize,
        items: impl IntoIterator<Item = T>,
    ) -> &'p mut [T] {
        let slots = self.uninit_slice::<T>(capacity);
        let mut length = 0;
        for (slot, item) in slots.iter_mut().zip(items) {
            slot.write(item);
            length += 1;
        }
        // SAFETY: the first `length` slots are written.
        unsafe { &mut *(&raw mut slots[..length] as *mut [T]) }
    }

    /// Moves a value into the pool, which drops it when it is cleared.
    pub fn place<T: 'static>(self, value: T) -> &'p mut T {
        let slot = self.allocate(Layout::new::<T>()).cast::<T>();
        // SAFETY: the memory is fresh and has the size and alignment of a `T`.
        unsafe { slot.write(value) };
        if std::mem::needs_drop::<T>() {
            // SAFETY: the pool and the address are valid; `drop_placed::<T>` drops just what was
            // written there, once, before the pool's memory goes.
            unsafe {
                sys::apr_pool_cleanup_register(
                    self.as_ptr(),
                    slot.as_ptr().cast(),
                    Some(drop_placed::<T>),
                    Some(sys::apr_pool_cleanup_null),
                );
            }
        }
        // SAFETY: initialised above; the address is handed out only here, and the pool keeps it
        // for 'p.
        unsafe { &mut *slot.as_ptr() }
    }

    /// The one value of its type that belongs to this pool, made when it is first asked for: what
    /// the directives of a configuration tell each other while they are read.
    pub fn state<T: Default + 'static>(self) -> &'p RefCell<T> {
        let name = self.join(&[b"state: ", type_name::<T>().as_bytes()]);
        let mut found = std::ptr::null_mut();
        // SAFETY: the pool is valid by the promise of `from_raw`, the name NUL-terminated, and
        // the place for the answer writable.
        unsafe { sys::apr_pool_userdata_get(&raw mut found, name.as_ptr(), self.as_ptr()) };
        let state = if found.is_null() {
            let state: Box<dyn Any> = Box::new(RefCell::new(T::default()));
            let place: *mut Box<dyn Any> = self.place(state);
            // SAFETY: as above; the pool drops the value by itself, so nothing is to be done here.
            unsafe {
                sys::apr_pool_userdata_setn(
                    place.cast(),
                    name.as_ptr(),
                    Some(sys::apr_pool_cleanup_null),
                    self.as_ptr(),
                );
            }
            place
        } else {
            found.cast()
        };
        // SAFETY: under such a name nobody but the lines above leaves anything: a boxed value in
        // this pool, of which nobody takes a unique reference.
        let state: &'p dyn Any = unsafe { &**state };
        match state.downcast_ref() {
            Some(state) => state,
            None => panic!("two types are called {}", type_name::<T>()),
        }
    }

    fn uninit_slice<T: Copy>(self, length: usize) -> &'p mut [MaybeUninit<T>] {
        let Ok(layout) = Layout::array::<T>(length) else {
            panic!("a slice of {length} items has no place in memory");
        };
        let memory = self.allocate(layout).cast::<MaybeUninit<T>>();
        // SAFETY: fresh memory of the right size and alignment that the pool keeps for 'p.
        unsafe { std::slice::from_raw_parts_mut(memory.as_ptr(), length) }
    }

    fn allocate(self, layout: Layout) -> NonNull<u8> {
        assert!(
            layout.align() <= ALIGNMENT,
            "a pool aligns to {ALIGNMENT} bytes only"
        );
        // SAFETY: the pool is valid by the promise of `from_raw`.
        let memory = unsafe { sys::apr_palloc(self.as_ptr(), layout.size()) };
        NonNull::new(memory.cast()).unwrap_or_else(|| handle_alloc_error(layout))
    }
}

/// Drops a value that [`Pool::place`] put into a pool.
unsafe extern "C" fn drop_placed<T>(value: *mut c_void) -> sys::apr_status_t {
    panic::guard(sys::APR_EGENERAL, || {
        // SAFETY: registered by `place` with the address of a `T`, and run by APR once.
        unsafe { value.cast::<T>().drop_in_place() };
        sys::APR_SUCCESS
    })
}
