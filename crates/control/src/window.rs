//! A window: memory in which a worker puts large data of its responses, for one child to see.
//!
//! Data that goes through a socket is copied twice, into pages that the kernel finds for it and gives back
//! each time. What lies in a window is copied once, into pages that stay. See `docs/protocol.md` for how
//! the two sides tell each other of it.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::Arc;

use crate::sealed::{self, Access, Sealed};

/// A window, as the worker has it that writes into it.
#[derive(Debug)]
pub struct Window {
    memory: Sealed,
    /// How much of it is taken.
    used: usize,
}

impl Window {
    /// How many bytes fit into one.
    pub const SIZE: usize = 1 << 20;

    /// Where data begins: at a multiple of this, a line of the CPU's cache.
    const ALIGNMENT: usize = 64;

    /// A window in which nothing is, and the descriptor from which the other side makes its
    /// [`View`]. Processes that this one forks do not have it.
    ///
    /// # Errors
    ///
    /// When the system has no memory or no descriptor for it.
    pub fn new() -> io::Result<(Self, OwnedFd)> {
        let descriptor = sealed::create(c"wsgi-window", Self::SIZE)?;
        let memory = Sealed::map(descriptor.as_fd(), Self::SIZE, Access::ReadAndWrite)?;
        memory.keep_from_forks()?;
        Ok((Self { memory, used: 0 }, descriptor))
    }

    /// How many bytes still fit.
    pub fn room(&self) -> usize {
        Self::SIZE - self.used
    }

    /// Puts in what fits of the data, and returns where that begins and how much it is.
    pub fn place(&mut self, data: &[u8]) -> (usize, usize) {
        let offset = self.used;
        let length = data.len().min(self.room());
        // SAFETY: the `length` bytes from `offset` on are inside the mapping, and inside `data`, which is
        // other memory: nobody gets a reference into a window. What the other side reads there meanwhile
        // is of no request, as it has been told of none of these bytes yet.
        unsafe {
            let place = self.memory.start().add(offset);
            place.copy_from_nonoverlapping(NonNull::from(data).cast(), length);
        }
        let end = (offset + length).next_multiple_of(Self::ALIGNMENT);
        self.used = end.min(Self::SIZE);
        (offset, length)
    }

    /// Takes all of it for new data: the other side is done with what was in it.
    pub fn reuse(&mut self) {
        self.used = 0;
    }

    /// The same, and gives its memory back to the system. Nothing in it may still be of use.
    pub fn clear(&mut self) {
        self.reuse();
        // Where that cannot be done the memory stays.
        let _ = self.memory.clear();
    }
}

/// A window, as the child has it that looks into it.
#[derive(Debug)]
pub struct View(Sealed);

impl View {
    /// The view of the window that a worker has made.
    ///
    /// # Errors
    ///
    /// When that is no window, but something that might hurt whoever looks into it.
    pub fn open(descriptor: BorrowedFd<'_>) -> io::Result<Self> {
        Sealed::map(descriptor, Window::SIZE, Access::Read).map(Self)
    }

    /// What lies at a place, if there is such a place.
    pub fn at(self: &Arc<Self>, offset: usize, length: usize) -> Option<Placed> {
        let end = offset.checked_add(length)?;
        (end <= self.0.length()).then(|| Placed {
            view: self.clone(),
            offset,
            length,
        })
    }
}

/// Data in a window. They are there until the worker has another request of the same connection; a hostile
/// one changes them when it likes.
#[derive(Clone, Debug)]
pub struct Placed {
    view: Arc<View>,
    offset: usize,
    length: usize,
}

impl Placed {
    /// The bytes: readable as long as this lives, although there must be no reference to them, as another
    /// process may write there.
    pub fn bytes(&self) -> NonNull<[u8]> {
        // SAFETY: `at` has found the offset inside the mapping.
        let start = unsafe { self.view.0.start().add(self.offset) };
        NonNull::slice_from_raw_parts(start, self.length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(placed: &Placed) -> Vec<u8> {
        // SAFETY: nobody writes while the test reads.
        unsafe { placed.bytes().as_ref() }.to_vec()
    }

    #[test]
    fn what_is_placed_is_seen() {
        let (mut window, descriptor) = Window::new().unwrap();
        let view = Arc::new(View::open(descriptor.as_fd()).unwrap());
        let (first, second) = (window.place(b"first"), window.place(b"second"));
        assert_eq!((first, second), ((0, 5), (64, 6)));
        assert_eq!(read(&view.at(0, 5).unwrap()), b"first");
        assert_eq!(read(&view.at(64, 6).unwrap()), b"second");
        window.reuse();
        assert_eq!(window.place(b"third"), (0, 5));
        assert_eq!(read(&view.at(0, 5).unwrap()), b"third");
        window.clear();
        assert_eq!(read(&view.at(0, 5).unwrap()), [0; 5]);
    }

    #[test]
    fn what_does_not_fit_is_left() {
        let (mut window, _) = Window::new().unwrap();
        let data = vec![7; Window::SIZE - 10];
        assert_eq!(window.place(&data), (0, data.len()));
        assert_eq!(window.room(), 0, "the last line of the cache is taken");
        assert_eq!(window.place(&data), (Window::SIZE, 0));
    }

    #[test]
    fn there_is_nothing_outside_of_it() {
        let (_, descriptor) = Window::new().unwrap();
        let view = Arc::new(View::open(descriptor.as_fd()).unwrap());
        assert!(view.at(0, Window::SIZE).is_some() && view.at(Window::SIZE, 0).is_some());
        for (offset, length) in [(0, Window::SIZE + 1), (Window::SIZE, 1), (1, usize::MAX)] {
            assert!(view.at(offset, length).is_none());
        }
    }

    #[test]
    fn nothing_else_is_a_window() {
        let small = sealed::create(c"test", Window::SIZE - 1).unwrap();
        assert!(View::open(small.as_fd()).is_err());
        let unsealed = sealed::create_unsealed(Window::SIZE as i64);
        assert!(View::open(unsealed.as_fd()).is_err());
    }
}
