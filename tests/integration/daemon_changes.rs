//! A script that changed, and a worker that is asked to go: nobody waits, nobody gets old code.

use testkit::{Httpd, Site, ours, wait_until};

use crate::apps::answering;

const GROUP: &str = "WSGIDaemonProcess one threads=3 graceful-timeout=30
     WSGIScriptAlias /a ${WSGI}/a.wsgi process-group=one application-group=%{GLOBAL}
     WSGIScriptAlias /who ${WSGI}/who.wsgi process-group=one application-group=%{GLOBAL}
     WSGIScriptAlias /wait ${WSGI}/wait.wsgi process-group=one application-group=%{GLOBAL}";

const WHO: &str = r#"
import os, signal

def application(environ, start_response):
    if environ['QUERY_STRING'] == 'leave':
        os.kill(os.getpid(), signal.SIGUSR1)
    start_response('200 OK', [])
    return [str(os.getpid()).encode()]
"#;

/// Answers when a file is there.
const WAITING: &str = r#"
import os, time

def application(environ, start_response):
    while not os.path.exists(os.environ['GATE']):
        time.sleep(0.01)
    start_response('200 OK', [])
    return [b'waited']
"#;

fn one() -> Httpd {
    let site = Site::new()
        .script("a.wsgi", &answering("old"))
        .script("who.wsgi", WHO)
        .script("wait.wsgi", WAITING);
    let gate = site.text_path("data/gate");
    site.env("GATE", &gate).config(GROUP).start()
}

fn worker(server: &Httpd) -> i32 {
    server.get("/who").text().parse().expect("a process id")
}

#[test]
fn a_script_that_was_preloaded_and_then_changed_is_new_at_its_first_request() {
    let server = one();
    // All scripts are preloaded: once one answers, the others are loaded.
    worker(&server);
    server.site().write("wsgi/a.wsgi", answering("new"));
    assert_eq!(server.get("/a").text(), "new");
}

#[test]
fn a_worker_that_drains_keeps_nobody_waiting() {
    if !ours("D61") {
        return;
    }
    let server = one();
    let old = worker(&server);
    let mut waiting = server.connect();
    waiting.send(b"GET /wait HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    server.get("/who?leave");
    let new = wait_until("another worker to answer", || {
        Some(worker(&server)).filter(|new| *new != old)
    });
    assert_ne!(new, old);
    // Until now nothing has let the request end that the old one still serves.
    server.site().write("data/gate", "open");
    assert_eq!(waiting.read_response().text(), "waited");
}
