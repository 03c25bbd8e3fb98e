//! `close()` of the iterable: exactly once in every ending of a response.

use rstest::rstest;
use testkit::{Connection, Httpd, Mark, Mpm, Request, ours};

use crate::wsgi_site::{client_tag, is_daemon_mode, wsgi_site};

/// The path info chooses how the response ends. Whatever happens, `close()` says so in the log.
const APPLICATION: &str = r#"
class Body:
    def __init__(self, environ, items, closing=None):
        self.environ, self.items, self.closing = environ, items, closing

    def __iter__(self):
        # A generator of its own: it is not what has to be closed.
        for item in self.items:
            if isinstance(item, BaseException):
                raise item
            yield item

    def close(self):
        name = self.environ['PATH_INFO'].strip('/')
        print('closed', name + ';', file=self.environ['wsgi.errors'])
        if self.closing:
            raise self.closing

class Uniterable(Body):
    __iter__ = None

def endless():
    while True:
        yield b'x' * 65536

def application(environ, start_response):
    name = environ['PATH_INFO'].strip('/')
    def start(status='200 OK', headers=()):
        return start_response(status, [('Content-Type', 'text/plain'), *headers])
    if name == 'not-started':
        return Body(environ, [b'data'])
    if name == 'not-started-empty':
        return Body(environ, [])
    if name == 'excess':
        start(headers=[('Content-Length', '2')])
        return Body(environ, [b'12', b'34'])
    if name == 'short':
        start(headers=[('Content-Length', '9')])
        return Body(environ, [b'12'])
    if name == 'not-modified':
        start('304 Not Modified')
        return Body(environ, [b'dropped'])
    if name == 'write-first':
        start()(b'written')
        return Body(environ, [b'returned'])
    if name == 'wrapper':
        class Readable:
            data = [b'file-like']
            def read(self, size):
                return self.data.pop() if self.data else b''
            close = Body(environ, []).close
        start()
        return environ['wsgi.file_wrapper'](Readable())
    start()
    if name == 'uniterable':
        return Uniterable(environ, [])
    return {
        'done': lambda: Body(environ, [b'one', b'two']),
        'empty': lambda: Body(environ, []),
        'one': lambda: Body(environ, [b'one']),
        'head': lambda: Body(environ, [b'one', b'two']),
        'raises-first': lambda: Body(environ, [ValueError('first')]),
        'raises-later': lambda: Body(environ, [b'one', ValueError('later')]),
        'exits': lambda: Body(environ, [b'one', SystemExit(1)]),
        'text': lambda: Body(environ, ['text']),
        'text-later': lambda: Body(environ, [b'one', 'text']),
        'hang-up': lambda: Body(environ, endless()),
        'close-raises': lambda: Body(environ, [b'one'], ValueError('in close')),
        'close-exits': lambda: Body(environ, [b'one'], SystemExit('in close')),
        'both-raise': lambda: Body(environ, [ValueError('body')], ValueError('in close')),
    }[name]()
"#;

/// The endings of which the client sees the whole response.
const WHOLE: [(&str, u16); 16] = [
    ("done", 200),
    ("empty", 200),
    ("one", 200),
    ("excess", 200),
    ("not-modified", 304),
    ("write-first", 200),
    ("wrapper", 200),
    ("close-raises", 200),
    ("close-exits", 200),
    ("not-started", 500),
    ("not-started-empty", 500),
    ("raises-first", 500),
    ("text", 500),
    ("uniterable", 500),
    ("both-raise", 500),
    ("head", 200),
];

/// The endings of which the client sees a part.
const CUT: [&str; 3] = ["raises-later", "text-later", "exits"];

#[rstest]
fn close_is_called_exactly_once_in_every_ending(
    #[values(Mpm::Event, Mpm::Worker, Mpm::Prefork)] mpm: Mpm,
) {
    let mut server = wsgi_site()
        .mpm(mpm)
        .script("close.wsgi", APPLICATION)
        .start();

    for (name, status) in WHOLE {
        let method = if name == "head" { "HEAD" } else { "GET" };
        let response = server.send(&Request::new(method, &url(name)));
        assert_eq!(response.status, status, "{name}");
        assert!(response.is_whole(), "{name}");
    }
    for name in CUT {
        let response = server.get(&url(name));
        assert_eq!((response.status, response.text().as_str()), (200, "one"));
        if !is_daemon_mode() || ours("D40") {
            assert!(!response.is_whole(), "{name}");
        }
    }
    server.get(&url("short"));
    drop(half_a_response(&server, "hang-up"));
    wait_for_close(&server, "hang-up");

    server.stop();
    for name in WHOLE
        .iter()
        .map(|(name, _)| name)
        .chain(&CUT)
        .chain(&["short", "hang-up"])
    {
        let lines = server
            .log()
            .matching(Mark::START, &format!("closed {name};"));
        assert_eq!(lines.len(), 1, "{name}: {lines:?}");
    }
}

fn url(name: &str) -> String {
    format!("/close.wsgi/{name}")
}

/// A connection on which the head of a response to `name` has arrived, and some of its body.
fn half_a_response(server: &Httpd, name: &str) -> Connection {
    let mut connection = server.connect();
    connection.send(&Request::get(&url(name)).to_bytes());
    connection.read_head().expect("a head");
    connection.read_exactly(1000);
    connection
}

fn wait_for_close(server: &Httpd, name: &str) {
    server
        .log()
        .wait_for(Mark::START, &format!("closed {name};"));
}

#[test]
fn what_close_raises_is_logged_and_changes_nothing() {
    let server = wsgi_site().script("close.wsgi", APPLICATION).start();
    for (name, id, exception) in [
        ("close-raises", "WSGI0174", "ValueError: in close"),
        ("close-exits", "WSGI0175", "SystemExit: in close"),
    ] {
        let mark = server.log().mark();
        let mut connection = server.connect();
        connection.send(&Request::get(&url(name)).to_bytes());

        let response = connection.read_response();

        assert_eq!((response.status, response.text().as_str()), (200, "one"));
        assert!(response.is_whole());
        server.log().wait_for(mark, id);
        server.log().wait_for(mark, exception);
        // The connection lives on.
        connection.send(&Request::get(&url("done")).to_bytes());
        assert_eq!(connection.read_response().text(), "onetwo");
    }
}

#[test]
fn close_is_too_late_for_another_head() {
    let source = r#"
class Body:
    def __init__(self, items, start_response):
        self.items, self.start_response = items, start_response

    def __iter__(self):
        return iter(self.items)

    def close(self):
        self.start_response('201 Created', [])

def application(environ, start_response):
    start_response('200 OK', [])
    return Body([b'body'] if environ['QUERY_STRING'] else [], start_response)
"#;
    let server = wsgi_site().script("late_head.wsgi", source).start();
    for query in ["", "?body"] {
        let mark = server.log().mark();
        assert_eq!(server.get(&format!("/late_head.wsgi{query}")).status, 200);
        server
            .log()
            .wait_for(mark, "RuntimeError: start_response()");
    }
}

#[test]
fn a_close_that_cannot_be_looked_up_is_told_as_such() {
    let source = r#"
class Body:
    def __iter__(self):
        return iter([b'body'])
    close = property(lambda self: 1 / 0)

def application(environ, start_response):
    start_response('200 OK', [])
    return Body()
"#;
    let server = wsgi_site().script("no_close.wsgi", source).start();
    let response = server.get("/no_close.wsgi");
    assert_eq!((response.status, response.text().as_str()), (200, "body"));
    server.log().wait_for(Mark::START, "WSGI0194");
    server.log().wait_for(Mark::START, "ZeroDivisionError: ");
}

#[test]
fn a_hang_up_is_no_error_of_the_application() {
    let server = wsgi_site().script("close.wsgi", APPLICATION).start();

    drop(half_a_response(&server, "hang-up"));
    wait_for_close(&server, "hang-up");

    assert_eq!(server.get(&url("done")).status, 200);
    assert_eq!(server.log().matching(Mark::START, "WSGI0174"), [""; 0]);
}

#[test]
fn a_generator_runs_its_finally_block() {
    let server = wsgi_site()
        .script(
            "generator.wsgi",
            r#"
def application(environ, start_response):
    start_response('200 OK', [])
    try:
        while True:
            yield b'x' * 65536
    finally:
        print('finally', file=environ['wsgi.errors'])
"#,
        )
        .start();
    let mut connection = server.connect();
    connection.send(&Request::get("/generator.wsgi").to_bytes());
    connection.read_head().expect("a head");
    drop(connection);

    server.log().wait_for(Mark::START, "finally");
}

#[test]
fn nothing_is_closed_when_the_call_itself_raised() {
    let mut server = wsgi_site()
        .script(
            "raises.wsgi",
            r#"
def application(environ, start_response):
    raise ValueError('no iterable yet')
"#,
        )
        .start();

    assert_eq!(server.get("/raises.wsgi").status, 500);

    server.stop();
    let errors = server.log().matching(Mark::START, "WSGI017");
    assert_eq!(errors.len(), 1, "{errors:#?}");
}

#[test]
fn close_runs_inside_the_request() {
    let server = wsgi_site()
        .script(
            "inside.wsgi",
            r#"
class Body(list):
    def close(self):
        print('closing', environ_seen['wsgi.input'].read(), file=environ_seen['wsgi.errors'])

def application(environ, start_response):
    global environ_seen
    environ_seen = environ
    start_response('200 OK', [])
    return Body([b'body'])
"#,
        )
        .start();

    server.send(&Request::post("/inside.wsgi", "unread"));

    let line = server.log().wait_for(Mark::START, "closing ");
    assert!(line.contains("closing b'unread'"), "{line}");
    assert!(
        line.contains(&format!("{}127.0.0.1:", client_tag())),
        "{line}"
    );
}
