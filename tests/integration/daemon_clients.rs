//! Clients that send nothing, or leave: their worker is not to blame, and is free again.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rstest::rstest;
use testkit::{Httpd, Mark, Request, Site, ours, wait_until};

const READING: &str = r#"
def application(environ, start_response):
    try:
        body = environ['wsgi.input'].read()
    except OSError as error:
        body = type(error).__name__.encode()
    start_response('200 OK', [('Content-Length', str(len(body)))])
    return [body]
"#;

fn reading() -> Httpd {
    Site::new()
        .script("a.wsgi", READING)
        .config(
            "Timeout 2
             WSGIDaemonProcess one threads=1
             WSGIScriptAlias / ${WSGI}/a.wsgi process-group=one application-group=%{GLOBAL}",
        )
        .start()
}

#[test]
fn the_application_is_told_of_a_silent_client() {
    // mod_wsgi answers 408 by itself and leaves the application to find out.
    if !ours("D60") {
        return;
    }
    let server = reading();
    let beginnings: [&[u8]; 2] = [
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\nabc",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\nExpect: 100-continue\r\n\r\n",
    ];
    for beginning in beginnings {
        let mut client = server.connect();
        client.send(beginning);
        let response = client.read_response();
        assert_eq!(response.head.status, 200);
        assert_eq!(response.text(), "TimeoutError");
        assert!(client.is_closed(), "what may still come is no request");
    }
    let blamed = server.log().matching(Mark::START, "No complete answer");
    assert!(blamed.is_empty(), "{blamed:?}");
}

#[test]
fn the_application_is_told_of_a_client_that_sends_no_more() {
    // mod_wsgi answers 500 by itself.
    if !ours("D60") {
        return;
    }
    let server = reading();
    for length in [10, 1_000_000, 20_000_000] {
        let mut client = server.connect();
        let head = format!("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\nabc");
        client.send(head.as_bytes());
        client.half_close();
        let response = client.read_response();
        assert_eq!(response.text(), "ConnectionResetError", "{length}");
        assert!(client.is_closed());
    }
}

#[test]
fn a_client_that_leaves_frees_its_worker() {
    let server = reading();
    for _ in 0..5 {
        let mut client = server.connect();
        client.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\nabc");
        drop(client);
    }
    assert_eq!(server.send(&Request::post("/", "next")).text(), "next");
}

#[test]
fn a_client_is_not_blamed_for_a_process_of_httpd_that_dies() {
    // mod_wsgi's application is told of nothing but an error.
    if !ours("D60") {
        return;
    }
    let source = r"
import os
from pathlib import Path

def application(environ, start_response):
    data = Path(os.environ['DATA'])
    environ['wsgi.input'].read(1)
    (data / 'begun').touch()
    try:
        environ['wsgi.input'].read()
    except ConnectionResetError as error:
        (data / 'error.new').write_text(str(error))
        (data / 'error.new').rename(data / 'error')
    start_response('200 OK', [])
    return [b'read']
";
    let site = Site::new().script("a.wsgi", source);
    let data = site.text_path("data");
    let server = site
        .env("DATA", &data)
        .config(
            "WSGISocketPrefix ${ROOT}/logs/wsgi
             WSGIDaemonProcess one response-buffer-size=65536
             WSGIScriptAlias / ${WSGI}/a.wsgi process-group=one application-group=%{GLOBAL}",
        )
        .start();
    server.log().expect_alarm("exit signal");
    let mut client = server.connect();
    client.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\nabc");
    let appeared = |name| wait_until(name, || server.site().path(name).exists().then_some(()));
    appeared("data/begun");
    // The supervisor is the one that has children itself.
    for child in server.children() {
        if child.children().is_empty() {
            kill(Pid::from_raw(child.pid), Signal::SIGKILL).expect("it runs");
        }
    }
    appeared("data/error");
    let error = server.site().read("data/error");
    assert!(error.contains("that process of httpd"), "{error}");
}

#[test]
fn a_small_body_that_is_slow_to_come_occupies_no_worker() {
    // mod_wsgi runs the application and lets it wait.
    if !ours("D90") {
        return;
    }
    let server = reading();
    let mut slow = server.connect();
    slow.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 6\r\n\r\nabc");
    for _ in 0..3 {
        assert_eq!(server.send(&Request::post("/", "next")).text(), "next");
    }
    slow.send(b"def");
    assert_eq!(slow.read_response().text(), "abcdef");
}

/// Logs when the response is over, in as many ways as there are to make one.
const LOGGING: &str = r"
import sys

LINES = 5

def close():
    for number in range(LINES):
        print('closing', number, file=sys.stderr)

class Whole(list):
    def close(self):
        close()

def pieces():
    try:
        while True:
            yield b'x' * 65536
    finally:
        close()

def application(environ, start_response):
    way = environ['QUERY_STRING']
    write = start_response('200 OK', [])
    if way == 'whole':
        return Whole([b'x' * 3_000_000])
    if way == 'pieces':
        return pieces()
    try:
        while True:
            write(b'x' * 65536)
    finally:
        close()
";

#[rstest]
fn what_is_logged_after_a_client_has_left_belongs_to_its_request(
    #[values("whole", "pieces", "write")] way: &str,
) {
    const CLIENTS: usize = 10;
    const LINES: usize = 5;
    let server = Site::new()
        .script("a.wsgi", LOGGING)
        .config(
            "WSGIDaemonProcess one threads=3
             WSGIScriptAlias / ${WSGI}/a.wsgi process-group=one application-group=%{GLOBAL}",
        )
        .start();
    for _ in 0..CLIENTS {
        let mut client = server.connect();
        client.send(format!("GET /?{way} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes());
        client.read_exactly(3000);
    }
    let lines = || server.log().matching(Mark::START, "closing ");
    wait_until("all lines", || {
        (lines().len() == CLIENTS * LINES).then_some(())
    });
    for line in lines() {
        assert!(
            line.contains("[script ") && line.contains(" 127.0.0.1:"),
            "{line}"
        );
    }
    let free = server.get("/?whole");
    assert_eq!(free.body.len(), 3_000_000);
}
