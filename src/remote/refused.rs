//! The responses and messages for requests that no worker takes.

use std::ffi::CStr;

use httpd::{Request, Status};
use nix::errno::Errno;
use nix::sys::stat::stat;
use nix::unistd::geteuid;

use super::groups::Group;
use crate::handler::Refusal;

/// `Retry-After`, in seconds.
const RETRY_AFTER: &CStr = c"5";

/// The refusal if a group cannot take the request now.
pub(super) fn unavailable(request: Request<'_>, group: &str, why: &str) -> Refusal {
    busy(request, 116, not_available(group, why))
}

/// The refusal if a group cannot be reached.
pub(super) fn unreachable(request: Request<'_>, group: &str, why: &str) -> Refusal {
    busy(request, 117, not_available(group, why))
}

/// A refusal that tells the client to come back later.
pub(super) fn busy(request: Request<'_>, id: u16, text: String) -> Refusal {
    request.err_headers_out().set(c"Retry-After", RETRY_AFTER);
    Refusal::new(Status::SERVICE_UNAVAILABLE, id, text)
}

/// Why a group is not available: it serves no requests.
pub(super) const RUNS_SCRIPTS: &str =
    "it has threads=0, so it runs a script and serves no requests";

/// Why a group is not available: it could not be started.
pub(super) const NOT_STARTED: &str = "it could not be started, for the reason that was logged when the \
     server started (WSGI0012 to WSGI0015, or WSGI1232)";

/// Why a group is not available: every slot is down.
pub(super) const NONE_STARTS: &str =
    "none of its workers starts; see the earlier messages of its supervisor";

/// Why a group is not available: it cannot be reached.
pub(super) fn no_way(group: &Group) -> String {
    format!(
        "its socket {:?} is not there; something has removed it (see WSGISocketPrefix)",
        group.socket
    )
}

/// Why a group is not available: time is up.
pub(super) const NOBODY_TOOK_IT: &str =
    "no worker took the request in the time that connect-timeout allows";

/// The id and reason for a failure to connect that another attempt would not change.
pub(super) fn hopeless(group: &Group, error: Errno) -> Option<(u16, String)> {
    match error {
        Errno::EAGAIN => {
            let why = "its queue stayed full for as long as connect-timeout allows; give it more \
                       processes or threads, or a longer listen-backlog";
            Some((116, why.to_owned()))
        }
        Errno::EACCES | Errno::EPERM => {
            let why = format!(
                "its socket {:?} cannot be reached by uid {}: {error}. {}",
                group.socket,
                geteuid(),
                what_would_let_us_in(group)
            );
            Some((117, why))
        }
        _ => None,
    }
}

fn what_would_let_us_in(group: &Group) -> String {
    match stat(group.socket.as_path()) {
        Ok(socket) if socket.st_uid != geteuid().as_raw() => format!(
            "It belongs to uid {}; socket-user says whose it is",
            socket.st_uid
        ),
        _ => "Let that user search all directories on the way, or name another place in \
              WSGISocketPrefix"
            .to_owned(),
    }
}

/// The refusal if this process cannot create a socket.
pub(super) fn no_socket(group: &Group, error: Errno) -> Refusal {
    let text = format!(
        "Unable to create socket to connect to process group '{}': {error}.",
        show(group)
    );
    Refusal::new(Status::INTERNAL_SERVER_ERROR, 115, text)
}

pub(super) fn not_available(group: &str, why: &str) -> String {
    format!("Process group '{group}' is not available: {why}.")
}

pub(super) fn show(group: &Group) -> String {
    String::from_utf8_lossy(&group.name).into_owned()
}
