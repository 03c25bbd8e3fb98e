//! Signals that an administrator sends to a process of a group, for its applications.

use testkit::{Httpd, Mark, wait_until};

use crate::wsgi_site::Mode;

/// Notes signals in `data/`, by the name of the callback and the interpreter, and answers with the
/// process.
const SIGNALLED: &str = r#"
import mod_wsgi, os, signal, threading

group = mod_wsgi.application_group or 'main'
data = os.path.join(os.path.dirname(os.path.dirname(__file__)), 'data')

def noting(kind):
    def note(name, **payload):
        if name == 'process_signal':
            main = threading.current_thread() is threading.main_thread()
            with open(os.path.join(data, f'{kind}-{group}'), 'a') as file:
                print(name, sorted(payload.items()), main, file=file)
    return note

mod_wsgi.subscribe_signals(noting('signal'))
mod_wsgi.subscribe_events(noting('event'))

def application(environ, start_response):
    if environ['QUERY_STRING']:
        os.kill(os.getpid(), getattr(signal, environ['QUERY_STRING']))
    start_response('200 OK', [])
    return [str(os.getpid()).encode()]
"#;

fn noted(server: &Httpd, name: &str) -> String {
    let path = server.site().path(&format!("data/{name}"));
    std::fs::read_to_string(path).unwrap_or_default()
}

#[test]
fn hup_and_usr2_are_events_in_every_interpreter() {
    let server = Mode::Daemon
        .site()
        .script("main.wsgi", SIGNALLED)
        .script("sub.wsgi", SIGNALLED)
        .config(
            "<Files main.wsgi>
                 WSGIApplicationGroup %{GLOBAL}
             </Files>
             <Files sub.wsgi>
                 WSGIApplicationGroup sub
             </Files>",
        )
        .start();
    let pid = server.get("/main.wsgi").text();
    assert_eq!(
        server.get("/sub.wsgi").text(),
        pid,
        "one process serves both"
    );
    let mut expected = String::new();
    for (signal, line) in [
        ("SIGHUP", "[('signame', 'SIGHUP'), ('signum', 1)]"),
        ("SIGUSR2", "[('signame', 'SIGUSR2'), ('signum', 12)]"),
    ] {
        server.get(&format!("/main.wsgi?{signal}"));
        expected += &format!("process_signal {line} False\n");
        for name in ["signal-main", "event-main", "signal-sub", "event-sub"] {
            wait_until(&format!("{signal} in {name}"), || {
                (noted(&server, name) == expected).then_some(())
            });
        }
    }
    assert_eq!(server.get("/main.wsgi").text(), pid, "the process lives on");
}

#[test]
fn subscribing_in_embedded_mode_says_why_it_is_of_no_use() {
    let server = Mode::Embedded
        .site()
        .script("signalled.wsgi", SIGNALLED)
        .start();
    assert_eq!(server.get("/signalled.wsgi").status, 200);
    // The stack, which shows where in the application that was.
    server
        .log()
        .wait_for(Mark::START, "mod_wsgi.subscribe_signals(noting('signal'))");
}
