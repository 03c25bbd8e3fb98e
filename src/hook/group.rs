//! `WSGIAuthGroupScript`: its function `groups_for_user` names the groups of a user, for
//! `Require wsgi-group`.

use std::ffi::CStr;

use httpd::auth::{Authz, Sense};
use httpd::{Level, Request};
use wsgi_config::verdict::{self, Membership, Trouble};

use crate::Wsgi;
use crate::log::{self, Id};

/// The name of the provider, for `Require`.
pub(crate) const PROVIDER: &CStr = c"wsgi-group";

/// The function that names the groups.
pub(super) const FUNCTION: &str = "groups_for_user";

/// Decides whether the user is in one of the groups that a `Require` names.
///
/// If that cannot be decided, the user is not let in. If membership is required, the user counts as
/// no member. If it is forbidden, or may be, that would let the user in, so the request fails with
/// an error.
pub(crate) fn check_authorization(request: Request<'_>, required: &CStr, sense: Sense) -> Authz {
    let Some(user) = request.user() else {
        return Authz::DeniedNoUser;
    };
    match (ask(request, user, required), sense) {
        (Ok(Membership::Member), _) => Authz::Granted,
        (Ok(Membership::Unclear { .. }), Sense::Negated | Sense::Either) => Authz::Error,
        (Ok(_), Sense::Negated) => Authz::Denied,
        (Ok(membership), Sense::Plain | Sense::Either) => {
            report_denial(request, user, membership);
            Authz::Denied
        }
        (Err(trouble), sense) => {
            super::report(request, &trouble);
            match sense {
                Sense::Plain => Authz::Denied,
                Sense::Negated | Sense::Either => Authz::Error,
            }
        }
    }
}

fn ask(request: Request<'_>, user: &CStr, required: &CStr) -> Result<Membership, Trouble> {
    let config = request.config::<Wsgi>();
    let script = config.auth_group_script.as_deref();
    let script = script.ok_or_else(|| super::no_script(58, "WSGIAuthGroupScript"))?;
    let answer = super::ask(request, script, FUNCTION, &[user])?;
    verdict::membership(&answer, required.to_bytes(), &super::shown(script))
}

fn report_denial(request: Request<'_>, user: &CStr, membership: Membership) {
    let (id, groups) = match membership {
        Membership::OfNone | Membership::Unclear { of_others: false } => (59, "any groups"),
        _ => (60, "designated groups"),
    };
    let (user, uri) = (user.to_string_lossy(), request.uri().to_string_lossy());
    let text = format!(
        "Authorization of user '{user}' to access '{uri}' failed. User is not a member of {groups}."
    );
    log::script(request, Level::ERROR, Id(id), text);
}
