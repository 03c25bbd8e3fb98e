//! Requests inside requests: a page that an application makes includes what others make, on the
//! same thread, while it is being sent.

use rstest::rstest;
use testkit::{Ending, Httpd, Mpm, Request, SharedHttpd, ours};

use crate::wsgi_site::{app, in_embedded_mode, wsgi_site};

static SERVER: SharedHttpd = SharedHttpd::new(|| site(Mpm::from_environment()));

/// What the applications `/outer….wsgi` answer is searched for what it includes.
fn site(mpm: Mpm) -> testkit::Site {
    wsgi_site().mpm(mpm).module("include").config(
        "<LocationMatch ^/outer>
            Options +Includes
            SetOutputFilter INCLUDES
        </LocationMatch>
        <LocationMatch ^/inner_other>
            WSGIApplicationGroup other
        </LocationMatch>
        <LocationMatch ^/inner_guarded>
            WSGIAccessScript ${WSGI}/access.py
        </LocationMatch>",
    )
}

/// Puts an application on the server that includes another in the middle of its answer.
fn outer(server: &Httpd, name: &str, inner: &str, before: &str, after: &str) -> String {
    let source = format!(
        r#"
import builtins, mod_wsgi, sys

def application(environ, start_response):
    write = start_response('200 OK', [('Content-Type', 'text/html')])
    {before}
    yield b'begin '
    yield b'<!--#include virtual="{inner}" -->'
    {after}
    yield b' end'
"#
    );
    app(server, name, &source)
}

/// Puts an application on the server whose answer is what `body` leaves in `answer`.
fn inner(server: &Httpd, name: &str, body: &str) -> String {
    let body = body.replace('\n', "\n    ");
    let source = format!(
        r"
import builtins, mod_wsgi, sys

def application(environ, start_response):
    {body}
    start_response('200 OK', [('Content-Type', 'text/html')])
    return [str(answer).encode()]
"
    );
    app(server, name, &source)
}

#[rstest]
fn each_has_what_is_its_own(
    #[values(Mpm::Event, Mpm::Prefork)] mpm: Mpm,
    #[values("inner_same", "inner_other")] name: &str,
) {
    let server = site(mpm).start();
    let included = inner(
        &server,
        name,
        "answer = mod_wsgi.request_data()\nanswer['of'] = 'inner'\nprint('inside')",
    );
    let before = "data = mod_wsgi.request_data(); data['of'] = 'outer'; print('before')";
    let after = "assert mod_wsgi.request_data() is data and data == {'of': 'outer'}, data
    assert environ['mod_wsgi.request_id'] in mod_wsgi.active_requests
    print('after')";
    let url = outer(&server, "outer", &included, before, after);
    let mark = server.log().mark();

    assert_eq!(server.get(&url).text(), "begin {'of': 'inner'} end");

    let log = server.log();
    for (text, script) in [("before", "outer"), ("inside", name), ("after", "outer")] {
        let line = log.wait_for(mark, &format!("] {text}"));
        assert!(line.contains(&format!("/{script}.wsgi]")), "{line}");
    }
}

#[test]
fn one_may_write_to_the_log_of_the_other() {
    let server = SERVER.borrow();
    let included = inner(
        &server,
        "inner_logs",
        "print('said inside', file=builtins.of_outer)\nanswer = 'inner'",
    );
    let before = "builtins.of_outer = environ['wsgi.errors']";
    let after = "print('said after', file=builtins.of_outer)";
    let url = outer(&server, "outer_logs", &included, before, after);
    let mark = server.log().mark();

    if in_embedded_mode("there the two are on different threads") {
        assert_eq!(server.get(&url).text(), "begin inner end");
        for text in ["said inside", "said after"] {
            let line = server.log().wait_for(mark, text);
            assert!(line.contains("/outer_logs.wsgi]"), "{line}");
        }
    }
}

#[test]
fn one_cannot_send_or_read_for_the_other() {
    if !in_embedded_mode("there the two are on different threads") || !ours("D107") {
        return;
    }
    let server = SERVER.borrow();
    let included = inner(
        &server,
        "inner_meddles",
        "answer = ''
for meddle in builtins.meddling:
    try:
        meddle()
    except RuntimeError as error:
        answer += type(error).__name__ + ' '",
    );
    let before = "builtins.meddling = [lambda: write(b'x'), environ['wsgi.input'].read]";
    let after = "assert environ['wsgi.input'].read() == b''; write(b' and')";
    let url = outer(&server, "outer_meddled", &included, before, after);

    assert_eq!(
        server.get(&url).text(),
        "begin RuntimeError RuntimeError  and end"
    );
}

#[test]
fn whoever_decides_about_the_inner_one_has_nothing_of_the_outer_one() {
    if !ours("D107") {
        return;
    }
    let server = SERVER.borrow();
    server.site().write(
        "wsgi/access.py",
        r"
import mod_wsgi
def allow_access(environ, host):
    try:
        data = mod_wsgi.request_data()
    except RuntimeError:
        data = 'none'
    print('decided with', data)
    return True
",
    );
    let included = inner(&server, "inner_guarded", "answer = 'inner'");
    let before = "mod_wsgi.request_data()['of'] = 'outer'";
    let url = outer(&server, "outer_guarded", &included, before, "pass");
    let mark = server.log().mark();

    assert_eq!(server.get(&url).text(), "begin inner end");
    let line = server.log().wait_for(mark, "decided with");
    assert!(!line.contains("outer"), "{line}");
}

const FAILS: &str = r"
def application(environ, start_response):
    start_response('200 OK', [('Content-Type', 'text/html')])
    yield b'half'
    raise ValueError('in mid-response')
";

#[test]
fn a_page_whose_include_fails_does_not_look_whole() {
    if !ours("D40") {
        return;
    }
    let server = SERVER.borrow();
    let included = app(&server, "inner_fails", FAILS);
    let url = outer(&server, "outer_of_failing", &included, "pass", "pass");

    let response = server.get(&url);
    assert_eq!(response.ending, Ending::Cut, "{:?}", response.text());

    // Only the end of the connection says where such a response ends.
    let mut connection = server.connect();
    connection.send(&Request::get(&url).http_1_0().to_bytes());
    assert!(connection.is_reset());
}

#[test]
fn what_mod_include_adds_for_the_page_is_for_the_inner_one_too() {
    let server = site(Mpm::from_environment())
        .module("env")
        .env("LD_LIBRARY_PATH", "/nonexistent")
        .config("ServerSignature On\nHostnameLookups On\nSetEnv REMOTE_IDENT configured")
        .start();
    let included = inner(
        &server,
        "inner_environ",
        "names = 'PATH LD_LIBRARY_PATH SERVER_SIGNATURE REMOTE_HOST REMOTE_IDENT'.split()
answer = {name: environ.get(name, '')[:9] for name in names}, environ['DOCUMENT_URI']",
    );
    let url = outer(&server, "outer_of_environ", &included, "pass", "pass");

    let text = server.get(&url).text();
    for expected in [
        "'PATH': ''",
        "'LD_LIBRARY_PATH': '/nonexist'",
        "'SERVER_SIGNATURE': '<address>'",
        "'REMOTE_HOST': 'localhost'",
        "'REMOTE_IDENT': 'configure'",
        &format!("'{url}'"),
    ] {
        assert!(text.contains(expected), "{expected}: {text}");
    }
}
