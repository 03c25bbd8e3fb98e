//! The environ.

use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::{option, sample};

use crate::memory::{App, Asked, now};

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

/// Names of every kind, some of which the engine knows.
const NAMES: [&str; 14] = [
    "SERVER_NAME",
    "SERVER_PORT",
    "SCRIPT_NAME",
    "SCRIPT_FILENAME",
    "REQUEST_URI",
    "QUERY_STRING",
    "HTTP_HOST",
    "HTTP_USER_AGENT",
    "HTTP_COOKIE",
    "HTTP_X_A",
    "HTTP_X_B",
    "mod_wsgi.process_group",
    "mod_wsgi.request_id",
    "wsgi.url_scheme",
];

/// Requests that are alike, as those of one client are.
#[derive(Clone, Debug)]
struct Alike {
    /// Places in [`NAMES`], and a value: a digit so often as the number says, or none.
    variables: Vec<(usize, Option<(u8, usize)>)>,
    times: usize,
}

fn alike() -> impl Strategy<Value = Alike> {
    let value = option::weighted(
        0.9,
        (
            b'0'..=b'2',
            prop_oneof![4 => 0..3_usize, 1 => 510..515_usize],
        ),
    );
    let in_order = sample::subsequence((0..NAMES.len()).collect::<Vec<_>>(), 0..=NAMES.len());
    let in_disorder = vec(0..NAMES.len(), 0..20);
    let names = prop_oneof![3 => in_order, 1 => in_disorder];
    let variables = names.prop_flat_map(move |names| {
        let values = vec(value.clone(), names.len());
        (Just(names), values).prop_map(|(names, values)| names.into_iter().zip(values).collect())
    });
    (variables, 1..20_usize).prop_map(|(variables, times)| Alike { variables, times })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// Whatever requests came before, one has its own variables and no others.
    #[test]
    fn a_request_has_its_own_variables(sequence in vec(alike(), 1..8)) {
        let app = App::new("
def application(environ, start_response):
    start_response('200 OK', [])
    names = environ['NAMES'].split()
    typed = type(environ['wsgi.input']).__module__ and environ['wsgi.url_scheme'] == 'http'
    return [repr((typed, [(name, environ.get(name, 0)) for name in names])).encode()]
");
        for Alike { variables, times } in sequence {
            let mut expected = BTreeMap::new();
            for (name, value) in &variables {
                let text = value.map(|(digit, length)| char::from(digit).to_string().repeat(length));
                expected.insert(NAMES[*name], text);
            }
            let expected = NAMES[..13].iter().map(|name| match expected.get(name) {
                None => format!("('{name}', 0)"),
                Some(None) => format!("('{name}', None)"),
                Some(Some(text)) => format!("('{name}', '{text}')"),
            });
            let expected = format!("(True, [{}])", expected.collect::<Vec<_>>().join(", "));
            for _ in 0..times {
                let asked = app.ask().group("templates").variable("NAMES", NAMES[..13].join(" "));
                let asked = variables.iter().fold(asked, |asked, (name, value)| match value {
                    Some((digit, length)) => asked.variable_again(NAMES[*name], vec![*digit; *length]),
                    None => asked.variable_without_value(NAMES[*name]),
                });
                prop_assert_eq!(asked.answer().text(), expected.as_str());
            }
        }
    }
}
