//! `signal.signal` in a process whose signals are the server's, and in one whose are not.

use std::ffi::CStr;

use engine_abi::Level;

use crate::interrupt;
use crate::log;
use crate::python::{
    Attached, Class, Definition, Exception, Instance, Object, Owned, Raised, Result, Stored, Type,
    Visit,
};

/// `mod_wsgi.SignalIntercept`: stands in for the function behind `signal.signal`.
struct SignalIntercept {
    /// The function it stands in for.
    original: Stored,
    /// The process in which it does: one that was forked from it may do as it likes.
    process: u32,
}

impl Class for SignalIntercept {
    const NAME: &'static CStr = c"mod_wsgi.SignalIntercept";
    const DOC: &'static CStr = c"Ignores the registration of a signal handler.";
    const COLLECTED: bool = true;

    fn define(definition: Definition<Self>) -> Definition<Self> {
        definition.call(Self::register)
    }

    fn traverse(&self, visit: &mut Visit) {
        visit.object(&self.original);
    }
}

impl SignalIntercept {
    fn register<'py>(
        this: &Instance<'py, Self>,
        arguments: &[&Object<'py>],
    ) -> Result<'py, Owned<'py>> {
        let py = this.py();
        if this.process != std::process::id() {
            return this.original.bind(py).call(arguments);
        }
        let [number, handler] = arguments else {
            let message = format!("signal() takes 2 arguments, {} given", arguments.len());
            return Err(Raised::type_error(py, &message));
        };
        let number = number.to_i64()?;
        interrupt::heed(py, || report(py, number))?;
        Ok(handler.owned())
    }
}

/// Puts the intercept in the place of what `signal.signal` calls: so that `signal` itself, which
/// needs `enum`, is only imported where somebody uses it.
pub(crate) fn intercept_signals<'py>(module: &Object<'py>) -> Result<'py, ()> {
    let py = module.py();
    let signal = py.import(c"_signal")?;
    let intercept = SignalIntercept {
        original: signal.attribute_named(c"signal")?.into_stored(),
        process: std::process::id(),
    };
    let intercept = Type::create(module)?.instantiate(py, intercept)?;
    signal.set_attribute(c"signal", &intercept)
}

/// Has SIGTERM raise `SystemExit` on the main thread, which is the calling one: in a process whose
/// signals are the application's.
pub(crate) fn exit_on_sigterm(py: Attached<'_>) -> Result<'_, ()> {
    let doc = c"Ends the script, as the server wishes.";
    let exit = py.function(c"exit_on_sigterm", doc, exit)?;
    let signal = py.import(c"signal")?;
    let number = signal.attribute_named(c"SIGTERM")?;
    signal
        .call_method_named(c"signal", [&*number, &*exit])
        .map(drop)
}

fn exit<'py>(py: Attached<'py>, _: &[&Object<'py>]) -> Result<'py, Owned<'py>> {
    // Without a status: who finds one that is no number, such as `multiprocessing`, takes it for a
    // failure.
    Err(Raised::bare(py, Exception::SystemExit))
}

/// Says which registration was ignored, and where in the application it is.
fn report(py: Attached<'_>, number: i64) {
    let text = format!(
        "Ignoring Python signal handler registration for signal {number} in WSGI process; \
         signals are the server's here."
    );
    log::notice(py, Level::Info, 0, &text);
    report_stack(py);
}

/// Logs where in the application the calling thread is.
pub(super) fn report_stack(py: Attached<'_>) {
    for line in stack(py).unwrap_or_default() {
        log::notice(py, Level::Info, 0, &line);
    }
}

/// The lines of the calling thread's stack, outermost first.
fn stack(py: Attached<'_>) -> Result<'_, Vec<String>> {
    let entries = py
        .import(c"traceback")?
        .call_method_named(c"format_stack", [])?;
    Ok(entries.to_lines())
}
