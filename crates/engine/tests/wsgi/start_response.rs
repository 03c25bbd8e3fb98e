//! `start_response` and `write`.

use engine_abi::Outcome;

use crate::memory::{Answer, Asked, answer_of};

/// An application that answers with what a call raises.
fn raising(call: &str) -> String {
    let source = format!(
        "
def application(environ, start_response):
    try:
        {call}
        answer = 'nothing'
    except Exception as error:
        answer = '%s: %s' % (type(error).__name__, error)
    start_response('200 OK', [])
    return [answer.encode('utf-8', 'backslashreplace')]
"
    );
    answer_of(&source).text()
}

#[test]
fn the_head_is_what_the_application_says() {
    let answer = answer_of(
        "
def application(environ, start_response):
    class List(list): pass
    class Pair(tuple): pass
    headers = List([('Set-Cookie', 'a'), Pair(('Set-Cookie', 'b')), ('X-A', ' caf\\xe9')])
    start_response('299 Pas trouv\\xe9', headers)
    headers.append(('X-Late', ''))
    return []
",
    );
    let head = answer.head();
    assert_eq!(head.status, 299);
    assert_eq!(head.status_line.as_bytes(), b"299 Pas trouv\xef\xbf\xbd");
    let names: Vec<&str> = head.headers.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["Set-Cookie", "Set-Cookie", "X-A"]);
}

#[test]
fn wrong_calls_are_explained() {
    let cases = [
        (
            "start_response()",
            "TypeError: start_response() takes 2 or 3 arguments (0 given)",
        ),
        (
            "start_response('200 OK')",
            "TypeError: start_response() takes 2 or 3 arguments (1",
        ),
        (
            "start_response('200 OK', [], None, 1)",
            "TypeError: start_response() takes 2 or 3",
        ),
        ("start_response(status='200 OK', headers=[])", "TypeError: "),
        (
            "start_response('200 OK', ())",
            "TypeError: the headers given to start_response() must",
        ),
        (
            "start_response('200 OK', {})",
            "must be a list of tuples, not dict",
        ),
        (
            "start_response('200 OK', [], 1)",
            "RuntimeError: exc_info must be",
        ),
        (
            "start_response(b'200 OK', [])",
            "TypeError: the status must be str, not bytes",
        ),
        (
            "start_response('200 \\u20ac', [])",
            "UnicodeEncodeError: 'latin-1' codec can't",
        ),
        (
            "start_response('OK', [])",
            "ValueError: the status 'OK' does not begin",
        ),
        (
            "start_response('200 OK\\r\\nX: y', [])",
            "ValueError: the status '200 OK\\x0d\\x0aX: y'",
        ),
        (
            "start_response('200 OK', [1])",
            "TypeError: each header must be a tuple of",
        ),
        (
            "start_response('200 OK', [['a', 'b']])",
            "of name and value, not list",
        ),
        (
            "start_response('200 OK', [('a',)])",
            "ValueError: each header must be a tuple of",
        ),
        (
            "start_response('200 OK', [(b'a', 'b')])",
            "TypeError: a header's name must be str",
        ),
        (
            "start_response('200 OK', [('a', 1)])",
            "TypeError: a header's value must be str, not int",
        ),
        (
            "start_response('200 OK', [('\\u20ac', 'b')])",
            "UnicodeEncodeError: ",
        ),
        (
            "start_response('200 OK', [('a b', 'c')])",
            "ValueError: the header name 'a b' contains",
        ),
        (
            "start_response('200 OK', [('a', 'b\\nc')])",
            "ValueError: the value 'b\\x0ac' of the",
        ),
        (
            "start_response('200 OK', [('Content-Length', 'x')])",
            "ValueError: invalid Content-Le",
        ),
        (
            "start_response('200 OK', [])()",
            "TypeError: write() takes exactly 1 argument (0 given)",
        ),
        (
            "start_response('200 OK', [])('x')",
            "TypeError: write() argument must be bytes, not str",
        ),
        (
            "start_response('200 OK', [])(bytearray())",
            "bytes, not bytearray",
        ),
        ("start_response('200 OK', [])(data=b'x')", "TypeError: "),
        ("type(start_response)()", "TypeError: "),
    ];
    for (call, expected) in cases {
        let raised = raising(call);
        assert!(raised.contains(expected), "{call}\n{raised}");
    }
}

#[test]
fn before_anything_is_sent_the_head_can_be_replaced() {
    let answer = answer_of(
        "
import sys

def application(environ, start_response):
    start_response('200 OK', [('Content-Length', '100')])
    start_response('201 Created', [('X-A', 'b')])
    try:
        1 / 0
    except ZeroDivisionError:
        write = start_response('500 Oops', [('X-B', 'c')], sys.exc_info())
    write(b'')
    return [b'sorry']
",
    );
    assert_eq!(answer.text(), "sorry");
    assert_eq!(answer.head().status_line, "500 Oops");
    let headers = [("X-B", "c"), ("Content-Length", "5")];
    let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert_eq!(answer.head().headers, headers);
}

/// An application that makes a call after it has sent something.
fn after_output(call: &str) -> Answer {
    answer_of(&format!(
        "
import sys

def application(environ, start_response):
    write = start_response('200 OK', [])
    write(b'x')
    try:
        1 / 0
    except ZeroDivisionError:
        {call}
    return [b'y']
"
    ))
}

#[test]
fn after_output_the_exception_is_raised_again() {
    let answer = after_output("start_response('500 Oops', [], sys.exc_info())");
    answer.assert_truncated("WSGI0174");
    assert!(answer.log_text().contains("1 / 0"), "{answer:#?}");
    assert!(
        answer
            .log_text()
            .ends_with("ZeroDivisionError: division by zero"),
        "{answer:#?}"
    );
    assert_eq!(answer.data(), b"x");
}

#[test]
fn after_output_a_head_without_exception_is_an_error() {
    let answer = after_output("start_response('500 Oops', [])");
    answer.assert_truncated("RuntimeError: start_response() was called again");
    let answer = after_output("start_response('500 Oops', [], None)");
    answer.assert_truncated("RuntimeError: start_response() was called again");
    for wrong in ["()", "(1, 2)", "(1, 2, 3)", "(None, None, None)"] {
        let answer = after_output(&format!("start_response('500 Oops', [], {wrong})"));
        answer.assert_truncated("TypeError: ");
    }
}

#[test]
fn write_sends_at_once() {
    let answer = answer_of(
        "
def application(environ, start_response):
    write = start_response('200 OK', [])
    assert write(b'a') is None
    write(b'')
    write(b'b')
    return [b'c']
",
    );
    assert_eq!(answer.text(), "abc");
    let data: Vec<&[u8]> = answer.parts.iter().map(|part| &*part.data).collect();
    assert_eq!(data, [b"a", b"b", b"c"]);
    let flushed: Vec<bool> = answer.parts.iter().map(|part| part.flush).collect();
    assert_eq!(flushed, [true, true, false]);
}

#[test]
fn write_tells_that_the_client_is_gone() {
    let source = "
def application(environ, start_response):
    write = start_response('200 OK', [])
    write(b'a')
    try:
        write(b'b')
    except OSError as error:
        environ['wsgi.errors'].write('%s\\n' % error)
    return [b'c']
";
    let answer = Asked::new(source).leaving_after(1).answer();
    assert_eq!(answer.outcome.kind, Outcome::COMPLETE);
    let message = "mod_wsgi failed to write response data: the client closed the connection";
    assert_eq!(answer.log, [message]);
}

#[test]
fn threads_can_write() {
    let answer = answer_of(
        "
import threading

def application(environ, start_response):
    write = start_response('200 OK', [])
    threads = [threading.Thread(target=write, args=(b'x' * 10,)) for _ in range(20)]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
    return [b'y']
",
    );
    assert_eq!(answer.text(), "x".repeat(200) + "y");
}
