//! `start_response`: what it refuses, with which exception, and what it lets through.

use testkit::{SharedHttpd, ours};

use crate::wsgi_site::{CALCULATOR, answers_at_last, app, calculate, wsgi_site};

static SERVER: SharedHttpd = SharedHttpd::new(|| wsgi_site().script("calculate.wsgi", CALCULATOR));

/// Asserts for each piece of code how the exception it raises begins, or `None` if it raises none.
fn assert_outcomes(cases: &[(&str, &str)]) {
    let server = SERVER.borrow();
    for (code, outcome) in cases {
        let answer = calculate(&server, "/calculate.wsgi", code);
        assert!(answer.starts_with(outcome), "{code}: {answer}");
    }
}

#[test]
fn it_takes_two_or_three_positional_arguments() {
    assert_outcomes(&[
        ("start_response()", "TypeError: "),
        ("start_response('200 OK')", "TypeError: "),
        ("start_response('200 OK', [], None, 1)", "TypeError: "),
        ("start_response(status='200 OK', headers=[])", "TypeError: "),
        ("start_response('200 OK', [])", "None"),
        ("start_response('200 OK', [], None)", "None"),
    ]);
}

#[test]
fn the_status_is_a_native_string_of_latin_1_characters() {
    assert_outcomes(&[
        ("start_response(b'200 OK', [])", "TypeError: "),
        ("start_response(200, [])", "TypeError: "),
        ("start_response(None, [])", "TypeError: "),
        ("start_response('200 \\u20ac', [])", "UnicodeEncodeError: "),
        ("start_response('200 \\xe9', [])", "None"),
        (
            "class S(str): pass\nstart_response(S('200 OK'), [])",
            "None",
        ),
    ]);
}

#[test]
fn the_status_is_three_digits_and_optionally_a_space_and_a_reason() {
    assert_outcomes(&[
        ("start_response('', [])", "ValueError: "),
        ("start_response('20', [])", "ValueError: "),
        ("start_response('20 OK', [])", "ValueError: "),
        ("start_response('2000 OK', [])", "ValueError: "),
        ("start_response(' 200 OK', [])", "ValueError: "),
        ("start_response('2x0 OK', [])", "ValueError: "),
        ("start_response('-20 OK', [])", "ValueError: "),
        ("start_response('\\xb2\\xb2\\xb2 OK', [])", "ValueError: "),
        ("start_response('OK', [])", "ValueError: "),
        ("start_response('200x', [])", "ValueError: "),
        ("start_response('200\\tOK', [])", "ValueError: "),
        ("start_response('200', [])", "None"),
        ("start_response('200 ', [])", "None"),
        ("start_response('299 Some  Reason: (really)', [])", "None"),
    ]);
}

#[test]
fn the_reason_has_no_control_characters() {
    let server = SERVER.borrow();
    for byte in (1..0x20).chain([0x7f]) {
        let code = format!("start_response('200 a' + chr({byte}) + 'b', [])");
        let answer = calculate(&server, "/calculate.wsgi", &code);
        assert!(answer.starts_with("ValueError: "), "{byte:#x}: {answer}");
    }
}

#[test]
fn the_headers_are_a_list_of_pairs() {
    assert_outcomes(&[
        ("start_response('200 OK', (('A', 'b'),))", "TypeError: "),
        ("start_response('200 OK', {'A': 'b'})", "TypeError: "),
        ("start_response('200 OK', iter([]))", "TypeError: "),
        ("start_response('200 OK', None)", "TypeError: "),
        ("start_response('200 OK', [['A', 'b']])", "TypeError: "),
        ("start_response('200 OK', ['Ab'])", "TypeError: "),
        ("start_response('200 OK', [None])", "TypeError: "),
        ("start_response('200 OK', [()])", "ValueError: "),
        ("start_response('200 OK', [('A',)])", "ValueError: "),
        (
            "start_response('200 OK', [('A', 'b', 'c')])",
            "ValueError: ",
        ),
        (
            "class L(list): pass\nstart_response('200 OK', L([('A', 'b')]))",
            "None",
        ),
        (
            "class T(tuple): pass\nstart_response('200 OK', [T(('A', 'b'))])",
            "None",
        ),
    ]);
}

#[test]
fn header_names_are_visible_latin_1() {
    assert_outcomes(&[
        ("start_response('200 OK', [(b'A', 'b')])", "TypeError: "),
        ("start_response('200 OK', [(None, 'b')])", "TypeError: "),
        (
            "start_response('200 OK', [('\\u20ac', 'b')])",
            "UnicodeEncodeError: ",
        ),
        ("start_response('200 OK', [('', 'b')])", "ValueError: "),
        ("start_response('200 OK', [('A B', 'b')])", "ValueError: "),
        ("start_response('200 OK', [(' A', 'b')])", "ValueError: "),
        (
            "start_response('200 OK', [('A\\r\\nB', 'b')])",
            "ValueError: ",
        ),
        (
            "class S(str): pass\nstart_response('200 OK', [(S('A'), S('b'))])",
            "None",
        ),
    ]);
    let server = SERVER.borrow();
    for byte in (1..=0x20).chain([0x7f]) {
        let code = format!("start_response('200 OK', [('A' + chr({byte}) + 'B', 'c')])");
        let answer = calculate(&server, "/calculate.wsgi", &code);
        assert!(answer.starts_with("ValueError: "), "{byte:#x}: {answer}");
    }
}

#[test]
fn header_values_are_latin_1_without_line_ends() {
    assert_outcomes(&[
        ("start_response('200 OK', [('A', b'b')])", "TypeError: "),
        ("start_response('200 OK', [('A', 1)])", "TypeError: "),
        ("start_response('200 OK', [('A', None)])", "TypeError: "),
        (
            "start_response('200 OK', [('A', '\\u20ac')])",
            "UnicodeEncodeError: ",
        ),
        (
            "start_response('200 OK', [('A', 'b\\r\\nC: d')])",
            "ValueError: ",
        ),
        ("start_response('200 OK', [('A', 'b\\r')])", "ValueError: "),
        ("start_response('200 OK', [('A', '\\nb')])", "ValueError: "),
        ("start_response('200 OK', [('A', '')])", "None"),
        ("start_response('200 OK', [('A', '  \\xe9 ')])", "None"),
    ]);
}

#[test]
fn headers_are_looked_at_one_by_one_and_their_names_first() {
    assert_outcomes(&[
        ("start_response('200 OK', [('A B', 1)])", "ValueError: "),
        ("start_response('200 OK', [('', None)])", "ValueError: "),
        ("start_response('200 OK', [('A\\n', b'b')])", "ValueError: "),
        (
            "start_response('200 OK', [('A B', '\\u20ac')])",
            "ValueError: ",
        ),
        ("start_response('200 OK', [(1, 'b\\n')])", "TypeError: "),
        (
            "start_response('200 OK', [('\\u20ac', 1)])",
            "UnicodeEncodeError: ",
        ),
        (
            "start_response('200 OK', [('A', 1), ('A B', 'c')])",
            "TypeError: ",
        ),
        (
            "start_response('200 OK', [('A B', 'c'), ('A', 1)])",
            "ValueError: ",
        ),
        ("start_response('20', [('A', 1)])", "ValueError: "),
        ("start_response(200, ())", "TypeError: "),
    ]);
}

#[test]
fn what_httpd_would_not_send_is_refused() {
    if !ours("D48") {
        return;
    }
    assert_outcomes(&[
        ("start_response('200 OK', [('A:B', 'c')])", "ValueError: "),
        ("start_response('200 OK', [('A(B', 'c')])", "ValueError: "),
        ("start_response('200 OK', [('\\xe9', 'c')])", "ValueError: "),
        ("start_response('200 OK', [('A\\0', 'c')])", "ValueError: "),
        ("start_response('200 OK', [('A', 'b\\0')])", "ValueError: "),
        (
            "start_response('200 OK', [('A', 'b\\x01')])",
            "ValueError: ",
        ),
        ("start_response('200 OK', [('A', 'b\\tc')])", "None"),
        ("start_response('200 OK\\0', [])", "ValueError: "),
        ("start_response('100 Continue', [])", "ValueError: "),
        (
            "start_response('101 Switching Protocols', [])",
            "ValueError: ",
        ),
        ("start_response('000 None', [])", "ValueError: "),
    ]);
}

#[test]
fn an_application_cannot_frame_the_response() {
    if !ours("D49") {
        return;
    }
    assert_outcomes(&[(
        "start_response('200 OK', [('transfer-encoding', 'chunked')])",
        "ValueError: ",
    )]);
}

#[test]
fn a_length_is_written_in_digits() {
    if !ours("D50") {
        return;
    }
    assert_outcomes(&[
        (
            "start_response('200 OK', [('Content-Length', '')])",
            "ValueError: ",
        ),
        (
            "start_response('200 OK', [('Content-Length', '+5')])",
            "ValueError: ",
        ),
        (
            "start_response('200 OK', [('Content-Length', ' 5 ')])",
            "None",
        ),
    ]);
}

#[test]
fn the_messages_name_the_culprit() {
    let server = SERVER.borrow();
    for (code, culprit) in [
        ("start_response('2000 OK', [])", "2000 OK"),
        ("start_response('200 OK', [('Bad Name', 'v')])", "Bad Name"),
        ("start_response('200 OK', [('A', 'bad\\nvalue')])", "bad\\"),
        ("start_response('200 OK', [('A', 'b', 'c')])", "3"),
        ("start_response('200 OK', [['A', 'b']])", "list"),
        ("start_response('200 OK', [('A', 7)])", "int"),
        ("start_response(b'200 OK', [])", "bytes"),
    ] {
        let answer = calculate(&server, "/calculate.wsgi", code);
        assert!(answer.contains(culprit), "{code}: {answer}");
    }
}

#[test]
fn exc_info_is_none_or_a_tuple() {
    assert_outcomes(&[
        ("start_response('200 OK', [], 1)", "RuntimeError: "),
        ("start_response('200 OK', [], [1, 2, 3])", "RuntimeError: "),
        (
            "import sys\nstart_response('200 OK', [], sys.exc_info())",
            "None",
        ),
    ]);
}

#[test]
fn it_may_be_wrapped_like_a_function() {
    assert_outcomes(&[
        ("r = start_response.__name__", "'start_response'"),
        ("r = start_response('200 OK', []).__name__", "'write'"),
        (
            "import functools; f = functools.wraps(start_response)(lambda *a: start_response(*a)); \
             r = f.__name__, callable(f('200 OK', []))",
            "('start_response', True)",
        ),
        (
            "import functools; r = callable(functools.partial(start_response, '200 OK')([]))",
            "True",
        ),
    ]);
}

#[test]
fn it_may_be_referred_to_weakly_and_copied() {
    for made in ["start_response", "start_response('200 OK', [])"] {
        let code = |rest: &str| format!("import copy, weakref; f = {made}; {rest}");
        assert_outcomes(&[
            (&code("r = weakref.ref(f)() is f"), "True"),
            (
                &code("r = copy.copy(f) is f, copy.deepcopy([f])[0] is f"),
                "(True, True)",
            ),
        ]);
    }
}

#[test]
fn who_refers_to_it_weakly_is_told_of_its_end() {
    let server = SERVER.borrow();
    let url = app(
        &server,
        "weakly",
        r#"
import weakref

kept, gone = [], []

def application(environ, start_response):
    write = start_response('200 OK', [])
    answer = [ref() for ref in kept], len(gone)
    gone.clear()
    kept[:] = [weakref.ref(one, gone.append) for one in (start_response, write)]
    return [repr(answer).encode()]
"#,
    );
    answers_at_last(&server, &url, "([None, None], 2)");
}

#[test]
fn it_returns_write() {
    assert_outcomes(&[("r = callable(start_response('200 OK', []))", "True")]);
}

#[test]
fn a_later_call_before_any_output_replaces_the_head() {
    let server = SERVER.borrow();
    let url = app(
        &server,
        "replaced",
        r#"
def application(environ, start_response):
    start_response('200 OK', [('X-First', '1'), ('Content-Type', 'text/first'),
                              ('Content-Length', '99'), ('WWW-Authenticate', 'first')])
    yield b''
    start_response('202 Later', [('X-Second', '2')])
    yield b'body'
"#,
    );

    let response = server.get(&url);

    assert_eq!(
        (response.status, response.head.reason.as_str()),
        (202, "Later")
    );
    assert_eq!(response.header("X-Second"), Some("2"));
    for gone in ["X-First", "Content-Type", "WWW-Authenticate"] {
        assert_eq!(response.header(gone), None, "{gone}");
    }
    assert_ne!(response.header("Content-Length"), Some("99"));
    assert_eq!(response.text(), "body");
    assert!(response.is_whole());
}

#[test]
fn a_refused_call_leaves_the_earlier_head() {
    let server = SERVER.borrow();
    let url = app(
        &server,
        "refused",
        r#"
def application(environ, start_response):
    start_response('201 First', [('X-First', '1')])
    try:
        start_response('200 OK', [('X-Second', '2'), ('Bad Name', '')])
    except ValueError:
        pass
    return [b'body']
"#,
    );

    let response = server.get(&url);

    assert_eq!(response.status, 201);
    assert_eq!(response.header("X-First"), Some("1"));
    assert_eq!(response.header("X-Second"), None);
}

#[test]
fn after_the_request_it_is_refused() {
    let server = SERVER.borrow();
    let url = app(
        &server,
        "kept",
        r#"
kept = []

def application(environ, start_response):
    if not kept:
        kept.extend([start_response, start_response('200 OK', [])])
        return [b'kept']
    start_response('200 OK', [('Content-Type', 'text/plain')])
    answers = []
    for call in (lambda: kept[0]('200 OK', []), lambda: kept[1](b'data')):
        try:
            answers.append(call())
        except RuntimeError as error:
            answers.append('RuntimeError')
    return [repr(answers).encode()]
"#,
    );

    assert_eq!(server.get(&url).text(), "kept");
    answers_at_last(&server, &url, "['RuntimeError', 'RuntimeError']");
}
