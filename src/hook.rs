//! Hook scripts: functions of Python scripts that decide who may enter and where a request goes.
//!
//! They run in this child, on the thread that processes the request, whatever process group its
//! application runs in. `wsgi_config::verdict` decides what their results mean; this module
//! connects that to httpd. Whatever goes wrong, no client is let in because of it.
//!
//! - [`access`] is `WSGIAccessScript`, [`user`] `WSGIAuthUserScript`, [`group`]
//!   `WSGIAuthGroupScript`
//! - [`dispatch`] is `WSGIDispatchScript`
//! - [`environ`] makes the environ for the first three

pub(crate) mod access;
pub(crate) mod dispatch;
mod environ;
pub(crate) mod group;
pub(crate) mod user;

use std::ffi::CStr;

use engine_abi::Pair;
use httpd::{Level, Request};
use wsgi_config::verdict::{Answer, Trouble};

use crate::config::HookScript;
use crate::embedded::{self, NotCalled};
use crate::log::{self, Id};

/// Functions of a hook script that are to be called.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Call<'c, 'r> {
    /// For this request.
    pub(crate) request: Request<'r>,
    pub(crate) script: &'r HookScript,
    pub(crate) application_group: &'r CStr,
    /// The names of the functions.
    pub(crate) functions: &'c [&'static str],
    /// The first argument of each.
    pub(crate) environ: &'c [Pair<'r>],
    /// The others.
    pub(crate) arguments: &'c [&'c CStr],
    /// Whether what they return is to be iterated over.
    pub(crate) iterate: bool,
    /// Whether the environ also has the functions of mod_ssl and the versions of the server.
    pub(crate) with_server: bool,
}

/// Calls a function of a script that decides who may enter.
fn ask<'r>(
    request: Request<'r>,
    script: &'r HookScript,
    function: &'static str,
    arguments: &[&CStr],
) -> Result<Answer, Trouble> {
    let application_group = script.group(request);
    let environ = environ::build(request, application_group);
    let answers = embedded::call(&Call {
        request,
        script,
        application_group,
        functions: &[function],
        environ,
        arguments,
        iterate: function == group::FUNCTION,
        with_server: true,
    });
    match answers {
        Ok(mut answers) => Ok(answers.pop().unwrap_or(Answer::Failed)),
        Err(NotCalled::NoPython) => Err(no_python()),
        Err(NotCalled::NotLoaded | NotCalled::Failed) => Err(Trouble::Logged),
    }
}

/// The trouble of a child without Python.
fn no_python() -> Trouble {
    let (id, text) = embedded::NO_PYTHON;
    Trouble::Said {
        id,
        text: text.to_owned(),
    }
}

/// The trouble if a script is needed and no directive names one.
fn no_script(id: u16, directive: &str) -> Trouble {
    Trouble::Said {
        id,
        text: format!("No script is configured here that could be asked; {directive} names one."),
    }
}

/// The script's path, for messages.
fn shown(script: &HookScript) -> std::borrow::Cow<'_, str> {
    script.path.to_string_lossy()
}

/// Logs what went wrong, unless that has been done already.
fn report(request: Request<'_>, trouble: &Trouble) {
    if let Trouble::Said { id, text } = trouble {
        log::script(request, Level::ERROR, Id(*id), text);
    }
}
