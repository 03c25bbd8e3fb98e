//! Response splitting: no byte in a status, a header name or a header value, wherever it came
//! from, makes a header or a response of its own.

use testkit::{Connection, Httpd, Request, SharedHttpd};

use crate::wsgi_site::wsgi_site;

static SERVER: SharedHttpd = SharedHttpd::new(|| wsgi_site().script("inject.wsgi", INJECT));

/// Puts the character whose number is the query string into the place that the path info names,
/// in front of what would be a header.
const INJECT: &str = r#"
from urllib.parse import unquote

def application(environ, start_response):
    place = environ['PATH_INFO'].strip('/')
    text = 'begin' + unquote(environ['QUERY_STRING'], 'latin-1') + 'Injected: yes'
    status, headers = '200 OK', [('Content-Length', '4')]
    if place == 'status':
        status = '200 ' + text
    elif place == 'name':
        headers.append((text.removesuffix(': yes'), 'yes'))
    elif place == 'Content-Length':
        headers.append((place, text.replace('begin', '4')))
    else:
        headers.append((place, text))
    start_response(status, headers)
    return [b'body']
"#;

/// What the server sends for `injection` in `place`, all of it.
fn answer(server: &Httpd, place: &str, injection: &str) -> Vec<u8> {
    let request = Request::get(&format!("/inject.wsgi/{place}?{injection}"));
    let mut connection: Connection = server.connect();
    connection.send(&request.header("Connection", "close").to_bytes());
    connection.read_to_end()
}

/// Whether any reading of `bytes` as lines has one that begins with the injected header, or a
/// second response.
fn is_split(bytes: &[u8]) -> bool {
    let mut lines = bytes.split(|byte| matches!(byte, b'\r' | b'\n' | 0x0b | 0x0c));
    let first = lines.next().unwrap_or_default();
    assert!(
        first.starts_with(b"HTTP/1.1 "),
        "{:?}",
        String::from_utf8_lossy(bytes)
    );
    lines.any(|line| {
        let line = line.trim_ascii_start();
        line.starts_with(b"Injected") || line.starts_with(b"HTTP/")
    })
}

fn assert_never_split(place: &str) {
    let server = SERVER.borrow();
    for byte in 0..=255_u8 {
        let bytes = answer(&server, place, &format!("%{byte:02x}"));
        let text = String::from_utf8_lossy(&bytes);
        assert!(!is_split(&bytes), "{place}, byte {byte:#04x}: {text}");
    }
    for sequence in [
        "%0d%0a",
        "%0d%0a%20",
        "%0a%0d",
        "%00%0d%0a",
        "%0d%0a%0d%0aHTTP/1.1%20200",
    ] {
        let bytes = answer(&server, place, sequence);
        let text = String::from_utf8_lossy(&bytes);
        assert!(!is_split(&bytes), "{place}, {sequence}: {text}");
    }
}

/// Asserts that the place is one: without a harmful byte the text is sent as it is.
fn assert_sent(place: &str) {
    let bytes = answer(&SERVER.borrow(), place, "-");
    let text = String::from_utf8_lossy(&bytes);
    // A process group's media types are in lower case.
    let sent = text.to_ascii_lowercase();
    assert!(sent.contains("begin-injected: yes\r\n"), "{place}: {text}");
}

#[test]
fn by_the_status() {
    assert_sent("status");
    assert_never_split("status");
}

#[test]
fn by_the_name_of_a_header() {
    assert_sent("name");
    assert_never_split("name");
}

#[test]
fn by_the_value_of_a_header() {
    assert_sent("X-Value");
    assert_never_split("X-Value");
}

#[test]
fn by_the_headers_that_httpd_treats_in_its_own_ways() {
    assert_sent("Content-Type");
    assert_never_split("Content-Type");
    assert_sent("WWW-Authenticate");
    assert_never_split("WWW-Authenticate");
}

#[test]
fn by_headers_that_redirect_or_set_cookies() {
    assert_sent("Location");
    assert_never_split("Location");
    assert_sent("Set-Cookie");
    assert_never_split("Set-Cookie");
}

#[test]
fn by_a_length() {
    assert_never_split("Content-Length");
}

#[test]
fn by_what_python_calls_whitespace() {
    // Characters beyond latin-1 that some encoders turn into a line end cannot be sent at all.
    let server = wsgi_site()
        .script(
            "wide.wsgi",
            r#"
def application(environ, start_response):
    refused = 0
    for character in '\u2028\u2029\u560a\u560d\u010a\u010d\uff0a':
        for status, headers in [('200 a' + character + 'Injected: 1', []),
                                ('200 OK', [('A' + character + 'Injected', '1')]),
                                ('200 OK', [('A', character + 'Injected: 1')])]:
            try:
                start_response(status, headers)
            except UnicodeEncodeError:
                refused += 1
    start_response('200 OK', [('X-Refused', str(refused))])
    return [b'']
"#,
        )
        .start();

    assert_eq!(server.get("/wide.wsgi").header("X-Refused"), Some("21"));
}
