//! The environ, as far as it is made of strings: CGI variables, request headers, and what
//! `SetEnv` and other modules added.
//!
//! CGI variables go through the request's `subprocess_env`, where other modules see them too. What
//! the server knows for certain is set over what `SetEnv` said. Runs on the thread that processes
//! the request; all of it lives in the request's pool.

use std::borrow::Cow;
use std::ffi::CStr;
use std::sync::OnceLock;

use engine_abi::{Bytes, Pair};
use httpd::{Request, Table};
use wsgi_config::header;
use wsgi_config::proxies::Scheme;
use wsgi_config::url;
use wsgi_config::value::MapHead;

use crate::config::RequestConfig;
use crate::trusted_proxy;

/// The environ of a request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Environ<'r> {
    /// Names and values; of those with one name the last counts.
    pub(crate) pairs: &'r [Pair<'r>],
    /// Whether the scheme of the request is `https`.
    pub(crate) https: bool,
}

/// Where an application is in the URL space, and what of the URL lies below it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mount<'r> {
    /// The URL path of the application.
    pub(crate) application: &'r CStr,
    /// `SCRIPT_NAME`: the same, save for a server-side include.
    pub(crate) script_name: &'r CStr,
    /// `PATH_INFO`
    pub(crate) path_info: &'r CStr,
}

impl<'r> Mount<'r> {
    /// Splits the URL's path of a request. Runs of slashes count as one.
    pub(crate) fn of(request: Request<'r>) -> Self {
        let uri = request.uri();
        let path_info = request.path_info().unwrap_or_default();
        let end = if path_info.is_empty() {
            uri.count_bytes()
        } else {
            request.path_info_start(path_info)
        };
        let application = collapse(request, uri, end);
        // Applications expect the whole URL path that the include names.
        let is_included = request.protocol() == c"INCLUDED";
        let script_name = if is_included {
            collapse(request, uri, uri.count_bytes())
        } else {
            application
        };
        Self {
            application,
            script_name,
            path_info: collapse(request, path_info, path_info.count_bytes()),
        }
    }
}

/// The first `end` bytes of a path, without duplicate slashes; the path itself if that is the same.
fn collapse<'r>(request: Request<'r>, path: &'r CStr, end: usize) -> &'r CStr {
    let bytes = path.to_bytes();
    match url::collapse_slashes(bytes.get(..end).unwrap_or(bytes)) {
        Cow::Borrowed(same) if same.len() == bytes.len() => path,
        collapsed => request.pool().copy(&collapsed),
    }
}

/// The variables of a request, before it is certain where it goes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Variables<'r> {
    request: Request<'r>,
    mount: Mount<'r>,
    https: bool,
}

impl<'r> Variables<'r> {
    /// Makes them.
    pub(crate) fn make(request: Request<'r>, config: &RequestConfig<'r>, mount: Mount<'r>) -> Self {
        drop_ambiguous_headers(request);
        request.add_common_vars();
        let env = request.subprocess_env();
        set_cgi(request, env, config, &mount);
        set_authorization(request, env, config);
        let scheme = trusted_proxy::apply(request, config);
        Self {
            request,
            mount,
            https: is_https(request, env, scheme),
        }
    }

    /// The environ for an application.
    pub(crate) fn for_application(&self, config: &RequestConfig<'r>) -> Environ<'r> {
        let own = own_variables(self.request, config, &self.mount);
        Environ {
            https: self.https,
            pairs: pairs(self.request, own, is_withheld),
        }
    }

    /// The environ for a script that says where the request goes, and itself runs in
    /// `application_group`.
    pub(crate) fn for_dispatch(
        &self,
        config: &RequestConfig<'r>,
        application_group: &'r CStr,
    ) -> &'r [Pair<'r>] {
        self.settle_https();
        let own = own_variables(self.request, config, &self.mount)
            .filter_map(|(name, value)| match name.to_bytes() {
                b"mod_wsgi.callable_object" => None,
                b"mod_wsgi.process_group" => Some((name, Some(c""))),
                b"mod_wsgi.application_group" => Some((name, Some(application_group))),
                _ => Some((name, value)),
            })
            .chain(transport_variables(self.request, config));
        pairs(self.request, own, is_withheld_from_dispatch)
    }

    /// Has the variable `HTTPS` say what the scheme of the request is, whoever knows it.
    fn settle_https(&self) {
        let env = self.request.subprocess_env();
        if self.https && !says_https(env) {
            env.set(c"HTTPS", c"1");
        } else if !self.https {
            env.unset(c"HTTPS");
        }
    }

    /// Where the application is in the URL space.
    pub(crate) fn mount(&self) -> &Mount<'r> {
        &self.mount
    }
}

/// Takes out, for good, headers whose names could pass for those of others once they are
/// variables: `X_User` for `X-User`.
fn drop_ambiguous_headers(request: Request<'_>) {
    let headers = request.headers_in();
    let is_ambiguous = |name: &&CStr| !header::is_plain(name.to_bytes());
    while let Some(name) = headers.iter().map(|(name, _)| name).find(is_ambiguous) {
        headers.unset(name);
    }
}

fn set_cgi<'r>(
    request: Request<'r>,
    env: Table<'r>,
    config: &RequestConfig<'r>,
    mount: &Mount<'r>,
) {
    env.set(c"SERVER_PROTOCOL", request.protocol());
    env.set(c"REQUEST_METHOD", method(request, config.map_head));
    env.set(c"QUERY_STRING", request.args().unwrap_or_default());
    env.set(c"REQUEST_URI", request_uri(request));
    env.set(c"SCRIPT_NAME", mount.script_name);
    env.set(c"PATH_INFO", mount.path_info);
}

/// The method, as the application is to see it: one that makes no body when asked for `HEAD`
/// would keep filters that look at the body from making the right headers.
fn method(request: Request<'_>, map_head: MapHead) -> &CStr {
    let as_get = request.is_head()
        && match map_head {
            MapHead::Auto => request.has_content_filter(),
            MapHead::On => true,
            MapHead::Off => false,
        };
    if as_get { c"GET" } else { request.method() }
}

/// The URL as it stands in the request line; with `CGIVar REQUEST_URI current-uri`, as it is now.
pub(crate) fn request_uri(request: Request<'_>) -> &CStr {
    if request.cgi_var_rule(c"REQUEST_URI") == Some(c"current-uri") {
        return request.uri();
    }
    let line = request.request_line().unwrap_or_default().to_bytes();
    let mut words = line
        .split(|byte| byte.is_ascii_whitespace())
        .filter(|word| !word.is_empty());
    request.pool().copy(words.nth(1).unwrap_or_default())
}

/// Passes the client's credentials on, if the application is the one that checks them.
fn set_authorization<'r>(request: Request<'r>, env: Table<'r>, config: &RequestConfig<'r>) {
    let authorization = request.headers_in().get(c"Authorization");
    if let Some(authorization) = authorization.filter(|_| config.pass_authorization) {
        env.set(c"HTTP_AUTHORIZATION", authorization);
    }
}

/// What only applications want to know. It costs less to hand it over than to keep it in a table.
fn own_variables<'r>(
    request: Request<'r>,
    config: &RequestConfig<'r>,
    mount: &Mount<'r>,
) -> impl ExactSizeIterator<Item = (&'static CStr, Option<&'r CStr>)> {
    let connection = request.connection();
    let host = connection.local_hostname().unwrap_or_default();
    let port = request.pool().decimal(connection.local_port().into());
    let group = config.application_group;
    let id = request.log_id().unwrap_or_default();
    [
        (c"mod_wsgi.script_name", Some(mount.script_name)),
        (c"mod_wsgi.path_info", Some(mount.path_info)),
        (c"mod_wsgi.process_group", Some(config.process_group)),
        (c"mod_wsgi.application_group", Some(group)),
        (c"mod_wsgi.callable_object", Some(config.callable)),
        (c"mod_wsgi.request_handler", request.handler()),
        (c"mod_wsgi.handler_script", Some(config.handler_script)),
        (c"mod_wsgi.listener_host", Some(host)),
        (c"mod_wsgi.listener_port", Some(port)),
        (c"mod_wsgi.server_pid", Some(server_pid())),
        (c"mod_wsgi.request_id", Some(id)),
        (c"mod_wsgi.connection_id", connection.log_id()),
    ]
    .into_iter()
}

/// What an application need not know, but may help to say where it is to run.
fn transport_variables<'r>(
    request: Request<'r>,
    config: &RequestConfig<'r>,
) -> impl Iterator<Item = (&'static CStr, Option<&'r CStr>)> {
    let switch = |on| Some(if on { c"1" } else { c"0" });
    let start = u64::try_from(request.time()).unwrap_or_default();
    [
        (c"mod_wsgi.x-enable_sendfile", switch(config.sendfile)),
        (
            c"mod_wsgi.x-ignore_activity",
            switch(config.ignore_activity),
        ),
        (
            c"mod_wsgi.x-request_start_us",
            Some(request.pool().decimal(start)),
        ),
        (
            c"mod_wsgi.x-script_reloading",
            switch(config.script_reloading),
        ),
    ]
    .into_iter()
}

/// The number of this child, in digits.
fn server_pid() -> &'static CStr {
    static PID: OnceLock<std::ffi::CString> = OnceLock::new();
    PID.get_or_init(|| std::ffi::CString::new(std::process::id().to_string()).unwrap_or_default())
}

/// Whether the scheme is `https`: a trusted proxy knows best, then mod_ssl. The variable `HTTPS`
/// is how an administrator says so.
fn is_https(request: Request<'_>, env: Table<'_>, proxy_says: Option<Scheme>) -> bool {
    match proxy_says {
        Some(scheme) => scheme.is_https_or(|| says_https(env)),
        None => request.connection().is_https() || says_https(env),
    }
}

fn says_https(env: Table<'_>) -> bool {
    let value = env.get(c"HTTPS").unwrap_or_default().to_bytes();
    value == b"1" || value.eq_ignore_ascii_case(b"on")
}

/// Of a request's variables those that are not withheld, then those that are `own`.
fn pairs<'r>(
    request: Request<'r>,
    own: impl Iterator<Item = (&'static CStr, Option<&'r CStr>)>,
    is_withheld: fn(&[u8]) -> bool,
) -> &'r [Pair<'r>] {
    let env = request.subprocess_env();
    let capacity = env.len() + own.size_hint().1.unwrap_or_default();
    let variables = env
        .iter()
        .filter(|(name, _)| !is_withheld(name.to_bytes()))
        .map(|(name, value)| pair(name, value));
    let own = own
        .filter(|(_, value)| value.is_some())
        .map(|(name, value)| pair(name, value));
    request.pool().collect(capacity, variables.chain(own))
}

/// A name and its value, as the engine takes them.
pub(crate) fn pair<'r>(name: &'r CStr, value: Option<&'r CStr>) -> Pair<'r> {
    Pair {
        name: Bytes::new(name.to_bytes()),
        value: Bytes::from(value.map(CStr::to_bytes)),
    }
}

/// Whether a variable is not for applications: it describes the server's own environment, or means
/// nothing in WSGI, or is for transport only, or HTTP clients would take it for configuration.
fn is_withheld(name: &[u8]) -> bool {
    match name {
        b"PATH" | b"LD_LIBRARY_PATH" | b"LIBPATH" | b"SHLIB_PATH" | b"DYLD_LIBRARY_PATH" => true,
        b"SERVER_SIGNATURE" | b"REMOTE_HOST" | b"REMOTE_IDENT" => true,
        b"HTTPS" | b"HTTP_PROXY" => true,
        name => name.starts_with(b"mod_wsgi.x-"),
    }
}

/// The same for a script that says where the request goes: it sees what is for transport, too.
fn is_withheld_from_dispatch(name: &[u8]) -> bool {
    is_withheld(name) && name != b"HTTPS" && !name.starts_with(b"mod_wsgi.x-")
}
