//! `wsgi.input` on threads of the application, and what goes on beside one that waits for the body.

use std::time::{Duration, Instant};

use rstest::rstest;
use testkit::{Request, SharedHttpd, assert_soon, ours};

use crate::wsgi_site::{Mode, app, gated_app, open_gate, reached, wsgi_site};

static SERVER: SharedHttpd = SharedHttpd::new(|| wsgi_site().config("WSGIChunkedRequest On"));

/// One thread waits for the body while another prints and, when it may, answers.
const BESIDE: &str = r#"
import threading

def application(environ, start_response):
    body = []
    def read():
        body.append(environ['wsgi.input'].read(3))
        appeared('beside-reads')
        body.append(environ['wsgi.input'].read())
    thread = threading.Thread(target=read)
    thread.start()
    wait_for('beside-go')
    print('printed meanwhile')
    print('logged meanwhile', file=environ['wsgi.errors'])
    start_response('200 OK', [])
    yield b'sent meanwhile '
    thread.join()
    yield b''.join(body)
"#;

#[test]
fn a_thread_that_waits_for_the_body_is_in_nobody_s_way() {
    let server = SERVER.borrow();
    let url = gated_app(&server, "beside", BESIDE);
    let mark = server.log().mark();
    let mut connection = server.connect();
    let request = Request::new("POST", &url).header("Transfer-Encoding", "chunked");
    connection.send(&request.head_bytes());
    connection.send(b"3\r\nabc\r\n");
    reached(&server, "beside-reads");
    open_gate(&server, "beside-go");

    for text in ["printed meanwhile", "logged meanwhile"] {
        let line = server.log().wait_for(mark, text);
        assert!(line.contains("/beside.wsgi]"), "{line}");
        assert!(line.contains("127.0.0.1:"), "{line}");
    }
    connection.send(b"3\r\ndef\r\n0\r\n\r\n");
    let response = connection.read_response();
    assert_eq!(response.text(), "sent meanwhile abcdef");
}

#[rstest]
fn an_application_answers_while_a_thread_of_its_waits_for_the_body(
    #[values(Mode::Embedded, Mode::Daemon)] mode: Mode,
) {
    if mode == Mode::Daemon && !ours("D80") {
        return;
    }
    let server = mode.site().config("WSGIChunkedRequest On").start();
    let url = gated_app(&server, "beside", BESIDE);
    let mut connection = server.connect();
    let request = Request::new("POST", &url).header("Transfer-Encoding", "chunked");
    connection.send(&request.head_bytes());
    connection.send(b"3\r\nabc\r\n");
    reached(&server, "beside-reads");
    open_gate(&server, "beside-go");

    assert_eq!(connection.read_head().expect("a head").status, 200);
    assert_eq!(
        connection.read_chunk().expect("a chunk"),
        b"sent meanwhile "
    );
    connection.send(b"3\r\ndef\r\n0\r\n\r\n");
    assert_eq!(connection.read_chunk().expect("a chunk"), b"abcdef");
}

/// Has another thread read the body, and answers what it gave.
const READS_ELSEWHERE: &str = r#"
import threading

def application(environ, start_response):
    body = []
    def read():
        try:
            body.append(repr(environ['wsgi.input'].read()))
        except OSError as error:
            body.append(type(error).__name__)
    thread = threading.Thread(target=read)
    thread.start()
    thread.join()
    start_response('200 OK', [])
    return [body[0].encode()]
"#;

#[rstest]
fn a_thread_of_the_application_gets_what_the_client_sends(
    #[values(Mode::Embedded, Mode::Daemon)] mode: Mode,
) {
    let server = mode
        .site()
        .config("Timeout 2\nWSGIChunkedRequest On")
        .start();
    let url = app(&server, "elsewhere", READS_ELSEWHERE);
    let body = "0123456789".repeat(50_000);
    let response = server.send(&Request::post(&url, &body));
    assert_eq!(response.text(), format!("b'{body}'"));

    let mut connection = server.connect();
    let request = Request::new("POST", &url)
        .header("Expect", "100-continue")
        .header("Content-Length", "3");
    connection.send(&request.head_bytes());
    assert_eq!(connection.read_head().expect("a wish").status, 100);
    connection.send(b"abc");
    assert_eq!(connection.read_response().text(), "b'abc'");

    if !ours("D60") {
        return;
    }
    let mut connection = server.connect();
    let request = Request::new("POST", &url).header("Transfer-Encoding", "chunked");
    connection.send(&request.head_bytes());
    assert_eq!(connection.read_response().text(), "TimeoutError");
}

#[rstest]
fn a_body_that_was_given_up_stays_so(#[values(Mode::Embedded, Mode::Daemon)] mode: Mode) {
    if !ours("D60") {
        return;
    }
    let server = mode.site().config("Timeout 1").start();
    let source = r#"
import threading

def application(environ, start_response):
    said = []
    def read():
        for _ in range(2):
            try:
                said.append(repr(environ['wsgi.input'].read()))
            except OSError as error:
                said.append(type(error).__name__)
                appeared('given-up')
                wait_for('sent')
    thread = threading.Thread(target=read)
    thread.start()
    thread.join()
    start_response('200 OK', [])
    return [' '.join(said).encode()]
"#;
    let url = gated_app(&server, "given_up", source);
    let mut connection = server.connect();
    let request = Request::new("POST", &url).header("Content-Length", "3");
    connection.send(&request.head_bytes());
    reached(&server, "given-up");
    connection.send(b"abc");
    open_gate(&server, "sent");

    assert_eq!(
        connection.read_response().text(),
        "TimeoutError TimeoutError"
    );
}

/// Answers while a thread of it still waits for the body.
const LEAVES_A_READER: &str = r"
import threading

def application(environ, start_response):
    turn = environ['QUERY_STRING']
    def read():
        environ['wsgi.input'].read(3)
        appeared('left-reads' + turn)
        try:
            environ['wsgi.input'].read()
        except RuntimeError:
            appeared('left-refused' + turn)
    threading.Thread(target=read).start()
    wait_for('left-go' + turn)
    start_response('200 OK', [])
    return [b'complete']
";

#[rstest]
fn a_response_is_complete_though_a_thread_still_waits_for_the_body(
    #[values(Mode::Embedded, Mode::Daemon)] mode: Mode,
) {
    // mod_wsgi reads the body before it ends the response.
    if !ours("D80") {
        return;
    }
    let server = mode.site().config("WSGIChunkedRequest On").start();
    let url = gated_app(&server, "left", LEAVES_A_READER);
    let mut turn = 0;
    assert_soon(Duration::from_millis(500), || {
        turn += 1;
        let mut connection = server.connect();
        let request = Request::new("POST", &format!("{url}?{turn}"));
        connection.send(&request.header("Transfer-Encoding", "chunked").head_bytes());
        connection.send(b"3\r\nabc\r\n");
        reached(&server, &format!("left-reads{turn}"));
        open_gate(&server, &format!("left-go{turn}"));
        let begin = Instant::now();
        assert_eq!(connection.read_response().text(), "complete");
        reached(&server, &format!("left-refused{turn}"));
        begin.elapsed()
    });
}
