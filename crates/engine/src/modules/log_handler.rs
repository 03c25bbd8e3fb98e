//! `mod_wsgi.LogHandler`: a handler of `logging` whose records keep their level in the error log.

use engine_abi::Level;

use crate::interrupt;
use crate::log;
use crate::python::{Exception, Object, Owned, Raised, Result};

/// Derives the class from `logging.Handler`.
pub(super) fn define<'py>(module: &Object<'py>) -> Result<'py, ()> {
    let py = module.py();
    let base = py.import(c"logging")?.attribute_named(c"Handler")?;
    let doc = "LogHandler(level=NOTSET)\n--\n\n\
        A handler of logging that writes to the error log of the request, or of the server.";
    let handler = py.subclass("LogHandler", "mod_wsgi", &base, doc)?;
    let doc = c"emit(self, record, /)\n--\n\nWrite a record to the error log.";
    handler.add_method(c"emit", doc, emit)?;
    module.set_attribute(c"LogHandler", &handler)
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
