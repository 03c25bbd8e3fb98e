//! The `Content-Length` an application gives: what it may be, and that the body keeps to it.

use testkit::{Ending, Httpd, Request, SharedHttpd, ours};

use crate::wsgi_site::{app, is_daemon_mode, wsgi_site};

// The timeout is longer than a test waits: a connection that is not closed at once is noticed.
static SERVER: SharedHttpd = SharedHttpd::new(|| wsgi_site().config("KeepAliveTimeout 300"));

/// An application that answers with `Content-Length: length` and the Python expression `result`.
fn answering(server: &Httpd, name: &str, length: &str, result: &str) -> String {
    let source = format!(
        "def application(environ, start_response):\n    \
         write = start_response('200 OK', [('Content-Length', {length:?})])\n    \
         return {result}\n"
    );
    app(server, name, &source)
}

#[test]
fn a_body_of_the_length_said_is_sent_with_it() {
    let server = SERVER.borrow();
    for (length, result, body) in [
        ("3", "[b'abc']", "abc"),
        ("4", "[b'ab', b'cd']", "abcd"),
        ("2", "(b'%d' % n for n in range(2))", "01"),
        ("0", "[]", ""),
        ("0", "[b'']", ""),
    ] {
        let response = server.get(&answering(&server, "exact", length, result));
        assert_eq!(response.text(), body, "{result}");
        assert_eq!(response.header("Content-Length"), Some(length), "{result}");
        assert_eq!(response.ending, Ending::Length, "{result}");
    }
}

#[test]
fn a_filter_sees_a_body_whole_that_is_all_there() {
    if !ours("D47") {
        return;
    }
    let server = wsgi_site()
        .module("filter")
        .module("deflate")
        .config("SetOutputFilter DEFLATE")
        .start();
    for (result, encoding) in [
        // Compressed, it would be longer.
        ("[b'short']", None),
        ("[b'long'] * 100", Some("gzip")),
        ("iter([b'short'])", Some("gzip")),
    ] {
        let source = format!(
            "def application(environ, start_response):\n    \
             start_response('200 OK', [])\n    return {result}\n"
        );
        let request = Request::get(&app(&server, "compressed", &source));
        let response = server.send(&request.header("Accept-Encoding", "gzip"));
        assert_eq!(response.header("Content-Encoding"), encoding, "{result}");
    }
}

#[test]
fn a_filter_may_state_the_length_of_what_is_sent_item_by_item() {
    let server = wsgi_site()
        .module("headers")
        .config("Header set Content-Length 2")
        .start();
    let url = app(
        &server,
        "stated",
        r#"
def application(environ, start_response):
    start_response('200 OK', [])
    return iter([b'a', b'b'])
"#,
    );
    let response = server.get(&url);
    assert_eq!(response.text(), "ab");
    assert_eq!(response.header("Content-Length"), Some("2"));
    assert_eq!(response.ending, Ending::Length);
}

#[test]
fn bytes_beyond_it_are_discarded() {
    let server = SERVER.borrow();
    for (length, result, body) in [
        ("3", "[b'abcdef']", "abc"),
        ("3", "[b'ab', b'cdef', b'g']", "abc"),
        ("2", "iter([b'ab', b'cdef', b'g'])", "ab"),
        ("0", "[b'abc']", ""),
        ("3", "write(b'abcdef') or []", "abc"),
        ("3", "write(b'ab') or write(b'cd') or [b'ef']", "abc"),
    ] {
        let url = answering(&server, "excess", length, result);
        let mut connection = server.connect();
        connection.send(&Request::get(&url).to_bytes());
        let response = connection.read_response();
        assert_eq!(
            (response.status, response.text().as_str()),
            (200, body),
            "{result}"
        );
        // Not a byte of it is left over: the next response on the connection is in its place.
        connection.send(&Request::get(&url).to_bytes());
        assert_eq!(connection.read_response().text(), body, "{result}");
    }
}

#[test]
fn what_is_no_length_is_refused() {
    let server = SERVER.borrow();
    for length in ["x", "-1", "0x3", "3;", "1e3", "3.0", "99999999999999999999"] {
        for result in ["[b'abc']", "[]", "write(b'abc') or []"] {
            let mark = server.log().mark();
            let response = server.get(&answering(&server, "invalid", length, result));
            assert_eq!(response.status, 500, "{length}: {result}");
            let line = server.log().wait_for(mark, "ValueError: ");
            assert!(line.contains(&format!("'{length}'")), "{line}");
        }
    }
}

#[test]
fn of_several_the_last_counts() {
    let server = SERVER.borrow();
    let url = app(
        &server,
        "several",
        r#"
def application(environ, start_response):
    start_response('200 OK', [('Content-Length', '3'), ('content-length', '2')])
    return [b'abc']
"#,
    );

    let response = server.get(&url);

    assert_eq!(response.header("Content-Length"), Some("2"));
    assert_eq!(response.text(), "ab");
}

#[test]
fn a_body_that_is_too_short_is_cut_off() {
    let server = SERVER.borrow();
    for (name, result) in [("list", "[b'abc']"), ("iterator", "iter([b'a', b'bc'])")] {
        let url = answering(&server, &format!("short_{name}"), "5", result);

        let response = server.get(&url);
        assert_eq!(response.text(), "abc");
        assert_eq!(response.ending, Ending::Cut);
    }
}

#[test]
fn a_body_that_is_too_short_ends_the_connection() {
    // Otherwise the client takes the next response for the rest of this one.
    if !ours("D40") {
        return;
    }
    let server = SERVER.borrow();
    for (name, result) in [
        ("list", "[b'abc']"),
        ("iterator", "iter([b'a', b'bc'])"),
        ("write", "write(b'abc') or []"),
    ] {
        let url = answering(&server, &format!("short_kept_{name}"), "5", result);
        let mut connection = server.connect();
        connection.send(&Request::get(&url).to_bytes());

        let response = connection.read_response();

        assert_eq!(response.text(), "abc", "{result}");
        assert_eq!(response.ending, Ending::Cut, "{result}");
    }
}

/// A client that asks for the head waits for nothing, so nothing is wrong with its connection.
#[test]
fn a_head_of_a_body_that_is_too_short_keeps_the_connection() {
    let server = wsgi_site()
        .config("WSGIMapHEADToGET On\nKeepAliveTimeout 300")
        .start();
    let mark = server.log().mark();
    let url = answering(&server, "short_head", "5", "iter([b'abc'])");
    let mut connection = server.connect();
    for _ in 0..2 {
        connection.send(&Request::new("HEAD", &url).to_bytes());
        let response = connection.read_response_to("HEAD");
        assert_eq!(response.header("Content-Length"), Some("5"));
        assert_eq!(response.header("Connection"), None);
    }
    if ours("D40") {
        let line = server.log().wait_for(mark, "WSGI1040");
        assert!(
            line.contains("on which a client waits for the rest"),
            "{line}"
        );
    }
}

#[test]
fn where_there_is_no_body_at_all_its_length_is_none() {
    // In its daemon mode mod_wsgi has the client wait for what was announced.
    if is_daemon_mode() && !ours("D40") {
        return;
    }
    let server = SERVER.borrow();
    let mark = server.log().mark();
    for (name, result) in [
        ("list", "[]"),
        ("iterator", "iter([])"),
        ("empty", "[b'', b'']"),
        ("write", "write(b'') or []"),
    ] {
        let url = answering(&server, &format!("none_{name}"), "5", result);
        let mut connection = server.connect();
        for _ in 0..2 {
            connection.send(&Request::get(&url).to_bytes());
            let response = connection.read_response();
            assert_eq!(response.header("Content-Length"), Some("0"), "{result}");
            assert_eq!(response.ending, Ending::Length, "{result}");
        }
    }
    // Nor is that an error: a filter may put something in its place, as those for X-Sendfile do.
    assert_eq!(server.log().matching(mark, "WSGI1040").len(), 0);
}

#[test]
fn a_body_of_unknown_length_is_chunked_for_http_1_1() {
    let server = SERVER.borrow();
    let url = app(
        &server,
        "unknown",
        r#"
def application(environ, start_response):
    start_response('200 OK', [])
    yield b'abc'
"#,
    );

    let response = server.get(&url);

    assert_eq!(response.header("Transfer-Encoding"), Some("chunked"));
    assert_eq!(response.header("Content-Length"), None);
    assert_eq!(response.ending, Ending::FinalChunk);
}

#[test]
fn a_body_of_unknown_length_ends_with_the_connection_for_http_1_0() {
    let server = SERVER.borrow();
    let url = app(
        &server,
        "unknown_1_0",
        r#"
def application(environ, start_response):
    start_response('200 OK', [])
    yield b'abc'
    yield b'def'
"#,
    );

    let response = server.send(&Request::get(&url).http_1_0());

    assert_eq!(response.header("Transfer-Encoding"), None);
    assert_eq!(response.text(), "abcdef");
    assert_eq!(response.ending, Ending::Close);
}
