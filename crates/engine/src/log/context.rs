//! Which request a thread serves, so that `print()` and `sys.stderr` reach that request's log.

use std::cell::RefCell;
use std::sync::Arc;

use super::lines::Target;
use super::streams::{ErrorsOf, RequestStream};
use crate::host::Exchange;
use crate::interpreter::Interpreter;
use crate::python::{Attached, Detached, Owned, Result};

thread_local! {
    static SERVED: RefCell<Option<Served>> = const { RefCell::new(None) };
}

/// The request that this thread serves.
struct Served {
    exchange: Arc<Exchange>,
    /// The request's `wsgi.errors`, once there is one.
    errors: Option<RequestStream>,
}

/// While it lives, the thread serves a request.
pub(crate) struct Context<'py> {
    py: Attached<'py>,
    interpreter: &'static Interpreter,
    /// What the thread served before: a request inside a request.
    before: Option<Served>,
}

impl<'py> Context<'py> {
    /// Begins to serve a request.
    pub(crate) fn enter(
        py: Attached<'py>,
        interpreter: &'static Interpreter,
        exchange: Arc<Exchange>,
    ) -> Self {
        let served = Served {
            exchange,
            errors: None,
        };
        Self {
            py,
            interpreter,
            before: SERVED.replace(Some(served)),
        }
    }
}

impl Drop for Context<'_> {
    fn drop(&mut self) {
        let served = SERVED.replace(self.before.take());
        if let Some(errors) = served.and_then(|served| served.errors) {
            self.interpreter.log().give_back(self.py, errors);
        }
    }
}

/// The request that this thread serves, as long as it is not over.
pub(super) fn exchange() -> Option<Arc<Exchange>> {
    let served = SERVED.try_with(|served| {
        let served = served.try_borrow().ok()?;
        Some(Arc::clone(&served.as_ref()?.exchange))
    });
    let exchange = served.ok().flatten();
    exchange.filter(|exchange| !exchange.is_closed())
}

/// The `wsgi.errors` of the request that this thread serves.
pub(crate) fn errors<'py>(
    py: Attached<'py>,
    interpreter: &'static Interpreter,
    exchange: &Arc<Exchange>,
    whose: ErrorsOf,
) -> Result<'py, Owned<'py>> {
    let stream = interpreter.log().request_stream(py, exchange, whose)?;
    let object = stream.object(py).owned();
    SERVED.with_borrow_mut(|served| {
        if let Some(served) = served {
            served.errors = Some(stream);
        }
    });
    Ok(object)
}

impl Exchange {
    /// Logs what the request has written without a newline: it is about to end.
    pub(crate) fn finish_lines(&self, detached: &Detached) {
        self.unfinished.finish(detached, Target::Request(self));
    }
}
