//! The environ for scripts that decide who may enter.
//!
//! It is made only of what the server knows, not of the request's `subprocess_env`: the scripts
//! could not trust variables that `SetEnv` has set. Runs on the thread that processes the request;
//! everything is allocated in the request's pool.

use std::ffi::CStr;

use engine_abi::Pair;
use httpd::Request;
use wsgi_config::header;

use crate::environ::{pair, requested_uri};

/// Builds the environ for a script that runs in an application group.
pub(super) fn build<'r>(request: Request<'r>, application_group: &'r CStr) -> &'r [Pair<'r>] {
    let headers = request.headers_in();
    let own = of_server(request)
        .into_iter()
        .chain(of_request(request))
        .chain([
            (c"mod_wsgi.process_group", Some(c"")),
            (c"mod_wsgi.application_group", Some(application_group)),
        ])
        .filter_map(|(name, value)| Some(pair(name, Some(value?))));
    let of_headers = headers
        .iter()
        .filter_map(|(name, value)| Some(pair(variable(request, name)?, Some(value?))));
    request
        .pool()
        .collect(headers.len() + MOST_OWN, of_headers.chain(own))
}

/// At least the number of variables that do not come from headers.
const MOST_OWN: usize = 24;

/// The variable for a header, if scripts get it. They do not get the credentials: a function that
/// needs them gets them as arguments.
fn variable<'r>(request: Request<'r>, name: &CStr) -> Option<&'r CStr> {
    let name = name.to_bytes();
    if name.eq_ignore_ascii_case(b"Content-Type") {
        return Some(c"CONTENT_TYPE");
    }
    if name.eq_ignore_ascii_case(b"Content-Length") {
        return Some(c"CONTENT_LENGTH");
    }
    let is_secret = name.eq_ignore_ascii_case(b"Authorization")
        || name.eq_ignore_ascii_case(b"Proxy-Authorization");
    if is_secret || !header::is_plain(name) {
        return None;
    }
    let upper: Vec<u8> = name
        .iter()
        .map(|byte| match byte {
            b'-' => b'_',
            byte => byte.to_ascii_uppercase(),
        })
        .collect();
    Some(request.pool().join(&[b"HTTP_", &upper]))
}

type Variable<'r> = (&'static CStr, Option<&'r CStr>);

fn of_server(request: Request<'_>) -> [Variable<'_>; 10] {
    let pool = request.pool();
    [
        (c"SERVER_SIGNATURE", Some(request.server_signature())),
        (c"SERVER_SOFTWARE", Some(request.server_software())),
        (c"SERVER_NAME", Some(request.server_name_bare())),
        (c"SERVER_ADDR", request.server_address()),
        (
            c"SERVER_PORT",
            Some(pool.decimal(request.server_port().into())),
        ),
        (c"SERVER_ADMIN", request.server_admin()),
        (c"DOCUMENT_ROOT", request.document_root()),
        (c"REMOTE_HOST", request.client_host()),
        (c"REMOTE_ADDR", request.client_address()),
        (
            c"REMOTE_PORT",
            Some(pool.decimal(request.client_port().into())),
        ),
    ]
}

fn of_request(request: Request<'_>) -> [Variable<'_>; 6] {
    let uri = request.uri();
    let path_info = request.path_info().unwrap_or_default();
    // For an include it is the whole URL path, as for applications.
    let script_name = if path_info.is_empty() || request.protocol() == c"INCLUDED" {
        uri
    } else {
        let end = request.path_info_start(path_info);
        request
            .pool()
            .copy(uri.to_bytes().get(..end).unwrap_or_default())
    };
    [
        (c"SERVER_PROTOCOL", Some(request.protocol())),
        (c"REQUEST_METHOD", Some(request.method())),
        (c"QUERY_STRING", Some(request.args().unwrap_or_default())),
        (c"REQUEST_URI", Some(requested_uri(request))),
        (c"SCRIPT_NAME", Some(script_name)),
        (c"PATH_INFO", Some(path_info)),
    ]
}
