//! A window: memory that a worker shares with one child, for large data.
//!
//! Data that goes through a socket is copied twice, into pages that the kernel finds for it and
//! gives back each time. What lies in a window is copied once, into pages that stay. The worker has
//! the larger part of it for responses, the child what is behind that for a request's body. See
//! `docs/protocol.md` for how the two tell each other of it.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use crate::sealed::{self, Sealed};

/// Where the number of the last request lies whose response has left the window.
const RELEASED: usize = Window::SIZE + Inbox::SIZE;

/// How many bytes a window has.
const LENGTH: usize = RELEASED + size_of::<AtomicU32>();

/// A window, as the worker has it that puts responses there.
#[derive(Debug)]
pub struct Window {
    memory: Arc<Sealed>,
    /// How much of it is taken.
    used: usize,
    secured: Secured,
}

impl Window {
    /// How many bytes of responses fit into one.
    pub const SIZE: usize = 1 << 20;

    /// From which length on data goes into a window, in bytes: less is sent sooner than it is told
    /// of.
    pub const LARGE: usize = 8 << 10;

    /// Where data begins: at a multiple of this, a line of the CPU's cache.
    const ALIGNMENT: usize = 64;

    /// A window in which nothing is, and the descriptor from which the other side makes its
    /// [`View`]. Processes that this one forks have it as well, and must leave it alone.
    ///
    /// # Errors
    ///
    /// When the system has no memory or no descriptor for it.
    pub fn new() -> io::Result<(Self, OwnedFd)> {
        let descriptor = sealed::create(c"wsgi-window", LENGTH)?;
        let memory = Sealed::map(descriptor.as_fd(), LENGTH)?;
        memory.secure(RELEASED..LENGTH)?;
        let window = Self {
            memory: Arc::new(memory),
            used: 0,
            secured: Secured::default(),
        };
        Ok((window, descriptor))
    }

    /// How many bytes still fit.
    pub fn room(&self) -> usize {
        Self::SIZE - self.used
    }

    /// Puts in what fits of the data, and returns where that begins and how much it is: nothing,
    /// where the system has no memory for it.
    pub fn place(&mut self, data: &[u8]) -> (usize, usize) {
        let offset = self.used;
        let length = data.len().min(self.room());
        if !self.secured.reach(&self.memory, 0, offset + length) {
            return (offset, 0);
        }
        write(&self.memory, offset, data.get(..length).unwrap_or_default());
        let end = (offset + length).next_multiple_of(Self::ALIGNMENT);
        self.used = end.min(Self::SIZE);
        (offset, length)
    }

    /// Takes all of it for new data: the other side is done with what was in it.
    pub fn reuse(&mut self) {
        self.used = 0;
    }

    /// The number of the last request of which the other side has said that its response has left.
    pub fn released(&self) -> u32 {
        released(&self.memory).load(Ordering::Acquire)
    }

    /// The same as [`Window::reuse`], and gives the memory for responses back to the system. Only
    /// when all that was placed has left: a response lies here until its client has taken it, long
    /// after the worker is done with it.
    pub fn clear(&mut self) {
        self.reuse();
        // Where that cannot be done the memory stays. The other part may be in use already.
        let _ = self.memory.clear(Self::SIZE);
        self.secured = Secured::default();
    }

    /// Where the other side puts bodies.
    pub fn inbox(&self) -> Inbox {
        Inbox(self.memory.clone())
    }
}

/// The part of a window in which the child puts a body, as the worker has it. It is there until the
/// request is over.
#[derive(Clone, Debug)]
pub struct Inbox(Arc<Sealed>);

impl Inbox {
    /// The longest body that fits.
    pub const SIZE: usize = 64 << 10;

    /// Copies what lies there from `offset` on, as far as it and the buffer go. Returns how much
    /// that is.
    pub fn read(&self, offset: usize, buffer: &mut [u8]) -> usize {
        let length = buffer.len().min(Self::SIZE.saturating_sub(offset));
        if length == 0 {
            return 0;
        }
        // SAFETY: these bytes are inside the mapping. Whatever the other side writes meanwhile, any
        // bytes are a body.
        unsafe {
            let start = self.0.start().add(Window::SIZE + offset);
            start.copy_to_nonoverlapping(NonNull::from(buffer).cast(), length);
        }
        length
    }
}

/// A window, as the child has it.
#[derive(Debug)]
pub struct View {
    memory: Sealed,
    /// How much of the part for bodies.
    secured: Secured,
}

impl View {
    /// The view of the window that a worker has made.
    ///
    /// # Errors
    ///
    /// When that is no window, but something that might hurt whoever looks into it.
    pub fn open(descriptor: BorrowedFd<'_>) -> io::Result<Self> {
        let memory = Sealed::map(descriptor, LENGTH)?;
        let secured = Secured::default();
        Ok(Self { memory, secured })
    }

    /// Puts a body in, if it fits and the system has memory for it. Returns whether it did. The
    /// worker must be done with the last one.
    pub fn deliver(&self, body: &[u8]) -> bool {
        let reach = || self.secured.reach(&self.memory, Window::SIZE, body.len());
        let fits = body.len() <= Inbox::SIZE && reach();
        if fits {
            write(&self.memory, Window::SIZE, body);
        }
        fits
    }

    /// Says that the response to this request has left.
    pub fn release(&self, request: u32) {
        released(&self.memory).store(request, Ordering::Release);
    }

    /// What lies at a place, if there is such a place for responses.
    pub fn at(self: &Arc<Self>, offset: usize, length: usize) -> Option<Placed> {
        let end = offset.checked_add(length)?;
        (end <= Window::SIZE).then(|| Placed {
            view: self.clone(),
            offset,
            length,
        })
    }
}

fn released(memory: &Sealed) -> &AtomicU32 {
    const { assert!(RELEASED.is_multiple_of(align_of::<AtomicU32>())) };
    // SAFETY: the mapping begins with a page, has the number at this multiple of its alignment and
    // lives as long as the reference; both sides use it as an atomic number only, for which any
    // bytes are a value.
    unsafe { memory.start().add(RELEASED).cast().as_ref() }
}

/// How much of a part of a window has memory, from its beginning on. It grows as the part is used,
/// as most are never full.
#[derive(Debug, Default)]
struct Secured(AtomicUsize);

impl Secured {
    /// Has so much of the part that begins at `start` have memory. Returns whether it has.
    fn reach(&self, memory: &Sealed, start: usize, length: usize) -> bool {
        let before = self.0.load(Ordering::Relaxed);
        if length <= before {
            return true;
        }
        let is_secured = memory.secure(start + before..start + length).is_ok();
        if is_secured {
            self.0.store(length, Ordering::Relaxed);
        }
        is_secured
    }
}

/// Copies `data` into the memory, where it must have been secured.
fn write(memory: &Sealed, start: usize, data: &[u8]) {
    let fits = start
        .checked_add(data.len())
        .is_some_and(|end| end <= memory.length());
    debug_assert!(fits, "no part is longer than the memory");
    if fits {
        // SAFETY: these bytes are inside the mapping and inside `data`, which is other memory:
        // nobody gets a reference into a window. The other side reads none of these bytes before it
        // is told of them; one that does all the same gets bytes without a meaning, which harms
        // only itself.
        unsafe {
            let place = memory.start().add(start);
            place.copy_from_nonoverlapping(NonNull::from(data).cast(), data.len());
        }
    }
}

/// Data of a response in a window. They are there until this side has released the request, or
/// sends the next one; a hostile worker changes them when it likes.
#[derive(Clone, Debug)]
pub struct Placed {
    view: Arc<View>,
    offset: usize,
    length: usize,
}

impl Placed {
    /// The bytes: readable as long as this lives, although there must be no reference to them, as
    /// another process may write there.
    pub fn bytes(&self) -> NonNull<[u8]> {
        // SAFETY: `at` has found the offset inside the mapping.
        let start = unsafe { self.view.memory.start().add(self.offset) };
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
        assert_eq!(window.released(), 0);
        view.release(7);
        assert_eq!(window.released(), 7);
        window.reuse();
        assert_eq!(window.place(b"third"), (0, 5));
        assert_eq!(read(&view.at(0, 5).unwrap()), b"third");
        window.clear();
        assert_eq!(read(&view.at(0, 5).unwrap()), [0; 5]);
    }

    #[test]
    fn there_is_memory_for_what_is_used() {
        let (mut window, descriptor) = Window::new().unwrap();
        let view = View::open(descriptor.as_fd()).unwrap();
        let bytes = || nix::sys::stat::fstat(&descriptor).unwrap().st_blocks * 512;
        let page = bytes();
        assert!(page > 0, "that of the number");
        window.place(&[1; 10_000]);
        let more = bytes() - page;
        assert!((10_000..10_000 + page).contains(&more), "{more}");
        let before = bytes();
        assert!(view.deliver(&[1; 9_000]));
        let body = bytes() - before;
        assert!((9_000..9_000 + page).contains(&body), "{body}");
        window.clear();
        assert_eq!(bytes(), page + body);
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
    fn a_body_is_delivered() {
        let (mut window, descriptor) = Window::new().unwrap();
        let view = View::open(descriptor.as_fd()).unwrap();
        let inbox = window.inbox();
        let body: Vec<u8> = (0..=u8::MAX).cycle().take(Inbox::SIZE).collect();
        assert!(view.deliver(&body));
        window.place(&[1; Window::SIZE]);
        window.clear();
        let mut read = vec![0; Inbox::SIZE + 1];
        assert_eq!(inbox.read(0, &mut read), Inbox::SIZE);
        assert!(
            read[..Inbox::SIZE] == body,
            "nothing of the response is there"
        );
        assert_eq!(inbox.read(Inbox::SIZE - 1, &mut read), 1);
        assert_eq!(read[0], *body.last().unwrap());
        assert_eq!(inbox.read(Inbox::SIZE, &mut read), 0);
        assert_eq!(inbox.read(usize::MAX, &mut read), 0);
        assert!(!view.deliver(&vec![0; Inbox::SIZE + 1]));
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
        let small = sealed::create(c"test", LENGTH - 1).unwrap();
        assert!(View::open(small.as_fd()).is_err());
        let unsealed = sealed::create_unsealed(LENGTH as i64);
        assert!(View::open(unsealed.as_fd()).is_err());
    }
}
