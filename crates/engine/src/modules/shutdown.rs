//! `mod_wsgi.subscribe_shutdown`, and the event that its callbacks get.

use std::ffi::CStr;

use crate::interpreter::Interpreter;
use crate::log;
use crate::python::{Attached, Exception, Object, Owned, Raised, Result, Stored};

/// What the callbacks are called with first.
const EVENT: &CStr = c"process_stopping";

/// Defines the function and the list of callbacks; gives the list.
pub(super) fn define<'py>(module: &Object<'py>) -> Result<'py, Stored> {
    let py = module.py();
    let callbacks = py.list(&[])?;
    module.set_attribute(c"shutdown_callbacks", &callbacks)?;
    let doc = c"Call a function when the process is about to end.";
    let subscribe = py.function(c"subscribe_shutdown", doc, subscribe)?;
    module.set_attribute(c"subscribe_shutdown", &subscribe)?;
    Ok(callbacks.into_stored())
}

fn subscribe<'py>(py: Attached<'py>, arguments: &[&Object<'py>]) -> Result<'py, Owned<'py>> {
    let [callback] = arguments else {
        let count = arguments.len();
        let message = format!("subscribe_shutdown() takes 1 argument, {count} given");
        return Err(Raised::type_error(py, &message));
    };
    let Some(interpreter) = Interpreter::current(py) else {
        let message = "this interpreter is not one of mod_wsgi's";
        return Err(Raised::runtime_error(py, message));
    };
    interpreter
        .modules()
        .shutdown_callbacks
        .bind(py)
        .append(callback)?;
    Ok(callback.owned())
}

/// Tells the interpreter's callbacks that the process is about to end. One that raises is reported,
/// and the others are still called.
pub(crate) fn publish_stopping(py: Attached<'_>, interpreter: &Interpreter, reason: &[u8]) {
    let callbacks = interpreter.modules().shutdown_callbacks.bind(py);
    let snapshot: Vec<_> = (0..callbacks.list_length())
        .filter_map(|index| callbacks.list_item(index))
        .collect();
    for callback in snapshot {
        if let Err(raised) = call(&callback, reason) {
            let exit = raised.is(Exception::SystemExit);
            let (kind, event) = (raised.value().type_name(), EVENT.to_string_lossy());
            let head = format!("{kind} exception raised by event callback for '{event}'.");
            log::server_exception(py, if exit { 190 } else { 112 }, &head, &raised);
        }
    }
}

fn call<'py>(callback: &Object<'py>, reason: &[u8]) -> Result<'py, ()> {
    let py = callback.py();
    let payload = py.dict()?;
    payload.set_item_named(c"shutdown_reason", &*py.latin1(reason)?)?;
    let event = py.text(&EVENT.to_string_lossy())?;
    let result = callback.call_with_keywords(&*py.tuple(&[&event])?, Some(&payload));
    result.map(drop)
}
