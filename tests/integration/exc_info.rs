//! `start_response` with `exc_info`: an application that replaces its response by an error page.

use testkit::{SharedHttpd, ours};

use crate::wsgi_site::{app, is_daemon_mode, wsgi_site};

static SERVER: SharedHttpd = SharedHttpd::new(wsgi_site);

#[test]
fn exc_info_before_the_head_is_sent_replaces_it() {
    let server = SERVER.borrow();
    let url = app(
        &server,
        "replaces",
        r#"
import sys

def application(environ, start_response):
    start_response('200 OK', [('X-First', '1')])
    try:
        1 / 0
    except ZeroDivisionError:
        start_response('503 Broken', [('X-Second', '2')], sys.exc_info())
    return [b'an apology']
"#,
    );

    let response = server.get(&url);

    assert_eq!(
        (response.status, response.text().as_str()),
        (503, "an apology")
    );
    assert_eq!(response.header("X-First"), None);
    assert_eq!(response.header("X-Second"), Some("2"));
}

/// Sends a part of the body and then calls `start_response` again, in the way of the query string;
/// the log tells what came of it.
const SECOND_START: &str = r#"
import sys

def application(environ, start_response):
    write = start_response('200 OK', [])
    yield b'begun '
    try:
        1 / 0
    except ZeroDivisionError as error:
        exc_info = {'none': None, 'tuple': sys.exc_info(), 'pair': (1, 2),
                    'pieces': (KeyError, 'text', None), 'arguments': (OSError, (2, 'text'), None),
                    'kind': (EOFError, None, None)}[environ['QUERY_STRING']]
        try:
            start_response('503 Too Late', [], exc_info)
        except Exception as raised:
            print('raised again:', raised is error, type(raised).__name__,
                  file=environ['wsgi.errors'])
    yield b'and done'
"#;

#[test]
fn exc_info_after_the_head_was_sent_raises_that_exception() {
    let server = SERVER.borrow();
    let url = app(&server, "second_start", SECOND_START);
    for (query, outcome) in [
        ("tuple", "raised again: True ZeroDivisionError"),
        ("none", "raised again: False RuntimeError"),
        ("pair", "raised again: False TypeError"),
        ("pieces", "raised again: False KeyError"),
        ("arguments", "raised again: False FileNotFoundError"),
        ("kind", "raised again: False EOFError"),
    ] {
        let mark = server.log().mark();
        let response = server.get(&format!("{url}?{query}"));
        assert_eq!(
            (response.status, response.text().as_str()),
            (200, "begun and done")
        );
        server.log().wait_for(mark, outcome);
    }
}

#[test]
fn exc_info_that_is_not_caught_ends_the_response() {
    let server = SERVER.borrow();
    let url = app(
        &server,
        "not_caught",
        r#"
import sys

def application(environ, start_response):
    start_response('200 OK', [])
    yield b'begun'
    try:
        1 / 0
    except ZeroDivisionError:
        start_response('503 Too Late', [], sys.exc_info())
    yield b'never'
"#,
    );
    let mark = server.log().mark();

    let response = server.get(&url);

    assert_eq!((response.status, response.text().as_str()), (200, "begun"));
    // In daemon mode, mod_wsgi ends it as if it were complete.
    if !is_daemon_mode() || ours("D40") {
        assert!(!response.is_whole());
    }
    server
        .log()
        .wait_for(mark, "ZeroDivisionError: division by zero");
}
