//! Behaviour over a real httpd: one binary, a module for each topic. `docs/testing.md` tells how
//! to run it, also against the reference.

#![expect(clippy::expect_used, reason = "a test reports by panicking")]

#[path = "integration/access.rs"]
mod access; // WSGIAccessScript
#[path = "integration/alias.rs"]
mod alias; // which URL is which script
#[path = "integration/alias_match.rs"]
mod alias_match; // which URL is which script, by regular expression
#[path = "integration/alias_neighbours.rs"]
mod alias_neighbours; // aliases beside what else httpd makes of a URL
#[path = "integration/apps.rs"]
mod apps; // small applications that several topics use
#[path = "integration/auth_basic.rs"]
mod auth_basic; // WSGIAuthUserScript, AuthType Basic
#[path = "integration/auth_digest.rs"]
mod auth_digest; // WSGIAuthUserScript, AuthType Digest
#[path = "integration/auth_group.rs"]
mod auth_group; // WSGIAuthGroupScript
#[path = "integration/authn_cache.rs"]
mod authn_cache; // WSGIAuthUserScript beside mod_authn_socache
#[path = "integration/body.rs"]
mod body; // request bodies on their way
#[path = "integration/callables.rs"]
mod callables; // which object of a script is called
#[path = "integration/callbacks.rs"]
mod callbacks; // who is called of events, and how often
#[path = "integration/close.rs"]
mod close; // close() of the iterable, in every ending
#[path = "integration/compatible.rs"]
mod compatible; // docs/compatibility.md names everything
#[path = "integration/configtest.rs"]
mod configtest; // what apachectl configtest refuses, warns of, and leaves alone
#[path = "integration/configtest_directories.rs"]
mod configtest_directories; // what it says of directories and limits of process groups
#[path = "integration/content_length.rs"]
mod content_length; // the Content-Length an application gives
#[path = "integration/daemon_activity.rs"]
mod daemon_activity; // requests that keep no process alive
#[path = "integration/daemon_beside.rs"]
mod daemon_beside; // other modules of httpd before process groups
#[path = "integration/daemon_changes.rs"]
mod daemon_changes; // changed scripts and workers that are asked to go
#[path = "integration/daemon_clients.rs"]
mod daemon_clients; // clients that are silent or leave
#[path = "integration/daemon_deaths.rs"]
mod daemon_deaths; // applications that misbehave
#[path = "integration/daemon_head.rs"]
mod daemon_head; // what becomes of the head of a response from a process group
#[path = "integration/daemon_hostile.rs"]
mod daemon_hostile; // workers that break the protocol
#[path = "integration/daemon_identity.rs"]
mod daemon_identity; // as whom, where and with which environment processes of a group run
#[path = "integration/daemon_leaving.rs"]
mod daemon_leaving; // processes that end while requests are in flight
#[path = "integration/daemon_life.rs"]
mod daemon_life; // why processes of a group are replaced
#[path = "integration/daemon_limits.rs"]
mod daemon_limits; // limits, priorities and sizes of processes of a group
#[path = "integration/daemon_loading.rs"]
mod daemon_loading; // signals to a process that is loading a script
#[path = "integration/daemon_many.rs"]
mod daemon_many; // hundreds of process groups
#[path = "integration/daemon_maximum.rs"]
mod daemon_maximum; // how many requests a process serves
#[path = "integration/daemon_once.rs"]
mod daemon_once; // a request that a worker took is run once
#[path = "integration/daemon_options.rs"]
mod daemon_options; // how many processes and threads a group has, and options that set nothing
#[path = "integration/daemon_owner.rs"]
mod daemon_owner; // whose scripts a process group runs
#[path = "integration/daemon_places.rs"]
mod daemon_places; // what children that die have reserved
#[path = "integration/daemon_program.rs"]
mod daemon_program; // which program a process of a group is
#[path = "integration/daemon_python.rs"]
mod daemon_python; // the Python of a process group
#[path = "integration/daemon_queue.rs"]
mod daemon_queue; // more requests than threads
#[path = "integration/daemon_refused.rs"]
mod daemon_refused; // what the system refuses to a process group
#[path = "integration/daemon_reload.rs"]
mod daemon_reload; // scripts that say themselves that they are out of date
#[path = "integration/daemon_reshape.rs"]
mod daemon_reshape; // restarts that change what a group is like
#[path = "integration/daemon_service.rs"]
mod daemon_service; // scripts of groups without threads
#[path = "integration/daemon_site.rs"]
mod daemon_site; // the stage of the tests of options of process groups
#[path = "integration/daemon_slow.rs"]
mod daemon_slow; // slow clients hold no thread
#[path = "integration/daemon_slow_bodies.rs"]
mod daemon_slow_bodies; // clients that send a byte a second
#[path = "integration/daemon_sockets.rs"]
mod daemon_sockets; // the sockets of process groups
#[path = "integration/daemon_stop.rs"]
mod daemon_stop; // the end of httpd
#[path = "integration/daemon_stress.rs"]
mod daemon_stress; // restarts, changed scripts and deaths under load
#[path = "integration/daemon_supervisor.rs"]
mod daemon_supervisor; // groups that come and go, a supervisor that dies
#[path = "integration/daemon_syslog.rs"]
mod daemon_syslog; // where lines go if httpd writes to syslog
#[path = "integration/daemon_terminal.rs"]
mod daemon_terminal; // in the foreground of a terminal
#[path = "integration/daemon_timeouts.rs"]
mod daemon_timeouts; // requests that take too long
#[path = "integration/daemon_timers.rs"]
mod daemon_timers; // when timers of a group fire
#[path = "integration/daemon_whole.rs"]
mod daemon_whole; // how soon a death is forgotten
#[path = "integration/daemon_window.rs"]
mod daemon_window; // large responses, which go through shared memory
#[path = "integration/directives.rs"]
mod directives; // where directives may stand
#[path = "integration/dispatch.rs"]
mod dispatch; // WSGIDispatchScript
#[path = "integration/documented.rs"]
mod documented; // docs/directives.md says what the module knows
#[path = "integration/drop_in.rs"]
mod drop_in; // mod_wsgi's own package with this module in it
#[path = "integration/drop_in_access.rs"]
mod drop_in_access; // the same, for access control and services
#[path = "integration/drop_in_clients.rs"]
mod drop_in_clients; // what the options of its command-line tool mean for clients
#[path = "integration/drop_in_debugging.rs"]
mod drop_in_debugging; // what its options for debugging do, at a terminal
#[path = "integration/drop_in_effects.rs"]
mod drop_in_effects; // what its options do, seen from outside
#[path = "integration/drop_in_options.rs"]
mod drop_in_options; // the options of its command-line tool
#[path = "integration/drop_in_sizes.rs"]
mod drop_in_sizes; // those for the sizes of buffers, queues and sets of processes
#[path = "integration/environ.rs"]
mod environ; // the CGI variables of the environ
#[path = "integration/errors_log.rs"]
mod errors_log; // what an application prints
#[path = "integration/event_rows.rs"]
mod event_rows; // which events tell of a request, in each way that it can go
#[path = "integration/events.rs"]
mod events; // what mod_wsgi.subscribe_events tells
#[path = "integration/exc_info.rs"]
mod exc_info; // start_response with exc_info
#[path = "integration/exceptions.rs"]
mod exceptions; // applications that fail
#[path = "integration/expect.rs"]
mod expect; // Expect: 100-continue
#[path = "integration/express.rs"]
mod express; // that package, and the servers that it starts
#[path = "integration/file_wrapper.rs"]
mod file_wrapper; // wsgi.file_wrapper
#[path = "integration/file_wrapper_class.rs"]
mod file_wrapper_class; // the class that it is
#[path = "integration/file_wrapper_large.rs"]
mod file_wrapper_large; // it and files of gigabytes
#[path = "integration/frameworks.rs"]
mod frameworks; // Flask and Django
#[path = "integration/free_threading.rs"]
mod free_threading; // processes without a GIL
#[path = "integration/free_threading_sharing.rs"]
mod free_threading_sharing; // what threads share there
#[path = "integration/group_forms.rs"]
mod group_forms; // every form of a group's name, in every directive that takes one
#[path = "integration/groups.rs"]
mod groups; // which process group and application group serve a request
#[path = "integration/handler.rs"]
mod handler; // what is checked before an application runs
#[path = "integration/handler_script.rs"]
mod handler_script; // handlers that scripts implement
#[path = "integration/head.rs"]
mod head; // HEAD, and the statuses without a body
#[path = "integration/headers.rs"]
mod headers; // request headers in the environ
#[path = "integration/hook_rows.rs"]
mod hook_rows; // what the scripts that decide about a request have in common
#[path = "integration/hook_site.rs"]
mod hook_site; // the stage of the tests of hook scripts
#[path = "integration/http2.rs"]
mod http2; // HTTP/2
#[path = "integration/identity.rs"]
mod identity; // how httpd and its administrators see the module
#[path = "integration/import_script.rs"]
mod import_script; // scripts that are loaded when processes start
#[path = "integration/input.rs"]
mod input; // wsgi.input
#[path = "integration/input_filters.rs"]
mod input_filters; // it behind a filter that decompresses
#[path = "integration/input_threads.rs"]
mod input_threads; // it on threads of the application
#[path = "integration/interpreter_options.rs"]
mod interpreter_options; // what may be said of some interpreters
#[path = "integration/interpreters.rs"]
mod interpreters; // interpreters, and the threads that enter them
#[path = "integration/isolated.rs"]
mod isolated; // what interpreters with a GIL of their own cannot do, and which those are
#[path = "integration/isolated_api.rs"]
mod isolated_api; // the module mod_wsgi in interpreters with a GIL of their own
#[path = "integration/iteration.rs"]
mod iteration; // the iterable an application returns
#[path = "integration/keepalive.rs"]
mod keepalive; // connections that outlive a request
#[path = "integration/leaks.rs"]
mod leaks; // what a request leaves behind
#[path = "integration/library.rs"]
mod library; // modules of an application that are called as ones of Python's library
#[path = "integration/lifecycle.rs"]
mod lifecycle; // preloading, restarts, stopping, crashes
#[path = "integration/log_handler.rs"]
mod log_handler; // records of logging in the error log
#[path = "integration/log_levels.rs"]
mod log_levels; // LogLevel
#[path = "integration/log_lines.rs"]
mod log_lines; // the lines that people look for in the error log
#[path = "integration/logio.rs"]
mod logio; // what mod_logio counts
#[path = "integration/main_thread.rs"]
mod main_thread; // scripts that are loaded on Python's main thread
#[path = "integration/mapping.rs"]
mod mapping; // what the tests of aliases ask and compare
#[path = "integration/merges.rs"]
mod merges; // what directives say in places inside each other
#[path = "integration/metrics.rs"]
mod metrics; // what requests come to, in numbers
#[path = "integration/nested.rs"]
mod nested; // requests inside requests
#[path = "integration/output_filters.rs"]
mod output_filters; // a response that a filter does not take
#[path = "integration/own_gil.rs"]
mod own_gil; // interpreters with a GIL of their own
#[path = "integration/process_groups.rs"]
mod process_groups; // what configtest finds out about process groups
#[path = "integration/project.rs"]
mod project; // which crate may depend on which, and that differences are documented
#[path = "integration/proxies.rs"]
mod proxies; // what a trusted proxy may say
#[path = "integration/proxy_headers.rs"]
mod proxy_headers; // each header a proxy may be trusted with, and each way to name a proxy
#[path = "integration/python_api.rs"]
mod python_api; // the names of the module mod_wsgi
#[path = "integration/python_arguments.rs"]
mod python_arguments; // what functions and objects of the modules take, give and refuse
#[path = "integration/python_home.rs"]
mod python_home; // which Python runs
#[path = "integration/python_settings.rs"]
mod python_settings; // Python's path, flags, streams and signals
#[path = "integration/reachable.rs"]
mod reachable; // which process groups a request may use
#[path = "integration/request_rec.rs"]
mod request_rec; // WSGIPassApacheRequest
#[path = "integration/response_head.rs"]
mod response_head; // the status and headers a client gets
#[path = "integration/response_rows.rs"]
mod response_rows; // what becomes of each status and of each kind of header
#[path = "integration/rewriting.rs"]
mod rewriting; // URLs that httpd makes into others before an application gets them
#[path = "integration/script_alias_manual.rs"]
mod script_alias_manual; // the manual page of WSGIScriptAlias, sentence by sentence
#[path = "integration/script_handlers.rs"]
mod script_handlers; // the ways other than an alias to say that a file is a script
#[path = "integration/script_modules.rs"]
mod script_modules; // how script modules are loaded, kept, and loaded anew
#[path = "integration/script_paths.rs"]
mod script_paths; // what httpd finds on the way to a script
#[path = "integration/scripts.rs"]
mod scripts; // the commands of apxs/
#[path = "integration/second_python.rs"]
mod second_python; // a Python that is not the default one
#[path = "integration/server_status.rs"]
mod server_status; // the page of mod_status
#[path = "integration/set_env.rs"]
mod set_env; // variables that the configuration sets
#[path = "integration/several_pythons.rs"]
mod several_pythons; // process groups of several Pythons, beside embedded mode
#[path = "integration/signals.rs"]
mod signals; // signals for applications
#[path = "integration/splitting.rs"]
mod splitting; // response splitting, byte by byte
#[path = "integration/start_response.rs"]
mod start_response; // what start_response refuses
#[path = "integration/streams.rs"]
mod streams; // wsgi.errors, sys.stdout and sys.stderr as objects
#[path = "integration/telemetry.rs"]
mod telemetry; // the directives of telemetry, and slow requests
#[path = "integration/tls.rs"]
mod tls; // TLS
#[path = "integration/truncated.rs"]
mod truncated; // a response that failed after it began
#[path = "integration/validate.rs"]
mod validate; // applications inside wsgiref.validate
#[path = "integration/variables.rs"]
mod variables; // the variables of a request, for the rest of httpd
#[path = "integration/words.rs"]
mod words; // the words of directives, good and bad
#[path = "integration/write.rs"]
mod write; // the write() callable
#[path = "integration/wsgi_keys.rs"]
mod wsgi_keys; // the keys that the gateway adds to the environ
#[path = "integration/wsgi_site.rs"]
mod wsgi_site; // the stage of the WSGI tests
