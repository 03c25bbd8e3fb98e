//! Signals that an administrator sends to a process of a group, for its applications.

use testkit::{Httpd, Mark, is_reference, ours, wait_until};

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

/// The lines of a note. On the reference a thread that was in one interpreter may be there again
/// when it should be in the main one (D06), and so note the same twice.
pub(crate) fn noted(server: &Httpd, name: &str) -> Vec<String> {
    let path = server.site().path(&format!("data/{name}"));
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let mut lines: Vec<_> = text.lines().map(str::to_owned).collect();
    if is_reference() {
        lines.dedup();
    }
    lines
}

#[test]
fn hup_and_usr2_are_events_in_every_interpreter() {
    let server = Mode::Daemon
        .site()
        .script("main.wsgi", SIGNALLED)
        .script("one.wsgi", SIGNALLED)
        .script("two.wsgi", SIGNALLED)
        .config(
            "<Files main.wsgi>
                 WSGIApplicationGroup %{GLOBAL}
             </Files>
             <Files one.wsgi>
                 WSGIApplicationGroup one
             </Files>
             <Files two.wsgi>
                 WSGIApplicationGroup two
             </Files>",
        )
        .start();
    let mut groups = vec!["one", "two"];
    // On the reference the main interpreter may be passed over.
    if ours("D06") {
        groups.push("main");
    }
    let pids: Vec<_> = groups
        .iter()
        .map(|group| server.get(&format!("/{group}.wsgi")).text())
        .collect();
    assert!(pids.iter().all(|pid| *pid == pids[0]), "{pids:?}");
    let mut expected = Vec::new();
    for (signal, line) in [
        ("SIGHUP", "[('signame', 'SIGHUP'), ('signum', 1)]"),
        ("SIGUSR2", "[('signame', 'SIGUSR2'), ('signum', 12)]"),
    ] {
        server.get(&format!("/one.wsgi?{signal}"));
        expected.push(format!("process_signal {line} False"));
        for group in &groups {
            for kind in ["signal", "event"] {
                wait_until(&format!("{signal} as {kind} in {group}"), || {
                    (noted(&server, &format!("{kind}-{group}")) == expected).then_some(())
                });
            }
        }
    }
    assert_eq!(
        server.get("/one.wsgi").text(),
        pids[0],
        "the process lives on"
    );
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
