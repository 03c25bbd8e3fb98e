//! `start_response` and the `write` callable it returns.

use std::ffi::CStr;
use std::ops::Deref;
use std::sync::Arc;

use super::events::publish_response_started;
use super::head::Head;
use super::response::{AlreadyBegun, Response, Unsent};
use super::validate::{self, Invalid};
use crate::interpreter::Interpreter;
use crate::modules::Served;
use crate::python::{
    Attached, Class, Definition, Exception, Instance, Object, Owned, Raised, Result,
};

/// The `start_response` of a request.
pub(super) struct StartResponse {
    interpreter: &'static Interpreter,
    served: Arc<Served>,
    response: Arc<Response>,
}

/// The `write` of a request.
pub(super) struct Write {
    response: Arc<Response>,
}

/// The documentation of `__name__`, which code that wraps the object may use.
const AS_OF_A_FUNCTION: &CStr = c"The name, as of a function.";

/// Makes `copy.copy` and `copy.deepcopy` return the object itself, as for functions.
fn uncopied<T: Class>(definition: Definition<T>) -> Definition<T> {
    let doc = c"Return the object itself, as of a function.";
    definition
        .plain_method(c"__copy__", doc, |this| Ok(this.as_object().owned()))
        .method(c"__deepcopy__", doc, |this, _| Ok(this.as_object().owned()))
}

impl Class for StartResponse {
    const NAME: &'static CStr = c"mod_wsgi.StartResponse";
    const DOC: &'static CStr = c"start_response(status, headers, exc_info=None, /)\n\n\
        Set the status and the headers of the response, as PEP 3333 describes.";
    const WEAKLY_REFERRED: bool = true;

    fn define(definition: Definition<Self>) -> Definition<Self> {
        uncopied(definition)
            .call(Self::call)
            .getter(c"__name__", AS_OF_A_FUNCTION, |this| {
                this.py().text("start_response")
            })
    }
}

impl Class for Write {
    const NAME: &'static CStr = c"mod_wsgi.Write";
    const DOC: &'static CStr = c"write(data, /)\n\n\
        Send a piece of the body, as PEP 3333 describes.";
    const WEAKLY_REFERRED: bool = true;

    fn define(definition: Definition<Self>) -> Definition<Self> {
        uncopied(definition)
            .call(Self::call)
            .getter(c"__name__", AS_OF_A_FUNCTION, |this| {
                this.py().text("write")
            })
    }
}

impl StartResponse {
    pub(super) const fn new(
        interpreter: &'static Interpreter,
        served: Arc<Served>,
        response: Arc<Response>,
    ) -> Self {
        Self {
            interpreter,
            served,
            response,
        }
    }

    fn call<'py>(
        this: &Instance<'py, Self>,
        arguments: &[&Object<'py>],
    ) -> Result<'py, Owned<'py>> {
        let py = this.py();
        if this.response.exchange().is_closed() {
            let message = "start_response() cannot be called any more: the request is over";
            return Err(Raised::runtime_error(py, message));
        }
        let (status, headers, exc_info) = accept(py, arguments)?;
        if this.response.is_begun() {
            return Err(too_late(py, exc_info));
        }
        publish_response_started(this.interpreter, &this.served, arguments)?;
        let head = head(status, headers)?;
        // Another thread may have begun the body meanwhile.
        let started = this.response.start(head);
        started.map_err(|AlreadyBegun| too_late(py, exc_info))?;
        let response = Arc::clone(&this.response);
        let state = this.interpreter.wsgi();
        state.write.instantiate(py, Write { response })
    }
}

impl Write {
    fn call<'py>(
        this: &Instance<'py, Self>,
        arguments: &[&Object<'py>],
    ) -> Result<'py, Owned<'py>> {
        let py = this.py();
        let response: &Response = &this.response;
        if response.exchange().is_closed() {
            return Err(raise(py, Unsent::Closed));
        }
        let [data] = arguments else {
            let count = arguments.len();
            let message = format!("write() takes exactly 1 argument ({count} given)");
            return Err(Raised::type_error(py, &message));
        };
        let bytes = data.as_bytes().ok_or_else(|| {
            let kind = data.type_name();
            Raised::type_error(py, &format!("write() argument must be bytes, not {kind}"))
        })?;
        if bytes.is_empty() {
            response.offer(1, 0);
            response.begin();
        } else {
            response
                .send(py, bytes)
                .map_err(|unsent| raise(py, unsent))?;
        }
        Ok(py.none().owned())
    }
}

/// The exception for something that was not sent.
pub(super) fn raise(py: Attached<'_>, unsent: Unsent) -> Raised<'_> {
    let exception = match unsent {
        Unsent::Unstarted | Unsent::Closed | Unsent::Inside => Exception::RuntimeError,
        Unsent::Gone => Exception::ConnectionResetError,
    };
    Raised::new(py, exception, &unsent.to_string())
}

type Arguments<'a, 'py> = (
    &'a Object<'py>,
    &'a Object<'py>,
    Option<&'a [&'a Object<'py>]>,
);

/// Checks the types of the arguments. Returns status, headers, and `exc_info`.
fn accept<'a, 'py>(
    py: Attached<'py>,
    arguments: &[&'a Object<'py>],
) -> Result<'py, Arguments<'a, 'py>> {
    let (status, headers, exc_info) = match arguments {
        [status, headers] => (*status, *headers, None),
        [status, headers, exc_info] => (*status, *headers, Some(*exc_info)),
        _ => {
            let count = arguments.len();
            let message = format!("start_response() takes 2 or 3 arguments ({count} given)");
            return Err(Raised::type_error(py, &message));
        }
    };
    if !headers.is_list() {
        let kind = headers.type_name();
        let message = format!(
            "the headers given to start_response() must be a list of tuples, not {kind} (PEP 3333)"
        );
        return Err(Raised::type_error(py, &message));
    }
    let exc_info = exc_info.filter(|exc_info| !exc_info.is_none());
    let exc_info = exc_info.map(|exc_info| {
        exc_info.as_tuple().ok_or_else(|| {
            let message = "exc_info must be the tuple that sys.exc_info() returns, or None";
            Raised::runtime_error(py, message)
        })
    });
    Ok((status, headers, exc_info.transpose()?))
}

/// The exception of a call after the body has begun: the one in `exc_info`, since the application
/// can no longer report it to the client, or else one that says that the call is an error.
fn too_late<'py>(py: Attached<'py>, exc_info: Option<&[&Object<'py>]>) -> Raised<'py> {
    match exc_info {
        None => Raised::runtime_error(
            py,
            "start_response() was called again, without exc_info, after the response had begun",
        ),
        Some([kind, value, traceback]) => reraise(kind, value, traceback),
        Some(_) => Raised::type_error(py, "exc_info must be a tuple of 3 items"),
    }
}

fn reraise<'py>(kind: &Object<'py>, value: &Object<'py>, traceback: &Object<'py>) -> Raised<'py> {
    let raised = Raised::from_pieces(kind, value);
    if !traceback.is_none() && raised.value().is(value) {
        let set = raised.value().set_attribute(c"__traceback__", traceback);
        if let Err(other) = set {
            return other;
        }
    }
    raised
}

fn head<'py>(status: &Object<'py>, headers: &Object<'py>) -> Result<'py, Head> {
    let py = status.py();
    let invalid = |invalid: Invalid| Raised::value_error(py, &invalid.to_string());
    let mut head = Head::new(&latin1(status, "the status")?).map_err(invalid)?;
    for item in (0..headers.list_length()).map_while(|index| headers.list_item(index)) {
        let (name, value) = header(&item)?;
        let name = latin1(name, "a header's name")?;
        let value = latin1(value, "a header's value").or_else(|raised| {
            // An error in the name is reported first.
            validate::header_name(&name).map_err(invalid)?;
            Err(raised)
        })?;
        head.push(&name, &value).map_err(invalid)?;
    }
    Ok(head)
}

fn header<'a, 'py>(item: &'a Object<'py>) -> Result<'py, (&'a Object<'py>, &'a Object<'py>)> {
    let Some(pair) = item.as_tuple() else {
        let kind = item.type_name();
        let message = format!("each header must be a tuple of name and value, not {kind}");
        return Err(Raised::type_error(item.py(), &message));
    };
    let [name, value] = pair else {
        let length = pair.len();
        let message =
            format!("each header must be a tuple of name and value, not one of {length} items");
        return Err(Raised::value_error(item.py(), &message));
    };
    Ok((name, value))
}

/// The bytes of a native string.
enum Latin1<'a, 'py> {
    Borrowed(&'a [u8]),
    Encoded(Owned<'py>),
}

impl Deref for Latin1<'_, '_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Borrowed(bytes) => bytes,
            Self::Encoded(object) => object.as_bytes().unwrap_or_default(),
        }
    }
}

fn latin1<'a, 'py>(text: &'a Object<'py>, what: &str) -> Result<'py, Latin1<'a, 'py>> {
    if let Some(bytes) = text.as_latin1() {
        return Ok(Latin1::Borrowed(bytes));
    }
    if !text.is_str() {
        let kind = text.type_name();
        let message = format!("{what} must be str, not {kind} (PEP 3333)");
        return Err(Raised::type_error(text.py(), &message));
    }
    Ok(Latin1::Encoded(text.to_latin1()?))
}
