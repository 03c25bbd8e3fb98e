//! The status and the headers of a response, as the client gets them.

use testkit::{Request, SharedHttpd};

use crate::wsgi_site::{app, in_embedded_mode, is_daemon_mode, wsgi_site};

static SERVER: SharedHttpd = SharedHttpd::new(wsgi_site);

#[test]
fn the_status_line_is_the_applications() {
    let server = SERVER.borrow();
    for (status, code, reason) in [
        ("200 OK", 200, "OK"),
        ("200 Very Fine Indeed", 200, "Very Fine Indeed"),
        ("200 Error", 200, "Error"),
        ("404 Gone Fishing", 404, "Gone Fishing"),
        ("418 I'm a teapot", 418, "I'm a teapot"),
        ("500 Mine", 500, "Mine"),
        ("503 Busy", 503, "Busy"),
        ("299 Own", 299, "Own"),
        ("600 Beyond", 600, "Beyond"),
        ("999 End", 999, "End"),
        // httpd supplies the reason it knows.
        ("200", 200, "OK"),
        ("404", 404, "Not Found"),
    ] {
        // mod_cgi's old way of saying that a script failed, which a process group may keep to.
        if is_daemon_mode() && status == "200 Error" {
            continue;
        }
        let source = format!(
            "def application(environ, start_response):\n    \
             start_response({status:?}, [('Content-Type', 'text/plain')])\n    \
             return [b'mine']\n"
        );
        let response = server.get(&app(&server, "status_line", &source));
        assert_eq!(
            (response.status, response.head.reason.as_str()),
            (code, reason)
        );
        assert_eq!(
            response.text(),
            "mine",
            "{status}: never an error document of httpd's"
        );
    }
}

#[test]
fn response_headers_are_sent_as_given() {
    if !in_embedded_mode("a process group's response headers are read as those of a CGI script") {
        return;
    }
    let server = SERVER.borrow();
    let url = app(
        &server,
        "given",
        r#"
def application(environ, start_response):
    start_response('200 OK', [
        ('X-One', 'first'), ('x-one', 'second'), ('X-One', 'third'),
        ('Set-Cookie', 'a=1; Path=/'), ('Set-Cookie', 'b=2'),
        ('WWW-Authenticate', 'Basic realm="x"'), ('WWW-Authenticate', 'Negotiate'),
        ('Location', '/elsewhere'), ('Status', '404 Not really'),
        ('Last-Modified', 'whenever'), ('X-Empty', ''), ('X-Latin', 'caf\xe9'),
        ('X-Long', 'y' * 50000), ('Content-Type', 'Text/HTML;  Charset=X'), ('ETag', '"e"'),
    ])
    return [b'body']
"#,
    );

    let response = server.get(&url);

    assert_eq!(response.status, 200);
    for (name, values) in [
        ("X-One", &["first", "second", "third"][..]),
        ("Set-Cookie", &["a=1; Path=/", "b=2"]),
        ("WWW-Authenticate", &["Basic realm=\"x\"", "Negotiate"]),
        ("Location", &["/elsewhere"]),
        ("Status", &["404 Not really"]),
        ("Last-Modified", &["whenever"]),
        ("X-Empty", &[""]),
        ("X-Latin", &["caf\u{e9}"]),
        ("Content-Type", &["Text/HTML;  Charset=X"]),
        ("ETag", &["\"e\""]),
    ] {
        assert_eq!(response.head.header_all(name), values, "{name}");
    }
    assert_eq!(response.header("X-Long").map(str::len), Some(50000));
}

#[test]
fn many_headers_are_sent_in_their_order() {
    if !in_embedded_mode("a process group's response headers of one name are joined") {
        return;
    }
    let server = SERVER.borrow();
    let url = app(
        &server,
        "many",
        r#"
def application(environ, start_response):
    start_response('200 OK', [('X-Number', str(n)) for n in range(200)])
    return [b'body']
"#,
    );

    let response = server.get(&url);

    let numbers: Vec<String> = (0..200).map(|number| number.to_string()).collect();
    assert_eq!(response.head.header_all("X-Number"), numbers);
}

#[test]
fn no_content_type_is_invented() {
    let server = SERVER.borrow();
    let url = app(
        &server,
        "untyped",
        r#"
def application(environ, start_response):
    start_response('200 OK', [])
    return [b'<html></html>']
"#,
    );

    assert_eq!(server.get(&url).header("Content-Type"), None);
}

#[test]
fn of_several_content_types_the_last_is_sent() {
    let server = SERVER.borrow();
    let url = app(
        &server,
        "typed_twice",
        r#"
def application(environ, start_response):
    start_response('200 OK', [('Content-Type', 'a/b'), ('content-type', 'c/d')])
    return [b'x']
"#,
    );

    assert_eq!(server.get(&url).header("Content-Type"), Some("c/d"));
}

#[test]
fn www_authenticate_survives_an_error_status() {
    let server = SERVER.borrow();
    let url = app(
        &server,
        "unauthorized",
        r#"
def application(environ, start_response):
    start_response('401 Unauthorized', [('WWW-Authenticate', 'Basic realm="r"')])
    return [b'no']
"#,
    );

    let response = server.get(&url);

    assert_eq!(response.status, 401);
    assert_eq!(
        response.header("WWW-Authenticate"),
        Some("Basic realm=\"r\"")
    );
    assert_eq!(response.text(), "no");
}

#[test]
fn any_method_reaches_the_application() {
    let server = SERVER.borrow();
    let url = app(
        &server,
        "method",
        r#"
def application(environ, start_response):
    start_response('200 OK', [])
    return [environ['REQUEST_METHOD'].encode()]
"#,
    );

    for method in [
        "GET", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "PROPFIND", "FROB",
    ] {
        let response = server.send(&Request::new(method, &url));
        assert_eq!((response.status, response.text().as_str()), (200, method));
    }
}
