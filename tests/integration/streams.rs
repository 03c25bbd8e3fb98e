//! `wsgi.errors`, `sys.stdout` and `sys.stderr` as objects: what an application can ask of them.

use rstest::rstest;
use testkit::{SharedHttpd, ours};

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

/// Forks while other threads write, from a thread that serves a request and from one that does not.
const FORKING: &str = "
import os, signal, sys, threading, time

busy = threading.Event()

def write():
    while busy.is_set():
        print('in the background', file=sys.stderr)

def fork(ends):
    for _ in range(20):
        pid = os.fork()
        if pid == 0:
            print('forked', file=sys.stderr)
            os._exit(0)
        deadline = time.monotonic() + 10
        ended = 0
        while not ended and time.monotonic() < deadline:
            time.sleep(0.002)
            ended, status = os.waitpid(pid, os.WNOHANG)
        if not ended:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            ends.append('does not end')
            break
        ends.append(status)

def application(environ, start_response):
    busy.set()
    writers = [threading.Thread(target=write) for _ in range(2)]
    for writer in writers:
        writer.start()
    ends = []
    fork(ends)
    other = threading.Thread(target=fork, args=(ends,))
    other.start()
    other.join()
    busy.clear()
    for writer in writers:
        writer.join()
    start_response('200 OK', [])
    return [repr(ends == [0] * 40 or ends).encode()]
";

#[rstest]
fn a_process_that_is_forked_while_others_write_can_write_too(
    #[values(Mode::Embedded, Mode::Daemon)] mode: Mode,
) {
    let site = mode.site().config("WSGIApplicationGroup %{GLOBAL}");
    let server = site.script("forking.wsgi", FORKING).start();
    assert_eq!(server.get("/forking.wsgi").text(), "True");
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
        ("s.buffer.flush(1)", "TypeError: "),
        ("s.buffer.close(1)", "TypeError: "),
        ("s.buffer.isatty(1)", "TypeError: "),
        ("s.buffer.writable(1)", "TypeError: "),
        ("s.buffer.fileno(1)", "TypeError: "),
        ("s.buffer.write(b'a', b'b')", "TypeError: "),
        ("s.buffer.writelines(3)", "TypeError: "),
        ("s.writelines([b'bytes'])", "TypeError: "),
        ("s.detached = 1; r = s.detached", "1"),
        ("s.buffer.name = 'x'", "AttributeError: "),
        ("s.buffer.mode", "AttributeError: "),
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

#[test]
fn a_closed_wsgi_errors_takes_no_more() {
    let server = SERVER.borrow();
    for close in ["close()", "buffer.close()"] {
        for (code, answer) in [
            ("s.write('x')", "RuntimeError: "),
            // From Python 3.14 on a `TextIOWrapper` passes nothing on where there is nothing.
            (
                "import sys; s.write('' if sys.version_info < (3, 14) else 'x')",
                "RuntimeError: ",
            ),
            ("s.writelines(['x\\n'])", "RuntimeError: "),
            ("print('x', file=s)", "RuntimeError: "),
            ("s.buffer.write(b'x')", "RuntimeError: "),
            ("s.buffer.write(3)", "RuntimeError: "),
            ("s.buffer.writelines([])", "RuntimeError: "),
            ("s.flush(); s.close(); s.buffer.close()", "None"),
            (
                "r = s.closed, s.buffer.closed, s.writable(), s.isatty()",
                "(False, False, True, False)",
            ),
            ("r = s.name, s.encoding", "('<wsgi.errors>', 'utf-8')"),
        ] {
            let code = format!("s = environ['wsgi.errors']; s.{close}; {code}");
            let got = calculate(&server, "/calculate.wsgi", &code);
            assert!(got.starts_with(answer), "{code}: {got}");
        }
    }
}

#[test]
fn the_other_streams_cannot_be_closed() {
    let server = SERVER.borrow();
    for stream in ["stdout", "stderr"] {
        for close in ["close()", "buffer.close()"] {
            calculate(
                &server,
                "/calculate.wsgi",
                &format!("import sys; sys.{stream}.{close}"),
            );
            let code = format!("import sys; r = sys.{stream}.closed, sys.{stream}.write('x\\n')");
            let later = calculate(&server, "/calculate.wsgi", &code);
            assert_eq!(later, "(False, 2)", "{close} of {stream}");
        }
    }
}

#[test]
fn one_that_is_closed_closes_no_other() {
    if !ours("D122") {
        return;
    }
    let server = SERVER.borrow();
    for (closed, written) in [
        ("environ['wsgi.errors']", "sys.stdout"),
        ("environ['wsgi.errors']", "sys.stderr"),
        ("sys.stdout", "sys.stdout"),
        ("sys.stdout", "environ['wsgi.errors']"),
    ] {
        let code = format!("import sys; {closed}.close(); r = {written}.write('x\\n')");
        assert_eq!(calculate(&server, "/calculate.wsgi", &code), "2", "{code}");
    }
}

#[test]
fn what_a_closed_wsgi_errors_had_is_logged() {
    let server = SERVER.borrow();
    let mark = server.log().mark();
    let code = "s = environ['wsgi.errors']; s.write('without an end'); s.close()";
    calculate(&server, "/calculate.wsgi", code);
    server.log().wait_for(mark, "] without an end");
}

/// As the protocol of binary streams has it.
#[test]
fn the_log_beneath_says_how_much_it_took() {
    if !ours("D122") {
        return;
    }
    let server = SERVER.borrow();
    let code =
        "b = environ['wsgi.errors'].buffer; r = b.write(b'abc\\n'), b.write(memoryview(b'd\\n'))";
    assert_eq!(calculate(&server, "/calculate.wsgi", code), "(4, 2)");
}
