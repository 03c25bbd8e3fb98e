//! Closes sockets over which others may have sent descriptors.
//!
//! Descriptors that were not received are closed with the socket. That can block for as long as
//! their sender likes, for example if one of them is a TCP socket that lingers.

use std::mem::ManuallyDrop;
use std::thread::Builder;

/// Drops `sockets` on a thread of its own. If no thread can be started, they stay open.
pub(super) fn close<T: Send + 'static>(sockets: T) {
    let sockets = ManuallyDrop::new(sockets);
    let close = move || drop(ManuallyDrop::into_inner(sockets));
    let _ = Builder::new().name("wsgi-closer".to_owned()).spawn(close);
}
