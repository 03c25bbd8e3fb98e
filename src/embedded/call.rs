//! Functions of a hook script, called in this child.

use std::ffi::{CStr, CString, c_void};

use engine_abi::{self as abi, Bytes, Called, RequestHandle, Returned, ServerCalls, Slice};
use httpd::panic;
use wsgi_config::verdict::Answer;

use super::host::in_flight;
use super::{InFlight, python};
use crate::Wsgi;
use crate::hook::Call;

/// Why no function was called. What is no matter of the whole child is in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotCalled {
    /// There is no Python in this child.
    NoPython,
    /// The script could not be loaded.
    NotLoaded,
    /// There is no interpreter for it, or Python is ending.
    Failed,
}

/// Calls functions of a hook script, and tells what each returned.
pub(crate) fn call(call: &Call<'_, '_>) -> Result<Vec<Answer>, NotCalled> {
    let engine = python::engine().ok_or(NotCalled::NoPython)?;
    let request = call.request;
    let config = request.config::<Wsgi>();
    let in_flight = InFlight::new(request, false);
    let functions: Vec<_> = call.functions.iter().copied().map(Bytes::from).collect();
    let arguments = call.arguments.iter().copied().map(CStr::to_bytes);
    let arguments: Vec<_> = arguments.map(Bytes::new).collect();
    let mut answers: Vec<Answer> = Vec::new();
    let abi_call = abi::Call {
        script: abi::Script {
            path: Bytes::new(call.script.path.to_bytes()),
            application_group: Bytes::new(call.application_group.to_bytes()),
            mtime: abi::Script::UNKNOWN_MTIME,
            reload: config.script_reloading.unwrap_or(true),
        },
        functions: Slice::new(&functions),
        environ: Slice::new(call.environ),
        arguments: Slice::new(&arguments),
        iterate: call.iterate,
        server: if call.with_server {
            &raw const SERVER_CALLS
        } else {
            std::ptr::null()
        },
        request_rec: super::request_rec(request),
        take,
        taker: (&raw mut answers).cast(),
    };
    let handle = (&raw const in_flight).cast_mut().cast();
    let called = python::while_serving(|| {
        // SAFETY: the engine was started. The call and what it borrows live until it returns, and
        // so does what the handle points to, which only the engine's calls to the host use
        // meanwhile: one at a time, but for those that use no more than `Beside`; and the answers,
        // which only `take` touches.
        unsafe { (engine.call)(&raw const abi_call, handle) }
    });
    match called {
        Called::OK => Ok(answers),
        Called::NOT_LOADED => Err(NotCalled::NotLoaded),
        _ => Err(NotCalled::Failed),
    }
}

unsafe extern "C" fn take(taker: *mut c_void, returned: *const Returned<'_>) {
    panic::guard((), || {
        // SAFETY: the taker is the vector of `call`, which nobody else uses meanwhile; what was
        // returned is valid until we return.
        let (answers, returned) = unsafe { (&mut *taker.cast::<Vec<Answer>>(), &*returned) };
        answers.push(answer(returned));
    });
}

/// What the engine tells of a result, as our own. A kind of a later version is a failure.
fn answer(returned: &Returned<'_>) -> Answer {
    let bytes = || returned.bytes.or_empty();
    let text = || String::from_utf8_lossy(bytes()).into_owned();
    match returned.kind {
        Returned::MISSING => Answer::Missing,
        Returned::NONE => Answer::None,
        Returned::FALSE => Answer::False,
        Returned::TRUE => Answer::True,
        Returned::TEXT => Answer::Text(text()),
        Returned::BROKEN_TEXT => Answer::BrokenText,
        Returned::BYTES => Answer::Bytes(bytes().to_vec()),
        Returned::ITEMS => Answer::Items {
            items: returned.items.get().iter().map(answer).collect(),
            complete: returned.complete,
        },
        Returned::NOT_ITERABLE => Answer::NotIterable(text()),
        Returned::OTHER => Answer::Other(text()),
        _ => Answer::Failed,
    }
}

static SERVER_CALLS: ServerCalls = ServerCalls {
    is_https,
    ssl_variable,
};

unsafe extern "C" fn is_https(handle: RequestHandle) -> bool {
    panic::guard(false, || {
        // SAFETY: the engine passes the handle of a call that is not over, and uses no more than
        // what is `Beside` of it meanwhile.
        let in_flight = unsafe { in_flight(handle) };
        in_flight.is_some_and(|in_flight| in_flight.request.connection().is_https())
    })
}

unsafe extern "C" fn ssl_variable<'n>(handle: RequestHandle, name: Bytes<'n>) -> Bytes<'n> {
    panic::guard(Bytes::NONE, || {
        // SAFETY: as in `is_https`. The value lives as long as the request, and the name, for which
        // the signature takes it, no longer than the call: it may be used for that time.
        let in_flight = unsafe { in_flight(handle) };
        let name = CString::new(name.or_empty()).ok();
        let value =
            in_flight.and_then(|in_flight| in_flight.request.ssl_variable(name.as_deref()?));
        Bytes::from(value.map(CStr::to_bytes))
    })
}
