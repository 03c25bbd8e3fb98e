//! The strings of the environ: CGI variables, request headers, and variables that `SetEnv` and
//! other modules have added.
//!
//! They are set in the request's `subprocess_env`, where other modules can use them: the format of
//! an access log, `Header`, an error document. Values that the server knows override those of
//! `SetEnv`. Runs on the thread that processes the request; everything is allocated in the
//! request's pool.

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
    /// Names and values; of several with the same name the last counts.
    pub(crate) pairs: &'r [Pair<'r>],
    /// Whether the scheme of the request is `https`.
    pub(crate) https: bool,
}

/// Where an application is in the URL space, and the part of the URL's path that follows it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mount<'r> {
    /// The URL path of the application.
    pub(crate) application: &'r CStr,
    /// `SCRIPT_NAME`: the same, except for a server-side include.
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
        // If the URL has no path info, the configuration may set one. But an included request has a
        // copy of the variables of the outer request, whose path info is not its own.
        let path_info = if path_info.is_empty() && !is_included {
            let configured = request.subprocess_env().get(c"PATH_INFO");
            configured.unwrap_or(path_info)
        } else {
            path_info
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

/// The variables of a request, before a dispatch script may have redirected it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Variables<'r> {
    request: Request<'r>,
    mount: Mount<'r>,
}

impl<'r> Variables<'r> {
    /// Makes them.
    pub(crate) fn make(request: Request<'r>, config: &RequestConfig<'r>, mount: Mount<'r>) -> Self {
        let env = request.subprocess_env();
        let own = Own::of(env);
        drop_ambiguous_headers(request);
        add_common(request, env);
        set_cgi(request, env, config, &mount);
        set_authorization(request, env, config);
        let scheme = trusted_proxy::apply(request, config);
        set_https(request, env, scheme);
        set_own(request, &own, &mount);
        set_destination(&own, config);
        Self { request, mount }
    }

    /// Replaces the variables that name the destination of the request.
    pub(crate) fn set_destination(&self, config: &RequestConfig<'r>) {
        let env = self.request.subprocess_env();
        set_destination(&Own::of(env), config);
    }

    /// The environ for an application.
    pub(crate) fn for_application(&self) -> Environ<'r> {
        let env = self.request.subprocess_env();
        let variables = env
            .iter()
            .filter(|(name, _)| !is_withheld(name.to_bytes()))
            .map(|(name, value)| pair(name, value));
        Environ {
            https: says_https(env),
            pairs: self.request.pool().collect(env.len(), variables),
        }
    }

    /// The environ for a dispatch script, which itself runs in `application_group`.
    pub(crate) fn for_dispatch(
        &self,
        config: &RequestConfig<'r>,
        application_group: &'r CStr,
    ) -> &'r [Pair<'r>] {
        let env = self.request.subprocess_env();
        let transport = transport_variables(self.request, config);
        let capacity = env.len() + transport.len();
        let variables = env
            .iter()
            .filter_map(|(name, value)| match name.to_bytes() {
                b"mod_wsgi.callable_object" => None,
                b"mod_wsgi.process_group" => Some(pair(name, Some(c""))),
                b"mod_wsgi.application_group" => Some(pair(name, Some(application_group))),
                _ => Some(pair(name, value)),
            });
        let transport = transport.map(|(name, value)| pair(name, value));
        self.request
            .pool()
            .collect(capacity, variables.chain(transport))
    }

    /// Where the application is in the URL space.
    pub(crate) fn mount(&self) -> &Mount<'r> {
        &self.mount
    }
}

/// Removes headers whose variables could be confused with those of other headers: `X_User` with
/// `X-User`.
fn drop_ambiguous_headers(request: Request<'_>) {
    let headers = request.headers_in();
    let is_ambiguous = |name: &&CStr| !header::is_plain(name.to_bytes());
    while let Some(name) = headers.iter().map(|(name, _)| name).find(is_ambiguous) {
        headers.unset(name);
    }
}

/// Variables that httpd adds for CGI scripts and that WSGI does not need: they describe the
/// environment of the server, or require name look-ups.
const NOT_OF_WSGI: [&CStr; 8] = [
    c"PATH",
    c"LD_LIBRARY_PATH",
    c"LIBPATH",
    c"SHLIB_PATH",
    c"DYLD_LIBRARY_PATH",
    c"SERVER_SIGNATURE",
    c"REMOTE_HOST",
    c"REMOTE_IDENT",
];

/// Adds httpd's variables for CGI scripts, except [`NOT_OF_WSGI`]: these stay as the configuration
/// has set them, or mod_include for an included request.
fn add_common(request: Request<'_>, env: Table<'_>) {
    let configured = NOT_OF_WSGI.map(|name| env.get(name));
    request.add_common_vars();
    for (name, value) in NOT_OF_WSGI.into_iter().zip(configured) {
        match value {
            Some(value) => env.set(name, value),
            None => env.unset(name),
        }
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

/// The method that the application sees. If it omits the body for `HEAD`, filters that need the
/// body cannot make the right headers, so it may see `GET` instead.
fn method(request: Request<'_>, map_head: MapHead) -> &CStr {
    let as_get = request.is_head()
        && match map_head {
            MapHead::Auto => request.has_content_filter(),
            MapHead::On => true,
            MapHead::Off => false,
        };
    if as_get { c"GET" } else { request.method() }
}

/// The URL of the request line; with `CGIVar REQUEST_URI current-uri`, the present URL.
fn request_uri(request: Request<'_>) -> &CStr {
    if request.cgi_var_rule(c"REQUEST_URI") == Some(c"current-uri") {
        return request.uri();
    }
    requested_uri(request)
}

/// The URL of the request line.
pub(crate) fn requested_uri(request: Request<'_>) -> &CStr {
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

/// This module's own variables, whose names all begin with `mod_wsgi.`.
///
/// A table searches by the first letters of a name, so setting one of these would compare it with
/// all the others. That is only necessary if the configuration has set one of them.
struct Own<'r> {
    env: Table<'r>,
    are_new: bool,
}

impl<'r> Own<'r> {
    const PREFIX: &'static [u8] = b"mod_wsgi.";

    /// For a table to which only httpd adds variables before these are set.
    fn of(env: Table<'r>) -> Self {
        let is_own = |name: &CStr| {
            let start = name.to_bytes().get(..Self::PREFIX.len());
            start.is_some_and(|start| start.eq_ignore_ascii_case(Self::PREFIX))
        };
        let are_new = !env.iter().any(|(name, _)| is_own(name));
        Self { env, are_new }
    }

    /// Sets one. Each may be set once.
    fn set(&self, name: &'static CStr, value: &'r CStr) {
        match self.are_new {
            true => self.env.add(name, value),
            false => self.env.set(name, value),
        }
    }
}

/// Sets the variables that name the destination of the request.
fn set_destination<'r>(env: &Own<'r>, config: &RequestConfig<'r>) {
    env.set(c"mod_wsgi.process_group", config.process_group);
    env.set(c"mod_wsgi.application_group", config.application_group);
    env.set(c"mod_wsgi.callable_object", config.callable);
    env.set(c"mod_wsgi.handler_script", config.handler_script);
}

/// Sets this module's variables that do not depend on the destination.
fn set_own<'r>(request: Request<'r>, env: &Own<'r>, mount: &Mount<'r>) {
    let connection = request.connection();
    let host = connection.local_hostname().unwrap_or_default();
    let port = request.pool().decimal(connection.local_port().into());
    let handler = request.handler().unwrap_or_default();
    env.set(c"mod_wsgi.script_name", mount.script_name);
    env.set(c"mod_wsgi.path_info", mount.path_info);
    env.set(c"mod_wsgi.request_handler", handler);
    env.set(c"mod_wsgi.listener_host", host);
    env.set(c"mod_wsgi.listener_port", port);
    env.set(c"mod_wsgi.server_pid", server_pid());
    env.set(c"mod_wsgi.request_id", request.log_id().unwrap_or_default());
    if let Some(id) = connection.log_id() {
        env.set(c"mod_wsgi.connection_id", id);
    }
}

/// Variables for dispatch scripts only, which applications do not get.
fn transport_variables<'r>(
    request: Request<'r>,
    config: &RequestConfig<'r>,
) -> impl ExactSizeIterator<Item = (&'static CStr, Option<&'r CStr>)> {
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

/// Sets the variable `HTTPS` according to a trusted proxy, or else to mod_ssl. If neither knows the
/// scheme, the variable stays as the configuration has set it.
fn set_https(request: Request<'_>, env: Table<'_>, proxy_says: Option<Scheme>) {
    match proxy_says {
        Some(Scheme::Https) => env.set(c"HTTPS", c"1"),
        Some(Scheme::Http) => env.unset(c"HTTPS"),
        Some(Scheme::Unrecognised) => {}
        None if request.connection().is_https() => env.set(c"HTTPS", c"1"),
        None => {}
    }
}

fn says_https(env: Table<'_>) -> bool {
    let value = env.get(c"HTTPS").unwrap_or_default().to_bytes();
    value == b"1" || value.eq_ignore_ascii_case(b"on")
}

/// A name and its value, as the engine takes them.
pub(crate) fn pair<'r>(name: &'r CStr, value: Option<&'r CStr>) -> Pair<'r> {
    Pair {
        name: Bytes::new(name.to_bytes()),
        value: Bytes::from(value.map(CStr::to_bytes)),
    }
}

/// Whether applications do not get a variable: the server's own path, the source of
/// `wsgi.url_scheme`, and variables for dispatch scripts.
fn is_withheld(name: &[u8]) -> bool {
    matches!(name, b"PATH" | b"HTTPS") || name.starts_with(b"mod_wsgi.x-")
}
