//! `wsgi.errors`, `sys.stdout`, `sys.stderr`.

use std::sync::Barrier;

use crate::memory::{App, server_log};

/// The log of a request whose application does `body`.
fn log_of(body: &str) -> Vec<String> {
    let body = body.trim_matches('\n').replace('\n', "\n    ");
    let app = App::new(&format!(
        "import sys
def application(environ, start_response):
    errors = environ['wsgi.errors']
    {body}
    start_response('200 OK', [])
    return []
"
    ));
    let answer = app.ask().group("streams").answer();
    answer.text();
    answer.log
}

#[test]
fn each_line_is_an_entry() {
    assert_eq!(
        log_of("errors.write('one\\ntwo\\n\\nfour\\n')"),
        ["one", "two", "", "four"]
    );
}

#[test]
fn a_part_of_a_line_waits_for_the_rest() {
    let log = log_of("errors.write('one ')\nerrors.write('line\\n')\nerrors.write('other')");
    assert_eq!(log, ["one line", "other"]);
}

#[test]
fn a_flush_ends_the_line() {
    let log = log_of("errors.write('one')\nerrors.flush()\nerrors.writelines(['a', 'b\\n'])");
    assert_eq!(log, ["one", "ab"]);
}

#[test]
fn print_and_stderr_go_to_the_log_of_the_request() {
    let log = log_of("print('out', 'put')\nprint('err', file=sys.stderr)");
    assert_eq!(log, ["out put", "err"]);
}

#[test]
fn the_streams_of_a_request_share_their_lines() {
    let log = log_of("errors.write('a')\nsys.stdout.write('b')\nsys.stderr.write('c')");
    assert_eq!(log, ["abc"]);
}

#[test]
fn text_is_utf8_and_what_cannot_be_encoded_is_replaced() {
    assert_eq!(
        log_of("errors.write('h\\xe9 \\u20ac \\udc80\\n')"),
        ["h\u{e9} \u{20ac} ?"]
    );
}

#[test]
fn outside_requests_output_goes_to_the_log_of_the_server() {
    let app = App::new(&format!("print('while loading')\n{}", crate::telling("1")));
    let answer = app.ask().group("streams").answer();
    // Loading is part of the request that asks for it.
    assert_eq!(answer.log, ["while loading"]);
    let app = App::new(
        "
import threading

def application(environ, start_response):
    thread = threading.Thread(target=print, args=('in the background',))
    thread.start()
    thread.join()
    start_response('200 OK', [])
    return []
",
    );
    assert_eq!(app.ask().group("streams").answer().log, [""; 0]);
    assert!(server_log().contains(&"in the background".to_owned()));
}

#[test]
fn a_stream_that_outlives_its_request_cannot_be_written_to() {
    let app = App::new(
        "
kept = []

def application(environ, start_response):
    told = ''
    for errors in kept:
        errors.flush()
        try:
            errors.write('late')
            told = 'written'
        except RuntimeError as error:
            told = str(error)
        errors.close()
    kept.append(environ['wsgi.errors'])
    start_response('200 OK', [])
    return [told.encode()]
",
    );
    assert_eq!(app.ask().group("streams").answer().text(), "");
    let answer = app.ask().group("streams").answer();
    assert!(answer.text().contains("request is over"), "{answer:#?}");
    assert_eq!(answer.log, [""; 0]);
}

#[test]
fn a_request_sees_nothing_of_the_stream_of_another() {
    let app = App::new(
        "
def application(environ, start_response):
    errors = environ['wsgi.errors']
    told = repr((errors.line_buffering, errors.encoding, hasattr(errors, 'mark')))
    if environ.get('CHANGE') == 'line_buffering':
        errors.reconfigure(line_buffering=False)
    elif environ.get('CHANGE') == 'detach':
        errors.detach()
    start_response('200 OK', [])
    return [told.encode()]
",
    );
    for change in ["line_buffering", "detach", ""] {
        let answer = app
            .ask()
            .group("streams")
            .variable("CHANGE", change)
            .answer();
        assert_eq!(answer.text(), "(True, 'utf-8', False)");
    }
}

/// With a GIL any thread takes any of them: only that so many are kept shows there.
#[test]
fn streams_of_threads_that_have_ended_are_not_kept_in_the_place_of_others() {
    let app = App::new(
        "
import gc, io

def application(environ, start_response):
    start_response('200 OK', [])
    return []

def count(environ, start_response):
    start_response('200 OK', [])
    found = [one for one in gc.get_objects() if type(one) is io.TextIOWrapper]
    return [str(sum(one.name == '<wsgi.errors>' for one in found)).encode()]
",
    );
    let ask = || app.ask().group("spare-streams");
    // More than are kept, and all at the same time, as a later thread may be taken for an earlier
    // one.
    let all = Barrier::new(80);
    std::thread::scope(|scope| {
        let one = || {
            all.wait();
            ask().answer().text();
            all.wait();
        };
        let threads: Vec<_> = (0..80).map(|_| scope.spawn(one)).collect();
        // The end of the scope waits for their work, and not for what Python has to do at their
        // end.
        for thread in threads {
            thread.join().unwrap();
        }
    });
    ask().answer().text();
    // Its own is one of those that were kept.
    let count: usize = ask().callable("count").answer().text().parse().unwrap();
    assert!(count <= 64, "{count}");
}

#[test]
fn the_streams_look_like_streams() {
    let facts = "
def facts(stream):
    buffer = stream.buffer
    try:
        buffer.fileno()
    except OSError:
        fileno = 'OSError'
    return (type(stream).__name__, stream.name, stream.encoding, stream.errors, stream.isatty(),
            stream.line_buffering, stream.write_through, stream.closed, buffer.readable(),
            buffer.writable(), buffer.seekable(), buffer.isatty(), type(buffer).__module__, fileno)
print(facts(errors))
print(facts(sys.stdout)[1], facts(sys.stderr)[1])";
    let log = log_of(facts);
    assert_eq!(
        log,
        [
            "('TextIOWrapper', '<wsgi.errors>', 'utf-8', 'replace', False, True, True, False, \
             False, True, False, False, 'mod_wsgi', 'OSError')",
            "<stdout> <stderr>"
        ]
    );
}

#[test]
fn the_binary_stream_takes_bytes() {
    let log = log_of(
        "
buffer = errors.buffer
assert buffer.write(b'bytes\\n') == 6
assert buffer.write(bytearray(b'array\\n')) == 6
assert buffer.write(memoryview(b'view\\n')) == 5
buffer.writelines([b'one\\n', b'two\\n'])
for wrong in (1, [1], None):
    try:
        buffer.write(wrong)
    except TypeError:
        print('TypeError')
import warnings
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter('always')
    buffer.write('text\\n')
print(caught[0].category.__name__)",
    );
    let expected = [
        "bytes",
        "array",
        "view",
        "one",
        "two",
        "TypeError",
        "TypeError",
        "TypeError",
        "text",
        "DeprecationWarning",
    ];
    assert_eq!(log, expected);
}

#[test]
fn an_exception_is_reported_with_all_that_led_to_it() {
    let app = App::new(
        "
def application(environ, start_response):
    try:
        1 / 0
    except ZeroDivisionError as error:
        raise ValueError('two\\nlines') from error
",
    );
    let answer = app.ask().group("streams").answer();
    let path = app.path().display();
    let head = format!(
        "WSGI0174: ValueError exception raised processing WSGI script '{path}' for \
         sub-interpreter 'streams' in embedded mode."
    );
    assert_eq!(answer.log.first(), Some(&head));
    let log = answer.log_text();
    for said in [
        "\nTraceback (most recent call last):\n",
        "\nZeroDivisionError: division by zero\n",
        "\nThe above exception was the direct cause of the following exception:\n",
    ] {
        assert!(log.contains(said), "{log}");
    }
    assert!(log.ends_with("\nValueError: two\nlines"), "{log}");
}
