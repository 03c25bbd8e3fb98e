//! The handler: decides whether a request is for this module, and whether its script may run,
//! before any Python is involved.
//!
//! The checks, their order, statuses and ids are those of mod_wsgi; docs/errors.md explains the
//! ids. Runs on the thread that processes the request.

use std::ffi::CStr;

use httpd::request::FileType;
use httpd::{Level, Request, Status};
use wsgi_config::header;

use crate::Wsgi;
use crate::alias;
use crate::config::{HandlerScript, RequestConfig};
use crate::embedded;
use crate::environ::{Mount, Variables};
use crate::hook::dispatch::dispatch;
use crate::log::{self, Id};
use crate::remote;
use crate::slow;

/// The name of the handler.
pub(crate) const WSGI_SCRIPT: &CStr = c"wsgi-script";
/// The same, as a content type, for `AddType`.
const WSGI_TYPE: &CStr = c"application/x-httpd-wsgi";

/// What answers a request.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Target<'r> {
    /// The file to which it was mapped.
    Script {
        /// Whether a `WSGIScriptAlias` has mapped it.
        aliased: bool,
    },
    /// The script that implements the handler of that file. The file need not exist.
    Handler(&'r HandlerScript),
}

impl<'r> Target<'r> {
    /// What answers this request, if it is for this module.
    fn of(request: Request<'r>) -> Option<Self> {
        let name = request.handler().unwrap_or_default();
        if name == WSGI_SCRIPT || name == WSGI_TYPE {
            let aliased = alias::is_aliased(request);
            return Some(Self::Script { aliased });
        }
        let handlers = request.config::<Wsgi>().handlers.as_deref()?;
        handlers.find(name).map(Self::Handler)
    }

    /// The handler, if a script implements it.
    pub(crate) fn handler(self) -> Option<&'r HandlerScript> {
        match self {
            Self::Script { .. } => None,
            Self::Handler(handler) => Some(handler),
        }
    }
}

/// Why a request is refused: the status for the client, and the message for the log.
pub(crate) struct Refusal {
    status: Status,
    level: Level,
    id: Id,
    text: String,
}

impl Refusal {
    /// Refuses with this status, for this reason.
    pub(crate) fn new(status: Status, id: u16, text: impl Into<String>) -> Self {
        Self {
            status,
            level: Level::ERROR,
            id: Id(id),
            text: text.into(),
        }
    }

    /// Refuses a request that only its client can correct. It is logged at info, without an id.
    fn of_client(status: Status, text: String) -> Self {
        Self {
            status,
            level: Level::INFO,
            id: Id::NONE,
            text,
        }
    }
}

/// Answers a request that was mapped to a script.
pub(crate) fn handler(request: Request<'_>) -> Status {
    let Some(target) = Target::of(request) else {
        return Status::DECLINED;
    };
    let status = serve(request, target).unwrap_or_else(|refusal| {
        log::script(request, refusal.level, refusal.id, &refusal.text);
        refusal.status
    });
    slow::report(request);
    status
}

fn serve<'r>(request: Request<'r>, target: Target<'r>) -> Result<Status, Refusal> {
    if let Target::Script { aliased } = target {
        check_script(request, aliased)?;
    }
    let mount = Mount::of(request);
    let config = RequestConfig::resolve(request, target, mount.application.to_bytes());
    check_path_info(request)?;
    let content_length = check_body(request, &config)?;
    let variables = Variables::make(request, &config, mount);
    let config = dispatch(request, config, &variables)?;
    check_process_group(&config)?;
    let environ = variables.for_application();
    if !config.process_group.is_empty() {
        return remote::serve(request, &config, &environ, content_length);
    }
    check_embedded(request)?;
    embedded::serve(request, &config, &environ, content_length).ok_or_else(|| {
        let (id, text) = embedded::NO_PYTHON;
        Refusal::new(Status::INTERNAL_SERVER_ERROR, id, text)
    })
}

/// Whether the request was mapped to a file that may be run.
fn check_script(request: Request<'_>, aliased: bool) -> Result<(), Refusal> {
    if !aliased && !request.allows_exec_cgi() {
        return Err(Refusal::new(
            Status::FORBIDDEN,
            134,
            "Options ExecCGI is off here, and the script was not reached through a \
             WSGIScriptAlias, so it may not be run.",
        ));
    }
    match request.file_type() {
        FileType::Missing => Err(Refusal::new(
            Status::NOT_FOUND,
            135,
            "There is no such WSGI script, or it is out of reach for the server's User.",
        )),
        FileType::Directory => Err(Refusal::new(
            Status::FORBIDDEN,
            136,
            "This is a directory and not a WSGI script.",
        )),
        FileType::Other => Ok(()),
    }
}

fn check_path_info(request: Request<'_>) -> Result<(), Refusal> {
    let path_info = request.path_info().unwrap_or_default();
    if request.rejects_path_info() && !path_info.is_empty() {
        return Err(Refusal::new(
            Status::NOT_FOUND,
            137,
            "The URL goes on after the script, which AcceptPathInfo Off forbids here.",
        ));
    }
    Ok(())
}

/// Whether the request's body can be passed on to an application. Returns its length, if the client
/// stated it.
fn check_body(request: Request<'_>, config: &RequestConfig<'_>) -> Result<Option<u64>, Refusal> {
    if request.is_body_withheld() {
        return Ok(Some(0));
    }
    let headers = request.headers_in();
    if let Some(coding) = headers.get(c"Transfer-Encoding") {
        check_transfer_coding(coding, config)?;
    }
    let Some(length) = headers.get(c"Content-Length") else {
        return Ok(None);
    };
    let length = header::content_length(length.to_bytes()).ok_or_else(|| {
        Refusal::new(
            Status::BAD_REQUEST,
            141,
            format!("The Content-Length {length:?} of the request is not a number."),
        )
    })?;
    let limit = request.limit_request_body().unsigned_abs();
    if limit > 0 && limit < length {
        request.refuse_body();
        return Err(Refusal::of_client(
            Status::REQUEST_ENTITY_TOO_LARGE,
            format!("The request's body of {length} bytes exceeds LimitRequestBody {limit}."),
        ));
    }
    Ok(Some(length))
}

fn check_transfer_coding(coding: &CStr, config: &RequestConfig<'_>) -> Result<(), Refusal> {
    if !coding.to_bytes().eq_ignore_ascii_case(b"chunked") {
        return Err(Refusal::new(
            Status::NOT_IMPLEMENTED,
            138,
            format!("The Transfer-Encoding {coding:?} of the request is not known."),
        ));
    }
    if !config.chunked_request {
        return Err(Refusal::new(
            Status::LENGTH_REQUIRED,
            139,
            "The request has a body of unknown length (Transfer-Encoding: chunked), which is \
             refused unless WSGIChunkedRequest is On.",
        ));
    }
    Ok(())
}

/// Whether the process group is one of those that may be used here.
fn check_process_group(config: &RequestConfig<'_>) -> Result<(), Refusal> {
    let Some(allowed) = config.restrict_process else {
        return Ok(());
    };
    let name = config.process_group.to_bytes();
    if allowed
        .iter()
        .any(|group| group.to_bytes().eq_ignore_ascii_case(name))
    {
        return Ok(());
    }
    Err(Refusal::new(
        Status::INTERNAL_SERVER_ERROR,
        149,
        format!(
            "The process group '{}' is not one of those that WSGIRestrictProcess allows here.",
            config.process_group.to_string_lossy()
        ),
    ))
}

fn check_embedded(request: Request<'_>) -> Result<(), Refusal> {
    if embedded::is_restricted(request.connection().base_server()) {
        return Err(Refusal::new(
            Status::INTERNAL_SERVER_ERROR,
            143,
            "WSGIRestrictEmbedded is On, so no application runs in the processes of httpd, and \
             this one has no process group.",
        ));
    }
    Ok(())
}
