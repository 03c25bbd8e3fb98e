//! `WSGIScriptAlias`: from a URL to a script.
//!
//! Runs in the `translate_name` hook, for every request of every server, so what it does for
//! requests that are none of ours must be next to nothing.

use std::ffi::CStr;

use httpd::{Request, Status};
use wsgi_config::url;

use crate::Wsgi;
use crate::config::{Mapped, ScriptAlias};
use crate::handler;

/// The note by which modules tell each other that a URL was mapped to a handler, not just to a
/// file; mod_alias and others know it too.
const FORCED_TYPE: &CStr = c"alias-forced-type";

/// The notes that carry an alias's options to the handler.
pub(crate) mod note {
    use std::ffi::CStr;

    /// `process-group=`
    pub(crate) const PROCESS_GROUP: &CStr = c"mod_wsgi.process_group";
    /// `application-group=`
    pub(crate) const APPLICATION_GROUP: &CStr = c"mod_wsgi.application_group";
    /// `callable-object=`
    pub(crate) const CALLABLE_OBJECT: &CStr = c"mod_wsgi.callable_object";
    /// `pass-authorization=`, as `0` or `1`.
    pub(crate) const PASS_AUTHORIZATION: &CStr = c"mod_wsgi.pass_authorization";
}

/// Maps a request to the script of the first alias that matches its URL.
pub(crate) fn translate_name(request: Request<'_>) -> Status {
    let aliases = request.server().config::<Wsgi>().aliases();
    let matched = aliases.iter().find_map(|alias| {
        let mapped = alias.map(request.pool(), request.uri())?;
        Some((alias, mapped))
    });
    let Some((alias, mapped)) = matched else {
        return Status::DECLINED;
    };
    map_to(request, mapped);
    request.set_handler(handler::WSGI_SCRIPT);
    request.notes().set(FORCED_TYPE, handler::WSGI_SCRIPT);
    leave_notes(request, alias);
    Status::OK
}

/// Maps a request to a file, and to what its URL path has behind that.
///
/// httpd finds out where the one ends and the other begins by looking at each directory on the way.
/// A script that the alias itself names is known without that.
fn map_to(request: Request<'_>, Mapped { target, rest }: Mapped<'_>) {
    let target = target.to_bytes();
    let is_known = url::is_path_info(target, rest) && request.set_file(target, rest);
    if !is_known {
        request.set_filename(&[target, rest]);
    }
}

/// Whether an alias mapped the request.
pub(crate) fn is_aliased(request: Request<'_>) -> bool {
    let forced = request.notes().get(FORCED_TYPE).unwrap_or_default();
    forced
        .to_bytes()
        .eq_ignore_ascii_case(handler::WSGI_SCRIPT.to_bytes())
}

fn leave_notes(request: Request<'_>, alias: &ScriptAlias) {
    let options = alias.options();
    let texts = [
        (note::PROCESS_GROUP, &options.process_group),
        (note::APPLICATION_GROUP, &options.application_group),
        (note::CALLABLE_OBJECT, &options.callable_object),
    ];
    let notes = request.notes();
    for (name, value) in texts {
        if let Some(value) = value {
            notes.set(name, request.pool().copy(value.to_bytes()));
        }
    }
    if let Some(pass) = options.pass_authorization {
        notes.set(note::PASS_AUTHORIZATION, if pass { c"1" } else { c"0" });
    }
}
