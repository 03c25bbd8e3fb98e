//! What becomes of each status and of each kind of header: one row for each, in both modes.

use rstest::rstest;
use testkit::{Connection, Request, Response};

use crate::wsgi_site::{Mode, app, quoted};

/// Answers with the status and headers that the query string gives as a Python tuple; piece by
/// piece, so that nothing is known of the length.
const ANSWERING: &str = r#"
from urllib.parse import unquote

def application(environ, start_response):
    status, headers = eval(unquote(environ['QUERY_STRING']))
    start_response(status, headers)
    yield b'bo'
    yield b'dy'
"#;

/// The response on a connection that may be kept.
fn ask(connection: &mut Connection, url: &str, status: &str, headers: &str) -> Response {
    let query = quoted(&format!("({status:?}, {headers})"));
    connection.send(&Request::get(&format!("{url}?{query}")).to_bytes());
    connection.read_response()
}

/// What is there of a status: the line that the client gets, the body, and whether the connection
/// is kept.
#[rstest]
fn a_status_is_the_applications(#[values(Mode::Embedded, Mode::Daemon)] mode: Mode) {
    let server = mode.server();
    let url = app(&server, "status_rows", ANSWERING);
    for (status, line, body, is_kept) in [
        ("200 OK", "200 OK", "body", true),
        ("200", "200 OK", "body", true),
        ("200 ", "200 ", "body", true),
        ("200  two", "200  two", "body", true),
        ("200 <b> \"q\"", "200 <b> \"q\"", "body", true),
        ("200 error", "200 error", "body", true),
        ("204 No Content", "204 No Content", "", true),
        ("205 Reset", "205 Reset", "body", true),
        ("206 Partial", "206 Partial", "body", true),
        ("226 IM Used", "226 IM Used", "body", true),
        ("299 Own", "299 Own", "body", true),
        ("301 Moved", "301 Moved", "body", true),
        ("302 Found", "302 Found", "body", true),
        ("304 Not Modified", "304 Not Modified", "", true),
        ("401 Who", "401 Who", "body", true),
        ("404", "404 Not Found", "body", true),
        ("404 Own Words", "404 Own Words", "body", true),
        ("418 Teapot", "418 Teapot", "body", true),
        ("499 Own", "499 Own", "body", true),
        // httpd does not keep a connection that something is wrong with.
        ("400 Bad", "400 Bad", "body", false),
        ("408 Late", "408 Late", "body", false),
        ("413 Large", "413 Large", "body", false),
        ("414 Long", "414 Long", "body", false),
        ("500 Own", "500 Own", "body", false),
        ("501 Not", "501 Not", "body", false),
        ("503 Busy", "503 Busy", "body", false),
        ("505 Version", "505 Version", "body", true),
        ("599 Own", "599 Own", "body", true),
        ("600 Own", "600 Own", "body", true),
        ("999 Own", "999 Own", "body", true),
    ] {
        let mut connection = server.connect();
        let response = ask(&mut connection, &url, status, "[('X-Own', 'kept')]");
        let got = format!("{} {}", response.status, response.head.reason);
        assert_eq!(got.trim_end(), line.trim_end(), "{status:?}");
        assert_eq!(response.text(), body, "{status:?}");
        assert_eq!(response.header("X-Own"), Some("kept"), "{status:?}");
        assert_eq!(response.header("Content-Type"), None, "{status:?}");
        let is_closed = response.header("Connection") == Some("close");
        assert_eq!(is_closed, !is_kept, "{status:?}");
        if is_kept {
            assert_eq!(ask(&mut connection, &url, "200 OK", "[]").text(), "body");
        }
    }
}

/// What the client gets of a header: in embedded mode, and from a process group if that differs,
/// whose head httpd reads as that of a CGI script.
#[rstest]
fn a_header_is_the_applications(#[values(Mode::Embedded, Mode::Daemon)] mode: Mode) {
    let server = mode.server();
    let url = app(&server, "header_rows", ANSWERING);
    for (name, values, embedded, daemon) in [
        (
            "X-A",
            "'1', '2', '3'",
            &["1", "2", "3"][..],
            Some(&["1, 2, 3"][..]),
        ),
        ("Set-Cookie", "'a=1', 'b=2'", &["a=1", "b=2"], None),
        ("Set-Cookie2", "'a', 'b'", &["a", "b"], Some(&["a, b"])),
        ("Link", "'<a>', '<b>'", &["<a>", "<b>"], Some(&["<a>, <b>"])),
        ("Vary", "'a', 'b'", &["a,b"], None),
        (
            "Cache-Control",
            "'no-cache', 'private'",
            &["no-cache", "private"],
            Some(&["no-cache, private"]),
        ),
        (
            "WWW-Authenticate",
            "'Basic', 'Digest'",
            &["Basic", "Digest"],
            None,
        ),
        ("Proxy-Authenticate", "'Basic'", &["Basic"], None),
        ("Content-Type", "'a/b', 'c/d'", &["c/d"], None),
        (
            "Content-Type",
            "'TEXT/HTML; Charset=X'",
            &["TEXT/HTML; Charset=X"],
            Some(&["text/html; Charset=X"]),
        ),
        ("Content-Length", "'99', '4'", &["4"], None),
        ("Content-Length", "'0004'", &["4"], None),
        (
            "Content-Range",
            "'bytes 0-3/4', 'bytes 0-3/9'",
            &["bytes 0-3/4", "bytes 0-3/9"],
            Some(&["bytes 0-3/9"]),
        ),
        (
            "Location",
            "'http://a/', 'http://b/'",
            &["http://a/", "http://b/"],
            Some(&["http://b/"]),
        ),
        ("Location", "'relative'", &["relative"], None),
        ("ETag", "'W/\"x\"'", &["W/\"x\""], None),
        (
            "Last-Modified",
            "'Mon, 01 Jan 2001 00:00:00 GMT'",
            &["Mon, 01 Jan 2001 00:00:00 GMT"],
            None,
        ),
        (
            "Last-Modified",
            "'never'",
            &["never"],
            Some(&["Thu, 01 Jan 1970 00:00:00 GMT"]),
        ),
        ("Status", "'200 Fine'", &["200 Fine"], Some(&[])),
        ("Allow", "'GET'", &["GET"], None),
        ("Age", "'1'", &["1"], None),
        ("Content-Encoding", "'own'", &["own"], None),
        ("Content-Language", "'de'", &["de"], None),
        ("X-Empty", "''", &[""], None),
        ("X-Latin", "'\\xe9'", &["\u{e9}"], None),
        ("X_Under", "'v'", &["v"], None),
        ("123", "'v'", &["v"], None),
        ("X!#$%&*+.^`|~", "'v'", &["v"], None),
    ] {
        let mut connection = server.connect();
        let headers = format!("[({name:?}, value) for value in [{values}]]");
        let response = ask(&mut connection, &url, "200 OK", &headers);
        let expected = match mode {
            Mode::Embedded => embedded,
            Mode::Daemon => daemon.unwrap_or(embedded),
        };
        assert_eq!(response.head.header_all(name), expected, "{name}: {values}");
        assert_eq!(
            (response.status, response.text().as_str()),
            (200, "body"),
            "{name}: {values}"
        );
    }
    // What says how the response is sent is httpd's to say.
    let mut connection = server.connect();
    for name in ["Date", "Server"] {
        let response = ask(
            &mut connection,
            &url,
            "200 OK",
            &format!("[('{name}', 'own')]"),
        );
        let values = response.head.header_all(name);
        assert!(values.len() == 1 && values != ["own"], "{name}: {values:?}");
    }
    let response = ask(&mut connection, &url, "200 OK", "[('Connection', 'close')]");
    assert_eq!(response.head.header_all("Connection"), ["close"]);
}
