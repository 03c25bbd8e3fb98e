//! Which object of a script is called: `WSGICallableObject` and the option `callable-object`.

use rstest::rstest;
use testkit::{SharedHttpd, Site};

use crate::wsgi_site::{Mode, app};

/// A callable that answers with its name, for each of three names, and its environ.
const CALLABLES: &str = r#"
def named(name):
    def callable(environ, start_response):
        start_response('200 OK', [('Content-Type', 'text/plain')])
        return [(name + ' ' + environ['mod_wsgi.callable_object']).encode()]
    return callable

application = named('application')
other = named('other')
globals()['%{ENV:LITERAL}'] = named('literal')
"#;

/// `/NAME` is served by a callable chosen in one of the ways.
static CALLABLE: SharedHttpd = SharedHttpd::new(|| {
    let site = Site::new()
        .module("env")
        .script("callables.wsgi", CALLABLES)
        .file("www/htaccess/callables.wsgi", CALLABLES)
        .file(
            "www/htaccess/.htaccess",
            "SetHandler wsgi-script\nOptions +ExecCGI\nWSGICallableObject other\n",
        )
        .config(
            "SetEnv CHOSEN other
             SetEnv TO_HOST %{HOST}
             WSGIApplicationGroup %{GLOBAL}
             WSGIScriptAlias /option ${WSGI}/callables.wsgi callable-object=other
             WSGIScriptAlias /literal ${WSGI}/callables.wsgi callable-object=%{ENV:LITERAL}
             WSGIScriptAlias /missing ${WSGI}/callables.wsgi callable-object=missing
             <Location /option>
                 WSGICallableObject missing
             </Location>
             <Directory ${WWW}>
                 AllowOverride All
             </Directory>",
        );
    [
        ("named", "other"),
        ("env", "%{ENV:CHOSEN}"),
        ("nowhere", "%{ENV:NOWHERE}"),
        ("global", "%{GLOBAL}"),
        ("resource", "%{RESOURCE}"),
        ("host", "%{HOST}"),
        ("other-form", "%other"),
        ("twice", "%{ENV:TO_HOST}"),
    ]
    .iter()
    .fold(site, |site, (name, form)| {
        site.config(&format!(
            "WSGIScriptAlias /{name} ${{WSGI}}/callables.wsgi\n\
             <Location /{name}>\nWSGICallableObject {form}\n</Location>"
        ))
    })
    .config("WSGIScriptAlias /default ${WSGI}/callables.wsgi")
});

#[test]
fn the_callable_is_chosen_by_directive_option_or_variable() {
    let server = CALLABLE.borrow();
    for (name, answer) in [
        ("default", "application application"),
        ("named", "other other"),
        ("env", "other other"),
        ("nowhere", "application application"),
        ("global", "application application"),
        ("resource", "application application"),
        ("host", "application application"),
        ("other-form", "application application"),
        ("option", "other other"),
        ("htaccess/callables.wsgi", "other other"),
    ] {
        assert_eq!(server.get(&format!("/{name}")).text(), answer, "{name}");
    }
}

#[test]
fn the_callable_of_an_option_is_taken_literally() {
    let response = CALLABLE.borrow().get("/literal");
    assert_eq!(response.text(), "literal %{ENV:LITERAL}");
}

#[test]
fn a_callable_that_does_not_exist_is_not_found() {
    let server = CALLABLE.borrow();
    for (url, name) in [("/missing", "missing"), ("/twice", "%{HOST}")] {
        let mark = server.log().mark();
        assert_eq!(server.get(url).status, 404, "{url}");
        let line = server.log().wait_for(mark, "WSGI0089");
        assert!(line.contains(name), "{line}");
    }
}

#[test]
fn two_callables_of_a_script_share_one_module() {
    let source = "
count = 0

def application(environ, start_response):
    global count
    count += 1
    start_response('200 OK', [('Content-Type', 'text/plain')])
    return [str(count).encode()]

other = application
";
    let server = Site::new()
        .script("counter.wsgi", source)
        .config(
            "WSGIApplicationGroup %{GLOBAL}
             WSGIScriptAlias /one ${WSGI}/counter.wsgi
             WSGIScriptAlias /two ${WSGI}/counter.wsgi callable-object=other",
        )
        .start();
    assert_eq!(server.get("/one").text(), "1");
    assert_eq!(server.get("/two").text(), "2");
}

/// Whatever can be called is an application, and nothing else.
#[rstest]
fn an_application_is_what_can_be_called(#[values(Mode::Embedded, Mode::Daemon)] mode: Mode) {
    const KINDS: &str = "
import functools

def answer(environ, start_response, *, named=1):
    start_response('200 OK', [])
    return [b'called']

def three(first, environ, start_response):
    return answer(environ, start_response)

class Class:
    def __init__(self, environ, start_response):
        start_response('200 OK', [])
    def __iter__(self):
        yield b'called'

class Object:
    def __call__(self, environ, start_response):
        return answer(environ, start_response)
    def method(self, environ, start_response):
        return answer(environ, start_response)
    static = staticmethod(answer)

";
    let server = mode.server();
    for (name, callable, status) in [
        ("function", "answer", 200),
        ("lambda", "lambda e, s: three(1, e, s)", 200),
        ("partial", "functools.partial(three, 1)", 200),
        ("class", "Class", 200),
        ("object", "Object()", 200),
        ("method", "Object().method", 200),
        ("static", "Object.static", 200),
        ("none", "None", 500),
        ("number", "5", 500),
        ("text", "'application'", 500),
        ("list", "[answer]", 500),
        ("few", "lambda environ: []", 500),
        ("many", "three", 500),
    ] {
        let source = format!("{KINDS}application = {callable}\n");
        let url = app(&server, &format!("kind_{name}"), &source);
        let mark = server.log().mark();
        let response = server.get(&url);
        assert_eq!(response.status, status, "{name}");
        if status == 200 {
            assert_eq!(response.text(), "called", "{name}");
        } else {
            server.log().wait_for(mark, "TypeError: ");
        }
    }
}
