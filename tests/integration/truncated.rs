//! An application that fails after output began: its client must see a response that was cut off,
//! never one that looks complete.

use testkit::{Curl, Ending, Httpd, Request, SharedHttpd, ours};

use crate::wsgi_site::{app, is_daemon_mode, threaded, wsgi_site};

static SERVER: SharedHttpd = SharedHttpd::new(|| {
    wsgi_site()
        .mpm(threaded())
        .module("http2")
        .config("Protocols h2c http/1.1")
        // Longer than a test waits: a connection that is not closed at once is noticed.
        .config("KeepAliveTimeout 300")
});

const FAILS_WHILE_ITERATED: &str = r#"
def application(environ, start_response):
    length = environ['QUERY_STRING']
    start_response('200 OK', [('Content-Length', length)] if length else [])
    yield b'begun'
    raise ValueError('in mid-response')
"#;

const TIMES_OUT_WHILE_ITERATED: &str = r#"
import mod_wsgi

def application(environ, start_response):
    start_response('200 OK', [('Content-Length', environ['QUERY_STRING'])])
    yield b'begun'
    raise mod_wsgi.RequestTimeout()
"#;

const FAILS_AFTER_WRITE: &str = r#"
def application(environ, start_response):
    length = environ['QUERY_STRING']
    write = start_response('200 OK', [('Content-Length', length)] if length else [])
    write(b'begun')
    raise ValueError('after write')
"#;

#[test]
fn a_chunked_response_lacks_its_final_chunk() {
    if is_daemon_mode() && !ours("D40") {
        return;
    }
    let server = SERVER.borrow();
    let url = app(&server, "chunked", FAILS_WHILE_ITERATED);

    let response = server.get(&url);

    assert_eq!((response.status, response.text().as_str()), (200, "begun"));
    assert_eq!(response.ending, Ending::Cut);
}

#[test]
fn a_response_of_known_length_stays_short() {
    let server = SERVER.borrow();
    let url = app(&server, "length", FAILS_WHILE_ITERATED);

    let response = server.get(&format!("{url}?100"));

    assert_eq!((response.status, response.text().as_str()), (200, "begun"));
    assert_eq!(response.ending, Ending::Cut);
}

/// Asks for the response with and without a stated length, on connections that could be kept.
fn check_cut(server: &Httpd, url: &str) {
    for query in ["", "?100"] {
        let mut connection = server.connect();
        connection.send(&Request::get(&format!("{url}{query}")).to_bytes());

        let response = connection.read_response();

        assert_eq!(
            (response.status, response.text().as_str()),
            (200, "begun"),
            "{query}"
        );
        assert_eq!(response.ending, Ending::Cut, "{query}");
    }
}

#[test]
fn a_connection_that_could_be_kept_is_closed_at_once() {
    // Otherwise the client waits, or takes the next response for the rest of this one.
    if !ours("D40") {
        return;
    }
    let server = SERVER.borrow();
    let url = app(&server, "kept", FAILS_WHILE_ITERATED);
    check_cut(&server, &url);
}

#[test]
fn a_failure_after_write_appends_nothing_and_cuts() {
    if !ours("D41") {
        return;
    }
    let server = SERVER.borrow();
    let url = app(&server, "after_write", FAILS_AFTER_WRITE);
    check_cut(&server, &url);
}

#[test]
fn what_has_reached_its_length_is_whole_whatever_fails_then() {
    let server = SERVER.borrow();
    for (name, source) in [
        ("whole_iterated", FAILS_WHILE_ITERATED),
        ("whole_timed_out", TIMES_OUT_WHILE_ITERATED),
        ("whole_written", FAILS_AFTER_WRITE),
    ] {
        if name == "whole_written" && !ours("D41") {
            return;
        }
        let url = format!("{}?5", app(&server, name, source));
        let mut connection = server.connect();
        for _ in 0..2 {
            connection.send(&Request::get(&url).to_bytes());
            let response = connection.read_response();
            assert_eq!(response.text(), "begun", "{name}");
            assert_eq!(response.ending, Ending::Length, "{name}");
        }
        let answer = Curl::http(&server, &url)
            .args(["--http2-prior-knowledge"])
            .send();
        assert_eq!(answer.exit, 0, "{name}: {answer:?}");
    }
}

#[test]
fn a_failure_is_logged_whether_or_not_the_client_saw_it() {
    let server = SERVER.borrow();
    for (name, source, text) in [
        (
            "logged_iterated",
            FAILS_WHILE_ITERATED,
            "ValueError: in mid-response",
        ),
        (
            "logged_written",
            FAILS_AFTER_WRITE,
            "ValueError: after write",
        ),
    ] {
        let mark = server.log().mark();
        server.get(&app(&server, name, source));
        server
            .log()
            .wait_for(mark, &format!("/{name}.wsgi] ValueError exception raised"));
        server.log().wait_for(mark, text);
    }
}

#[test]
fn over_http_2_the_stream_is_reset() {
    if !ours("D42") {
        return;
    }
    let server = SERVER.borrow();
    for (name, source) in [
        ("h2_iterated", FAILS_WHILE_ITERATED),
        ("h2_written", FAILS_AFTER_WRITE),
    ] {
        let url = app(&server, name, source);
        for query in ["", "?100"] {
            let answer = Curl::http(&server, &format!("{url}{query}"))
                .args(["--http2-prior-knowledge"])
                .send();
            // mod_http2 may drop what it has not sent yet, so the head need not have come.
            assert_ne!(answer.exit, 0, "{name}{query}: {answer:?}");
        }
    }
}

/// Says how often it was asked, in a response that any cache may keep and that has no end if asked
/// with `?fails`.
const COUNTS: &str = r#"
import itertools

REQUESTS = itertools.count(1)

def application(environ, start_response):
    start_response('200 OK', [('Cache-Control', 'max-age=3600')])
    yield b'%d' % next(REQUESTS)
    if environ['QUERY_STRING']:
        raise ValueError('in mid-response')
"#;

static CACHE: SharedHttpd = SharedHttpd::new(|| {
    wsgi_site().module("cache").module("cache_disk").config(
        "CacheRoot ${DATA}
         CacheEnable disk /",
    )
});

#[test]
fn no_cache_keeps_what_there_was() {
    if is_daemon_mode() && !ours("D40") {
        return;
    }
    let server = CACHE.borrow();
    let whole = app(&server, "cached", COUNTS);
    let cut = format!("{}?fails", app(&server, "cut", COUNTS));

    let ask = |url: &str| server.get(url).text();

    assert_eq!((ask(&whole), ask(&whole)), ("1".into(), "1".into()));
    assert_eq!((ask(&cut), ask(&cut)), ("1".into(), "2".into()));
}

#[test]
fn the_server_goes_on() {
    if is_daemon_mode() && !ours("D40") {
        return;
    }
    let server = SERVER.borrow();
    let failing = app(&server, "goes_on_failing", FAILS_WHILE_ITERATED);
    let fine = app(
        &server,
        "goes_on",
        r#"
def application(environ, start_response):
    start_response('200 OK', [])
    return [b'fine']
"#,
    );
    for _ in 0..20 {
        assert!(!server.get(&failing).is_whole());
        assert_eq!(server.get(&fine).text(), "fine");
    }
}

/// httpd ends the connection behind a 500, and would let that tell where the document ends.
#[test]
fn the_document_for_an_error_is_sent_in_chunks() {
    if !ours("D40") {
        return;
    }
    let failing = "def application(environ, start_response):
    raise ValueError
";
    let document = "def application(environ, start_response):
    start_response('500 Sorry', [])
    yield b'sorry'
";
    let server = wsgi_site()
        .script("failing.wsgi", failing)
        .script("document.wsgi", document)
        .config("ErrorDocument 500 /document.wsgi")
        .start();

    let response = server.get("/failing.wsgi");

    assert_eq!((response.status, response.text().as_str()), (500, "sorry"));
    assert_eq!(response.header("Transfer-Encoding"), Some("chunked"));
}
