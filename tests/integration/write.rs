//! The `write()` callable that `start_response` returns.

use testkit::{Ending, SharedHttpd, ours};

use crate::wsgi_site::{CALCULATOR, app, calculate, gated_app, open_gate, quoted, wsgi_site};

static SERVER: SharedHttpd = SharedHttpd::new(|| wsgi_site().script("calculate.wsgi", CALCULATOR));

#[test]
fn what_is_written_comes_before_what_is_returned() {
    let server = SERVER.borrow();
    let url = app(
        &server,
        "before",
        r#"
def application(environ, start_response):
    write = start_response('200 OK', [('X-Head', 'sent')])
    write(b'one ')
    write(b'two ')
    return [b'three', b' four']
"#,
    );

    let response = server.get(&url);

    assert_eq!(response.text(), "one two three four");
    assert_eq!(response.header("X-Head"), Some("sent"));
    assert_eq!(response.ending, Ending::FinalChunk);
}

#[test]
fn it_may_be_all_there_is() {
    let server = SERVER.borrow();
    let url = app(
        &server,
        "all",
        r#"
def application(environ, start_response):
    write = start_response('200 OK', [('Content-Length', '6')])
    write(b'abc')
    write(b'def')
    return []
"#,
    );

    let response = server.get(&url);

    assert_eq!(response.text(), "abcdef");
    assert_eq!(response.ending, Ending::Length);
}

#[test]
fn it_arrives_while_the_application_goes_on() {
    let server = SERVER.borrow();
    let url = gated_app(
        &server,
        "arrives",
        r#"
def application(environ, start_response):
    write = start_response('200 OK', [])
    write(b'now')
    wait_for('write-arrived')
    return [b'then']
"#,
    );
    let mut connection = server.connect();
    connection.send(format!("GET {url} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes());

    assert_eq!(connection.read_head().expect("a head").status, 200);
    assert_eq!(connection.read_chunk().as_deref(), Some(&b"now"[..]));
    open_gate(&server, "write-arrived");
    assert_eq!(connection.read_chunk().as_deref(), Some(&b"then"[..]));
    assert_eq!(connection.read_chunk().as_deref(), Some(&b""[..]));
}

#[test]
fn it_can_be_used_while_the_response_is_iterated() {
    let server = SERVER.borrow();
    let url = app(
        &server,
        "mixed",
        r#"
def application(environ, start_response):
    write = start_response('200 OK', [])
    yield b'1'
    write(b'2')
    yield b'3'
    write(b'4')
"#,
    );

    assert_eq!(server.get(&url).text(), "1234");
}

#[test]
fn it_takes_bytes_and_nothing_else() {
    let server = SERVER.borrow();
    for (arguments, outcome) in [
        ("'text'", "TypeError: "),
        ("bytearray(b'x')", "TypeError: "),
        ("memoryview(b'x')", "TypeError: "),
        ("None", "TypeError: "),
        ("", "TypeError: "),
        ("b'a', b'b'", "TypeError: "),
    ] {
        let code = format!("start_response('200 OK', [])({arguments})");
        let answer = calculate(&server, "/calculate.wsgi", &code);
        assert!(answer.starts_with(outcome), "write({arguments}): {answer}");
    }
}

#[test]
fn a_subclass_of_bytes_is_bytes() {
    let server = SERVER.borrow();
    let url = app(
        &server,
        "subclass",
        r#"
class Data(bytes):
    pass

def application(environ, start_response):
    start_response('200 OK', [])(Data(b'sub'))
    return [Data(b'class')]
"#,
    );

    assert_eq!(server.get(&url).text(), "subclass");
}

#[test]
fn writing_nothing_sends_nothing_yet() {
    let server = SERVER.borrow();
    let url = app(
        &server,
        "nothing",
        r#"
def application(environ, start_response):
    write = start_response('200 OK', [])
    write(b'')
    raise ValueError('in time for another status')
"#,
    );

    assert_eq!(server.get(&url).status, 500);
}

#[test]
fn writing_nothing_begins_the_body_all_the_same() {
    let server = SERVER.borrow();
    for (code, outcome) in [
        ("start_response('200 OK', [])", "RuntimeError: "),
        (
            "import sys\ntry: 1 / 0\nexcept ZeroDivisionError: \
             start_response('200 OK', [], sys.exc_info())",
            "ZeroDivisionError: ",
        ),
    ] {
        let url = app(
            &server,
            "begins",
            r#"
from urllib.parse import unquote

def application(environ, start_response):
    write = start_response('201 First', [('X-First', '1')])
    write(b'')
    try:
        exec(unquote(environ['QUERY_STRING']))
    except Exception as error:
        return [f'{type(error).__name__}: {error}'.encode()]
    return [b'nothing was raised']
"#,
        );
        let response = server.get(&format!("{url}?{}", quoted(code)));
        assert!(response.text().starts_with(outcome), "{}", response.text());
        assert_eq!(response.status, 201);
        assert_eq!(response.header("X-First"), Some("1"));
    }
}

#[test]
fn a_failure_after_nothing_was_written_is_an_error() {
    if !ours("D120") {
        return;
    }
    let server = SERVER.borrow();
    let url = app(
        &server,
        "nothing_then_fails",
        r#"
def application(environ, start_response):
    start_response('200 OK', [])(b'')
    yield b''
    raise ValueError('before anything was sent')
"#,
    );

    assert_eq!(server.get(&url).status, 500);
}

#[test]
fn large_data_is_written_whole() {
    let server = SERVER.borrow();
    let url = app(
        &server,
        "large",
        r#"
def application(environ, start_response):
    write = start_response('200 OK', [])
    for number in range(64):
        write(bytes([number]) * 100_000)
    return []
"#,
    );

    let response = server.get(&url);

    assert_eq!(response.body.len(), 6_400_000);
    let in_order = response.body.chunks(100_000).enumerate();
    assert!(
        in_order
            .into_iter()
            .all(|(n, part)| part.iter().all(|&b| usize::from(b) == n))
    );
    assert!(response.is_whole());
}

#[test]
fn a_client_that_is_gone_is_an_os_error() {
    let server = SERVER.borrow();
    let url = app(
        &server,
        "gone",
        r#"
def application(environ, start_response):
    write = start_response('200 OK', [])
    for attempt in range(2):
        try:
            while True:
                write(b'x' * 65536)
        except OSError as error:
            print('write after hang-up:', attempt, error, file=environ['wsgi.errors'])
    return [b'more']
"#,
    );
    let mark = server.log().mark();
    let mut connection = server.connect();
    connection.send(format!("GET {url} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes());
    connection.read_head().expect("a head");
    drop(connection);

    for attempt in 0..2 {
        let line = server
            .log()
            .wait_for(mark, &format!("write after hang-up: {attempt} "));
        assert!(line.contains("mod_wsgi"), "{line}");
    }
}
