//! The modules `mod_wsgi` and `apache`, and what is changed in others.

use crate::memory::{App, server_log};
use crate::telling;

/// The value of an expression in a script of a group.
fn told(group: &str, imports: &str, expression: &str) -> String {
    let app = App::new(&format!("import {imports}\n{}", telling(expression)));
    app.ask().group(group).answer().text()
}

#[test]
fn mod_wsgi_tells_where_it_runs() {
    let facts = "[mod_wsgi.version, mod_wsgi.process_group, mod_wsgi.application_group, \
                 mod_wsgi.maximum_processes, mod_wsgi.threads_per_process]";
    assert_eq!(told("", "mod_wsgi", facts), "[(6, 1, 1), '', '', 1, 16]");
    assert_eq!(
        told("facts", "mod_wsgi", facts),
        "[(6, 1, 1), '', 'facts', 1, 16]"
    );
}

#[test]
fn the_package_of_the_same_name_is_found_but_not_run() {
    assert_eq!(
        told("package", "mod_wsgi.extra", "mod_wsgi.extra.answer"),
        "42"
    );
    assert_eq!(told("package", "mod_wsgi", "mod_wsgi.version"), "(6, 1, 1)");
}

#[test]
fn apache_tells_which_server_it_is() {
    let facts = "[apache.version, apache.description, apache.build_date, apache.mpm_name, \
                 apache.maximum_processes, apache.threads_per_process]";
    assert_eq!(
        told("", "apache", facts),
        "[(2, 4, 62), 'Memory/1.0', 'today', 'event', 1, 16]"
    );
}

#[test]
fn signal_handlers_are_ignored() {
    let app = App::new(&format!(
        "import signal\ndef handler(*arguments): pass\n\
         result = signal.signal(signal.SIGUSR1, handler)\n{}",
        telling("(result is handler, signal.getsignal(signal.SIGUSR1) is handler)")
    ));
    assert_eq!(app.ask().group("signals").answer().text(), "(True, False)");
    let log = server_log().join("\n");
    assert!(
        log.contains("Ignoring Python signal handler registration for signal 10"),
        "{log}"
    );
}

/// Each module costs every interpreter of every process, whether the application uses it or not.
#[test]
fn a_new_interpreter_has_imported_little() {
    // Others may be what the site-packages of this Python import.
    let heavy = "['logging', 'traceback', 'signal']";
    let imported = format!("[name for name in {heavy} if name in sys.modules]");
    assert_eq!(told("little", "sys", &imported), "[]");
}

#[test]
fn the_log_handler_is_made_once_when_it_is_asked_for() {
    let facts = "('LogHandler' in dir(mod_wsgi), 'logging' in sys.modules, \
                 mod_wsgi.LogHandler is mod_wsgi.LogHandler, mod_wsgi.LogHandler.__module__, \
                 issubclass(mod_wsgi.LogHandler, sys.modules['logging'].Handler))";
    let told = told("handler", "mod_wsgi, sys", facts);
    assert_eq!(told, "(True, False, True, 'mod_wsgi', True)");
}

#[test]
fn other_names_are_no_attributes() {
    let app = App::new("import mod_wsgi\nmod_wsgi.log_handler\n");
    let answer = app.ask().group("attributes").answer();
    answer.assert_refused("AttributeError: module 'mod_wsgi' has no attribute 'log_handler'");
}

#[test]
fn where_the_module_traceback_is_of_no_use_the_log_names_the_places() {
    let app = App::new(
        "import sys
sys.modules['traceback'] = None
def application(environ, start_response):
    raise ValueError('no traceback')
",
    );
    let answer = app.ask().group("places").answer();
    answer.assert_refused("ValueError: no traceback");
    let place = format!(
        "  File \"{}\", line 4, in application",
        app.path().display()
    );
    assert!(answer.log_text().contains(&place), "{}", answer.log_text());
}

#[test]
fn a_restricted_stdin_says_so() {
    let app = App::new("import sys\nsys.stdin.read()\n");
    let answer = app.ask().group("stdin").answer();
    answer.assert_refused("OSError: sys.stdin access is restricted");
}

#[test]
fn subscriptions_return_the_callback() {
    let told = told(
        "subscribing",
        "mod_wsgi",
        "mod_wsgi.subscribe_shutdown(len) is len and mod_wsgi.shutdown_callbacks == [len]",
    );
    assert_eq!(told, "True");
}

#[test]
fn request_timeout_is_an_exception_that_except_exception_does_not_catch() {
    let facts = "[mod_wsgi.RequestTimeout.__mro__[1:], mod_wsgi.RequestTimeout.__module__]";
    let told = told("", "mod_wsgi", facts);
    assert_eq!(
        told,
        "[(<class 'BaseException'>, <class 'object'>), 'mod_wsgi']"
    );
}
