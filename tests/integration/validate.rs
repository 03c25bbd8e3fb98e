//! Applications inside `wsgiref.validate`, the standard library's judge of both sides of WSGI: it
//! raises `AssertionError` at whoever breaks a rule, so what passes kept them.

use testkit::{Mark, Mpm, Request};

use crate::wsgi_site::wsgi_site;

const VALIDATED: &str = r#"
import warnings
from wsgiref.validate import validator

warnings.simplefilter('error')

class Body:
    def __init__(self, items):
        self.items = iter(items)
    def __iter__(self):
        return self
    def __next__(self):
        return next(self.items)
    def close(self):
        pass

@validator
def application(environ, start_response):
    way = environ['PATH_INFO'].strip('/')
    headers = [('Content-Type', 'text/plain; charset=utf-8')]
    input = environ['wsgi.input']
    if way == 'no-content':
        start_response('204 No Content', [])
        return []
    if way == 'write':
        write = start_response('200 OK', headers)
        write(b'written ')
        return [b'returned']
    if way == 'errors':
        errors = environ['wsgi.errors']
        errors.write('validated\n')
        errors.writelines(['lines\n', 'more\n'])
        errors.flush()
        print('printed', file=errors)
    body = {
        'read': lambda: [input.read(int(environ['CONTENT_LENGTH']))],
        'readline': lambda: [input.readline(), input.readline(100)],
        'readlines': lambda: list(input.readlines()),
        'iterated': lambda: list(input),
    }.get(way, lambda: [b'fine'])()
    if way == 'raises':
        raise ValueError('allowed')
    start_response('200 OK', headers, None)
    return Body(body)
"#;

#[rstest::rstest]
fn both_sides_keep_the_rules(#[values(Mpm::Event, Mpm::Worker, Mpm::Prefork)] mpm: Mpm) {
    let mut server = wsgi_site()
        .mpm(mpm)
        .script("validated.wsgi", VALIDATED)
        .start();
    let text = "one\ntwo";
    for (method, way, status, body) in [
        ("GET", "plain", 200, "fine"),
        ("POST", "plain", 200, "fine"),
        ("DELETE", "plain", 200, "fine"),
        ("OPTIONS", "plain", 200, "fine"),
        ("GET", "", 200, "fine"),
        ("POST", "read", 200, text),
        ("PUT", "readline", 200, text),
        ("POST", "readlines", 200, text),
        ("POST", "iterated", 200, text),
        ("GET", "write", 200, "written returned"),
        ("GET", "errors", 200, "fine"),
        ("GET", "no-content", 204, ""),
        ("HEAD", "plain", 200, ""),
    ] {
        let target = format!("/validated.wsgi/{way}?query=string");
        let mut request = Request::new(method, &target).header("X-Header", "value");
        if matches!(method, "POST" | "PUT") {
            request = request.header("Content-Type", "text/plain").body(text);
        }
        let response = server.send(&request);
        assert_eq!(
            (response.status, response.text().as_str()),
            (status, body),
            "{method} {way}"
        );
    }
    assert_eq!(server.get("/validated.wsgi/raises").status, 500);

    server.stop();
    // The judge speaks up late when an iterable was not closed.
    assert_eq!(
        server.log().matching(Mark::START, "AssertionError"),
        [""; 0]
    );
    assert_eq!(
        server.log().matching(Mark::START, "Exception ignored"),
        [""; 0]
    );
    assert_eq!(
        server.log().matching(Mark::START, "without being closed"),
        [""; 0]
    );
}
