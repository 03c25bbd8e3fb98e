//! How many processes and threads a group has, and the options that set nothing here.

use testkit::{Site, is_reference};

use crate::apps::{ENVIRON, environ};
use crate::daemon_site::{serving, told};

#[test]
fn each_process_is_another() {
    let server = Site::new()
        .script("a.wsgi", WAITS)
        .config(
            "WSGIDaemonProcess own processes=3 threads=2
             WSGIScriptAlias / ${WSGI}/a.wsgi process-group=own application-group=%{GLOBAL}",
        )
        .start();
    // Six requests at a time, that end when all of them run: in three processes, two in each.
    let ask = || {
        let mut client = server.connect();
        client.send(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        client
    };
    let mut clients: Vec<_> = (0..6).map(|_| ask()).collect();
    let mut pids: Vec<_> = clients
        .iter_mut()
        .map(|it| it.read_response().text())
        .collect();
    pids.sort();
    assert!(
        pids.iter().all(|pid| pid.parse::<u32>().is_ok()),
        "{pids:?}"
    );
    pids.dedup();
    assert_eq!(pids.len(), 3);
}

/// Answers with its process, once six requests wait for that.
const WAITS: &str = r#"
import os, tempfile, threading, time
from pathlib import Path

data = Path(__file__).resolve().parents[1] / 'data'

def application(environ, start_response):
    (data / f'{os.getpid()}-{threading.get_ident()}').touch()
    deadline = time.time() + 20
    while len(list(data.iterdir())) < 6 and time.time() < deadline:
        time.sleep(0.01)
    start_response('200 OK', [('Content-Type', 'text/plain')])
    return [str(os.getpid()).encode() if time.time() < deadline else b'too few']
"#;

/// They are numbered from one: the main thread, which serves nobody, is the other one.
#[test]
fn threads_have_numbers() {
    const NUMBERED: &str = r#"
import threading

barrier = threading.Barrier(3, timeout=20)

def application(environ, start_response):
    barrier.wait()
    start_response('200 OK', [])
    return [str(environ['mod_wsgi.thread_id']).encode()]
"#;
    let server = serving(NUMBERED, "threads=3");
    for _ in 0..5 {
        let mut clients = [(); 3].map(|()| {
            let mut client = server.connect();
            client.send(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
            client
        });
        let mut numbers = clients
            .each_mut()
            .map(|client| client.read_response().text());
        numbers.sort();
        assert_eq!(numbers, ["1", "2", "3"]);
    }
}

#[test]
fn processes_and_threads() {
    let shape = |options| {
        let own = told(options);
        [own.value("multiprocess"), own.value("multithread")].map(str::to_owned)
    };
    assert_eq!(shape(""), ["False", "True"]);
    assert_eq!(shape("processes=1 threads=1"), ["True", "False"]);
    assert_eq!(shape("processes=2 threads=2"), ["True", "True"]);
}

/// A process with one thread that serves one request runs its application once.
#[test]
fn a_process_for_each_request_says_so() {
    const ASKING: &str = "
def application(environ, start_response):
    start_response('200 OK', [])
    return [str(environ['wsgi.run_once']).encode()]
";
    for (options, expected) in [
        ("threads=1 maximum-requests=1", "True"),
        ("threads=1 maximum-requests=2", "False"),
        ("threads=2 maximum-requests=1", "False"),
        ("threads=1", "False"),
    ] {
        let server = serving(ASKING, options);
        assert_eq!(server.get("/").text(), expected, "{options}");
    }
}

#[test]
fn rotation_and_mutex_may_be_set() {
    let mutexes = ["default", "flock", "fcntl", "sysvsem", "pthread"];
    let rotations = ["WSGISocketRotation On", "WSGISocketRotation Off"];
    let mutexes = mutexes.map(|name| format!("WSGIAcceptMutex {name}"));
    for line in mutexes.into_iter().chain(rotations.map(str::to_owned)) {
        let server = Site::new()
            .script("environ.wsgi", ENVIRON)
            .config(&format!(
                "WSGISocketPrefix ${{ROOT}}/logs/wsgi
                 {line}
                 WSGIDaemonProcess own processes=2 threads=2
                 WSGIProcessGroup own
                 WSGIScriptAlias / ${{WSGI}}/environ.wsgi"
            ))
            .start();
        if is_reference() {
            // Its processes wait for the mutex until they are told to end, and some mutexes are
            // gone by then.
            server.log().expect_alarm("WSGI0017");
        }
        let seen = environ(&server.get("/"));
        assert_eq!(seen.value("mod_wsgi.process_group"), "own", "{line}");
    }
}

#[test]
fn what_an_application_yields_arrives_with_any_response_flush_delay() {
    const WAITS: &str = "
import os, time

def application(environ, start_response):
    start_response('200 OK', [])
    yield b'first'
    deadline = time.monotonic() + 30
    while not os.path.exists(environ['QUERY_STRING']) and time.monotonic() < deadline:
        time.sleep(0.01)
    yield b'second'
";
    for delay in ["0", "5", "200"] {
        let server = serving(WAITS, &format!("response-flush-delay={delay}"));
        let mut connection = server.connect();
        let gate = server.site().text_path("data/gate");
        connection.send(format!("GET /?{gate} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes());
        assert_eq!(connection.read_head().expect("a head").status, 200);
        assert_eq!(
            connection.read_chunk().as_deref(),
            Some(&b"first"[..]),
            "{delay}"
        );
        server.site().write("data/gate", "");
        assert_eq!(
            connection.read_chunk().as_deref(),
            Some(&b"second"[..]),
            "{delay}"
        );
    }
}
