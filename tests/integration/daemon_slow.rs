//! Clients that are slow hold no thread of an application, up to the size of the buffer.

use std::time::{Duration, Instant};

use rstest::rstest;
use testkit::{Connection, Httpd, Request, Site, ours, wait_until};

/// Answers with as many bytes as it is asked for, in one of the ways to do so, or with the digest
/// or the beginning of the body.
const SIZED: &str = r#"
import hashlib

def application(environ, start_response):
    path, size = environ['PATH_INFO'], int(environ['QUERY_STRING'] or 0)
    data = bytes(range(256)) * (size // 256)
    write = start_response('200 OK', [('Content-Type', 'text/plain')])
    if path == '/write':
        for start in range(0, size, 50_000):
            write(data[start:start + 50_000])
        return []
    if path == '/yield':
        return (data[start:start + 50_000] for start in range(0, size, 50_000))
    if path == '/some':
        return [environ['wsgi.input'].read(4)]
    if path == '/digest':
        return [hashlib.md5(environ['wsgi.input'].read()).hexdigest().encode()]
    return [data]
"#;

const SIZE: usize = 6 << 20;

/// The head of a request with a body of unknown length.
const CHUNKED: &str =
    "POST /digest HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n";

/// More than the buffers of all sockets on the way take, whatever the system allows them.
const ENDLESS: usize = 64 << 20;

/// A group with one thread.
fn one_thread(options: &str) -> Httpd {
    Site::new()
        .script("a.wsgi", SIZED)
        .config(&format!(
            "WSGISocketPrefix ${{DATA}}/socket
             WSGIChunkedRequest On
             WSGIDaemonProcess one threads=1 {options}
             WSGIScriptAlias / ${{WSGI}}/a.wsgi process-group=one application-group=%{{GLOBAL}}"
        ))
        .start()
}

/// A client that asks for a large response and reads no more than its head.
fn reluctant(server: &Httpd, path: &str) -> Connection {
    reluctant_to_take(server, path, SIZE)
}

/// The same for a response of this size.
fn reluctant_to_take(server: &Httpd, path: &str, size: usize) -> Connection {
    let mut client = server.connect();
    client.send(format!("GET {path}?{size} HTTP/1.0\r\nHost: x\r\n\r\n").as_bytes());
    let head = client.read_head().expect("a head");
    assert_eq!(head.status, 200);
    client
}

fn expected(size: usize) -> Vec<u8> {
    (0..=u8::MAX).cycle().take(size).collect()
}

#[rstest]
fn a_client_that_does_not_read_holds_no_thread(#[values("/list", "/yield", "/write")] path: &str) {
    if !ours("D90") {
        return;
    }
    let server = one_thread("");
    let mut slow: Vec<Connection> = Vec::new();
    // The second finds the thread free only if the first did not hold it.
    for _ in 0..2 {
        slow.push(reluctant(&server, path));
    }
    let answer = server.get("/list?256");
    assert_eq!(answer.body, expected(256));
    for client in &mut slow {
        assert!(client.read_to_end() == expected(SIZE), "all of it arrives");
    }
    // The connections to the worker can be used again.
    assert_eq!(server.get("/list?256").body, expected(256));
}

#[test]
fn what_is_beyond_the_buffer_waits_for_the_client() {
    let server = one_thread("response-buffer-size=65536 queue-timeout=1");
    let mut slow = reluctant_to_take(&server, "/yield", ENDLESS);
    // mod_wsgi says so only when it has a thread.
    if ours("D91") {
        assert_eq!(
            server.get("/list?256").status,
            503,
            "the thread is not free"
        );
    }
    assert!(slow.read_to_end() == expected(ENDLESS));
    assert_eq!(server.get("/list?256").body, expected(256));
}

#[test]
fn a_client_that_uploads_slowly_holds_no_thread() {
    if !ours("D90") {
        return;
    }
    let server = one_thread("");
    for size in [100, 60_000, 1_000_000, 3_000_000] {
        let body = expected(size);
        let mut slow = server.connect();
        let head = format!(
            "POST /digest HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {size}\r\n\r\n"
        );
        slow.send(head.as_bytes());
        let (first, rest) = body.split_at(size / 2);
        slow.send(first);
        assert_eq!(server.get("/list?256").body, expected(256));
        slow.send(rest);
        let digest = slow.read_response().text();
        assert_eq!(digest, server.send(&Request::post("/digest", &body)).text());
    }
}

/// What a child holds of bodies is limited, all together.
#[test]
fn bodies_that_were_held_are_no_burden_for_those_that_come_later() {
    if !ours("D90") {
        return;
    }
    let server = one_thread("response-buffer-size=16777216");
    // More than may be held at a time.
    let large = Request::post("/list?256", vec![b'.'; 16 << 20]);
    for _ in 0..5 {
        assert_eq!(server.send(&large).body, expected(256));
    }
    let mut slow = server.connect();
    slow.send(
        b"POST /digest HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 100000\r\n\r\n",
    );
    slow.send(&expected(99_999));
    // If it is to have the thread, that takes a moment.
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_secs(1) {
        assert_eq!(server.get("/list?256").body, expected(256));
    }
    slow.send(b".");
    assert_eq!(slow.read_response().status, 200);
}

#[test]
fn a_client_that_does_not_tell_how_much_it_uploads_holds_no_thread() {
    if !ours("D90") {
        return;
    }
    let server = one_thread("");
    let mut slow = server.connect();
    slow.send(CHUNKED.as_bytes());
    for _ in 0..4 {
        slow.send(b"1\r\n.\r\n");
        let begin = Instant::now();
        assert_eq!(server.get("/list?256").body, expected(256));
        wait_until("a second", || {
            (begin.elapsed() >= Duration::from_secs(1)).then_some(())
        });
    }
    slow.send(b"0\r\n\r\n");
    let digest = slow.read_response().text();
    assert_eq!(
        digest,
        server.send(&Request::post("/digest", b"....")).text()
    );
}

#[test]
fn what_goes_on_for_long_reaches_the_application_meanwhile() {
    // mod_wsgi sends the whole body before it looks at the response.
    if !ours("D80") {
        return;
    }
    let server = one_thread("");
    let mut stream = server.connect();
    stream.send(CHUNKED.replace("digest", "some").as_bytes());
    let piece = format!("400\r\n{}\r\n", "more".repeat(256));
    wait_until("an answer to the first piece", || {
        stream.send(piece.as_bytes());
        (!stream.pending().is_empty()).then_some(())
    });
}

#[test]
fn a_worker_that_leaves_first_sends_what_a_slow_client_has_not_taken() {
    if !ours("D90") {
        return;
    }
    let server = one_thread("graceful-timeout=60");
    let mut slow = reluctant(&server, "/list");
    server
        .site()
        .write("wsgi/a.wsgi", SIZED.replace("hexdigest", "hexdigest "));
    assert_eq!(server.get("/list?256").body, expected(256));
    assert!(slow.read_to_end() == expected(SIZE));
}

#[test]
fn a_slow_client_that_leaves_costs_nothing() {
    let server = one_thread("");
    for _ in 0..20 {
        drop(reluctant(&server, "/list"));
    }
    assert_eq!(server.get("/list?256").body, expected(256));
}

#[test]
fn a_client_that_takes_nothing_is_given_up_after_the_time_it_has() {
    let server = one_thread("response-socket-timeout=1 response-buffer-size=65536");
    let mut slow = reluctant_to_take(&server, "/yield", ENDLESS);
    assert_eq!(server.get("/list?256").body, expected(256));
    assert!(slow.read_to_end().len() < ENDLESS, "it is cut off");
}

/// Yields a large piece, takes note that it goes on, and ends when it is allowed to or has read the
/// request's body.
const GOES_ON: &str = r"
import os, time

def application(environ, start_response):
    start_response('200 OK', [('Content-Type', 'text/plain')])
    yield bytes(range(256)) * (int(environ['QUERY_STRING']) // 256)
    open(os.environ['WENT_ON'], 'w').close()
    if environ['PATH_INFO'] == '/read':
        yield environ['wsgi.input'].read()
    else:
        while not os.path.exists(os.environ['GATE']):
            time.sleep(0.01)
        yield b'end'
";

/// A server with `GOES_ON`, and a client that has read no more than the head of its response when
/// the application goes on: this is awaited where it does not depend on the client.
fn going_on(request: &str) -> (Httpd, Connection) {
    let site = Site::new().script("a.wsgi", GOES_ON);
    let (went_on, gate) = (site.text_path("data/went-on"), site.text_path("data/gate"));
    let server = site
        .env("WENT_ON", &went_on)
        .env("GATE", &gate)
        .config(
            "WSGISocketPrefix ${DATA}/socket
             WSGIChunkedRequest On
             WSGIDaemonProcess one threads=1 response-buffer-size=16777216 socket-timeout=10
             WSGIScriptAlias / ${WSGI}/a.wsgi process-group=one application-group=%{GLOBAL}",
        )
        .start();
    let mut client = server.connect();
    client.send(request.as_bytes());
    assert_eq!(client.read_head().expect("a head").status, 200);
    if ours("D90") {
        wait_until("the application to go on", || {
            server.site().path("data/went-on").exists().then_some(())
        });
    }
    (server, client)
}

#[test]
fn what_was_yielded_arrives_while_the_application_goes_on() {
    let request = format!("GET /wait?{SIZE} HTTP/1.0\r\nHost: x\r\n\r\n");
    let (server, mut client) = going_on(&request);
    assert!(client.read_exactly(SIZE) == expected(SIZE));
    server.site().write("data/gate", "open");
    assert_eq!(client.read_to_end(), b"end");
}

#[test]
fn a_body_is_read_after_more_was_yielded_than_the_client_takes_at_once() {
    if !ours("D90") {
        return;
    }
    let request = format!(
        "POST /read?{SIZE} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
    );
    let (_server, mut client) = going_on(&request);
    let mut first = Vec::new();
    while first.len() < SIZE {
        first.extend(client.read_chunk().expect("all of what was yielded"));
    }
    assert!(first == expected(SIZE));
    client.send(b"4\r\nbody\r\n0\r\n\r\n");
    assert_eq!(client.read_chunk().as_deref(), Some(&b"body"[..]));
}

/// Answers each piece of the body as it comes.
const ECHO: &str = r#"
def application(environ, start_response):
    start_response('200 OK', [('Content-Type', 'text/plain')])
    source = environ['wsgi.input']
    yield b'begun'
    while piece := source.read(3):
        yield piece.upper()
"#;

#[test]
fn a_client_that_waits_for_answers_before_it_sends_more_gets_them() {
    // mod_wsgi sends the whole body before it looks at the response.
    if !ours("D80") {
        return;
    }
    let server = Site::new()
        .script("a.wsgi", ECHO)
        .config(
            "WSGIDaemonProcess one threads=1
             WSGIChunkedRequest On
             WSGIScriptAlias / ${WSGI}/a.wsgi process-group=one application-group=%{GLOBAL}",
        )
        .start();
    let head = "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n";
    for first in ["", "3\r\none\r\n"] {
        let mut client = server.connect();
        client.send(format!("{head}{first}").as_bytes());
        assert_eq!(client.read_head().expect("a head").status, 200);
        assert_eq!(client.read_chunk().as_deref(), Some(&b"begun"[..]));
        if !first.is_empty() {
            assert_eq!(client.read_chunk().as_deref(), Some(&b"ONE"[..]));
        }
        client.send(b"3\r\ntwo\r\n");
        assert_eq!(client.read_chunk().as_deref(), Some(&b"TWO"[..]));
        client.send(b"0\r\n\r\n");
        assert_eq!(client.read_chunk().as_deref(), Some(&b""[..]));
    }
    // And one that sends all of it at once.
    let mut client = server.connect();
    client.send(format!("{head}6\r\nonetwo\r\n0\r\n\r\n").as_bytes());
    assert_eq!(client.read_response().text(), "begunONETWO");
}
