//! A connection's window, and whether it has memory.
//!
//! The window is made when a response or a body would have had use for one, and serves those after
//! it. What lies in it is there until the child has sent it to its client, which may take long
//! after the request is over here.

use std::os::fd::OwnedFd;

use control::{Inbox, Window};
use wire::{Place, RequestNumber};

use super::flusher::Flusher;
use super::fork;
use super::outbox::Share;

/// The window of a connection, if it has one.
#[derive(Debug, Default)]
pub(super) struct ConnectionWindow {
    window: Option<Window>,
    /// While it may have memory for responses: that is not without end.
    share: Option<Share>,
    /// Nothing was put there since somebody looked.
    is_stale: bool,
    /// The child has it, too.
    is_shared: bool,
    /// None could be made, and none will be.
    is_hopeless: bool,
}

impl ConnectionWindow {
    /// There is a new request, so nothing that lies there is of use any more. `is_shared` is what
    /// the child says of whether it has the window.
    pub(super) fn begin(&mut self, is_shared: bool) {
        self.is_shared = is_shared;
        if let Some(window) = &mut self.window {
            window.reuse();
        }
    }

    /// Whether there is no window, but one could be made.
    pub(super) fn is_missing(&self) -> bool {
        self.window.is_none() && !self.is_hopeless && !fork::is_forked()
    }

    /// Makes a window. The descriptor is to be sent to the child, which has use for it from its
    /// next request on: it may not be able to take it. Where none can be made the socket does as
    /// well.
    pub(super) fn open(&mut self) -> Option<OwnedFd> {
        let made = Window::new();
        self.is_hopeless = made.is_err();
        let (window, descriptor) = made.ok()?;
        self.window = Some(window);
        Some(descriptor)
    }

    /// Puts data in. Returns where, and what is left for the socket.
    pub(super) fn place<'d>(
        &mut self,
        data: &'d [u8],
        flusher: &Flusher,
    ) -> Option<(Place, &'d [u8])> {
        let window = self.window.as_mut().filter(|_| self.is_shared)?;
        // What a forked process answers is nobody's, and what lies here is another's.
        if window.room() < Window::LARGE || fork::is_forked() {
            return None;
        }
        if self.share.is_none() {
            self.share = Some(flusher.window_share()?);
        }
        self.is_stale = false;
        let (offset, length) = window.place(data);
        if length == 0 {
            return None;
        }
        let place = Place {
            offset: u32::try_from(offset).ok()?,
            length: u32::try_from(length).ok()?,
        };
        Some((place, data.get(length..).unwrap_or_default()))
    }

    /// Where the child puts bodies, if there is a window.
    pub(super) fn inbox(&self) -> Option<Inbox> {
        let window = self.window.as_ref().filter(|_| self.is_shared);
        window.map(Window::inbox)
    }

    /// Gives the memory for responses back if the connection was idle since somebody last looked,
    /// and the child is done with its last request. Returns whether there is memory still.
    pub(super) fn rest(&mut self, last: RequestNumber) -> bool {
        let Some(window) = self.window.as_mut().filter(|_| self.share.is_some()) else {
            return false;
        };
        let was_stale = std::mem::replace(&mut self.is_stale, true);
        if !was_stale || window.released() != last {
            return true;
        }
        window.clear();
        self.share = None;
        false
    }
}
