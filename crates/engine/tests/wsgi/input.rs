//! `wsgi.input`.

use engine_abi::ReadError;

use crate::memory::{Answer, Asked};

/// An application that answers with the `repr` of an expression over `i`, its input.
fn reading(expression: &str) -> Asked {
    Asked::new(&format!(
        "
def application(environ, start_response):
    i = environ['wsgi.input']
    try:
        answer = {expression}
    except Exception as error:
        answer = (type(error).__mro__[:2], str(error))
    start_response('200 OK', [])
    return [repr(answer).encode()]
"
    ))
}

fn read(expression: &str, pieces: &[&[u8]]) -> String {
    reading(expression).body(pieces).answer().text()
}

#[test]
fn reading_in_every_way() {
    let pieces: &[&[u8]] = &[b"one\ntw", b"o\n", b"three"];
    let cases = [
        ("i.read()", "b'one\\ntwo\\nthree'"),
        ("i.read(-1)", "b'one\\ntwo\\nthree'"),
        ("i.read(None)", "b'one\\ntwo\\nthree'"),
        ("i.read(7)", "b'one\\ntwo'"),
        (
            "[i.read(7), i.read(100), i.read(1)]",
            "[b'one\\ntwo', b'\\nthree', b'']",
        ),
        ("[i.read(0), i.read(3)]", "[b'', b'one']"),
        (
            "[i.read(), i.read(), i.readline(), i.readlines(), list(i)][1:]",
            "[b'', b'', [], []]",
        ),
        (
            "[i.readline(), i.read(2), i.readline()]",
            "[b'one\\n', b'tw', b'o\\n']",
        ),
        (
            "[i.readline(2), i.readline(0), i.readline(9)]",
            "[b'on', b'', b'e\\n']",
        ),
        ("i.readlines()", "[b'one\\n', b'two\\n', b'three']"),
        ("i.readlines(5)", "[b'one\\n', b'two\\n']"),
        ("i.readlines(0)", "[b'one\\n', b'two\\n', b'three']"),
        ("list(i)", "[b'one\\n', b'two\\n', b'three']"),
        (
            "[iter(i) is i, next(i), i.close(), next(i)]",
            "[True, b'one\\n', None, b'two\\n']",
        ),
        ("[i.read(True), i.read(1)]", "[b'o', b'n']"),
    ];
    for (expression, expected) in cases {
        assert_eq!(read(expression, pieces), expected, "{expression}");
    }
}

#[test]
fn wrong_arguments() {
    let cases = [
        ("i.read('x')", "TypeError"),
        ("i.read(1.5)", "TypeError"),
        ("i.read(1, 2)", "TypeError"),
        ("i.read(size=1)", "TypeError"),
        ("i.read(2 ** 70)", "OverflowError"),
        ("i.readline([])", "TypeError"),
        ("i.close(1)", "TypeError"),
        ("type(i)()", "TypeError"),
    ];
    for (expression, expected) in cases {
        let answer = read(expression, &[]);
        assert!(answer.contains(expected), "{expression}: {answer}");
    }
}

#[test]
fn only_an_application_that_reads_asks_the_client_for_the_body() {
    let reads = |expression: &str| reading(expression).body(&[b"abc"]).answer().reads;
    assert_eq!(reads("None"), Vec::<usize>::new());
    assert_eq!(reads("i.read(0)"), [0]);
    assert_eq!(reads("[i.read(0), i.read(0)]"), [0]);
    assert_eq!(reads("[i.read(3), i.read(0)]"), [3]);
}

#[test]
fn the_stated_length_is_a_hint() {
    let body: Vec<u8> = (0..3_000_000_u32).map(|number| number as u8).collect();
    let pieces: Vec<&[u8]> = body.chunks(9_999).collect();
    for stated in [-1, 0, 5, 2_999_999, 3_000_000, i64::MAX] {
        let asked = reading("(len(i.read()), i.read())").body(&pieces);
        let answer = asked.content_length(stated).answer();
        assert_eq!(answer.text(), "(3000000, b'')", "{stated}");
    }
    let asked = reading("__import__('hashlib').md5(i.read()).hexdigest()").body(&pieces);
    let whole = asked.content_length(3_000_000).answer();
    let asked =
        reading("__import__('hashlib').md5(b''.join(iter(lambda: i.read(7777), b''))).hexdigest()");
    assert_eq!(asked.body(&pieces).answer().text(), whole.text());
}

#[test]
fn a_body_of_the_stated_length_is_read_in_one_go() {
    let asked = reading("len(i.read())").body(&[&[b'x'; 5000], &[b'y'; 5000]]);
    let answer = asked.content_length(10_000).answer();
    assert_eq!(answer.text(), "10000");
    assert_eq!(answer.reads, [10_001, 5_001, 1]);
}

fn failing(expression: &str, failure: ReadError) -> Answer {
    reading(expression)
        .body(&[b"line\nrest"])
        .failing(failure)
        .answer()
}

#[test]
fn failures_are_os_errors_that_say_why() {
    let cases = [
        (
            ReadError::Disconnected,
            "ConnectionResetError",
            "the client closed the connection",
        ),
        (
            ReadError::Abandoned,
            "ConnectionResetError",
            "or that process of httpd is",
        ),
        (
            ReadError::TimedOut,
            "TimeoutError",
            "longer than the server waits",
        ),
        (ReadError::TooLarge, "OSError", "LimitRequestBody"),
        (ReadError::Malformed, "OSError", "malformed"),
    ];
    for (failure, kind, cause) in cases {
        let text = failing("i.read()", failure).text();
        assert!(text.contains(kind), "{text}");
        assert!(
            text.contains("mod_wsgi request data read error: "),
            "{text}"
        );
        assert!(text.contains(cause), "{text}");
        let caught = "isinstance(error, OSError)";
        let source = format!(
            "
def application(environ, start_response):
    try:
        environ['wsgi.input'].read()
    except Exception as error:
        caught = {caught}
    start_response('200 OK', [])
    return [repr(caught).encode()]
"
        );
        assert_eq!(Asked::new(&source).failing(failure).answer().text(), "True");
    }
}

#[test]
fn after_a_failure_nothing_is_read_any_more() {
    let source = "
def application(environ, start_response):
    i = environ['wsgi.input']
    failures = [i.readline()]
    for read in [i.read, i.read, i.readline, i.readlines, lambda: next(i), lambda: i.read(0)]:
        try:
            failures.append(read())
        except OSError:
            failures.append(True)
    start_response('200 OK', [])
    return [repr(failures).encode()]
";
    let answer = Asked::new(source)
        .body(&[b"line\nmore\n"])
        .failing(ReadError::TooLarge)
        .answer();
    let expected = "[b'line\\n', True, True, True, True, True, True]";
    assert_eq!(answer.text(), expected);
}

#[test]
fn threads_share_the_input() {
    let source = "
import threading

def application(environ, start_response):
    lines = []
    def read():
        lines.extend(environ['wsgi.input'])
    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
    start_response('200 OK', [])
    return [b''.join(sorted(lines))]
";
    let lines: Vec<String> = (0..2000).map(|number| format!("{number:05}\n")).collect();
    let body = lines.concat();
    let pieces: Vec<&[u8]> = body.as_bytes().chunks(7).collect();
    assert_eq!(Asked::new(source).body(&pieces).answer().text(), body);
}
