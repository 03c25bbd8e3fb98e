//! What applies to one request: resolved when its handler begins, on the request's thread.

use std::borrow::Cow;
use std::ffi::{CStr, CString};

use httpd::Request;
use wsgi_config::group::{self, HostPort, Surroundings};
use wsgi_config::proxies::{TrustedHeader, TrustedProxies};
use wsgi_config::value::MapHead;

use crate::Wsgi;
use crate::alias::note;
use crate::config::environment;
use crate::handler::Target;

/// The callable of a script that implements a handler, whatever `WSGICallableObject` says.
const HANDLE_REQUEST: &CStr = c"handle_request";

/// What applies to a request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RequestConfig<'r> {
    /// Empty for the processes of httpd itself.
    pub(crate) process_group: &'r CStr,
    /// Empty for the main interpreter.
    pub(crate) application_group: &'r CStr,
    /// The path of the script.
    pub(crate) script: &'r CStr,
    /// The same, if the script is a handler and not what the request was mapped to; else empty.
    pub(crate) handler_script: &'r CStr,
    pub(crate) callable: &'r CStr,
    /// `WSGIRestrictProcess`, if the choice of groups is restricted.
    pub(crate) restrict_process: Option<&'r [CString]>,
    pub(crate) script_reloading: bool,
    pub(crate) pass_authorization: bool,
    pub(crate) chunked_request: bool,
    pub(crate) map_head: MapHead,
    pub(crate) error_override: bool,
    pub(crate) ignore_activity: bool,
    pub(crate) sendfile: bool,
    pub(crate) trusted_proxy_headers: &'r [TrustedHeader],
    /// `None` if every peer is trusted.
    pub(crate) trusted_proxies: Option<&'r TrustedProxies>,
}

impl<'r> RequestConfig<'r> {
    /// Resolves what applies to `request`: what its alias or handler says, if it has one, else what
    /// is said for the place, else the default. `script_name` is the URL path of the application.
    pub(crate) fn resolve(request: Request<'r>, target: Target<'r>, script_name: &[u8]) -> Self {
        let config = request.config::<Wsgi>();
        let options = Options::of(request, target);
        let names = Names {
            request,
            script_name,
        };

        let process_group = options
            .process_group
            .or(config.process_group.as_deref())
            .unwrap_or_default();
        let application_group = options
            .application_group
            .or(config.application_group.as_deref())
            .unwrap_or(c"%{RESOURCE}");
        let callable = options.callable.unwrap_or_else(|| {
            names.callable(config.callable_object.as_deref().unwrap_or(c"application"))
        });
        let pass_authorization = options.pass_authorization.or(config.pass_authorization);
        let handler_script = target.handler().map(|handler| handler.script.as_c_str());
        Self {
            script: handler_script.unwrap_or_else(|| request.filename().unwrap_or_default()),
            handler_script: handler_script.unwrap_or_default(),
            process_group: names.group(process_group),
            application_group: names.group(application_group),
            callable,
            restrict_process: config.restrict_process.as_deref().map(Vec::as_slice),
            script_reloading: config.script_reloading.unwrap_or(true),
            pass_authorization: pass_authorization.unwrap_or(false),
            chunked_request: config.chunked_request.unwrap_or(false),
            map_head: config.map_head_to_get.unwrap_or_default(),
            error_override: config.error_override.unwrap_or(false),
            ignore_activity: config.ignore_activity.unwrap_or(false),
            sendfile: config.enable_sendfile.unwrap_or(false),
            trusted_proxy_headers: config
                .trusted_proxy_headers
                .as_deref()
                .map_or(&[], Vec::as_slice),
            trusted_proxies: config.trusted_proxies.as_deref(),
        }
    }

    /// When the script was last changed, in microseconds since the epoch, if httpd has looked at
    /// it: not at one that is a handler.
    pub(crate) fn script_mtime(&self, request: Request<'r>) -> Option<i64> {
        request
            .file_mtime()
            .filter(|_| self.handler_script.is_empty())
    }
}

/// What is said in the very place that made a request one for an application; it wins over what
/// directives say.
#[derive(Clone, Copy, Debug, Default)]
struct Options<'r> {
    process_group: Option<&'r CStr>,
    application_group: Option<&'r CStr>,
    callable: Option<&'r CStr>,
    pass_authorization: Option<bool>,
}

impl<'r> Options<'r> {
    fn of(request: Request<'r>, target: Target<'r>) -> Self {
        match target {
            Target::Script { aliased: false } => Self::default(),
            Target::Script { aliased: true } => Self::of_alias(request),
            Target::Handler(handler) => Self {
                process_group: handler.process_group.as_deref(),
                application_group: handler.application_group.as_deref(),
                callable: Some(HANDLE_REQUEST),
                pass_authorization: handler.pass_authorization,
            },
        }
    }

    fn of_alias(request: Request<'r>) -> Self {
        let note = |name| request.notes().get(name);
        Self {
            process_group: note(note::PROCESS_GROUP),
            application_group: note(note::APPLICATION_GROUP),
            callable: note(note::CALLABLE_OBJECT),
            pass_authorization: note(note::PASS_AUTHORIZATION).map(|pass| pass == c"1"),
        }
    }
}

/// Where a dispatch script sends a request, as far as it says so: names as it gave them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Destination<'r> {
    pub(crate) process_group: Option<&'r CStr>,
    pub(crate) application_group: Option<&'r CStr>,
    pub(crate) callable: Option<&'r CStr>,
}

impl<'r> RequestConfig<'r> {
    /// What applies to a request that a dispatch script sends elsewhere. Its names mean what they
    /// mean in directives.
    pub(crate) fn redirected(
        self,
        request: Request<'r>,
        script_name: &[u8],
        to: Destination<'r>,
    ) -> Self {
        let names = Names {
            request,
            script_name,
        };
        let group = |name| names.group(name);
        let callable = |name| names.callable(name);
        Self {
            process_group: to.process_group.map_or(self.process_group, group),
            application_group: to.application_group.map_or(self.application_group, group),
            callable: to.callable.map_or(self.callable, callable),
            ..self
        }
    }
}

/// The application group in which a hook script runs for a request; `written` as it was configured.
pub(super) fn hook_group<'r>(request: Request<'r>, written: &'r CStr) -> &'r CStr {
    let names = Names {
        request,
        script_name: b"",
    };
    let resolved = group::resolve_for_hook(written.to_bytes(), &names);
    names.keep(written, resolved)
}

/// What the names in a configuration may refer to.
struct Names<'r, 's> {
    request: Request<'r>,
    script_name: &'s [u8],
}

impl<'r> Names<'r, '_> {
    fn group(&self, written: &'r CStr) -> &'r CStr {
        self.keep(written, group::resolve(written.to_bytes(), self))
    }

    fn callable(&self, written: &'r CStr) -> &'r CStr {
        self.keep(written, group::callable(written.to_bytes(), self))
    }

    /// Keeps a name as long as the request, without a copy if it is as written.
    fn keep(&self, written: &'r CStr, resolved: Cow<'_, [u8]>) -> &'r CStr {
        if *resolved == *written.to_bytes() {
            written
        } else {
            self.request.pool().copy(&resolved)
        }
    }

    fn with_port<'a>(&self, host: &'a CStr) -> HostPort<'a> {
        HostPort {
            host: Cow::Borrowed(host.to_bytes()),
            port: self.request.server_port(),
        }
    }
}

impl Surroundings for Names<'_, '_> {
    fn server(&self) -> HostPort<'_> {
        self.with_port(self.request.server().hostname().unwrap_or_default())
    }

    fn requested_host(&self) -> HostPort<'_> {
        match self.request.hostname().filter(|host| !host.is_empty()) {
            Some(host) => self.with_port(host),
            None => self.server(),
        }
    }

    fn script_name(&self) -> Cow<'_, [u8]> {
        let is_case_sensitive = self
            .request
            .server()
            .config::<Wsgi>()
            .process()
            .case_sensitive;
        if is_case_sensitive {
            Cow::Borrowed(self.script_name)
        } else {
            Cow::Owned(self.script_name.to_ascii_lowercase())
        }
    }

    fn variable(&self, name: &[u8]) -> Option<Cow<'_, [u8]>> {
        let c_name = CString::new(name).ok()?;
        let of_request = self
            .request
            .notes()
            .get(&c_name)
            .or_else(|| self.request.subprocess_env().get(&c_name));
        of_request
            .map(CStr::to_bytes)
            .or_else(|| environment::variable(name))
            .map(Cow::Borrowed)
    }
}
