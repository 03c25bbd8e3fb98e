//! The iterable an application returns: which kinds there are, and that each item reaches the
//! client before the next one is asked for.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use rstest::rstest;
use testkit::{Ending, Httpd, Mpm, Request, SharedHttpd, ours, wait_until};

use crate::wsgi_site::{app, gated_app, open_gate, wsgi_site};

static SERVER: SharedHttpd = SharedHttpd::new(wsgi_site);

/// An application whose `application` returns the Python expression `result`.
fn returning(server: &Httpd, name: &str, result: &str) -> String {
    let source = format!(
        r#"
class Data(bytes):
    pass

class Sequence:
    def __getitem__(self, index):
        if index == 3:
            raise IndexError
        return b'%d' % index

class Iterator:
    left = [b'c', b'b', b'a']
    def __init__(self):
        self.left = list(self.left)
    def __iter__(self):
        return self
    def __next__(self):
        if not self.left:
            raise StopIteration
        return self.left.pop()

def generator():
    yield b'x'
    yield b'y'

def application(environ, start_response):
    start_response('200 OK', [('Content-Type', 'text/plain')])
    return {result}
"#
    );
    app(server, name, &source)
}

#[test]
fn every_kind_of_iterable_is_a_body() {
    let server = SERVER.borrow();
    for (result, body) in [
        ("[b'one']", "one"),
        ("[b'one', b'two', b'three']", "onetwothree"),
        ("(b'a', b'b')", "ab"),
        ("iter([b'a', b'b'])", "ab"),
        ("generator()", "xy"),
        ("(b'%d' % n for n in range(5))", "01234"),
        ("map(str.encode, ['m', 'n'])", "mn"),
        ("Sequence()", "012"),
        ("Iterator()", "abc"),
        ("{b'key': 1}", "key"),
        ("[Data(b'd')]", "d"),
        ("[b'', b'a', b'', b'b', b'']", "ab"),
    ] {
        let response = server.get(&returning(&server, "kinds", result));
        assert_eq!(
            (response.status, response.text().as_str()),
            (200, body),
            "{result}"
        );
        assert!(response.is_whole(), "{result}");
    }
}

#[test]
fn an_empty_iterable_is_an_empty_body() {
    let server = SERVER.borrow();
    for result in ["[]", "()", "iter([])", "[b'']", "[b'', b'']", "''", "b''"] {
        let response = server.get(&returning(&server, "empty", result));
        assert_eq!(
            (response.status, response.text().as_str()),
            (200, ""),
            "{result}"
        );
        assert_eq!(
            response.header("Content-Type"),
            Some("text/plain"),
            "{result}"
        );
        assert!(response.is_whole(), "{result}");
    }
}

#[test]
fn what_is_not_an_iterable_of_bytes_is_a_server_error() {
    let server = SERVER.borrow();
    for result in [
        "None",
        "42",
        "b'bytes themselves'",
        "'text'",
        "['text']",
        "[bytearray(b'x')]",
        "[memoryview(b'x')]",
        "[None]",
        "[[b'x']]",
    ] {
        let mark = server.log().mark();
        let response = server.get(&returning(&server, "wrong", result));
        assert_eq!(response.status, 500, "{result}");
        let line = server
            .log()
            .wait_for(mark, "/wrong.wsgi] TypeError exception raised");
        assert!(line.contains("WSGI0174: "), "{line}");
    }
}

#[test]
fn what_is_not_known_to_be_all_has_no_length() {
    let server = SERVER.borrow();
    for result in ["generator()", "Iterator()", "(b'%d' % n for n in range(1))"] {
        let response = server.get(&returning(&server, "unknown_length", result));
        assert_eq!(response.ending, Ending::FinalChunk, "{result}");
    }
}

#[test]
fn what_is_known_to_be_all_is_sent_with_its_length() {
    if !ours("D47") {
        return;
    }
    let server = SERVER.borrow();
    for (result, length) in [
        ("[b'abc']", "3"),
        ("(b'abc',)", "3"),
        ("[b'ab', b'', b'c']", "3"),
        ("[]", "0"),
    ] {
        let response = server.get(&returning(&server, "known", result));
        assert_eq!(response.header("Content-Length"), Some(length), "{result}");
        assert_eq!(response.ending, Ending::Length, "{result}");
    }

    let url = returning(&server, "known_range", "[b'abcdef']");
    let part = server.send(&Request::get(&url).header("Range", "bytes=2-3"));
    assert_eq!((part.status, part.text().as_str()), (206, "cd"));
}

#[test]
fn what_another_method_than_get_answers_has_no_ranges() {
    let server = SERVER.borrow();
    let url = returning(&server, "no_ranges", "[b'abcdef']");
    for method in ["POST", "PUT", "DELETE", "REPORT"] {
        let whole = server.send(&Request::new(method, &url).header("Range", "bytes=2-3"));
        assert_eq!((whole.status, whole.text().as_str()), (200, "abcdef"));
    }
}

#[test]
fn start_response_may_be_called_when_the_first_item_is_asked_for() {
    let server = SERVER.borrow();
    let url = app(
        &server,
        "late_start",
        r#"
def application(environ, start_response):
    yield b''
    start_response('201 Late', [('X-Late', 'yes')])
    yield b''
    yield b'body'
"#,
    );

    let response = server.get(&url);

    assert_eq!(response.status, 201);
    assert_eq!(response.header("X-Late"), Some("yes"));
    assert_eq!(response.text(), "body");
}

#[test]
fn without_start_response_there_is_no_response_but_an_error() {
    let server = SERVER.borrow();
    for (name, result) in [
        ("data", "[b'data']"),
        ("end", "[]"),
        ("empty", "[b'', b'']"),
    ] {
        let source = format!("def application(environ, start_response):\n    return {result}\n");
        let mark = server.log().mark();

        let response = server.get(&app(&server, &format!("not_started_{name}"), &source));

        assert_eq!(response.status, 500, "{result}");
        let script = format!("/not_started_{name}.wsgi] RuntimeError exception raised");
        server.log().wait_for(mark, &script);
    }
}

/// Yields three chunks; each next one only after the client has said that it has the one before.
const STREAM: &str = r#"
def application(environ, start_response):
    start_response('200 OK', [('Content-Type', 'text/plain')])
    run = environ['QUERY_STRING']
    for number in range(3):
        yield b'chunk %d' % number
        wait_for('%s-%d' % (run, number))
"#;

#[rstest]
fn each_chunk_arrives_before_the_next_is_made(
    #[values(Mpm::Event, Mpm::Worker, Mpm::Prefork)] mpm: Mpm,
) {
    let server = wsgi_site().mpm(mpm).start();
    let url = gated_app(&server, "stream", STREAM);
    let mut connection = server.connect();
    connection.send(format!("GET {url}?direct HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes());

    assert_eq!(connection.read_head().expect("a head").status, 200);
    for number in 0..3 {
        let chunk = connection.read_chunk().expect("a chunk");
        assert_eq!(chunk, format!("chunk {number}").into_bytes());
        open_gate(&server, &format!("direct-{number}"));
    }
    assert_eq!(connection.read_chunk().as_deref(), Some(&b""[..]));
}

#[test]
fn chunks_of_a_known_length_arrive_one_by_one_too() {
    let server = SERVER.borrow();
    let url = gated_app(
        &server,
        "known_length",
        r#"
def application(environ, start_response):
    start_response('200 OK', [('Content-Length', '6')])
    yield b'abc'
    wait_for('known-length')
    yield b'def'
"#,
    );
    let mut connection = server.connect();
    connection.send(format!("GET {url} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes());

    let head = connection.read_head().expect("a head");
    assert_eq!(head.header("Content-Length"), Some("6"));
    assert_eq!(connection.read_exactly(3), b"abc");
    open_gate(&server, "known-length");
    assert_eq!(connection.read_exactly(3), b"def");
}

/// An application that has a response without end below `/endless`, and tells elsewhere how many
/// pieces it has made of all such responses.
const ENDLESS: &str = r#"
made = 0

def endless():
    global made
    while True:
        made += 1
        yield b'x' * 1024

def application(environ, start_response):
    start_response('200 OK', [])
    if environ['PATH_INFO'] == '/endless':
        return endless()
    return [b'%d' % made]
"#;

/// How many pieces there are so far.
fn pieces(server: &Httpd, url: &str) -> u64 {
    server.get(url).text().parse().expect("a number")
}

/// Tells those who read what has no end that it is over.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn responses_without_end_let_others_in_between() {
    const RESPONSES: usize = 4;
    const OTHERS: usize = 50;
    // Of its own: others change scripts, for which a worker is replaced.
    let server = wsgi_site().start();
    let url = app(&server, "endless", ENDLESS);
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let over = Over(&is_over);
        for _ in 0..RESPONSES {
            let mut connection = server.connect();
            let request = format!("GET {url}/endless HTTP/1.1\r\nHost: x\r\n\r\n");
            connection.send(request.as_bytes());
            connection.read_head().expect("a head");
            let is_over = &is_over;
            scope.spawn(move || {
                while !is_over.load(Ordering::Relaxed) {
                    connection.read_chunk().expect("a chunk");
                }
            });
        }
        let made: Vec<u64> = (0..OTHERS).map(|_| pieces(&server, &url)).collect();
        drop(over);
        // A request waits for some of them, whoever is faster: httpd or the clients.
        let mut between: Vec<u64> = made.windows(2).map(|two| two[1] - two[0]).collect();
        between.sort_unstable();
        assert!(between[OTHERS / 2] < 4000, "{between:?}");
    });
}

#[test]
fn a_client_that_takes_nothing_keeps_others_from_nothing() {
    let server = wsgi_site().start();
    let url = app(&server, "untaken", ENDLESS);
    let mut connection = server.connect();
    connection.send(format!("GET {url}/endless HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes());
    connection.read_head().expect("a head");
    let mut before = 0;
    wait_until("no room for more", || {
        let now = pieces(&server, &url);
        thread::sleep(Duration::from_millis(100));
        (std::mem::replace(&mut before, now) == now).then_some(())
    });

    // The one that waits for room has not the GIL.
    for _ in 0..10 {
        assert_eq!(server.get(&url).status, 200);
    }
}

#[test]
fn an_output_filter_that_holds_data_back_is_flushed() {
    let server = wsgi_site()
        .module("filter")
        .module("deflate")
        .config("SetOutputFilter DEFLATE")
        .start();
    let url = gated_app(&server, "stream", STREAM);
    let request = Request::get(&format!("{url}?deflated")).header("Accept-Encoding", "gzip");
    let mut connection = server.connect();
    connection.send(&request.to_bytes());

    let head = connection.read_head().expect("a head");
    assert_eq!(head.header("Content-Encoding"), Some("gzip"));
    for number in 0..3 {
        let chunk = connection.read_chunk().expect("a chunk");
        assert!(!chunk.is_empty(), "{number}");
        // What was compressed may come in more chunks than one.
        open_gate(&server, &format!("deflated-{number}"));
    }
    while !connection.read_chunk().expect("the rest").is_empty() {}
}

#[test]
fn empty_items_do_not_send_the_head() {
    let server = SERVER.borrow();
    let url = app(
        &server,
        "empty_items",
        r#"
def application(environ, start_response):
    start_response('200 OK', [])
    yield b''
    yield b''
    raise ValueError('before any byte')
"#,
    );

    assert_eq!(server.get(&url).status, 500);
}

#[test]
fn a_large_item_and_many_items_arrive_whole() {
    let server = SERVER.borrow();

    let large = server.get(&returning(
        &server,
        "large_item",
        "[bytes(range(256)) * 40_000]",
    ));
    assert_eq!(large.body.len(), 10_240_000);
    assert!(
        large
            .body
            .chunks(256)
            .all(|part| part.iter().copied().eq(0..=255))
    );

    let many = server.get(&returning(
        &server,
        "many_items",
        "(b'%05d' % n for n in range(5000))",
    ));
    let expected: String = (0..5000).map(|number| format!("{number:05}")).collect();
    assert_eq!(many.text(), expected);
}

#[test]
fn a_slow_reader_gets_everything() {
    let server = SERVER.borrow();
    let url = gated_app(
        &server,
        "slow_reader",
        r#"
def application(environ, start_response):
    start_response('200 OK', [])
    for number in range(100):
        yield bytes([number]) * 65536
    appeared('slow-reader-done')
"#,
    );
    let mut connection = server.connect();
    connection
        .send(format!("GET {url} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").as_bytes());

    // More than all buffers between application and client can hold is on its way, and other
    // requests are served meanwhile.
    let other = server.get(&returning(&server, "meanwhile", "[b'served']"));
    assert_eq!(other.text(), "served");

    let response = connection.read_response();
    assert_eq!(response.body.len(), 6_553_600);
    assert!(response.is_whole());
}
