//! The module: what httpd sees of mod_wsgi.
//!
//! This page is the map. httpd finds [`wsgi_module`], the record, and in it everything else: the
//! directives it shall know ([`DIRECTIVES`]), the configuration they make ([`config`]), and the
//! hooks it shall call ([`Wsgi::register_hooks`]), which stand here in the order a server, a child
//! and a request meet them:
//!
//! 1. [`removed::pre_config`]: a configuration is about to be read. Directives that are gone are
//!    told.
//! 2. [`lifecycle::test_config`], [`lifecycle::post_config`]: it has been read, to be tested or to
//!    be run with. Mistakes are looked for. When all modules are content,
//!    [`supervise::post_config`] brings the process groups into being.
//! 3. [`lifecycle::child_init`]: a child starts. What is the parent's it forgets, and scripts that
//!    are to be preloaded are.
//! 4. [`alias::translate_name`]: a request has come; is its URL one of a `WSGIScriptAlias`?
//! 5. [`hook::access::check_access`], and the providers of [`hook::user`] and [`hook::group`]: may
//!    it enter?
//! 6. [`handler::handler`]: it was mapped to a script, so it is to be answered. It is checked, its
//!    environ is built ([`environ`], [`trusted_proxy`]), and a script may say where it goes
//!    ([`hook::dispatch`]): to a worker of a process group ([`remote`]), or to the engine in this
//!    very process ([`embedded`]). The response goes back through httpd. One that took long is told
//!    ([`slow`]).
//!
//! Every few seconds [`supervise::monitor`] looks, in the parent, whether there is a supervisor,
//! and [`scoreboard`] answers workers that want to know what httpd's processes are doing.
//!
//! Apart from these, [`status::page`] adds to the page of mod_status what is known of process
//! groups.
//!
//! There is no Python here. All of it is in the engine, a library of its own that is loaded only in
//! children that need it ([`engines`] finds it).
#![expect(
    rustdoc::private_intra_doc_links,
    reason = "the library has one export and no API: its documentation is for those who work on it"
)]

mod alias;
mod config;
mod embedded;
mod engines;
mod environ;
mod handler;
mod hook;
mod lifecycle;
mod log;
mod remote;
mod response;
mod scoreboard;
mod slow;
mod status;
mod supervise;
mod trusted_proxy;

use config::{accepted, directory, interpreters, removed, server};
use httpd::Allowed::{AuthConfig, FileInfo, NotHtaccess};
use httpd::Args::{Line, One};
use httpd::{Directive, Directives, Hooks, Module, Order, Record};

/// This module.
#[derive(Debug)]
pub(crate) struct Wsgi;

/// The record that `LoadModule wsgi_module` names.
#[unsafe(no_mangle)]
pub(crate) static wsgi_module: Record<Wsgi> = Record::new(c"mod_wsgi.c", &DIRECTIVES);

/// Every directive: its name, where it may stand, what it takes, who reads it, what it is for.
#[rustfmt::skip]
static DIRECTIVES: Directives<Wsgi, 49> = Directives::new([
    // Which URLs are whose.
    Directive::server(c"WSGIScriptAlias", Line, server::script_alias,
        c"a URL path, and the script or directory of scripts it maps to, then options"),
    Directive::server(c"WSGIScriptAliasMatch", Line, server::script_alias_match,
        c"a regular expression for URL paths, and the script they map to, then options"),
    Directive::directory(c"WSGIHandlerScript", NotHtaccess, Line, directory::handler_script,
        c"the name of a handler, and the script that implements it, then options"),
    // Which processes there are, and what runs in them.
    Directive::server(c"WSGIDaemonProcess", Line, server::daemon_process,
        c"the name of a process group, then options that say how its processes run"),
    Directive::server(c"WSGIImportScript", Line, server::import_script,
        c"a script to load when processes start, with process-group= and application-group="),
    Directive::directory(c"WSGIProcessGroup", NotHtaccess, One, directory::process_group,
        c"a name, or %{GLOBAL}, %{RESOURCE}, %{SERVER}, %{HOST} or %{ENV:name}"),
    Directive::directory(c"WSGIRestrictProcess", NotHtaccess, Line, directory::restrict_process,
        c"the names of the process groups that may be used"),
    Directive::directory(c"WSGIApplicationGroup", NotHtaccess, One, directory::application_group,
        c"a name, or %{GLOBAL}, %{RESOURCE}, %{SERVER}, %{HOST} or %{ENV:name}"),
    Directive::directory(c"WSGIDispatchScript", NotHtaccess, Line, directory::dispatch_script,
        c"a script that says where a request goes, then perhaps application-group="),
    // Who may enter.
    Directive::directory(c"WSGIAccessScript", AuthConfig, Line, directory::access_script,
        c"a script that says who may enter by host, then perhaps application-group="),
    Directive::directory(c"WSGIAuthUserScript", AuthConfig, Line, directory::auth_user_script,
        c"a script that knows users' passwords, then perhaps application-group="),
    Directive::directory(c"WSGIAuthGroupScript", AuthConfig, Line, directory::auth_group_script,
        c"a script that knows users' groups, then perhaps application-group="),
    Directive::directory(c"WSGIGroupAuthoritative", AuthConfig, One,
        accepted::group_authoritative,
        c"On or Off: accepted, without effect"),
    // What applies to a request.
    Directive::directory(c"WSGICallableObject", FileInfo, One, directory::callable_object,
        c"the name of the application in the script"),
    Directive::directory(c"WSGIScriptReloading", FileInfo, One, directory::script_reloading,
        c"On or Off: whether a changed script is loaded anew"),
    Directive::directory(c"WSGIPassAuthorization", FileInfo, One, directory::pass_authorization,
        c"On or Off: whether the application sees the Authorization header"),
    Directive::directory(c"WSGIChunkedRequest", FileInfo, One, directory::chunked_request,
        c"On or Off: whether request bodies may be chunked"),
    Directive::directory(c"WSGIMapHEADToGET", FileInfo, One, directory::map_head_to_get,
        c"On, Off or Auto: whether the application sees GET for HEAD"),
    Directive::directory(c"WSGIErrorOverride", FileInfo, One, directory::error_override,
        c"On or Off: whether httpd's error responses replace those of a process group"),
    Directive::directory(c"WSGIIgnoreActivity", FileInfo, One, directory::ignore_activity,
        c"On or Off: whether requests do not count for inactivity-timeout"),
    Directive::directory(c"WSGIEnableSendfile", FileInfo, One, directory::enable_sendfile,
        c"On or Off: whether the kernel may send files of wsgi.file_wrapper"),
    Directive::directory(c"WSGIPassApacheRequest", NotHtaccess, One,
        directory::pass_apache_request,
        c"On or Off: whether applications in httpd's processes get the request_rec"),
    Directive::directory(c"WSGITrustedProxies", FileInfo, Line, directory::trusted_proxies,
        c"the addresses and networks of the proxies whose headers are believed"),
    Directive::directory(c"WSGITrustedProxyHeaders", FileInfo, Line,
        directory::trusted_proxy_headers,
        c"the headers that proxies are believed"),
    // How Python runs.
    Directive::global(c"WSGIPythonHome", One, server::python_home,
        c"the Python installation or virtual environment to use"),
    Directive::global(c"WSGIPythonPath", One, interpreters::python_path,
        c"directories for sys.path, separated by colons"),
    Directive::global(c"WSGIPythonEggs", One, server::python_eggs,
        c"the directory for PYTHON_EGG_CACHE"),
    Directive::global(c"WSGIPythonOptimize", One, server::python_optimize,
        c"0, 1 or 2: the optimisation level of Python"),
    Directive::global(c"WSGIPythonWarnings", One, server::python_warnings,
        c"a warning filter of Python, as its option -W takes it"),
    Directive::global(c"WSGIPythonHashSeed", One, server::python_hash_seed,
        c"random, or a number from 0 to 4294967295"),
    Directive::global(c"WSGIDontWriteBytecode", One, server::dont_write_bytecode,
        c"On or Off: whether Python writes no .pyc files"),
    Directive::global(c"WSGIRestrictStdin", One, interpreters::restrict_stdin,
        c"On or Off: whether applications may not use sys.stdin"),
    Directive::global(c"WSGIRestrictStdout", One, interpreters::restrict_stdout,
        c"On or Off: whether applications may not use sys.stdout"),
    Directive::global(c"WSGIRestrictSignal", One, interpreters::restrict_signal,
        c"On or Off: whether applications may not handle signals"),
    Directive::global(c"WSGISwitchInterval", One, interpreters::switch_interval,
        c"seconds: how often Python threads take turns"),
    Directive::global(c"WSGIPerInterpreterGIL", One, interpreters::per_interpreter_gil,
        c"On or Off: whether sub-interpreters have a GIL of their own"),
    Directive::global(c"WSGIFreeThreading", One, interpreters::free_threading,
        c"On or Off: whether a free-threaded Python runs without a GIL"),
    Directive::section(c"<WSGIInterpreterOptions", &interpreters::SECTION,
        c"process-group= and application-group=: directives for some interpreters"),
    Directive::global(c"WSGIDestroyInterpreter", One, server::destroy_interpreter,
        c"On or Off: whether interpreters are ended with their process"),
    Directive::global(c"WSGICaseSensitivity", One, server::case_sensitive,
        c"On or Off: whether names of files differ in case"),
    // Where applications run, and how they are reached.
    Directive::global(c"WSGIRestrictEmbedded", One, server::restrict_embedded,
        c"On or Off: whether no application runs in the processes of httpd"),
    Directive::global(c"WSGISocketPrefix", One, server::socket_prefix,
        c"what the paths of the sockets of process groups begin with"),
    Directive::global(c"WSGISocketRotation", One, accepted::socket_rotation,
        c"On or Off: accepted, without effect"),
    Directive::global(c"WSGIAcceptMutex", One, accepted::accept_mutex,
        c"the kind of a lock: accepted, without effect"),
    // What can be learnt of them.
    Directive::global(c"WSGIServerMetrics", One, server::server_metrics,
        c"On or Off: whether mod_wsgi.server_metrics() tells anything"),
    Directive::global(c"WSGISlowRequests", One, server::slow_requests,
        c"seconds: requests that take longer are logged"),
    Directive::global(c"WSGITelemetryService", Line, accepted::telemetry_service,
        c"unix:/path, then perhaps interval=seconds: accepted, without effect"),
    Directive::global(c"WSGITelemetryOptions", Line, accepted::telemetry_options,
        c"CaptureUserAgent, None or All: accepted, without effect"),
    Directive::global(c"WSGIVerboseDebugging", One, accepted::verbose_debugging,
        c"On or Off: accepted, without effect"),
]);

// SAFETY: `wsgi_module` is the only symbol this library exports, so it is what httpd loads, and it
// is made for this module.
unsafe impl Module for Wsgi {
    type ServerConfig = config::ServerConfig;
    type DirConfig = config::DirConfig;

    fn record() -> &'static Record<Self> {
        &wsgi_module
    }

    fn register_hooks(hooks: &Hooks<'_, Self>) {
        httpd::panic::install::<Self>("WSGI1000: this is a bug in mod_wsgi: ");

        hooks.pre_config(removed::pre_config, Order::MIDDLE);
        hooks.test_config(lifecycle::test_config, Order::MIDDLE);
        hooks.post_config(lifecycle::post_config, Order::MIDDLE);
        // All modules have said who they are, and none can keep httpd from running any more.
        hooks.post_config(supervise::post_config, Order::REALLY_LAST);
        hooks.child_init(lifecycle::child_init, Order::MIDDLE);
        hooks.monitor(supervise::monitor, Order::MIDDLE);
        hooks.child_ended(remote::child_ended, Order::MIDDLE);
        // An `Alias` wins over ours, and ours over the guesses of the other two.
        let after_alias = Order::MIDDLE
            .after(&[c"mod_alias.c"])
            .before(&[c"mod_userdir.c", c"mod_vhost_alias.c"]);
        hooks.translate_name(alias::translate_name, after_alias);
        // It may look at what mod_ssl has found out, and is asked before addresses are.
        let after_ssl = Order::MIDDLE
            .after(&[c"mod_ssl.c"])
            .before(&[c"mod_authz_host.c"]);
        hooks.check_access(hook::access::check_access, after_ssl);
        hooks.authn_provider(
            hook::user::PROVIDER,
            hook::user::check_password,
            hook::user::realm_hash,
        );
        hooks.authz_provider(hook::group::PROVIDER, hook::group::check_authorization);
        hooks.handler(handler::handler, Order::MIDDLE);
        hooks.server_status(status::page, Order::MIDDLE);
    }
}
