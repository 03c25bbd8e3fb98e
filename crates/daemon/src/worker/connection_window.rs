//! The window of a connection, and whether memory is allocated for it.
//!
//! The window is made when a response or a body could have used one, and serves those after it.
//! Data stays in it until the child has sent it to its client, which may be long after the request
//! has ended here.

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
    /// Its share of the memory for responses, while it has any.
    share: Option<Share>,
    /// Whether nothing has been put there since the last call of `rest`.
    is_stale: bool,
    /// Whether the child has mapped it.
    is_shared: bool,
    /// Whether making it failed; it is not tried again.
    is_hopeless: bool,
}

impl ConnectionWindow {
    /// A new request has come, so the data in the window is no longer needed. `is_shared` is
    /// whether the child has mapped the window.
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

    /// Makes a window. The descriptor must be sent to the child. The window is used from the next
    /// request on, if the child could map it. If none can be made, data goes through the socket.
    pub(super) fn open(&mut self) -> Option<OwnedFd> {
        let made = Window::new();
        self.is_hopeless = made.is_err();
        let (window, descriptor) = made.ok()?;
        self.window = Some(window);
        Some(descriptor)
    }

    /// Copies data into the window. Returns where it is, and the rest, which is for the socket.
    pub(super) fn place<'d>(
        &mut self,
        data: &'d [u8],
        flusher: &Flusher,
    ) -> Option<(Place, &'d [u8])> {
        let window = self.window.as_mut().filter(|_| self.is_shared)?;
        // The window belongs to the process that this one was forked from.
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

    /// Frees the memory for responses if the connection was idle since the last call, and the
    /// response to the `last` request has left the child. Returns whether memory is still
    /// allocated.
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
