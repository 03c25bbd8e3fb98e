//! `WSGIAccessScript`: its function `allow_access` says whether a request may enter, by what it is
//! and where it comes from.

use httpd::{Level, Request, Status};
use wsgi_config::verdict::{self, Access, Trouble};

use crate::Wsgi;
use crate::config::HookScript;
use crate::log::{self, Id};

/// Decides whether a request may enter before anybody asks for a user.
pub(crate) fn check_access(request: Request<'_>) -> Status {
    let Some(script) = request.config::<Wsgi>().access_script.as_deref() else {
        return Status::DECLINED;
    };
    match ask(request, script) {
        Ok(Access::Allowed) => Status::OK,
        Ok(Access::Declined) => Status::DECLINED,
        Ok(Access::Denied) => deny(request, script),
        Err(trouble) => {
            super::report(request, &trouble);
            deny(request, script)
        }
    }
}

fn ask<'r>(request: Request<'r>, script: &'r HookScript) -> Result<Access, Trouble> {
    let host = request.client_host().or(request.client_address());
    let host = host.unwrap_or_default();
    let answer = super::ask(request, script, "allow_access", &[host])?;
    verdict::access(&answer, &super::shown(script))
}

fn deny(request: Request<'_>, script: &HookScript) -> Status {
    if !request.may_enter_by_user() {
        let file = request.filename().unwrap_or_default().to_string_lossy();
        let text = format!(
            "Client denied by server configuration: '{file}' (by allow_access in '{}').",
            super::shown(script)
        );
        log::script(request, Level::ERROR, Id(57), text);
    }
    Status::FORBIDDEN
}
