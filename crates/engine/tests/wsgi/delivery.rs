//! What the application returns, and how the response ends.

use std::thread;
use std::time::Duration;

use engine_abi::Outcome;

use crate::memory::{Answer, App, Asked, answer_of};

/// How many times somebody else wants the GIL.
const TURNS: usize = 40;

/// A response without end, until `/end` is asked for. How long its thread has run so far, in
/// microseconds, is what others are told: at `/`, and as often as they have slept for a moment at
/// `/sleeps`.
const ENDLESS: &str = "
import threading, time

is_begun, is_over = threading.Event(), False

def endless():
    global clock
    clock = time.pthread_getcpuclockid(threading.get_ident())
    yield b'begun'
    is_begun.set()
    while not is_over:
        yield b'piece'

def run():
    is_begun.wait(30)
    return b'%d\\n' % (time.clock_gettime_ns(clock) // 1000)

def sleeps():
    for _ in range(40):
        yield run()
        time.sleep(0.0005)

def application(environ, start_response):
    global is_over
    start_response('200 OK', [])
    path = environ['PATH_INFO']
    is_over = path == '/end'
    return {'/endless': endless, '/sleeps': sleeps}.get(path, lambda: [run()])()
";

/// How long the thread of an endless response has run between one time and the next, in the middle
/// of many.
fn between(times: &str) -> u64 {
    let times: Vec<u64> = times.lines().map(|it| it.parse().unwrap()).collect();
    assert_eq!(times.len(), TURNS);
    let mut between: Vec<_> = times.windows(2).map(|two| two[1] - two[0]).collect();
    between.sort_unstable();
    between[TURNS / 2]
}

/// Who waits for the GIL alone has it in 5 ms, Python's own `sys.getswitchinterval()`.
const OFTEN: u64 = 1500;

/// A moment in which the thread of the response gets the GIL.
const MOMENT: Duration = Duration::from_micros(500);

/// Asks for the end of endless responses when it is dropped.
struct End<'a>(&'a App);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.ask().variable("PATH_INFO", "/end").answer();
    }
}

#[test]
#[cfg_attr(Py_GIL_DISABLED, ignore = "there is no GIL to let others have")]
fn a_response_that_goes_on_and_on_lets_others_in_between() {
    let app = App::new(ENDLESS);
    let ask = |path: &str| app.ask().variable("PATH_INFO", path);
    thread::scope(|scope| {
        let _end = End(&app);
        scope.spawn(|| ask("/endless").eager().answer());
        let newcomer = |_| {
            thread::sleep(MOMENT);
            ask("/").answer().text()
        };
        let newcomers: String = (0..TURNS).map(newcomer).collect();
        let sleeper = ask("/sleeps").answer().text();
        assert!(between(&newcomers) < OFTEN, "{newcomers}");
        assert!(between(&sleeper) < OFTEN, "{sleeper}");
    });
}

/// An application that returns (or raises in) an expression, after a head without headers.
fn returning(expression: &str) -> Asked {
    with_headers("[]", expression)
}

fn with_headers(headers: &str, expression: &str) -> Asked {
    Asked::new(&format!(
        "
{TOOLS}
def application(environ, start_response):
    start_response('200 OK', {headers})
    return {expression}
"
    ))
}

/// Iterables that tell in the error log when they are closed.
const TOOLS: &str = "
import sys

class Closing:
    def __init__(self, *items, close=None):
        self.items, self.error = items, close
    def __iter__(self):
        for item in self.items:
            if isinstance(item, BaseException):
                raise item
            yield item
    def close(self):
        print('closed', file=sys.stderr)
        if self.error:
            raise self.error

class Sequence:
    def __getitem__(self, index):
        return [b'a', b'b', b'c'][index]
    close = Closing.close
    error = None

class NotIterable:
    close = Closing.close
    error = None

class Tricky(list):
    def __iter__(self):
        return iter([b'tricky'])

class Bytes(bytes):
    pass
";

fn pieces(answer: &Answer) -> Vec<&[u8]> {
    answer.parts.iter().map(|part| &*part.data).collect()
}

fn closings(answer: &Answer) -> usize {
    answer.log.iter().filter(|line| *line == "closed").count()
}

#[test]
fn a_list_or_tuple_is_sent_in_one_piece() {
    let large = b"x".repeat(1_000_000);
    let cases: [(&str, &[u8]); 7] = [
        ("[b'Hello, ', b'world!']", b"Hello, world!"),
        ("(b'a', b'', Bytes(b'b'))", b"ab"),
        ("[]", b""),
        ("[b'', b'']", b""),
        ("[b'x' * 1000000]", &large),
        ("[b'x' * 999999, b'x']", &large),
        ("tuple(b'x' for _ in range(1000000))", &large),
    ];
    for (expression, body) in cases {
        let answer = returning(expression).answer();
        assert_eq!(answer.text().as_bytes(), body);
        assert_eq!(answer.parts.len(), 1, "{expression}");
        assert!(!answer.parts[0].flush, "{expression}");
    }
}

#[test]
fn other_iterables_are_sent_item_by_item() {
    let cases = [
        ("iter([b'a', b'', b'b', b'c'])", "abc"),
        ("(b'%d' % n for n in range(3))", "012"),
        ("Closing(b'a', b'b', b'c')", "abc"),
        ("Sequence()", "abc"),
        ("{b'a': 1, b'b': 2, b'c': 3}", "abc"),
        ("map(bytes, [[97], [98], [99]])", "abc"),
    ];
    for (expression, body) in cases {
        let answer = returning(expression).answer();
        assert_eq!(answer.text(), body, "{expression}");
        assert_eq!(answer.parts.len(), 4, "{expression}");
        let flushed = answer
            .parts
            .iter()
            .map(|part| part.flush)
            .collect::<Vec<_>>();
        assert_eq!(flushed, [true, true, true, false], "{expression}");
    }
    assert_eq!(returning("Tricky()").answer().text(), "tricky");
}

#[test]
fn each_item_is_sent_before_the_next_is_asked_for() {
    let answer = Asked::new(
        "
def application(environ, start_response):
    start_response('200 OK', [])
    for number in range(3):
        yield b'%d' % number
        print('after', number, file=environ['wsgi.errors'])
",
    )
    .leaving_after(2)
    .answer();
    assert_eq!(pieces(&answer), [b"0", b"1"]);
    assert_eq!(answer.log, ["after 0", "after 1"]);
}

#[test]
fn a_generator_may_start_the_response() {
    let answer = answer_of(
        "
def application(environ, start_response):
    yield b''
    start_response('201 Created', [])
    yield b'later'
",
    );
    assert_eq!(answer.text(), "later");
    assert_eq!(answer.head().status, 201);
}

#[test]
fn empty_iterables_send_the_head() {
    for expression in ["iter([])", "Closing()", "Closing(b'', b'')", "''"] {
        let answer = returning(expression).answer();
        assert_eq!(answer.text(), "", "{expression}");
        assert_eq!(answer.parts.len(), 1, "{expression}");
        assert_eq!(answer.head().status, 200);
    }
}

#[test]
fn close_is_called_once_in_every_ending() {
    for (expression, closed) in [
        ("Closing()", 1),
        ("Closing(b'a')", 1),
        ("Closing(b'a', KeyError())", 1),
        ("Closing(KeyError())", 1),
        ("Closing('text')", 1),
        ("Closing(b'a', SystemExit(3))", 1),
        ("Closing(b'a', close=KeyError())", 1),
        ("NotIterable()", 1),
        ("Sequence()", 1),
        ("[b'a']", 0),
    ] {
        let answer = returning(expression).answer();
        assert_eq!(closings(&answer), closed, "{expression}: {answer:#?}");
    }
    let answer = returning("Closing(b'a', b'b', b'c')")
        .leaving_after(1)
        .answer();
    assert_eq!(closings(&answer), 1);
    assert_eq!(answer.outcome.kind, Outcome::COMPLETE);
    let answer = answer_of(&format!(
        "
{TOOLS}
def application(environ, start_response):
    return Closing(b'a')
"
    ));
    assert_eq!(closings(&answer), 1);
    answer.assert_refused("start_response() must be called before");
}

#[test]
fn what_close_raises_is_logged_only() {
    let answer = returning("Closing(b'a', close=KeyError('oh'))").answer();
    assert_eq!(answer.text(), "a");
    assert!(answer.log_text().contains("WSGI0174"), "{answer:#?}");
    assert!(answer.log_text().ends_with("KeyError: 'oh'"), "{answer:#?}");
    let answer = returning("Closing(b'a', ValueError('first'), close=KeyError('second'))").answer();
    answer.assert_truncated("ValueError: first");
    let (first, second) = (
        answer.log_text().find("first"),
        answer.log_text().find("second"),
    );
    assert!(first < second, "{answer:#?}");
}

#[test]
fn a_failure_before_the_head_is_a_500() {
    for (expression, why) in [
        ("None", "TypeError: 'NoneType' object is not iterable"),
        ("7", "TypeError: 'int' object is not iterable"),
        (
            "NotIterable()",
            "TypeError: 'NotIterable' object is not iterable",
        ),
        (
            "'text'",
            "TypeError: the response's iterable must yield bytes, not str",
        ),
        (
            "b'bytes'",
            "TypeError: the response's iterable must yield bytes, not int",
        ),
        (
            "['text', b'bytes']",
            "TypeError: the response's iterable must yield bytes, not str",
        ),
        ("[memoryview(b'x')]", "must yield bytes, not memoryview"),
        ("Closing(KeyError('gone'))", "KeyError: 'gone'"),
        ("1 / 0", "ZeroDivisionError: division by zero"),
        (
            "(lambda: (_ for _ in ()).throw(KeyboardInterrupt))()",
            "KeyboardInterrupt",
        ),
    ] {
        let answer = returning(expression).answer();
        answer.assert_refused(why);
        assert!(answer.log_text().contains("WSGI0174: "), "{answer:#?}");
    }
}

#[test]
fn a_failure_after_the_head_cuts_the_response_short() {
    for (expression, why) in [
        ("Closing(b'a', KeyError('gone'))", "KeyError: 'gone'"),
        ("Closing(b'a', 'text')", "must yield bytes, not str"),
        ("[b'a', 'text']", "must yield bytes, not str"),
    ] {
        let answer = returning(expression).answer();
        answer.assert_truncated(why);
        assert_eq!(answer.data(), b"a");
    }
}

#[test]
fn the_traceback_names_the_line() {
    let answer = returning("1 / 0").answer();
    let log = answer.log_text();
    assert!(
        log.contains("ZeroDivisionError exception raised processing WSGI script"),
        "{log}"
    );
    assert!(log.contains("in application"), "{log}");
    assert!(log.contains("return 1 / 0"), "{log}");
}

#[test]
fn system_exit_is_an_exception_like_others() {
    let answer = returning("sys.exit('bye')").answer();
    answer.assert_refused("WSGI0175: SystemExit exception raised by WSGI script");
    assert!(
        answer.log_text().ends_with("SystemExit: bye"),
        "{answer:#?}"
    );
    returning("Closing(b'a', SystemExit())")
        .answer()
        .assert_truncated("WSGI0175");
    assert_eq!(returning("[b'alive']").answer().text(), "alive");
}

#[test]
fn without_start_response_there_is_no_response() {
    for result in [
        "[b'a']",
        "[]",
        "iter([b'a'])",
        "iter([])",
        "[b'x' * 1000000]",
    ] {
        let source = format!("def application(environ, start_response): return {result}");
        let answer = answer_of(&source);
        answer.assert_refused("RuntimeError: start_response() must be called before");
    }
}

#[test]
fn nothing_goes_beyond_the_stated_length() {
    for expression in [
        "[b'abc', b'def']",
        "iter([b'abc', b'def'])",
        "Closing(b'abcd', b'e', b'f')",
        "[b'abcd' + b'x' * 1000000]",
        "iter([b'abcd' + b'x' * 1000000])",
    ] {
        let answer = with_headers("[('Content-Length', '4')]", expression).answer();
        assert_eq!(answer.text(), "abcd", "{expression}");
        let length = ("Content-Length".to_owned(), "4".to_owned());
        assert_eq!(answer.head().headers, [length]);
    }
    let answer = with_headers("[('Content-Length', '0')]", "[b'abc']").answer();
    assert_eq!(answer.text(), "");
}

#[test]
fn where_there_is_no_body_the_host_is_left_to_say_how_long_it_is() {
    for expression in ["[]", "iter([])", "[b'']", "iter([b'', b''])"] {
        let answer = with_headers("[('Content-Length', '5')]", expression).answer();
        assert_eq!(answer.text(), "", "{expression}");
        let length = ("Content-Length".to_owned(), "5".to_owned());
        assert_eq!(answer.head().headers, [length], "{expression}");
        assert_eq!(
            answer.parts.len(),
            1,
            "{expression}: the end comes with the head"
        );
    }
}

#[test]
fn a_body_shorter_than_stated_is_cut_short() {
    for (expression, body) in [
        ("[b'abc']", &b"abc"[..]),
        ("iter([b'ab', b'c'])", b"abc"),
        ("iter([b'a', b''])", b"a"),
    ] {
        let answer = with_headers("[('Content-Length', '5')]", expression).answer();
        answer.assert_truncated("shorter than its Content-Length");
        assert_eq!(answer.data(), body);
        assert_eq!(answer.head().status, 200, "{expression}");
    }
}

#[test]
fn where_there_is_no_body_the_length_is_free() {
    let head = with_headers("[('Content-Length', '5')]", "[]").variable("REQUEST_METHOD", "HEAD");
    assert_eq!(head.answer().text(), "");
    let answer = answer_of(
        "
def application(environ, start_response):
    start_response('304 Not Modified', [('Content-Length', '5')])
    return []
",
    );
    assert_eq!(answer.text(), "");
}

#[test]
fn a_client_that_leaves_ends_it_silently() {
    for expression in [
        "[b'a']",
        "iter([b'a', b'b'])",
        "[b'x' * 1000000]",
        "Closing(b'a')",
    ] {
        let answer = returning(expression).leaving_after(0).answer();
        assert_eq!(answer.outcome.kind, Outcome::COMPLETE, "{expression}");
        assert!(
            answer.log.iter().all(|line| line == "closed"),
            "{answer:#?}"
        );
    }
}

#[test]
fn many_threads_answer_at_once() {
    let app = App::new(
        "
def application(environ, start_response):
    body = environ['wsgi.input'].read()
    start_response('200 OK', [('X-Path', environ['PATH_INFO'])])
    yield body
    yield environ['PATH_INFO'].encode()
",
    );
    thread::scope(|scope| {
        for thread in 0..16 {
            let app = &app;
            scope.spawn(move || {
                for round in 0..50 {
                    let path = format!("/{thread}/{round}");
                    let asked = app.ask().variable("PATH_INFO", &path).body(&[b"body:"]);
                    assert_eq!(asked.answer().text(), format!("body:{path}"));
                }
            });
        }
    });
}

#[test]
fn a_request_that_took_too_long_is_no_failure_of_the_application() {
    let timeout = "raise mod_wsgi.RequestTimeout";
    let early = format!("def application(environ, start_response): {timeout}");
    let at_first = "    start_response('200 OK', [])";
    let answers = [
        (early.clone(), false),
        (format!("{SENDER}{at_first}\n    {timeout}"), false),
        (format!("{SENDER}{at_first}(b'sent')\n    {timeout}"), true),
    ];
    for (source, had_begun) in answers {
        let answer = answer_of(&format!("import mod_wsgi\n{source}\n"));
        if had_begun {
            answer.assert_truncated("");
        } else {
            assert_eq!(answer.text(), "", "{source}");
            assert_eq!(answer.head().status, 504, "{source}");
        }
        assert!(answer.log.is_empty(), "{source}: {answer:#?}");
        let notice = "Request interrupted by RequestTimeout";
        let told = answer.notices.iter().any(|line| line.contains(notice));
        assert!(told, "{source}: {answer:#?}");
    }
}

const SENDER: &str = "def application(environ, start_response):\n";
