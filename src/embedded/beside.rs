//! What may be used of a request while another thread uses the request itself.

use std::ffi::CStr;

use engine_abi::RequestHandle;
use httpd::{Level, Log, Request, Server};

use super::InFlight;
use super::body::Awaited;
use crate::Wsgi;

/// What a line for the log needs of a request, none of which changes while the application works on
/// it, and what waits for the body.
#[derive(Debug)]
pub(super) struct Beside<'r> {
    server: Logged<'r>,
    /// The most verbose level that is logged for the request.
    pub(super) level: Level,
    client: Option<&'r CStr>,
    port: u16,
    pub(super) script: &'r CStr,
    pub(super) awaited: Awaited,
}

/// A server, for its log.
#[derive(Debug)]
struct Logged<'r>(Server<'r>);

// SAFETY: only its log is used, to which any thread may write.
unsafe impl Sync for Logged<'_> {}

const _: () = {
    const fn is_for_any_thread<T: Sync>() {}
    is_for_any_thread::<Beside<'_>>();
};

impl<'r> Beside<'r> {
    /// That of a request that an application is about to have.
    pub(super) fn of(request: Request<'r>) -> Self {
        Self {
            server: Logged(request.server()),
            level: Log::of_request::<Wsgi>(request).level(),
            client: request.client_address(),
            port: request.client_port(),
            script: request.filename().unwrap_or_default(),
            awaited: Awaited::new(),
        }
    }

    /// The log of the request's server.
    pub(super) fn log(&self) -> Log<'r> {
        Log::of_server::<Wsgi>(self.server.0)
    }

    /// The client, as a line of the request names it.
    pub(super) fn client_tag(&self) -> String {
        let client = self.client.unwrap_or_default().to_string_lossy();
        format!("[client {client}:{}] ", self.port)
    }
}

/// The part of the request a handle stands for that any thread may use.
///
/// # Safety
///
/// - `handle` must be null or one that was given to the engine with a request it still serves.
pub(super) unsafe fn beside<'a>(handle: RequestHandle) -> Option<&'a Beside<'a>> {
    let in_flight = handle.cast::<InFlight<'a>>();
    if in_flight.is_null() {
        return None;
    }
    // SAFETY: handles are made from an `InFlight`, which lives until the request is served. Of it,
    // this borrows what is for any thread.
    unsafe { Some(&(*in_flight).beside) }
}
