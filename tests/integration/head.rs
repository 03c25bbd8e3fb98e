//! `HEAD` requests, and the statuses that have no body.

use testkit::{Ending, Request, SharedHttpd, ours};

use crate::wsgi_site::{app, wsgi_site};

static SERVER: SharedHttpd = SharedHttpd::new(|| {
    wsgi_site()
        .module("headers")
        .module("filter")
        .module("deflate")
        .script("method.wsgi", METHOD)
        .config(
            r#"<LocationMatch ^/(method|lacking).wsgi/on>
                WSGIMapHEADToGET On
            </LocationMatch>
            <Location /method.wsgi/off>
                WSGIMapHEADToGET Off
            </Location>
            <Location /method.wsgi/off-filtered>
                WSGIMapHEADToGET Off
                Header set X-Filtered yes
            </Location>
            <Location /method.wsgi/auto>
                WSGIMapHEADToGET Auto
            </Location>
            <Location /method.wsgi/auto-headers>
                Header set X-Filtered yes
            </Location>
            <Location /method.wsgi/auto-deflate>
                SetOutputFilter DEFLATE
            </Location>"#,
        )
});

const METHOD: &str = r#"
def application(environ, start_response):
    body = b'a body of 23 characters'
    start_response('200 OK', [('X-Method', environ['REQUEST_METHOD']),
                              ('Content-Length', str(len(body)))])
    return [body]
"#;

#[test]
fn the_method_shown_for_head_follows_the_directive_and_the_filters() {
    let server = SERVER.borrow();
    for (path, method) in [
        ("", "HEAD"),
        ("/auto", "HEAD"),
        ("/auto-headers", "GET"),
        ("/auto-deflate", "GET"),
        ("/on", "GET"),
        ("/off", "HEAD"),
        ("/off-filtered", "HEAD"),
    ] {
        let response = server.send(&Request::new("HEAD", &format!("/method.wsgi{path}")));
        assert_eq!(response.status, 200, "{path}");
        assert_eq!(response.header("X-Method"), Some(method), "{path}");
    }
}

#[test]
fn other_methods_are_never_mapped() {
    let server = SERVER.borrow();
    for method in ["GET", "POST", "OPTIONS"] {
        let response = server.send(&Request::new(method, "/method.wsgi/on"));
        assert_eq!(response.header("X-Method"), Some(method));
    }
}

#[test]
fn the_response_to_head_has_the_headers_and_no_body() {
    let server = SERVER.borrow();
    let mut connection = server.connect();
    for path in ["/method.wsgi", "/method.wsgi/on"] {
        connection.send(&Request::new("HEAD", path).to_bytes());
        let response = connection.read_response_to("HEAD");
        assert_eq!(response.header("Content-Length"), Some("23"), "{path}");
    }
    // No byte of a body was sent: this response is in its place.
    connection.send(&Request::get("/method.wsgi").to_bytes());
    assert_eq!(connection.read_response().text(), "a body of 23 characters");
}

#[test]
fn an_application_that_honours_head_itself_gets_no_length_of_zero() {
    let server = SERVER.borrow();
    let url = app(
        &server,
        "honours",
        r#"
def application(environ, start_response):
    assert environ['REQUEST_METHOD'] == 'HEAD'
    start_response('200 OK', [('Content-Length', '23')])
    return []
"#,
    );

    let response = server.send(&Request::new("HEAD", &url));

    assert_eq!(
        (response.status, response.header("Content-Length")),
        (200, Some("23"))
    );
}

#[test]
fn a_head_response_without_a_length_claims_none_that_is_wrong() {
    let server = SERVER.borrow();
    let url = app(
        &server,
        "no_length",
        r#"
def application(environ, start_response):
    start_response('200 OK', [])
    yield b'abc'
"#,
    );

    let response = server.send(&Request::new("HEAD", &url));

    assert_eq!(response.status, 200);
    assert!(matches!(
        response.header("Content-Length"),
        None | Some("3")
    ));
}

/// Nobody gets the body, so nobody can miss what is missing of it.
#[test]
fn a_body_that_lacks_something_costs_no_connection() {
    let server = SERVER.borrow();
    let url = app(
        &server,
        "lacking",
        r#"
def application(environ, start_response):
    start_response('200 OK', [('Content-Length', '23')])
    query = environ['QUERY_STRING']
    return [environ['REQUEST_METHOD'].encode()] if query == 'list' else pieces(query)

def pieces(query):
    yield b'abc'
    if query == 'raise':
        raise ValueError('after the beginning')
"#,
    );
    let mut connection = server.connect();
    for query in ["list", "pieces", "raise"] {
        connection.send(&Request::new("HEAD", &format!("{url}/on?{query}")).to_bytes());
        let response = connection.read_response_to("HEAD");
        assert_eq!(response.status, 200, "{query}");
        assert_eq!(response.header("Content-Length"), Some("23"), "{query}");
        assert_eq!(response.header("Connection"), None, "{query}");
    }
    connection.send(&Request::get("/method.wsgi").to_bytes());
    assert_eq!(connection.read_response().text(), "a body of 23 characters");
}

/// Whatever of the body is there: less, more, or a file.
#[test]
fn the_length_that_an_application_states_is_the_one_that_is_sent() {
    const STATING: &str = r#"
import io

def application(environ, start_response):
    length, body = environ['QUERY_STRING'].split(',')
    start_response('200 OK', [('Content-Length', length)])
    if body == 'file':
        return environ['wsgi.file_wrapper'](open(__file__, 'rb'))
    if body == 'wrapped':
        return environ['wsgi.file_wrapper'](io.BytesIO(b'abc'))
    if body == 'iterated':
        return iter([b'abc'])
    return [b'abc'] if body == 'list' else []
"#;
    let server = SERVER.borrow();
    let url = app(&server, "stating", STATING);
    for body in ["list", "iterated", "none", "wrapped", "file"] {
        for length in ["2", "3", "1000000"] {
            if body == "file" && length == "1000000" && !ours("D44") {
                continue;
            }
            let request = Request::new("HEAD", &format!("{url}?{length},{body}"));
            let response = server.send(&request);
            assert_eq!(response.status, 200, "{body}");
            assert_eq!(response.header("Content-Length"), Some(length), "{body}");
        }
    }
}

#[test]
fn statuses_without_a_body_have_none() {
    let server = SERVER.borrow();
    let url = app(
        &server,
        "bodiless",
        r#"
def application(environ, start_response):
    start_response(environ['PATH_INFO'][1:] + ' Bodiless', [('X-Kept', 'yes')])
    return [b'a body', b' that must not be sent']
"#,
    );
    let mut connection = server.connect();
    for status in [204, 304, 204] {
        connection.send(&Request::get(&format!("{url}/{status}")).to_bytes());
        let response = connection.read_response();
        assert_eq!((response.status, response.ending), (status, Ending::NoBody));
        assert_eq!(response.header("X-Kept"), Some("yes"));
        assert_eq!(response.header("Transfer-Encoding"), None);
    }
    // No byte of a body was sent: this response is in its place.
    connection.send(&Request::get("/method.wsgi").to_bytes());
    assert_eq!(connection.read_response().text(), "a body of 23 characters");
}
