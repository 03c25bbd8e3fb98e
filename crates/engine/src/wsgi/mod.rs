//! PEP 3333: from the callable to the last byte of the response.
//!
//! [`run`] builds the environ, calls the application and takes what it returns, on the request's
//! thread with the GIL held; [`Ending::finish`] does the rest after the GIL has been released,
//! which for a simple response is to send all of it.
//!
//! - [`environ`] with [`template`] and [`names`] makes the environ
//! - [`events`] calls the subscribers of events
//! - [`input`] with [`body`] and [`lines`] is `wsgi.input`
//! - [`start_response`] with [`validate`] and [`head`] begins a response
//! - [`delivery`] with [`response`] and [`progress`] sends it, and decides how it ends
//! - [`file_wrapper`] is `wsgi.file_wrapper`

mod body;
mod delivery;
mod environ;
mod events;
mod file_wrapper;
mod head;
mod input;
mod lines;
mod names;
mod progress;
mod response;
mod start_response;
mod template;
mod validate;

use std::ffi::c_void;
use std::sync::Arc;

use engine_abi::{Level, Outcome, Pair, Request};

use self::delivery::Rest;
use self::environ::Environs;
use self::file_wrapper::FileWrapper;
use self::input::Input;
use self::response::Response;
use self::start_response::{StartResponse, Write};
use crate::host::Exchange;
use crate::interpreter::Interpreter;
use crate::interrupt;
use crate::log;
use crate::metrics::{self, Timing};
use crate::modules::{Served, Serving};
use crate::python::{Attached, Detached, Object, Owned, Raised, Result, Stored, Type};

/// What an interpreter keeps for its requests.
pub(crate) struct State {
    environs: Environs,
    input: Type<Input>,
    start_response: Type<StartResponse>,
    write: Type<Write>,
    file_wrapper: Type<FileWrapper>,
    /// `close`
    close: Stored,
}

/// What remains to be done for a request without the GIL.
#[derive(Debug)]
pub(crate) struct Ending {
    rest: Rest,
    answered: Option<Answered>,
}

/// The response of a request whose application has returned.
#[derive(Debug)]
struct Answered {
    response: Arc<Response>,
    timing: Timing,
}

impl State {
    /// Makes the state, and adds its public parts to the module `mod_wsgi`.
    pub(crate) fn create<'py>(module: &Object<'py>) -> Result<'py, Self> {
        let py = module.py();
        let file_wrapper = Type::create(module)?;
        module.set_attribute(c"FileWrapper", file_wrapper.as_object(py))?;
        Ok(Self {
            environs: Environs::create(py, file_wrapper.as_object(py))?,
            input: Type::create(module)?,
            start_response: Type::create(module)?,
            write: Type::create(module)?,
            file_wrapper,
            close: py.intern(c"close")?,
        })
    }

    /// An environ without the keys of WSGI, for functions of hook scripts.
    pub(crate) fn plain_environ<'py>(
        &self,
        variables: &[Pair<'_>],
        errors: &Object<'py>,
        request_rec: *mut c_void,
    ) -> Result<'py, Owned<'py>> {
        self.environs.build_plain(variables, errors, request_rec)
    }
}

impl Ending {
    /// The ending of a request that no application has answered.
    pub(crate) const fn unanswered(outcome: Outcome) -> Self {
        Self {
            rest: Rest::Over(outcome),
            answered: None,
        }
    }

    /// Sends the rest of the response, and records the metrics of the request.
    pub(crate) fn finish(self, detached: &Detached) -> Outcome {
        let Some(Answered { response, timing }) = self.answered else {
            return match self.rest {
                Rest::Over(outcome) => outcome,
                _ => Outcome::refused(500),
            };
        };
        let outcome = self.rest.finish(detached, &response);
        if metrics::is_recording() {
            let traffic = &response.exchange().traffic;
            metrics::record(&timing.finish(response.status(), traffic));
        }
        outcome
    }
}

/// A request that an application answers.
struct Call<'a> {
    interpreter: &'static Interpreter,
    state: &'static State,
    request: &'a Request<'a>,
    served: Arc<Served>,
    response: Arc<Response>,
    timing: Timing,
}

/// Has the application answer a request. Exceptions have been logged when this returns.
pub(crate) fn run(
    application: &Object<'_>,
    interpreter: &'static Interpreter,
    request: &Request<'_>,
    exchange: &Arc<Exchange>,
    serving: &Serving<'_>,
) -> Ending {
    let py = application.py();
    let is_watched = interpreter.modules().events().are_wanted(py);
    let call = Call {
        interpreter,
        state: interpreter.wsgi(),
        request,
        served: Arc::clone(serving.served()),
        response: Arc::new(Response::new(Arc::clone(exchange), is_for_head(request))),
        timing: Timing::begin(request, is_watched),
    };
    // Lives until the response is delivered, and so do objects that the application has put into
    // it, such as a temporary file that its iterable sends.
    let environ = call.environ(py);
    let called = environ
        .as_ref()
        .map(|environ| call.make(application, environ));
    let rest = match called {
        Ok(Ok(result)) => call.deliver(&result),
        Ok(Err(raised)) => call.fail(&raised),
        Err(raised) => call.fail(raised),
    };
    Ending {
        rest: call.finish(py, rest),
        answered: Some(Answered {
            response: call.response,
            timing: call.timing,
        }),
    }
}

impl Call<'_> {
    /// The environ for the application.
    fn environ<'py>(&self, py: Attached<'py>) -> Result<'py, Owned<'py>> {
        let state = self.state;
        let exchange = self.response.exchange();
        let whose = log::ErrorsOf::Application;
        let errors = log::errors(py, self.interpreter, exchange, whose)?;
        let input = Input::new(Arc::clone(exchange), self.request.content_length);
        let input = state.input.instantiate(py, input)?;
        state
            .environs
            .build(self.request, self.timing.application_start, &input, &errors)
    }

    /// Calls the application.
    fn make<'py>(
        &self,
        application: &Object<'py>,
        environ: &Object<'py>,
    ) -> Result<'py, Owned<'py>> {
        let py = application.py();
        let (served, response) = (Arc::clone(&self.served), Arc::clone(&self.response));
        let start_response = StartResponse::new(self.interpreter, served, response);
        let start_response = self.state.start_response.instantiate(py, start_response)?;
        if self.is_watched(py) {
            let application = self.publish_started(application, environ)?;
            return application.call(&[environ, &start_response]);
        }
        application.call(&[environ, &start_response])
    }

    /// Publishes the end of the request, if there are subscribers. The event says how the request
    /// ended, so the rest of the response is sent first.
    fn finish(&self, py: Attached<'_>, rest: Rest) -> Rest {
        if !self.is_watched(py) {
            return rest;
        }
        let response = &*self.response;
        let outcome = py.detach(|detached| rest.finish(detached, response));
        self.publish_finished(py);
        Rest::Over(outcome)
    }

    /// Reports an exception of the application, or of building its environ.
    fn fail(&self, raised: &Raised<'_>) -> Rest {
        if self.report(raised) {
            Rest::TimeOut
        } else {
            Rest::Fail
        }
    }

    /// Logs and publishes an exception. Returns whether the request was interrupted because it took
    /// too long, in the application or in a callback of the event.
    fn report(&self, raised: &Raised<'_>) -> bool {
        let (py, exchange) = (raised.value().py(), self.response.exchange());
        if self.report_timeout(raised) {
            return true;
        }
        let script = self.request.script.path.or_empty();
        log::exception(py, exchange, script, raised);
        self.is_watched(py) && self.publish_exception(raised)
    }

    /// If the exception is the interruption of a request that took too long, logs that and returns
    /// true. That is not an error of the application, and the interruption itself has been logged.
    fn report_timeout(&self, raised: &Raised<'_>) -> bool {
        let is_timeout = interrupt::is_timeout(self.interpreter, raised);
        if is_timeout {
            let (py, exchange) = (raised.value().py(), self.response.exchange());
            let text = match self.response.is_sent() {
                true => interrupt::TRUNCATED,
                false => interrupt::RECOVERED,
            };
            log::line(py, exchange, Level::Info, 0, text);
        }
        is_timeout
    }
}

/// Whether the client gets only the head of the response.
fn is_for_head(request: &Request<'_>) -> bool {
    request.variable(b"REQUEST_METHOD") == Some(b"HEAD")
}
