//! `WSGIDispatchScript`: its functions `process_group`, `application_group` and `callable_object`
//! say where a request goes.

use std::ffi::CStr;

use httpd::{Request, Status};
use wsgi_config::verdict::{self, Answer, Trouble};

use super::Call;
use crate::Wsgi;
use crate::config::{Destination, HookScript, RequestConfig};
use crate::embedded::{self, NotCalled};
use crate::environ::Variables;
use crate::handler::Refusal;

/// The functions, in their order.
const FUNCTIONS: [&str; 3] = ["process_group", "application_group", "callable_object"];

/// Lets the configured dispatch script, if there is one, decide where the request goes. A script
/// that cannot be loaded changes nothing.
pub(crate) fn dispatch<'r>(
    request: Request<'r>,
    config: RequestConfig<'r>,
    variables: &Variables<'r>,
) -> Result<RequestConfig<'r>, Refusal> {
    let Some(script) = request.config::<Wsgi>().dispatch_script.as_deref() else {
        return Ok(config);
    };
    match ask(request, script, &config, variables) {
        Ok(answers) => {
            let destination = destination(request, script, &answers)
                .map_err(|trouble| refuse(script, trouble))?;
            let script_name = variables.mount().application.to_bytes();
            let config = config.redirected(request, script_name, destination);
            variables.set_destination(&config);
            Ok(config)
        }
        Err(NotCalled::NotLoaded) => Ok(config),
        Err(NotCalled::NoPython) => Err(refuse(script, super::no_python())),
        Err(NotCalled::Failed) => Err(refuse(script, Trouble::Logged)),
    }
}

fn ask<'r>(
    request: Request<'r>,
    script: &'r HookScript,
    config: &RequestConfig<'r>,
    variables: &Variables<'r>,
) -> Result<Vec<Answer>, NotCalled> {
    let application_group = script.group(request);
    embedded::call(&Call {
        request,
        script,
        application_group,
        functions: &FUNCTIONS,
        environ: variables.for_dispatch(config, application_group),
        arguments: &[],
        iterate: false,
        with_server: false,
    })
}

fn destination<'r>(
    request: Request<'r>,
    script: &HookScript,
    answers: &[Answer],
) -> Result<Destination<'r>, Trouble> {
    let mut settings = [None; FUNCTIONS.len()];
    for ((setting, function), answer) in settings.iter_mut().zip(FUNCTIONS).zip(answers) {
        let name = verdict::setting(answer, function, &super::shown(script))?;
        *setting = name.map(|name| request.pool().copy(&name));
    }
    let [process_group, application_group, callable]: [Option<&'r CStr>; 3] = settings;
    Ok(Destination {
        process_group,
        application_group,
        callable,
    })
}

fn refuse(script: &HookScript, trouble: Trouble) -> Refusal {
    let (id, text) = match trouble {
        Trouble::Said { id, text } => (id, text),
        Trouble::Logged => (
            1301,
            format!(
                "WSGIDispatchScript '{}' failed, so nobody knows where the request is to go; the \
                 messages before this one have the cause.",
                super::shown(script)
            ),
        ),
    };
    Refusal::new(Status::INTERNAL_SERVER_ERROR, id, text)
}
