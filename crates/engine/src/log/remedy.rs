//! What mends an exception that an application meets only because it is in a sub-interpreter.
//!
//! Extension modules that keep their state in static variables refuse to be loaded there, each in
//! words of its own, and none of them knows how an application comes to be in one.

use crate::interpreter::Interpreter;
use crate::python::{Attached, Raised};

/// What extension modules say, in lower case: CPython on their behalf, pybind11, nanobind and PyO3
/// (all "subinterpreter", one way or another), Cython, and NumPy.
const REFUSALS: [&str; 5] = [
    "subinterpreter",
    "sub-interpreter",
    "interpreter change detected",
    "more than once per process",
    "once per interpreter process",
];

/// What interpreters with a GIL of their own refuse to do, in lower case: `fork`, threads that are
/// daemons.
const ISOLATION: [&str; 2] = ["isolated subinterpreter", "(sub)interpreter"];

/// How long a chain of exceptions is looked at.
const LONGEST_CHAIN: usize = 16;

/// Says which directive mends an exception, if one does.
pub(super) fn of(py: Attached<'_>, raised: &Raised<'_>) -> Option<String> {
    let interpreter = Interpreter::current(py)?;
    if interpreter.group().is_empty() {
        return None;
    }
    let cause = chain(raised).find(|text| is_about_interpreters(interpreter, text))?;
    let group = String::from_utf8_lossy(interpreter.group());
    let or_shared = if interpreter.has_own_gil() {
        " or, if it can do with an interpreter that shares the GIL, set WSGIPerInterpreterGIL Off"
    } else {
        ""
    };
    Some(format!(
        "This cannot be done in the sub-interpreter '{group}': {}. Run the application in the main \
         interpreter with WSGIApplicationGroup %{{GLOBAL}} (or application-group=%{{GLOBAL}})\
         {or_shared}.",
        cause.trim_end_matches('.')
    ))
}

fn is_about_interpreters(interpreter: &Interpreter, text: &str) -> bool {
    let text = text.to_lowercase();
    let says = |phrases: &[&str]| phrases.iter().any(|phrase| text.contains(phrase));
    let is_import = text.starts_with("importerror:");
    is_import && says(&REFUSALS) || interpreter.has_own_gil() && says(&ISOLATION)
}

/// The exception and those it was raised from or while handling, each as `TYPE: text`.
fn chain(raised: &Raised<'_>) -> impl Iterator<Item = String> {
    let mut texts = vec![raised.summary()];
    let mut value = raised.value().owned();
    while texts.len() < LONGEST_CHAIN {
        let related = [c"__cause__", c"__context__"]
            .into_iter()
            .filter_map(|name| value.attribute_named(name).ok())
            .find(|related| !related.is_none());
        let Some(related) = related else { break };
        texts.push(Raised::from_value(related.owned()).summary());
        value = related;
    }
    texts.into_iter()
}
