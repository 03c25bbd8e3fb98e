//! Daemon mode: an application runs in a worker; this child sends it the request and relays its
//! answer. Runs on the thread of httpd that processes the request.
//!
//! A request is sent to another worker if, and only if, the first one provably did not read all of
//! it: the connection was refused, was never greeted, or was reset before any answer. A request
//! that a worker has read may have been run, and is never run twice.

mod call;
mod connection;
mod exchange;
pub(crate) mod groups;
mod head;
pub(crate) mod overview;
mod owner;
mod refused;
mod response;
mod upload;

use std::cell::Cell;
use std::ffi::{CStr, OsStr};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use control::schedule;
use httpd::{Request, Status};

use crate::config::{self, RequestConfig};
use crate::environ::Environ;
use crate::handler::Refusal;
use call::Call;
use groups::{Group, Groups};
use head::Rules;
use refused::{NOT_STARTED, RUNS_SCRIPTS, show, unavailable, unreachable};
use response::Response;

/// In the parent: a child of httpd has ended. Removes its requests from the queues.
pub(crate) fn child_ended(pid: u32) {
    for group in Groups::current().iter() {
        group.leave_queue(pid);
    }
}

/// Answers a request with an application in a process group.
pub(crate) fn serve<'r>(
    request: Request<'r>,
    config: &RequestConfig<'r>,
    environ: &Environ<'r>,
    content_length: Option<u64>,
) -> Result<Status, Refusal> {
    let groups = Groups::current();
    let group = find(request, &groups, config)?;
    if group.is_service {
        return Err(unavailable(request, &show(group), RUNS_SCRIPTS));
    }
    if let Some(owner) = group.terms.script_owner {
        let script = OsStr::from_bytes(config.script.to_bytes());
        owner::check(owner, Path::new(script))?;
    }
    let rules = Rules {
        error_override: config.error_override,
        longest_line: group.terms.longest_line,
    };
    let response = Response::new(request, config.sendfile, rules);
    let mut call = Call::new(request, config, environ, content_length, response);
    if let Some(status) = call.gather(group) {
        return Ok(status);
    }
    if group.is_batch {
        do_not_preempt();
    }
    let _timeout = group
        .terms
        .response_timeout
        .map(|timeout| request.connection().limit_waiting(timeout));
    call.run(group)
}

/// Keeps the calling thread, which waits for workers, from preempting them.
fn do_not_preempt() {
    thread_local! {
        static IS_DONE: Cell<bool> = const { Cell::new(false) };
    }
    if !IS_DONE.replace(true) {
        // If the system refuses, requests only take a little longer.
        let _ = schedule::do_not_preempt();
    }
}

/// The process group of a request, if the request may use it.
fn find<'g>(
    request: Request<'_>,
    groups: &'g Groups,
    config: &RequestConfig<'_>,
) -> Result<&'g Group, Refusal> {
    let name = config.process_group.to_bytes();
    let shown = String::from_utf8_lossy(name);
    let refused = |id, text: String| Refusal::new(Status::INTERNAL_SERVER_ERROR, id, text);
    if groups.find(name).is_none() && is_defined(request, config.process_group) {
        return Err(unreachable(request, &shown, NOT_STARTED));
    }
    if groups.is_empty() {
        return Err(refused(
            150,
            format!(
                "No WSGI daemon process called '{shown}' has been configured: there is no \
             WSGIDaemonProcess at all."
            ),
        ));
    }
    let group = groups.find(name).ok_or_else(|| {
        refused(
            151,
            format!("No WSGI daemon process called '{shown}' has been configured."),
        )
    })?;
    let hostname = request.server().hostname().map(CStr::to_bytes);
    if !group.is_reachable_from(hostname) {
        return Err(refused(
            152,
            format!(
                "The WSGI daemon process '{shown}' was configured in a virtual host of another \
             ServerName and cannot be used here."
            ),
        ));
    }
    Ok(group)
}

/// Whether the configuration defines a group of this name, even if it could not be started.
fn is_defined(request: Request<'_>, name: &CStr) -> bool {
    let base = request.connection().base_server();
    config::daemons(base).any(|definition| definition.name() == name)
}
