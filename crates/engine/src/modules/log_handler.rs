//! `mod_wsgi.LogHandler`: a handler of `logging` whose records keep their level in the error log.

use engine_abi::Level;

use crate::interpreter::Interpreter;
use crate::interrupt;
use crate::log;
use crate::python::{Attached, Exception, Object, Owned, Raised, Result};

/// Has the module make the class when it is first asked for: few applications use it, and it needs
/// all of `logging`.
pub(super) fn define<'py>(module: &Object<'py>) -> Result<'py, ()> {
    let py = module.py();
    let doc = c"__getattr__(name, /)\n--\n\nMake what is made when it is needed.";
    let function = py.function(c"__getattr__", doc, get_attribute)?;
    module.set_attribute(c"__getattr__", &function)?;
    let doc = c"__dir__()\n--\n\nName also what is not made yet.";
    let function = py.function(c"__dir__", doc, directory)?;
    module.set_attribute(c"__dir__", &function)
}

/// The name of the class in the module.
const NAME: &str = "LogHandler";

/// What the module calls for an attribute that it does not have.
fn get_attribute<'py>(py: Attached<'py>, arguments: &[&Object<'py>]) -> Result<'py, Owned<'py>> {
    let name = arguments.first().map(|name| name.to_text_lossy());
    let name = name.unwrap_or_default();
    match &*name {
        NAME => return add(py),
        // `from mod_wsgi import *` looks for it first. There is none, so it takes what there is
        // next.
        "__all__" => drop(add(py)?),
        _ => {}
    }
    let message = format!("module 'mod_wsgi' has no attribute '{name}'");
    Err(Raised::new(py, Exception::AttributeError, &message))
}

/// The class, made an attribute of the module.
fn add(py: Attached<'_>) -> Result<'_, Owned<'_>> {
    let (name, contents) = (py.text(NAME)?, contents(py)?);
    // What is made of a class is not all freed with it, so none is made for nothing.
    if let Some(known) = contents.item(&name)? {
        return Ok(known);
    }
    let handler = create(py)?;
    // Another thread may have been faster while `logging` was imported.
    contents.call_method_named(c"setdefault", [&name, &handler])
}

fn directory<'py>(py: Attached<'py>, _: &[&Object<'py>]) -> Result<'py, Owned<'py>> {
    let names = contents(py)?.call_method_named(c"copy", [])?;
    names.set_item(&*py.text(NAME)?, py.none())?;
    names.call_method_named(c"keys", [])
}

/// The dict of the module.
fn contents(py: Attached<'_>) -> Result<'_, Owned<'_>> {
    Interpreter::require(py)?
        .modules()
        .mod_wsgi(py)
        .attribute_named(c"__dict__")
}

/// Derives the class from `logging.Handler`.
fn create(py: Attached<'_>) -> Result<'_, Owned<'_>> {
    let base = py.import(c"logging")?.attribute_named(c"Handler")?;
    let doc = "A handler of logging that writes to the error log of the request, or of the server.";
    let handler = py.subclass(NAME, "mod_wsgi", &base, doc)?;
    let doc = c"emit(self, record, /)\n--\n\nWrite a record to the error log.";
    handler.add_method(c"emit", doc, emit)?;
    Ok(handler)
}

fn emit<'py>(this: &Object<'py>, arguments: &[&Object<'py>]) -> Result<'py, Owned<'py>> {
    let py = this.py();
    let [record] = arguments else {
        let count = arguments.len();
        let message = format!("LogHandler.emit() takes exactly one argument ({count} given)");
        return Err(Raised::type_error(py, &message));
    };
    let level = level(record.attribute_named(c"levelno")?.to_i64()?);
    if log::is_logged(py, level)
        && let Err(raised) = write(this, record, level)
    {
        // What is no `Exception` is not about the record: the request is interrupted, for one.
        if !raised.is(Exception::General) {
            return Err(raised);
        }
        let handled = this.attribute_named(c"handleError")?;
        raised.while_handled(|| handled.call(&[record]))?;
    }
    Ok(py.none().owned())
}

fn level(number: i64) -> Level {
    match number {
        50.. => Level::Crit,
        40.. => Level::Error,
        30.. => Level::Warn,
        20.. => Level::Info,
        _ => Level::Debug,
    }
}

fn write<'py>(handler: &Object<'py>, record: &Object<'py>, level: Level) -> Result<'py, ()> {
    let py = handler.py();
    let text = handler.call_method_named(c"format", [record])?;
    let origin = interrupt::heed(py, || origin(record))?;
    log::record(py, level, &text.to_text_lossy(), &origin);
    Ok(())
}

/// Where the record was made: records of other libraries may lack it.
fn origin(record: &Object<'_>) -> log::Origin {
    let file = record.attribute_named(c"pathname");
    let line = record
        .attribute_named(c"lineno")
        .and_then(|line| line.to_i64());
    log::Origin {
        file: file.map_or_else(|_| String::new(), |file| file.to_text_lossy()),
        line: line
            .ok()
            .and_then(|line| u32::try_from(line).ok())
            .unwrap_or(0),
    }
}
