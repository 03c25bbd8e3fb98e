//! `Expect: 100-continue`: the client is told to go on when the application wants the body, and
//! not before.

use rstest::rstest;
use testkit::{Connection, Ending, Httpd, Mpm, Request, SharedHttpd, Site, ours};

use crate::apps::answering;
use crate::wsgi_site::{app, gated_app, is_daemon_mode, open_gate, reached, wsgi_site};

static SERVER: SharedHttpd = SharedHttpd::new(wsgi_site);

/// A connection on which the head of a request with an expectation has been sent, and no body.
fn expecting(server: &Httpd, url: &str, length: usize) -> Connection {
    let mut connection = server.connect();
    let request = Request::new("POST", url)
        .header("Expect", "100-continue")
        .header("Content-Length", length.to_string());
    connection.send(&request.head_bytes());
    connection
}

#[rstest]
fn the_first_read_asks_for_the_body(#[values(Mpm::Event, Mpm::Worker, Mpm::Prefork)] mpm: Mpm) {
    if is_daemon_mode() && !ours("D80") {
        return;
    }
    let server = wsgi_site().mpm(mpm).start();
    let url = gated_app(
        &server,
        "reads",
        r#"
def application(environ, start_response):
    appeared('expect-started')
    wait_for('expect-may-read')
    body = environ['wsgi.input'].read()
    start_response('200 OK', [])
    return [body]
"#,
    );
    let mut connection = expecting(&server, &url, 3);
    reached(&server, "expect-started");
    assert_eq!(connection.pending(), b"");

    open_gate(&server, "expect-may-read");

    assert_eq!(
        connection.read_head().expect("an interim response").status,
        100
    );
    connection.send(b"abc");
    let response = connection.read_response();
    assert_eq!((response.status, response.text().as_str()), (200, "abc"));
    assert!(response.interim.is_empty());
}

#[test]
fn every_way_of_reading_asks_for_it_once() {
    let server = SERVER.borrow();
    for (number, way) in [
        "i.read() + i.read()",
        "i.read(3)",
        "i.read(1) + i.read(1) + i.read(1)",
        "i.read(0) + i.read()",
        "i.readline()",
        "b''.join(i.readlines())",
        "b''.join(i)",
        "next(i)",
    ]
    .into_iter()
    .enumerate()
    {
        let source = format!(
            "def application(environ, start_response):\n    \
             i = environ['wsgi.input']\n    body = {way}\n    \
             start_response('200 OK', [])\n    return [body]\n"
        );
        let url = app(&server, &format!("way_{number}"), &source);
        let mut connection = expecting(&server, &url, 3);
        assert_eq!(
            connection.read_head().expect("an interim response").status,
            100,
            "{way}"
        );
        connection.send(b"abc");
        let response = connection.read_response();
        assert_eq!(
            (response.text().as_str(), response.interim.len()),
            ("abc", 0),
            "{way}"
        );
    }
}

#[test]
fn reading_nothing_asks_for_the_body_already() {
    if is_daemon_mode() && !ours("D80") {
        return;
    }
    let server = SERVER.borrow();
    let url = gated_app(
        &server,
        "read_zero",
        r#"
def application(environ, start_response):
    environ['wsgi.input'].read(0)
    appeared('read-zero-returned')
    body = environ['wsgi.input'].read()
    start_response('200 OK', [])
    return [body]
"#,
    );
    let mut connection = expecting(&server, &url, 3);

    // Nothing of the body is sent before the call has returned.
    reached(&server, "read-zero-returned");
    assert_eq!(
        connection.read_head().expect("an interim response").status,
        100
    );
    connection.send(b"abc");
    assert_eq!(connection.read_response().text(), "abc");
}

const DOES_NOT_READ: &str = r#"
def application(environ, start_response):
    start_response('403 Forbidden', [('Content-Length', '2')])
    return [b'no']
"#;

#[test]
fn a_body_that_is_not_wanted_is_not_asked_for() {
    if is_daemon_mode() && !ours("D80") {
        return;
    }
    let server = SERVER.borrow();
    let url = app(&server, "does_not_read", DOES_NOT_READ);
    let request = Request::new("POST", &url)
        .header("Connection", "close")
        .header("Expect", "100-continue")
        .header("Content-Length", "3");
    let mut connection = server.connect();
    connection.send(&request.head_bytes());

    let response = connection.read_response();

    assert_eq!((response.status, response.text().as_str()), (403, "no"));
    assert!(response.interim.is_empty());
    assert!(connection.is_closed());
}

#[test]
fn the_response_does_not_wait_for_a_body_that_is_not_wanted() {
    if is_daemon_mode() && !ours("D80") {
        return;
    }
    // On a connection that could be kept httpd has to get past the body first, but the client
    // must not be kept waiting for a response that is there.
    let server = SERVER.borrow();
    let url = app(&server, "kept_does_not_read", DOES_NOT_READ);
    let mut connection = expecting(&server, &url, 3);

    let response = connection.read_response();

    assert_eq!((response.status, response.text().as_str()), (403, "no"));
    assert!(response.interim.is_empty());
}

#[test]
fn a_response_of_unknown_length_that_does_not_read_is_sent_in_chunks() {
    if is_daemon_mode() && !ours("D80") {
        return;
    }
    let server = SERVER.borrow();
    for (name, rest) in [
        ("generates", "yield b'abc'"),
        ("writes", "write(b'abc')\n    return []"),
    ] {
        let source = format!(
            "def application(environ, start_response):
    write = start_response('200 OK', [])
    {rest}
"
        );
        let url = app(&server, name, &source);
        let mut connection = expecting(&server, &url, 3);

        let head = connection.read_head().expect("a head");
        assert_eq!(head.header("Transfer-Encoding"), Some("chunked"), "{name}");
        assert_eq!(connection.read_chunk().expect("a chunk"), b"abc", "{name}");
        // mod_wsgi sends the last chunk when it has read the body.
        connection.try_send(b"xyz");
        assert_eq!(connection.read_chunk().expect("an end"), b"", "{name}");
    }
}

#[test]
fn one_that_is_cut_short_looks_so() {
    if !ours("D40") {
        return;
    }
    let server = SERVER.borrow();
    let url = app(
        &server,
        "cut_short",
        "def application(environ, start_response):
    start_response('200 OK', [])
    yield b'begun'
    raise ValueError
",
    );
    let mut connection = expecting(&server, &url, 3);

    let response = connection.read_response();

    assert_eq!((response.status, response.text().as_str()), (200, "begun"));
    assert_eq!(response.ending, Ending::Cut);
}

#[test]
fn once_the_response_began_it_is_too_late_to_ask() {
    if is_daemon_mode() && !ours("D80") {
        return;
    }
    let server = SERVER.borrow();
    let url = app(
        &server,
        "late",
        r#"
def application(environ, start_response):
    start_response('200 OK', [('Content-Length', '6')])
    yield b'out'
    yield environ['wsgi.input'].read()
"#,
    );
    let mut connection = expecting(&server, &url, 3);
    let head = connection.read_head().expect("a head");
    assert_eq!(head.status, 200);
    assert_eq!(connection.read_exactly(3), b"out");

    // A client that sends the body without being asked is read all the same.
    connection.send(b"abc");

    assert_eq!(connection.read_exactly(3), b"abc");
}

/// What the client sends next may be the body, or another request: nobody can tell.
#[test]
fn a_client_that_was_not_asked_for_its_body_is_told_that_the_connection_ends() {
    if !ours("D123") {
        return;
    }
    let server = SERVER.borrow();
    let url = app(&server, "not_asked", DOES_NOT_READ);
    let mut connection = expecting(&server, &url, 3);

    let response = connection.read_response();

    assert_eq!(response.header("Connection"), Some("close"));
}

#[test]
fn a_body_that_came_unasked_is_read() {
    let server = SERVER.borrow();
    let url = app(
        &server,
        "unasked",
        r#"
def application(environ, start_response):
    start_response('200 OK', [])
    return [environ['wsgi.input'].read()]
"#,
    );
    let request = Request::post(&url, "abc").header("Expect", "100-continue");

    let response = server.send(&request);

    assert_eq!((response.status, response.text().as_str()), (200, "abc"));
}

#[test]
fn http_1_0_has_no_interim_responses() {
    let server = SERVER.borrow();
    let url = app(
        &server,
        "http_1_0",
        r#"
def application(environ, start_response):
    start_response('200 OK', [])
    return [environ['wsgi.input'].read()]
"#,
    );
    let request = Request::post(&url, "abc")
        .http_1_0()
        .header("Expect", "100-continue");

    let response = server.send(&request);

    assert_eq!(
        (response.text().as_str(), response.interim.len()),
        ("abc", 0)
    );
}

#[test]
fn a_body_that_is_too_large_is_not_asked_for() {
    let server = wsgi_site().config("LimitRequestBody 2").start();
    let url = app(&server, "too_large", DOES_NOT_READ);

    let response = expecting(&server, &url, 3).read_response();

    assert_eq!(response.status, 413);
    assert!(response.interim.is_empty());
}

#[rstest]
fn a_document_for_an_error_asks_for_nothing(#[values("", "process-group=one")] group: &str) {
    if !group.is_empty() && !ours("D234") {
        return;
    }
    let server = Site::new()
        .script("a.wsgi", &answering("ran"))
        .script(
            "document.wsgi",
            r"
def application(environ, start_response):
    body = environ['wsgi.input'].read()
    start_response('403 Forbidden', [])
    return [b'%d' % len(body)]
",
        )
        .config(&format!(
            "WSGISocketPrefix ${{ROOT}}/logs/wsgi
             WSGIDaemonProcess one
             ErrorDocument 403 /document
             WSGIScriptAlias /document ${{WSGI}}/document.wsgi {group}
             WSGIScriptAlias /secret ${{WSGI}}/a.wsgi
             <Location /secret>
                 Require all denied
             </Location>"
        ))
        .start();
    let mut client = expecting(&server, "/secret", 1000);
    let response = client.read_response();
    assert!(response.interim.is_empty(), "{:?}", response.interim);
    assert_eq!((response.status, response.text().as_str()), (403, "0"));
}

#[test]
fn other_expectations_fail() {
    let server = SERVER.borrow();
    let url = app(&server, "other", DOES_NOT_READ);
    let request = Request::post(&url, "abc").header("Expect", "the-unexpected");

    assert_eq!(server.send(&request).status, 417);
}
