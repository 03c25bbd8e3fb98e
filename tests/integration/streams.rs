//! `wsgi.errors`, `sys.stdout` and `sys.stderr` as objects: what an application can ask of them.

use rstest::rstest;
use testkit::SharedHttpd;

use crate::wsgi_site::{CALCULATOR, Mode, answers_at_last, app, calculate, wsgi_site};

static SERVER: SharedHttpd = SharedHttpd::new(|| wsgi_site().script("calculate.wsgi", CALCULATOR));

/// For whoever takes it for a text stream, it is one; that is told once.
#[rstest]
fn a_text_written_to_the_log_beneath_is_taken_with_a_warning(
    #[values(Mode::Embedded, Mode::Daemon)] mode: Mode,
) {
    const WRITING: &str = "
import warnings

def application(environ, start_response):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter('always')
        for text in ['h\\xe9\\n', 'second\\n']:
            environ['wsgi.errors'].buffer.write(text)
    start_response('200 OK', [])
    return [repr([warning.category.__name__ for warning in caught]).encode()]
";
    let server = mode.site().script("writing.wsgi", WRITING).start();
    let mark = server.log().mark();
    assert_eq!(server.get("/writing.wsgi").text(), "['DeprecationWarning']");
    assert_eq!(server.get("/writing.wsgi").text(), "[]");
    server.log().wait_for(mark, "] h\\xc3\\xa9");
    server.log().wait_for(mark, "] second");
}

#[test]
fn the_streams_are_text_streams_over_a_log() {
    let server = SERVER.borrow();
    for (code, answer) in [
        (
            "r = type(s) is io.TextIOWrapper, s.encoding, s.errors",
            "(True, 'utf-8', 'replace')",
        ),
        ("r = s.line_buffering, s.write_through", "(True, True)"),
        (
            "r = s.isatty(), s.readable(), s.writable(), s.seekable()",
            "(False, False, True, False)",
        ),
        ("r = s.write('abc\\n')", "4"),
        ("s.fileno()", "OSError: "),
        ("s.write(b'bytes')", "TypeError: "),
        ("s.read()", "UnsupportedOperation: "),
        (
            "b = s.buffer; r = b.isatty(), b.readable(), b.writable(), b.seekable()",
            "(False, False, True, False)",
        ),
        (
            "b = s.buffer; r = b.encoding, b.errors, b.closed",
            "('utf-8', 'replace', False)",
        ),
        ("s.buffer.fileno()", "OSError: "),
        ("s.buffer.write(3)", "TypeError: "),
        (
            "import warnings; c = warnings.catch_warnings(); c.__enter__(); \
             warnings.simplefilter('ignore'); s.buffer.write('text\\n'); c.__exit__(None, None, None)",
            "None",
        ),
        ("s.buffer.write()", "TypeError: "),
        (
            "s.buffer.write(b'bytes\\n'); s.buffer.write(bytearray(b'array\\n'))",
            "None",
        ),
        (
            "s.buffer.writelines([b'one\\n', b'two\\n']); s.buffer.flush()",
            "None",
        ),
    ] {
        for (stream, name) in [
            ("environ['wsgi.errors']", "<wsgi.errors>"),
            ("sys.stdout", "<stdout>"),
            ("sys.stderr", "<stderr>"),
        ] {
            let code =
                format!("import sys; s = {stream}; assert s.buffer.name == '{name}'; {code}");
            let got = calculate(&server, "/calculate.wsgi", &code);
            assert!(got.starts_with(answer), "{code}: {got}");
        }
    }
}

#[test]
fn after_the_request_wsgi_errors_is_refused_and_the_others_go_on() {
    let server = SERVER.borrow();
    let url = app(
        &server,
        "kept",
        r#"
import sys
kept = None

def attempt(call):
    try:
        return repr(call())
    except RuntimeError:
        return 'RuntimeError'

def application(environ, start_response):
    global kept
    start_response('200 OK', [])
    errors, kept = kept, environ['wsgi.errors']
    if errors is None:
        return [b'kept']
    calls = (lambda: errors.write('x'), lambda: errors.write('x\n'), lambda: errors.closed,
             lambda: sys.stdout.write('still here\n'), lambda: sys.stderr.write('still here\n'))
    return [', '.join(attempt(call) for call in calls).encode()]
"#,
    );

    assert_eq!(server.get(&url).text(), "kept");
    answers_at_last(&server, &url, "RuntimeError, RuntimeError, False, 11, 11");
}
