//! What httpd makes of the head of a response that comes from a process group: it treats it as that
//! of a CGI script.

use testkit::{Httpd, Request, Response, SharedHttpd, Site, ours};

use crate::wsgi_site::quoted;

/// Answers with the status, the headers and the body that the query string has, as Python.
const APP: &str = r#"
from urllib.parse import unquote

def application(environ, start_response):
    environ['wsgi.input'].read()
    status, headers, body = eval(unquote(environ['QUERY_STRING']))
    start_response(status, headers)
    return body
"#;

/// Answers with what it was asked.
const TARGET: &str = r#"
def application(environ, start_response):
    keys = ('REQUEST_METHOD', 'QUERY_STRING', 'CONTENT_LENGTH', 'HTTP_X_SENT', 'REDIRECT_URL', 'REDIRECT_STATUS')
    seen = [str(environ.get(key)) for key in keys] + [repr(environ['wsgi.input'].read())]
    start_response('200 OK', [('X-Target', 'yes')])
    return [' '.join(seen).encode()]
"#;

static SERVER: SharedHttpd = SharedHttpd::new(|| {
    Site::new()
        .module("alias")
        .module("env")
        .script("app.wsgi", APP)
        .script("target.wsgi", TARGET)
        .file("www/page.txt", "a page")
        .file("www/error.txt", "an error page")
        .config(
            "WSGISocketPrefix ${ROOT}/logs/wsgi
             WSGIDaemonProcess one threads=4
             WSGIDaemonProcess wide threads=2 header-buffer-size=65536
             WSGIScriptAlias /app ${WSGI}/app.wsgi process-group=one application-group=%{GLOBAL}
             WSGIScriptAlias /override ${WSGI}/app.wsgi process-group=one application-group=%{GLOBAL}
             WSGIScriptAlias /document ${WSGI}/app.wsgi process-group=one application-group=%{GLOBAL}
             WSGIScriptAlias /embedded ${WSGI}/app.wsgi application-group=%{GLOBAL}
             WSGIScriptAlias /wide ${WSGI}/app.wsgi process-group=wide application-group=%{GLOBAL}
             WSGIScriptAlias /target ${WSGI}/target.wsgi
             <Location /override>
                 WSGIErrorOverride On
             </Location>
             <Location /document>
                 WSGIErrorOverride On
                 ErrorDocument 404 /error.txt
                 ErrorDocument 403 /target
             </Location>
             <Location /embedded>
                 WSGIErrorOverride On
             </Location>",
        )
});

fn url(path: &str, status: &str, headers: &str, body: &str) -> String {
    format!(
        "{path}?{}",
        quoted(&format!("({status:?}, {headers}, {body})"))
    )
}

fn ask(server: &Httpd, path: &str, status: &str, headers: &str) -> Response {
    server.get(&url(path, status, headers, "[b'own']"))
}

/// What the client gets of these headers, as `Name: value`, in its order; with a status before
/// them that is not `200 OK`.
fn received(server: &Httpd, status: &str, headers: &str) -> String {
    let response = ask(server, "/app", status, headers);
    assert!(response.is_whole());
    let own = |(name, value): &(String, String)| {
        let of_httpd = [
            "Date",
            "Server",
            "Connection",
            "Transfer-Encoding",
            "Content-Length",
        ];
        (!of_httpd.contains(&name.as_str())).then(|| format!("{name}: {value}"))
    };
    let status = format!("{} {}", response.status, response.head.reason);
    let status = (status != "200 OK").then_some(status);
    let lines = status.into_iter();
    let lines = lines.chain(response.head.headers.iter().filter_map(own));
    lines.collect::<Vec<_>>().join("; ")
}

#[test]
fn headers_are_those_of_a_script() {
    let server = SERVER.borrow();
    for (headers, expected) in [
        // Repeated ones are joined,
        (
            "[('X-One', 'a'), ('x-one', 'b'), ('X-One', 'c')]",
            "X-One: a, b, c",
        ),
        ("[('Allow', 'A'), ('Allow', 'B')]", "Allow: A, B"),
        // but stay apart where they cannot be,
        (
            "[('Set-Cookie', 'a=1'), ('Set-Cookie', 'b=2')]",
            "Set-Cookie: a=1; Set-Cookie: b=2",
        ),
        (
            "[('WWW-Authenticate', 'A'), ('WWW-Authenticate', 'B')]",
            "WWW-Authenticate: A; WWW-Authenticate: B",
        ),
        // and of some the last one counts.
        (
            "[('Location', 'http://a/'), ('Location', 'http://b/')]",
            "Location: http://b/",
        ),
        (
            "[('Content-Range', 'x 1'), ('Content-Range', 'x 2')]",
            "Content-Range: x 2",
        ),
        (
            "[('Content-Type', 'a/b'), ('Content-Type', 'C/D')]",
            "Content-Type: c/d",
        ),
        // Blanks around a value are not part of it.
        ("[('X-Blank', '   a  b')]", "X-Blank: a  b"),
        ("[('X-Empty', '')]", "X-Empty: "),
        // The media type is in lower case, not its parameters.
        (
            "[('Content-Type', 'Text/HTML; Charset=X  ')]",
            "Content-Type: text/html; Charset=X",
        ),
    ] {
        assert_eq!(received(&server, "200 OK", headers), expected, "{headers}");
    }
    let response = ask(
        &server,
        "/app",
        "200 OK",
        "[('Content-Length', '30'), ('Content-Length', '3')]",
    );
    assert_eq!(response.header("Content-Length"), Some("3"));
    assert_eq!(response.text(), "own");
}

#[test]
fn last_modified_is_a_date() {
    let server = SERVER.borrow();
    for (headers, expected) in [
        (
            "Wed, 01 Jan 2020 00:00:00 GMT",
            "Wed, 01 Jan 2020 00:00:00 GMT",
        ),
        (
            "Thursday, 02-Jan-20 00:00:00 GMT",
            "Thu, 02 Jan 2020 00:00:00 GMT",
        ),
        ("Thu Jan  2 00:00:00 2020", "Thu, 02 Jan 2020 00:00:00 GMT"),
        ("whenever", "Thu, 01 Jan 1970 00:00:00 GMT"),
    ] {
        let headers = format!("[('Last-Modified', '{headers}')]");
        assert_eq!(
            received(&server, "200 OK", &headers),
            format!("Last-Modified: {expected}")
        );
    }
    let future = "[('Last-Modified', 'Wed, 01 Jan 2070 00:00:00 GMT')]";
    let response = ask(&server, "/app", "200 OK", future);
    assert_eq!(response.header("Last-Modified"), response.header("Date"));
}

#[test]
fn the_header_status_is_the_status() {
    let server = SERVER.borrow();
    for (headers, expected) in [
        ("[('Status', '404 Not really')]", "404 Not really"),
        ("[('Status', '404')]", "404 Not Found"),
        ("[('Status', '600 Beyond')]", "600 Beyond"),
        ("[('Status', '404 a'), ('Status', '403 b')]", "403 b"),
        (
            "[('Status', '302 F'), ('Location', '/target')]",
            "302 F; Location: /target",
        ),
        ("[('Status', 'nonsense')]", "500 Internal Server Error"),
        ("[('Status', '99 Problems')]", "500 Internal Server Error"),
    ] {
        assert_eq!(received(&server, "200 OK", headers), expected, "{headers}");
        let body = ask(&server, "/app", "200 OK", headers).text();
        assert_eq!(body, "own", "{headers}: no error response of httpd's");
    }
    if ours("D187") {
        // A 500 in all respects: httpd ends the connection, and may answer it itself.
        let nonsense = "[('Status', 'nonsense')]";
        let response = ask(&server, "/app", "200 OK", nonsense);
        assert_eq!(response.header("Connection"), Some("close"));
        let page = ask(&server, "/override", "200 OK", nonsense).text();
        assert!(page.contains("<title>500 "), "{page}");
        let response = ask(&server, "/app", "200 OK", "[('Status', '100 Go on')]");
        assert_eq!((response.status, &*response.text()), (500, "own"));
    }
    // In the processes of httpd it is a header like others.
    let response = ask(
        &server,
        "/embedded",
        "200 OK",
        "[('Status', '404 Not really')]",
    );
    assert_eq!(
        (response.status, response.header("Status")),
        (200, Some("404 Not really"))
    );
}

#[test]
fn one_status_line_is_that_of_a_failure() {
    let server = SERVER.borrow();
    let response = ask(&server, "/app", "200 Error", "[]");
    assert_eq!(response.status, 500);
    assert!(response.text().contains("<h1>Internal Server Error</h1>"));
    for status in ["200 error", "200 Errors", "404 Error", "299 Own", "999 End"] {
        assert_eq!(received(&server, status, "[]"), status);
    }
    assert_eq!(ask(&server, "/embedded", "200 Error", "[]").text(), "own");
}

#[test]
fn a_line_can_be_as_long_as_header_buffer_size() {
    let server = SERVER.borrow();
    let length_of = |path: &str, length: usize| {
        let headers = format!("[('X-Long', 'y' * {length})]");
        let response = ask(&server, path, "200 OK", &headers);
        let length = response.header("X-Long").map(str::len);
        (response.status, length)
    };
    // The line is `X-Long: yyy` and a line end of two characters.
    let longest = 32_768 - "X-Long: ".len() - 2;
    assert_eq!(length_of("/app", longest), (200, Some(longest)));
    assert_eq!(length_of("/wide", 65_000), (200, Some(65_000)));
    assert_eq!(length_of("/embedded", 65_000), (200, Some(65_000)));
    for (path, length) in [("/app", longest + 1), ("/wide", 66_000)] {
        let mark = server.log().mark();
        assert_eq!(length_of(path, length), (500, None), "{path}");
        server.log().wait_for(mark, "WSGI0144");
    }
}

/// What the [`TARGET`] was asked.
fn asked_of_target(response: &Response) -> String {
    assert_eq!(
        (response.status, response.header("X-Target")),
        (200, Some("yes"))
    );
    response.text()
}

#[test]
fn a_local_location_with_status_200_is_answered_with_what_is_there() {
    let server = SERVER.borrow();
    let headers = "[('Location', '/target?x=1'), ('X-Own', '1'), ('Set-Cookie', 'c=1')]";
    let request = Request::post(&url("/app", "200 Fine", headers, "[b'own']"), "the body")
        .header("X-Sent", "sent");
    let response = server.send(&request);
    assert_eq!(
        asked_of_target(&response),
        "GET x=1 None sent /app 200 b''",
        "the method is GET, the body is gone"
    );
    assert_eq!(
        (response.header("X-Own"), response.header("Set-Cookie")),
        (None, None)
    );
    // Of the response that is replaced nothing but its head counts.
    for body in [
        "[b'x' * 100000] * 20",
        "(1/0 if i else b'x' for i in range(2))",
    ] {
        let url = url("/app", "200 OK", "[('Location', '/target')]", body);
        assert_eq!(
            asked_of_target(&server.get(&url)),
            "GET  None None /app 200 b''"
        );
    }
    let page = ask(
        &server,
        "/app",
        "200 OK",
        "[('Location', '/page.txt'), ('Content-Length', '3')]",
    );
    assert_eq!(page.text(), "a page");
    assert_eq!(
        ask(&server, "/app", "200 OK", "[('Location', '/none')]").status,
        404
    );
    let head = url("/app", "200 OK", "[('Location', '/target')]", "[b'own']");
    let response = server.send(&Request::new("HEAD", &head));
    assert_eq!(asked_of_target(&response), "");
}

#[test]
fn a_redirected_request_leaves_the_connection_usable() {
    let server = SERVER.borrow();
    let url = url("/app", "200 OK", "[('Location', '/target')]", "[b'own']");
    let mut connection = server.connect();
    for body in [0, 10, 200_000] {
        let request = Request::post(&url, vec![b'x'; body]).header("Connection", "keep-alive");
        connection.send(&request.to_bytes());
        assert_eq!(
            asked_of_target(&connection.read_response()),
            "GET  None None /app 200 b''"
        );
    }
}

#[test]
fn other_locations_are_the_clients_to_follow() {
    let server = SERVER.borrow();
    for (status, location) in [
        ("302 Found", "/target"),
        ("201 Created", "/target"),
        ("206 Partial Content", "/target"),
        ("200 OK", "target"),
        ("200 OK", "http://localhost/target"),
    ] {
        let response = ask(
            &server,
            "/app",
            status,
            &format!("[('Location', '{location}')]"),
        );
        assert_eq!(response.header("Location"), Some(location), "{status}");
        assert_eq!(response.text(), "own");
    }
    let response = ask(&server, "/embedded", "200 OK", "[('Location', '/target')]");
    assert_eq!(
        (response.header("Location"), response.text().as_str()),
        (Some("/target"), "own")
    );
}

#[test]
fn error_override_replaces_the_error_responses_of_a_group() {
    let server = SERVER.borrow();
    let headers = "[('X-Own', '1'), ('Set-Cookie', 'c=1'), ('Content-Type', 'x/y'), \
                   ('WWW-Authenticate', 'Own'), ('Content-Length', '3'), ('ETag', '\"e\"')]";
    for (status, sent) in [
        ("404 Gone Fishing", (404, "Not Found")),
        ("401 Own", (401, "Unauthorized")),
        ("403 Own", (403, "Forbidden")),
        ("500 Own", (500, "Internal Server Error")),
        ("503 Own", (503, "Service Unavailable")),
        // httpd knows no such error.
        ("599 Own", (500, "Internal Server Error")),
    ] {
        let response = ask(&server, "/override", status, headers);
        let head = &response.head;
        assert_eq!((head.status, head.reason.as_str()), sent, "{status}");
        assert!(
            response.text().contains(&format!("<h1>{}</h1>", sent.1)),
            "{status}"
        );
        assert_eq!(response.header("WWW-Authenticate"), Some("Own"));
        assert_eq!(
            response.header("Content-Type"),
            Some("text/html; charset=iso-8859-1")
        );
        for name in ["X-Own", "Set-Cookie", "ETag"] {
            assert_eq!(response.header(name), None, "{status} {name}");
        }
    }
    let status = "[('Status', '404 Own')]";
    assert_eq!(
        ask(&server, "/override", "200 OK", status).head.reason,
        "Not Found"
    );
    for status in ["200 OK", "302 Found", "399 Own", "600 Own"] {
        assert_eq!(
            ask(&server, "/override", status, "[]").text(),
            "own",
            "{status}"
        );
    }
    for body in [
        "[b'x' * 100000] * 20",
        "(1/0 if i else b'x' for i in range(2))",
    ] {
        let response = server.get(&url("/override", "404 Own", "[]", body));
        assert_eq!(response.head.reason, "Not Found");
        assert!(response.is_whole());
    }
}

#[test]
fn error_override_uses_the_error_documents() {
    let server = SERVER.borrow();
    let response = ask(&server, "/document", "404 Own", "[('X-Own', '1')]");
    assert_eq!(
        (response.status, response.text().as_str()),
        (404, "an error page")
    );
    assert_eq!(response.header("X-Own"), None);
    let response = ask(&server, "/document", "403 Own", "[]");
    assert_eq!(
        asked_of_target(&response),
        "GET  None None /document 403 b''"
    );
}

#[test]
fn without_error_override_or_in_embedded_mode_they_are_the_applications() {
    let server = SERVER.borrow();
    for path in ["/app", "/embedded"] {
        let response = ask(&server, path, "404 Gone Fishing", "[]");
        assert_eq!(response.head.reason, "Gone Fishing", "{path}");
        assert_eq!(response.text(), "own");
    }
}
