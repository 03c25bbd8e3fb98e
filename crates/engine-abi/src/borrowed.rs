//! What one side lends the other until a function returns: bytes, arrays, names with their values.

use std::fmt;
use std::marker::PhantomData;

/// Bytes borrowed from the other side. A null pointer means "absent", which differs from empty.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Bytes<'a> {
    ptr: *const u8,
    len: usize,
    borrow: PhantomData<&'a [u8]>,
}

// SAFETY: a `Bytes<'a>` is a `&'a [u8]` (or nothing) in a fixed layout, and `&[u8]` is `Send`.
unsafe impl Send for Bytes<'_> {}
// SAFETY: as above; shared bytes are `Sync`.
unsafe impl Sync for Bytes<'_> {}

impl<'a> Bytes<'a> {
    /// The absent value.
    pub const NONE: Self = Self {
        ptr: std::ptr::null(),
        len: 0,
        borrow: PhantomData,
    };

    /// Borrows `bytes`.
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self {
            ptr: bytes.as_ptr(),
            len: bytes.len(),
            borrow: PhantomData,
        }
    }

    /// The bytes, or `None` if they are absent.
    pub const fn get(self) -> Option<&'a [u8]> {
        if self.ptr.is_null() {
            return None;
        }
        // SAFETY: the pointer is not null, so this was made by `new` from a slice that lives for
        // 'a, on this side or, under the rules of this crate, on the other.
        Some(unsafe { std::slice::from_raw_parts(self.ptr, self.len) })
    }

    /// The bytes, or an empty slice if they are absent.
    pub const fn or_empty(self) -> &'a [u8] {
        match self.get() {
            Some(bytes) => bytes,
            None => &[],
        }
    }
}

impl<'a> From<&'a [u8]> for Bytes<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Self::new(bytes)
    }
}

impl<'a> From<&'a str> for Bytes<'a> {
    fn from(text: &'a str) -> Self {
        Self::new(text.as_bytes())
    }
}

impl<'a> From<Option<&'a [u8]>> for Bytes<'a> {
    fn from(bytes: Option<&'a [u8]>) -> Self {
        bytes.map_or(Self::NONE, Self::new)
    }
}

impl fmt::Debug for Bytes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.get().map(String::from_utf8_lossy).fmt(f)
    }
}

/// An array borrowed from the other side.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Slice<'a, T> {
    ptr: *const T,
    len: usize,
    borrow: PhantomData<&'a [T]>,
}

impl<'a, T> Slice<'a, T> {
    /// Borrows `items`.
    pub const fn new(items: &'a [T]) -> Self {
        Self {
            ptr: items.as_ptr(),
            len: items.len(),
            borrow: PhantomData,
        }
    }

    /// The items.
    pub const fn get(self) -> &'a [T] {
        if self.ptr.is_null() {
            return &[];
        }
        // SAFETY: a non-null pointer was set by `new` from a slice that lives for 'a, on this
        // side or, under the rules of this crate, on the other.
        unsafe { std::slice::from_raw_parts(self.ptr, self.len) }
    }
}

impl<T: fmt::Debug> fmt::Debug for Slice<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let items: &[T] = if self.ptr.is_null() {
            &[]
        } else {
            // SAFETY: as in `get`.
            unsafe { std::slice::from_raw_parts(self.ptr, self.len) }
        };
        items.fmt(f)
    }
}

/// A name and its value: an environ variable or a response header.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Pair<'a> {
    /// The name.
    pub name: Bytes<'a>,
    /// The value. Absent in an environ means `None`.
    pub value: Bytes<'a>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absent_bytes_are_not_empty_bytes() {
        assert_eq!(Bytes::NONE.get(), None);
        assert_eq!(Bytes::new(b"").get(), Some(&b""[..]));
        assert_eq!(Bytes::NONE.or_empty(), b"");
    }
}
