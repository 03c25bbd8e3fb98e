//! A connection's window, and whether it has memory.
//!
//! The window is made when a response first has data for it, and kept for the next. What lies in it is
//! there until the child sends another request over the connection, which it does when all of it has left.

use std::os::fd::OwnedFd;

use control::{Inbox, Window};
use wire::Place;

use super::courier::Courier;
use super::outbox::Share;

/// From which length on data goes into the window, in bytes: less is sent sooner than it is told of.
pub(super) const LARGE: usize = 8 << 10;

/// The window of a connection, if it has one.
#[derive(Debug, Default)]
pub(super) struct Pane {
    window: Option<Window>,
    /// While it has memory: that is not without end.
    share: Option<Share>,
    /// None could be made, and none will be.
    is_hopeless: bool,
}

impl Pane {
    /// There is a new request, so nothing that lies there is of use any more.
    pub(super) fn begin(&mut self) {
        if let Some(window) = &mut self.window {
            window.reuse();
        }
    }

    /// Makes a window, if there is none and there may be one. The descriptor is to be sent to the child
    /// before it is told of anything that lies there.
    pub(super) fn open(&mut self, courier: &Courier) -> Option<OwnedFd> {
        if self.window.is_some() || self.is_hopeless {
            return None;
        }
        self.share = Some(courier.window_share()?);
        match Window::new() {
            Ok((window, descriptor)) => {
                self.window = Some(window);
                Some(descriptor)
            }
            // The socket does as well.
            Err(_) => {
                self.is_hopeless = true;
                self.share = None;
                None
            }
        }
    }

    /// Puts data in. Returns where, and what is left for the socket.
    pub(super) fn place<'d>(
        &mut self,
        data: &'d [u8],
        courier: &Courier,
    ) -> Option<(Place, &'d [u8])> {
        let window = self.window.as_mut()?;
        if self.share.is_none() {
            self.share = Some(courier.window_share()?);
        }
        if window.room() < LARGE {
            return None;
        }
        let (offset, length) = window.place(data);
        let place = Place {
            offset: u32::try_from(offset).ok()?,
            length: u32::try_from(length).ok()?,
        };
        Some((place, data.get(length..).unwrap_or_default()))
    }

    /// Where the child puts bodies, if there is a window.
    pub(super) fn inbox(&self) -> Option<Inbox> {
        self.window.as_ref().map(Window::inbox)
    }

    /// Gives the memory back. The connection is idle.
    pub(super) fn rest(&mut self) {
        if let Some(window) = &mut self.window
            && self.share.take().is_some()
        {
            window.clear();
        }
    }
}
