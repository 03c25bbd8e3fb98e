//! Request bodies on their way: in parts, late, cut off, broken, too large, not allowed.

use testkit::{Connection, Httpd, Request, SharedHttpd, is_reference, ours};

use crate::input::{READS, reads};
use crate::wsgi_site::{app, gated_app, in_embedded_mode, is_daemon_mode, reached, wsgi_site};

/// Why some tests here are not for our daemon mode.
const BODY_FIRST: &str = "a body is there before a thread of a worker has the request";

/// Why others are not for daemon mode at all.
const ANSWERED: &str = "httpd answers a broken body, whether or not a worker has begun with it";

static SERVER: SharedHttpd = SharedHttpd::new(|| {
    wsgi_site().script("reads.wsgi", READS).config(
        "<LocationMatch /chunked>
            WSGIChunkedRequest On
        </LocationMatch>
        <LocationMatch /limited>
            LimitRequestBody 10
        </LocationMatch>
        <LocationMatch /documented>
            ErrorDocument 413 /reads.wsgi?i.read();9
        </LocationMatch>",
    )
});

/// What an application reads of `body`, which comes at once.
fn read(server: &Httpd, body: &str) -> String {
    let request = Request::post(&reads("", "i.read()"), body);
    server.send(&request).text()
}

#[test]
fn chunked_bodies_are_refused_unless_allowed() {
    let server = SERVER.borrow();
    let mark = server.log().mark();
    let request = Request::new("POST", &reads("", "i.read()"));

    assert_eq!(server.send(&request.chunked(["abc"])).status, 411);

    server.log().wait_for(mark, "WSGI0139");
}

#[test]
fn other_transfer_codings_are_not_implemented() {
    let server = SERVER.borrow();
    let mark = server.log().mark();
    let request = Request::new("POST", &reads("/chunked", "i.read()"))
        .header("Transfer-Encoding", "gzip, chunked");

    assert_eq!(server.send(&request).status, 501);

    server.log().wait_for(mark, "WSGI0138");
}

#[test]
fn a_client_that_hangs_up_in_mid_body_is_an_os_error() {
    let server = SERVER.borrow();
    for (name, expressions, answer) in [
        (
            "all",
            "i.read();i.read();1",
            "OSError(mod_wsgi); OSError(mod_wsgi); 1",
        ),
        (
            "part",
            "i.read(3);i.read(3);2",
            "b'abc'; OSError(mod_wsgi); 2",
        ),
        (
            "line",
            "i.readline();i.readline();3",
            "OSError(mod_wsgi); OSError(mod_wsgi); 3",
        ),
        ("lines", "i.readlines();4", "OSError(mod_wsgi); 4"),
        ("iterated", "list(i);5", "OSError(mod_wsgi); 5"),
    ] {
        let mark = server.log().mark();
        let mut connection = half_a_body(&server, &reads("", expressions));
        connection.half_close();
        server.log().wait_for(mark, &format!("read {answer}"));
        drop(connection);
        assert_eq!(
            read(&server, name),
            format!("b'{name}'"),
            "others are served"
        );
    }
}

#[test]
fn a_client_that_vanishes_in_mid_body_is_an_os_error_too() {
    if !is_reference() && !in_embedded_mode(BODY_FIRST) {
        return;
    }
    let server = SERVER.borrow();
    let url = gated_app(
        &server,
        "vanishes",
        r#"
def application(environ, start_response):
    environ['wsgi.input'].read(3)
    appeared('vanishes-waits')
    try:
        environ['wsgi.input'].read()
    except OSError as error:
        print('vanished:', error, file=environ['wsgi.errors'])
    start_response('200 OK', [])
    return [b'nobody reads this']
"#,
    );
    let mark = server.log().mark();
    let connection = half_a_body(&server, &url);
    reached(&server, "vanishes-waits");
    drop(connection);

    let line = server.log().wait_for(mark, "vanished: ");
    assert!(line.contains("vanished: mod_wsgi"), "{line}");
}

/// A connection on which a request for `url` has been sent with a third of its body.
fn half_a_body(server: &Httpd, url: &str) -> Connection {
    let mut connection = server.connect();
    let request = Request::new("POST", url).header("Content-Length", "9");
    connection.send(&request.head_bytes());
    connection.send(b"abc");
    connection
}

#[test]
fn a_broken_chunk_is_an_os_error_and_ends_the_connection() {
    if !in_embedded_mode(ANSWERED) {
        return;
    }
    let server = SERVER.borrow();
    let mark = server.log().mark();
    let request = Request::new(
        "POST",
        &reads("/chunked", "i.read(3);i.read();i.readline();6"),
    )
    .header("Transfer-Encoding", "chunked");
    let mut connection = server.connect();
    connection.send(&request.head_bytes());
    connection.send(b"3\r\nabc\r\nnot a size\r\n");

    server
        .log()
        .wait_for(mark, "read b'abc'; OSError(mod_wsgi); OSError(mod_wsgi); 6");
    connection.read_to_end();
    assert!(connection.is_closed());
}

/// Two error pages in one response are no page of either.
#[test]
fn a_broken_chunk_is_answered_once() {
    if !ours("D166") {
        return;
    }
    let server = SERVER.borrow();
    let request =
        Request::new("POST", &reads("/chunked", "i.read()")).header("Transfer-Encoding", "chunked");
    let mut connection = server.connect();
    connection.send(&request.head_bytes());
    connection.send(b"not a size\r\n");

    let answer = connection.read_to_end();

    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    assert_eq!(answer.matches("<title>").count(), 1, "{answer}");
    assert!(answer.trim_end().ends_with("</html>"), "{answer}");
}

#[test]
fn an_answer_without_a_body_stands_whatever_the_request_brings() {
    if !in_embedded_mode(ANSWERED) || !ours("D211") {
        return;
    }
    let server = SERVER.borrow();
    let url = app(
        &server,
        "chunked_unread",
        r#"
def application(environ, start_response):
    start_response('204 No Content', [])
    return []
"#,
    );
    let mut connection = server.connect();
    let request = Request::new("POST", &url).header("Transfer-Encoding", "chunked");
    connection.send(&request.head_bytes());
    connection.send(b"not a size\r\n");

    assert_eq!(connection.read_response().status, 204);
    connection.read_to_end();
    assert!(connection.is_closed());
}

#[test]
fn a_body_beyond_the_limit_never_reaches_the_application() {
    let server = SERVER.borrow();
    let mark = server.log().mark();
    let url = reads("/limited", "i.read();7");

    assert_eq!(server.send(&Request::post(&url, "12345678901")).status, 413);
    assert_eq!(
        server.send(&Request::post(&url, "1234567890")).text(),
        "b'1234567890'; 7"
    );

    assert_eq!(server.log().matching(mark, "; 7").len(), 1);
    // What clients send is not an administrator's error.
    let lines = server.log().matching(mark, "LimitRequestBody");
    assert!(lines.iter().all(|line| line.contains("[wsgi:info]")));
}

#[test]
fn the_answer_to_a_body_beyond_the_limit_has_a_length() {
    if !ours("D227") {
        return;
    }
    let server = SERVER.borrow();
    // Nobody has to send what will not be read.
    let request = Request::new("POST", &reads("/limited", "i.read()"));
    let mut connection = server.connect();
    connection.send(&request.header("Content-Length", "11").head_bytes());

    let response = connection.read_response();

    assert_eq!(response.status, 413);
    let length = response.body.len().to_string();
    assert_eq!(response.header("Content-Length"), Some(length.as_str()));
    assert_eq!(response.header("Connection"), Some("close"));
    connection.read_to_end();
    assert!(connection.is_closed());
}

#[test]
fn nor_is_it_read_by_the_document_for_that_error() {
    let server = SERVER.borrow();
    let request = Request::new("POST", &reads("/documented/limited", "i.read()"));
    let request = request.header("Content-Length", "11");
    for request in [
        request
            .clone()
            .header("Expect", "100-continue")
            .head_bytes(),
        [request.head_bytes(), b"12345678901".to_vec()].concat(),
    ] {
        let mut connection = server.connect();
        connection.send(&request);
        let response = connection.read_response();
        // The document says what it likes.
        assert_eq!(response.status, 200);
        assert_eq!(response.text(), "b''; 9");
        assert!(response.interim.is_empty(), "nobody asks for it");
    }
}

#[test]
fn a_chunked_body_beyond_the_limit_is_an_os_error() {
    if !in_embedded_mode(ANSWERED) {
        return;
    }
    let server = SERVER.borrow();
    let mark = server.log().mark();
    let request = Request::new("POST", &reads("/chunked/limited", "i.read();i.read();8"));

    let mut connection = server.connect();
    connection.send(&request.chunked(["123456", "789012"]).to_bytes());

    server
        .log()
        .wait_for(mark, "read OSError(mod_wsgi); OSError(mod_wsgi); 8");
    assert_eq!(connection.read_response().status, 413);
}

#[test]
fn reading_returns_as_soon_as_enough_is_there() {
    if !in_embedded_mode(BODY_FIRST) {
        return;
    }
    let server = SERVER.borrow();
    let url = gated_app(
        &server,
        "enough",
        r#"
def application(environ, start_response):
    input = environ['wsgi.input']
    start_response('200 OK', [])
    for name in ('bytes', 'line'):
        yield input.read(3) if name == 'bytes' else input.readline()
    yield input.read()
"#,
    );
    let mut connection = server.connect();
    let request = Request::new("POST", &url).header("Content-Length", "12");
    connection.send(&request.head_bytes());
    connection.send(b"abc");
    connection.read_head().expect("a head");
    assert_eq!(connection.read_chunk().as_deref(), Some(&b"abc"[..]));
    connection.send(b"de\nf");
    assert_eq!(connection.read_chunk().as_deref(), Some(&b"de\n"[..]));
    connection.send(b"ghijk");
    assert_eq!(connection.read_chunk().as_deref(), Some(&b"fghijk"[..]));
}

#[test]
fn an_application_that_does_not_read_is_not_kept_waiting_for_the_body() {
    if !in_embedded_mode(BODY_FIRST) {
        return;
    }
    let server = SERVER.borrow();
    let url = app(
        &server,
        "does_not_read",
        r#"
def application(environ, start_response):
    start_response('403 Forbidden', [('Content-Length', '2')])
    return [b'no']
"#,
    );
    let mut connection = half_a_body(&server, &url);

    let response = connection.read_response();

    assert_eq!((response.status, response.text().as_str()), (403, "no"));
}

#[test]
fn input_and_output_alternate() {
    if is_daemon_mode() && !ours("D80") {
        return;
    }
    let server = SERVER.borrow();
    let url = app(
        &server,
        "echo",
        r#"
def application(environ, start_response):
    start_response('200 OK', [])
    for line in environ['wsgi.input']:
        yield b'echo ' + line
"#,
    );
    let mut connection = server.connect();
    let request =
        Request::new("POST", &format!("{url}/chunked")).header("Transfer-Encoding", "chunked");
    connection.send(&request.head_bytes());
    for number in 0..5 {
        connection.send(format!("7\r\nline {number}\n\r\n").as_bytes());
        if number == 0 {
            connection.read_head().expect("a head");
        }
        let chunk = connection.read_chunk().expect("a chunk");
        assert_eq!(chunk, format!("echo line {number}\n").into_bytes());
    }
    connection.send(b"0\r\n\r\n");
    assert_eq!(connection.read_chunk().as_deref(), Some(&b""[..]));
}

#[test]
fn other_python_threads_run_while_one_waits_for_input() {
    if !is_reference() && !in_embedded_mode(BODY_FIRST) {
        return;
    }
    let server = SERVER.borrow();
    let url = gated_app(
        &server,
        "waits",
        r#"
def application(environ, start_response):
    appeared('input-waits')
    data = environ['wsgi.input'].read()
    start_response('200 OK', [])
    return [data]
"#,
    );
    let mut waiting = half_a_body(&server, &url);
    reached(&server, "input-waits");

    assert_eq!(read(&server, "meanwhile"), "b'meanwhile'");

    waiting.send(b"defghi");
    assert_eq!(waiting.read_response().text(), "abcdefghi");
}
