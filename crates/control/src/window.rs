//! A window: memory that a worker shares with one child, for large data.
//!
//! Data that goes through a socket is copied twice, into pages that the kernel allocates and frees
//! each time. Data in a window is copied once, into pages that stay. The worker uses the larger
//! part of it for responses, the child the rest for a request's body. See `docs/protocol.md` for
//! how they tell each other of data in it.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use crate::sealed::{self, Sealed};

/// The position of the number of the last request whose response has left the window.
const RELEASED: usize = Window::SIZE + Inbox::SIZE;

/// The size of a window, in bytes.
const LENGTH: usize = RELEASED + size_of::<AtomicU32>();

/// A window, from the side of the worker.
#[derive(Debug)]
pub struct Window {
    memory: Arc<Sealed>,
    /// How much of the part for responses is in use, in bytes.
    used: usize,
    secured: Secured,
}

impl Window {
    /// The size of the part for responses, in bytes.
    pub const SIZE: usize = 1 << 20;

    /// The least length of data that goes into a window, in bytes: for less, the socket is as fast.
    pub const LARGE: usize = 8 << 10;

    /// Data begins at a multiple of this, the size of a cache line.
    const ALIGNMENT: usize = 64;

    /// An empty window, and the descriptor from which the other side makes its [`View`]. Processes
    /// that this one forks inherit the mapping, and must not use it.
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

    /// Copies as much of the data as fits. Returns the offset and the length of the copy, which is
    /// 0 if the system has no memory for it.
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

    /// Makes all of it available for new data. The other side must be done with the old data.
    pub fn reuse(&mut self) {
        self.used = 0;
    }

    /// The number of the last request whose response has left, as the other side has written it.
    pub fn released(&self) -> u32 {
        released(&self.memory).load(Ordering::Acquire)
    }

    /// Like [`Window::reuse`], and also frees the memory for responses. Only when all responses
    /// have left: a response stays here until its client has taken it, which may be long after the
    /// worker is done with it.
    pub fn clear(&mut self) {
        self.reuse();
        // On failure the memory stays allocated. The part for bodies may be in use already.
        let _ = self.memory.clear(Self::SIZE);
        self.secured = Secured::default();
    }

    /// The part in which the other side puts bodies.
    pub fn inbox(&self) -> Inbox {
        Inbox(self.memory.clone())
    }
}

/// The part of a window in which the child puts a body, from the side of the worker. The body stays
/// there until the request is over.
#[derive(Clone, Debug)]
pub struct Inbox(Arc<Sealed>);

impl Inbox {
    /// The longest body that fits, in bytes.
    pub const SIZE: usize = 64 << 10;

    /// Copies from `offset` on into the buffer, up to the end of the part or of the buffer. Returns
    /// how much.
    pub fn read(&self, offset: usize, buffer: &mut [u8]) -> usize {
        let length = buffer.len().min(Self::SIZE.saturating_sub(offset));
        if length == 0 {
            return 0;
        }
        // SAFETY: these bytes are inside the mapping, and `buffer` is other memory. The other side
        // may write meanwhile, but any bytes are a valid body.
        unsafe {
            let start = self.0.start().add(Window::SIZE + offset);
            start.copy_to_nonoverlapping(NonNull::from(buffer).cast(), length);
        }
        length
    }
}

/// A window, from the side of the child.
#[derive(Debug)]
pub struct View {
    memory: Sealed,
    /// How much of the part for bodies is secured.
    secured: Secured,
}

impl View {
    /// The view of the window that a worker has made.
    ///
    /// # Errors
    ///
    /// When the descriptor is not of a window, or of one that could become smaller.
    pub fn open(descriptor: BorrowedFd<'_>) -> io::Result<Self> {
        let memory = Sealed::map(descriptor, LENGTH)?;
        let secured = Secured::default();
        Ok(Self { memory, secured })
    }

    /// Copies a body into the window, if it fits and the system has memory for it. Returns whether
    /// it did. The worker must be done with the last body.
    pub fn deliver(&self, body: &[u8]) -> bool {
        let reach = || self.secured.reach(&self.memory, Window::SIZE, body.len());
        let fits = body.len() <= Inbox::SIZE && reach();
        if fits {
            write(&self.memory, Window::SIZE, body);
        }
        fits
    }

    /// Writes that the response to this request has left.
    pub fn release(&self, request: u32) {
        released(&self.memory).store(request, Ordering::Release);
    }

    /// The data at this place, if the place is inside the part for responses.
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
    // SAFETY: the mapping is page-aligned, contains the number at a multiple of its alignment, and
    // lives as long as the reference. Both sides access it only as an atomic number, for which any
    // bytes are valid.
    unsafe { memory.start().add(RELEASED).cast().as_ref() }
}

/// How much of a part of a window is secured, from its beginning on. This grows as the part is
/// used, since most windows are never full.
#[derive(Debug, Default)]
struct Secured(AtomicUsize);

impl Secured {
    /// Secures the first `length` bytes of the part that begins at `start`. Returns whether that
    /// succeeded.
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

/// Copies `data` into the memory, which must have been secured.
fn write(memory: &Sealed, start: usize, data: &[u8]) {
    let fits = start
        .checked_add(data.len())
        .is_some_and(|end| end <= memory.length());
    debug_assert!(fits, "no part is longer than the memory");
    if fits {
        // SAFETY: these bytes are inside the mapping, and `data` is other memory, since there are
        // no references into a window. The other side reads these bytes only after it was told of
        // them; if it reads them earlier, it gets meaningless bytes, which harms only itself.
        unsafe {
            let place = memory.start().add(start);
            place.copy_from_nonoverlapping(NonNull::from(data).cast(), data.len());
        }
    }
}

/// Data of a response in a window. It stays until this side has released the request, or sends the
/// next one; but a hostile worker may change it at any time.
#[derive(Clone, Debug)]
pub struct Placed {
    view: Arc<View>,
    offset: usize,
    length: usize,
}

impl Placed {
    /// The bytes, which are readable as long as this lives. There must be no reference to them,
    /// since another process may write there.
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
