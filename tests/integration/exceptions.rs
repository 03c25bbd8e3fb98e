//! Applications that fail: what the client gets, what the log says, and that the process lives on.

use rstest::rstest;
use testkit::{Httpd, Mark, Mpm, SharedHttpd, ours};

use crate::wsgi_site::{Mode, answers_at_last, app, client_tag, wsgi_site};

static SERVER: SharedHttpd = SharedHttpd::new(wsgi_site);

/// Asks an application of `source` and returns the status and what the log says of the failure:
/// the texts from the line with WSGI0174 to the one with `last`.
fn failing(server: &Httpd, name: &str, source: &str, last: &str) -> (u16, Vec<String>) {
    let mark = server.log().mark();
    let response = server.get(&app(server, name, source));
    let texts = logged(server, mark, "WSGI0174", name, last);
    (response.status, texts)
}

/// The texts that the log has since `mark` of a failure of script `name`: from the line with `id`
/// to the one with `last`.
fn logged(server: &Httpd, mark: Mark, id: &str, name: &str, last: &str) -> Vec<String> {
    let script = format!("/{name}.wsgi] ");
    testkit::wait_until(&format!("`{last}` of {script}"), || {
        let lines = server.log().since(mark);
        let first = lines
            .iter()
            .position(|line| line.contains(id) && line.contains(&script))?;
        // The address and port of the client tell the requests of tests that run at the same time
        // apart.
        let client = bracketed(&lines[first], client_tag());
        let own = lines[first..]
            .iter()
            .filter(|line| bracketed(line, client_tag()) == client);
        let texts: Vec<String> = own.map(|line| text_of(line).to_owned()).collect();
        let end = texts.iter().position(|text| text.contains(last))?;
        Some(texts[..=end].to_vec())
    })
}

/// The part of `line` from `start` to the next closing bracket.
fn bracketed<'a>(line: &'a str, start: &str) -> Option<&'a str> {
    let (_, rest) = line.split_once(start)?;
    rest.split_once(']').map(|(inside, _)| inside)
}

/// A line of the log without httpd's decoration.
fn text_of(line: &str) -> &str {
    line.split_once(client_tag())
        .and_then(|(_, rest)| rest.split_once("] "))
        .map_or(line, |(_, t)| t)
}

#[test]
fn an_exception_is_a_500_and_logged() {
    let server = SERVER.borrow();
    let source = r#"
def inner():
    raise ValueError('told so')

def application(environ, start_response):
    start_response('200 OK', [('X-Dropped', 'yes')])
    inner()
"#;

    let (status, texts) = failing(&server, "raises", source, "ValueError: told so");

    assert_eq!(status, 500);
    let path = server.site().text_path("wsgi/raises.wsgi");
    assert!(texts[0].starts_with("WSGI0174: "), "{texts:#?}");
    let told = "ValueError exception raised processing WSGI script";
    assert!(
        texts[0].contains(&format!("[script {path}] {told} '{path}'")),
        "{texts:#?}"
    );
    assert_eq!(
        texts.last().map(String::as_str),
        Some("ValueError: told so")
    );
    for line in server.log().matching(Mark::START, "told so") {
        assert!(line.contains("[wsgi:error]"), "{line}");
    }
}

#[test]
fn the_traceback_leads_from_the_application_to_the_place() {
    if !ours("D43") {
        return;
    }
    let server = SERVER.borrow();
    for (name, call) in [
        ("returned", "return inner()"),
        ("iterated", "yield inner()"),
    ] {
        let source = format!(
            "def inner():\n    raise ValueError('told so')\n\n\
             def application(environ, start_response):\n    {call}\n"
        );
        let name = format!("traceback_{name}");
        let (_, mut texts) = failing(&server, &name, &source, "ValueError: told so");

        let path = server.site().text_path(&format!("wsgi/{name}.wsgi"));
        // Marks below the code, as Python has them since 3.11.
        texts.retain(|text| !text.trim_matches([' ', '^', '~']).is_empty());
        assert_eq!(
            texts[1..],
            [
                "Traceback (most recent call last):",
                &format!("  File \"{path}\", line 5, in application"),
                &format!("    {call}"),
                &format!("  File \"{path}\", line 2, in inner"),
                "    raise ValueError('told so')",
                "ValueError: told so",
            ]
        );
    }
}

#[test]
fn the_client_gets_httpds_error_document() {
    let server = wsgi_site()
        .config("ErrorDocument 500 \"sorry about that\"")
        .script(
            "raises.wsgi",
            "def application(environ, start_response): 1 / 0\n",
        )
        .start();

    let response = server.get("/raises.wsgi");

    assert_eq!(
        (response.status, response.text().as_str()),
        (500, "sorry about that")
    );
}

#[test]
fn the_headers_of_a_failed_response_are_not_sent() {
    let server = SERVER.borrow();
    let url = app(
        &server,
        "dropped_head",
        r#"
def application(environ, start_response):
    start_response('200 OK', [('X-Dropped', 'yes'), ('Set-Cookie', 'a=b'),
                              ('Content-Type', 'application/x-mine')])
    raise ValueError('after start_response')
"#,
    );

    let response = server.get(&url);

    assert_eq!(response.status, 500);
    assert_eq!(response.header("X-Dropped"), None);
    assert_eq!(response.header("Set-Cookie"), None);
    assert_ne!(response.header("Content-Type"), Some("application/x-mine"));
}

#[test]
fn any_place_of_a_failure_before_output_is_a_500() {
    let server = SERVER.borrow();
    for (name, body) in [
        ("call", "raise ValueError('here')"),
        ("not_started", "return [b'x']"),
        ("iter", "start_response('200 OK', [])\n    return Failing()"),
        (
            "first",
            "start_response('200 OK', [])\n    return (1 / 0 for n in [1])",
        ),
        ("arity", "return application()"),
    ] {
        let source = format!(
            "class Failing:\n    def __iter__(self):\n        raise ValueError('in iter')\n\n\
             def application(environ, start_response):\n    {body}\n"
        );
        let (status, _) = failing(&server, &format!("place_{name}"), &source, "WSGI0174");
        assert_eq!(status, 500, "{name}");
    }
}

#[rstest]
fn system_exit_ends_the_request_and_not_the_process(
    #[values(Mpm::Event, Mpm::Worker, Mpm::Prefork)] mpm: Mpm,
) {
    let server = wsgi_site()
        .mpm(mpm)
        .config("ServerLimit 1\nMaxRequestWorkers 1")
        .config("<IfModule !mpm_prefork_module>\nThreadsPerChild 1\n</IfModule>")
        .start();
    let url = app(
        &server,
        "exits",
        r#"
import os, sys

def application(environ, start_response):
    if environ['QUERY_STRING'] == 'exit':
        sys.exit('enough')
    start_response('200 OK', [])
    return [str(os.getpid()).encode()]
"#,
    );
    let before = server.get(&url).text();

    assert_eq!(server.get(&format!("{url}?exit")).status, 500);

    let texts = logged(
        &server,
        Mark::START,
        "WSGI0175",
        "exits",
        "SystemExit: enough",
    );
    assert!(
        texts[0].contains("SystemExit exception raised by WSGI script"),
        "{texts:#?}"
    );
    assert_eq!(server.get(&url).text(), before, "the same process serves");
}

#[test]
fn exceptions_that_are_not_errors_are_treated_alike() {
    let server = SERVER.borrow();
    for (name, exception, last) in [
        ("interrupt", "KeyboardInterrupt", "KeyboardInterrupt"),
        ("generator_exit", "GeneratorExit", "GeneratorExit"),
        ("base", "BaseException('base')", "BaseException: base"),
        (
            "own",
            "type('Own', (BaseException,), {})('mine')",
            "Own: mine",
        ),
    ] {
        let source = format!("def application(environ, start_response):\n    raise {exception}\n");
        let name = format!("base_{name}");
        let (status, _) = failing(&server, &name, &source, last);
        assert_eq!(status, 500, "{name}");
    }
}

#[test]
fn tracebacks_show_causes_and_every_line_of_a_message() {
    let server = SERVER.borrow();
    let source = r#"
TEXT = 'first line\nsecond line \u20ac'

def application(environ, start_response):
    try:
        {}['missing']
    except KeyError as error:
        raise ValueError(TEXT) from error
"#;

    let (_, texts) = failing(&server, "causes", source, "second line");

    for expected in [
        "KeyError: 'missing'",
        "direct cause",
        "ValueError: first line",
        "second line",
    ] {
        assert!(
            texts.iter().any(|text| text.contains(expected)),
            "{expected}: {texts:#?}"
        );
    }
    assert!(
        texts.iter().all(|text| !text.is_empty()),
        "no blank lines: {texts:#?}"
    );
}

#[test]
fn an_exception_that_cannot_be_shown_is_still_a_500() {
    let server = SERVER.borrow();
    for (name, method) in [("str", "__str__"), ("repr", "__repr__")] {
        let source = format!(
            "class Sly(Exception):\n    def {method}(self):\n        raise SystemExit(1)\n\n\
             def application(environ, start_response):\n    raise Sly()\n"
        );
        let (status, _) = failing(&server, &format!("sly_{name}"), &source, "Sly");
        assert_eq!(status, 500, "{method}");
    }
    assert_eq!(server.get(&app(&server, "after_sly", OKAY)).status, 200);
}

const OKAY: &str = r#"
def application(environ, start_response):
    start_response('200 OK', [('Content-Length', '2')])
    return [b'ok']
"#;

#[test]
fn the_script_goes_on_after_a_failure() {
    let server = SERVER.borrow();
    let url = app(
        &server,
        "goes_on",
        r#"
def application(environ, start_response):
    if environ['QUERY_STRING']:
        raise ValueError('failed on request')
    start_response('200 OK', [])
    return [b'fine']
"#,
    );
    for (query, status) in [
        ("", 200),
        ("?fail", 500),
        ("", 200),
        ("?fail", 500),
        ("", 200),
    ] {
        assert_eq!(server.get(&format!("{url}{query}")).status, status);
    }
}

#[test]
fn a_failure_does_not_keep_what_the_application_held() {
    // A traceback that stays alive keeps the environ of its request alive, and all it refers to.
    let server = SERVER.borrow();
    let url = app(
        &server,
        "held",
        r#"
import gc, weakref

class Held:
    pass

last = None

def application(environ, start_response):
    global last
    if environ['QUERY_STRING']:
        environ['held'] = held = Held()
        last = weakref.ref(held)
        raise ValueError('holding')
    gc.collect()
    start_response('200 OK', [])
    return [repr(last()).encode()]
"#,
    );

    assert_eq!(server.get(&format!("{url}?fail")).status, 500);
    answers_at_last(&server, &url, "None");
}

/// As in any Python: the signal that the system sends for it would end the process.
#[rstest]
fn a_file_that_may_not_grow_is_an_exception(#[values(Mode::Embedded, Mode::Daemon)] mode: Mode) {
    const WRITES: &str = "
import os, resource, tempfile

def application(environ, start_response):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    start_response('200 OK', [])
    try:
        with tempfile.TemporaryFile(buffering=0) as file:
            file.write(b'x' * 1000)
            file.write(b'x')
        return [b'written']
    except OSError as error:
        return [str(error).encode()]
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
";
    let server = mode.site().script("writes.wsgi", WRITES).start();
    let text = server.get("/writes.wsgi").text();
    assert_eq!(text, "[Errno 27] File too large");
}
