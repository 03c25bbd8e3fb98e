//! Functions of a script that are called beside an application, and what of their results the host
//! gets.

use engine_abi::Called;

use crate::memory::App;

/// What a function that returns `expression` is said to have returned.
fn returned(expression: &str) -> String {
    let app = App::new(&format!("def f(environ):\n    return {expression}\n"));
    let answer = app.calling(&["f"]).answer();
    assert_eq!(answer.called, Called::OK, "{answer:?}");
    answer.returned.join("; ")
}

/// The same, where the result is iterated over.
fn iterated(body: &str) -> (String, String) {
    let app = App::new(&format!("def f(environ):\n    {body}\n"));
    let answer = app.calling(&["f"]).iterated().answer();
    (answer.returned.join("; "), answer.log.join("\n"))
}

#[test]
fn results_are_told_by_their_type() {
    for (expression, kind) in [
        ("None", "none"),
        ("True", "true"),
        ("False", "false"),
        ("1", "other int"),
        ("''", "text "),
        ("'b\\u20acb'", "text b\u{20ac}b"),
        ("type('S', (str,), {})('sub')", "text sub"),
        ("'\\udcff'", "broken text"),
        ("b'bob'", "bytes bob"),
        ("bytearray(b'x')", "other bytearray"),
        ("['a']", "other list"),
    ] {
        assert_eq!(returned(expression), kind, "{expression}");
    }
}

#[test]
fn an_exception_is_logged_and_is_no_result() {
    let app = App::new("def f(environ):\n    raise KeyError('boom')\n");
    let answer = app.calling(&["f"]).answer();
    assert_eq!(answer.returned, ["failed"]);
    assert!(
        answer
            .log
            .first()
            .unwrap()
            .starts_with("WSGI0174: KeyError")
    );
    assert_eq!(answer.log.last().unwrap(), "KeyError: 'boom'");
    let app = App::new("import sys\ndef f(environ):\n    sys.exit(3)\n");
    let answer = app.calling(&["f"]).answer();
    assert_eq!(answer.returned, ["failed"]);
    assert!(answer.log.first().unwrap().starts_with("WSGI0175"));
}

#[test]
fn items_are_those_that_iteration_gives() {
    for (body, kinds) in [
        ("return ['a', b'b', 1]", "items, text a, bytes b, other int"),
        ("return 'ab'", "items, text a, text b"),
        ("return b'a'", "items, other int"),
        ("return ()", "items"),
        ("yield 'a'", "items, text a"),
        ("return None", "not iterable NoneType"),
    ] {
        assert_eq!(iterated(body).0, kinds, "{body}");
    }
}

#[test]
fn an_iteration_that_fails_keeps_what_it_gave() {
    let (items, log) = iterated("yield 'a'; raise ValueError('mid')");
    assert_eq!(items, "items, text a, and a failure");
    assert!(log.ends_with("ValueError: mid"), "{log}");
}

#[test]
fn an_iteration_without_an_end_is_ended() {
    let (items, log) = iterated("return __import__('itertools').repeat(None)");
    assert!(items.ends_with(", and a failure"));
    assert!(log.ends_with("ValueError: the result has more than 1048576 items"));
}

#[test]
fn functions_share_an_environ_and_end_with_the_first_failure() {
    let app = App::new(
        "
def first(environ, host):
    environ['seen'] = host
def third(environ, host):
    return environ['seen']
def fourth(environ, host):
    return 1 / 0
fifth = third
",
    );
    let functions = ["first", "second", "third", "fourth", "fifth"];
    let answer = app.calling(&functions).argument(b"a\xe9").answer();
    assert_eq!(answer.called, Called::OK);
    assert_eq!(
        answer.returned,
        ["none", "missing", "text a\u{e9}", "failed"]
    );
}

#[test]
fn functions_end_with_the_first_that_gives_no_name() {
    for (expression, kind) in [("1", "other int"), ("'\\u20ac'", "text \u{20ac}")] {
        let app = App::new(&format!(
            "def f(environ): return {expression}\ndef g(environ): raise AssertionError\n"
        ));
        let answer = app.calling(&["f", "g"]).answer();
        assert_eq!(answer.returned, [kind]);
        assert!(answer.log.is_empty(), "{answer:?}");
    }
}

#[test]
fn a_script_that_cannot_be_loaded_is_not_called() {
    let app = App::new("import no_such_module\n");
    let answer = app.calling(&["f"]).answer();
    assert_eq!(answer.called, Called::NOT_LOADED);
    assert!(answer.returned.is_empty());
    assert!(
        answer
            .log
            .join("\n")
            .contains("No module named 'no_such_module'")
    );
}

#[test]
fn a_changed_script_is_loaded_anew_without_being_asked() {
    let source = |value| {
        format!(
            "def f(environ):\n    return {value:?}\n\
             def reload_required(resource):\n    raise AssertionError\n"
        )
    };
    let app = App::new(&source("one"));
    assert_eq!(app.calling(&["f"]).answer().returned, ["text one"]);
    app.rewrite(&source("two"));
    let answer = app.calling(&["f"]).answer();
    assert_eq!(answer.returned, ["text two"]);
    assert!(answer.log.is_empty(), "{answer:?}");
}

#[test]
fn the_environ_has_what_the_host_says_and_a_log() {
    let app = App::new(
        "
def f(environ):
    print('to the log', file=environ['wsgi.errors'])
    print('to the same')
    return ascii([sorted(environ), environ['REQUEST_URI'], environ['DOCUMENT_ROOT']])
",
    );
    let answer = app.calling(&["f"]).answer();
    assert_eq!(
        answer.returned,
        ["text [['DOCUMENT_ROOT', 'REQUEST_URI', 'wsgi.errors'], '/\\xe9', '/\\xe9']"]
    );
    assert_eq!(answer.log, ["to the log", "to the same"]);
}

#[test]
fn the_server_can_be_asked_until_the_function_returns() {
    let app = App::new(
        "
kept = {}
def answer(function, *arguments):
    try:
        return function(*arguments)
    except Exception as error:
        return f'{type(error).__name__}: {error}'

def f(environ):
    kept.update(environ)
    https, lookup = environ['mod_ssl.is_https'], environ['mod_ssl.var_lookup']
    return ascii([environ['mod_wsgi.version'], environ['apache.version'], https(),
                  lookup('SSL_PROTOCOL'), lookup(b'SSL_PROTOCOL'), lookup('NONE'),
                  answer(lookup, 1), answer(lookup, '\\u20ac'), answer(lookup), answer(https, 1)])

def late(environ):
    return ascii([answer(kept['mod_ssl.is_https']), answer(kept['mod_ssl.var_lookup'], 'HTTPS')])
",
    );
    let answer = app.calling(&["f"]).with_server().answer();
    assert_eq!(
        answer.returned,
        [
            "text [(6, 1, 1), (2, 4, 62), 1, 'TLSv1.3 \\xe9', 'TLSv1.3 \\xe9', None, \
          'TypeError: byte string value expected, value of type int found', \
          'TypeError: byte string value expected, value containing characters beyond Latin-1 \
          found', 'TypeError: ssl_var_lookup() takes exactly 1 argument (0 given)', \
          'TypeError: ssl_is_https() takes exactly 0 arguments (1 given)']"
        ]
    );
    let answer = app.calling(&["late"]).answer();
    let over = "'RuntimeError: the request is over: its server cannot be asked any more'";
    assert_eq!(answer.returned, [format!("text [{over}, {over}]")]);
}

#[test]
fn functions_run_in_their_application_group() {
    let app = App::new("import mod_wsgi\ndef f(environ): return mod_wsgi.application_group\n");
    let answer = app.calling(&["f"]).group("hooks").answer();
    assert_eq!(answer.returned, ["text hooks"]);
}
