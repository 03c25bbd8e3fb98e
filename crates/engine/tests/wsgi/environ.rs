//! The environ.

use crate::memory::{Asked, now};

/// An application that answers with the `repr` of an expression over `environ`.
fn showing(expression: &str) -> Asked {
    Asked::new(&format!(
        "
def application(environ, start_response):
    start_response('200 OK', [])
    return [repr({expression}).encode('utf-8', 'surrogateescape')]
"
    ))
}

#[test]
fn variables_are_latin1_strings() {
    let answer = showing("[environ['PATH_INFO'], environ['HTTP_X_A'], environ['EMPTY']]")
        .variable("PATH_INFO", b"/caf\xc3\xa9")
        .variable("HTTP_X_A", b"\xff")
        .variable("EMPTY", b"")
        .answer();
    assert_eq!(answer.text(), "['/caf\u{c3}\u{a9}', '\u{ff}', '']");
}

#[test]
fn file_names_are_decoded_as_python_decodes_them() {
    let answer = showing("[environ['SCRIPT_FILENAME'], environ['DOCUMENT_ROOT']]")
        .variable("SCRIPT_FILENAME", "/caf\u{e9}/app.wsgi")
        .variable("DOCUMENT_ROOT", b"/\xff")
        .answer();
    assert_eq!(answer.text(), "['/caf\u{e9}/app.wsgi', '/\\udcff']");
}

#[test]
fn a_variable_without_a_value_is_none() {
    let answer = showing("[environ['A'], environ['PATH_TRANSLATED']]")
        .variable_without_value("A")
        .variable_without_value("PATH_TRANSLATED")
        .answer();
    assert_eq!(answer.text(), "[None, None]");
}

#[test]
fn what_the_host_does_not_set_is_absent() {
    let answer = showing("sorted(k for k in environ if k[0] in 'CRSHDQ')").answer();
    assert_eq!(answer.text(), "['REQUEST_METHOD']");
    let answer = showing("[k for k, v in environ.items() if v is None]").answer();
    assert_eq!(answer.text(), "[]");
}

#[test]
fn typed_keys() {
    let cases = [
        ("environ['wsgi.version']", "(1, 0)"),
        ("environ['wsgi.url_scheme']", "'http'"),
        ("environ['wsgi.input_terminated']", "True"),
        ("environ['wsgi.multithread']", "True"),
        ("environ['wsgi.multiprocess']", "False"),
        ("environ['wsgi.run_once']", "False"),
        ("environ['wsgi.file_wrapper'].__name__", "'FileWrapper'"),
        (
            "environ['wsgi.file_wrapper'] is __import__('mod_wsgi').FileWrapper",
            "True",
        ),
        ("environ['wsgi.errors'].write('')", "0"),
        ("environ['wsgi.input'].read()", "b''"),
        ("environ['mod_wsgi.version']", "(6, 1, 1)"),
        ("environ['apache.version']", "(2, 4, 62)"),
        ("environ['mod_wsgi.thread_id']", "7"),
        ("environ['mod_wsgi.request_start']", "1700000000.25"),
        ("environ['mod_wsgi.queue_start']", "0.0"),
        ("environ['mod_wsgi.daemon_start']", "0.0"),
        ("'apache.request_rec' in environ", "False"),
        ("type(environ) is dict", "True"),
    ];
    for (expression, expected) in cases {
        assert_eq!(
            showing(expression).answer().text(),
            expected,
            "{expression}"
        );
    }
}

#[test]
fn the_application_starts_now() {
    let before = now();
    let start: f64 = showing("environ['mod_wsgi.application_start']")
        .answer()
        .text()
        .parse()
        .unwrap();
    assert!((before - 0.001..=now() + 0.001).contains(&start), "{start}");
}

#[test]
fn the_scheme_is_that_of_the_request() {
    assert_eq!(
        showing("environ['wsgi.url_scheme']")
            .https()
            .answer()
            .text(),
        "'https'"
    );
}

#[test]
fn variables_do_not_replace_typed_keys() {
    let answer = showing("[environ['wsgi.url_scheme'], environ['mod_wsgi.version'], 'apache.request_rec' in environ]")
        .variable("wsgi.url_scheme", "https")
        .variable("mod_wsgi.version", "0")
        .variable("apache.request_rec", "0")
        .answer();
    assert_eq!(answer.text(), "['http', (6, 1, 1), False]");
}

#[test]
fn the_request_rec_is_a_capsule() {
    let marker = 0_u8;
    let answer = showing("type(environ['apache.request_rec']).__name__")
        .request_rec((&raw const marker).cast_mut().cast())
        .answer();
    assert_eq!(answer.text(), "'PyCapsule'");
}

#[test]
fn every_request_has_an_environ_of_its_own() {
    let source = "
def application(environ, start_response):
    start_response('200 OK', [])
    found = 'mine' in environ
    environ['mine'] = environ['REQUEST_METHOD'] = 'changed'
    return [repr(found).encode()]
";
    for _ in 0..3 {
        assert_eq!(Asked::new(source).answer().text(), "False");
    }
}

#[test]
fn any_number_of_names_can_be_sent() {
    for round in 0..3 {
        let mut asked = showing("sum(k.startswith('HTTP_MADE_UP') for k in environ)");
        for number in 0..900 {
            asked = asked.variable(&format!("HTTP_MADE_UP_{round}_{number}"), "x");
        }
        asked = asked.variable(&format!("HTTP_MADE_UP_{}", "LONG".repeat(1000)), "x");
        assert_eq!(asked.answer().text(), "901");
    }
}
