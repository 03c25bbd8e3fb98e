//! What the scripts that decide about a request have in common: what they are told, in which
//! interpreter, and what they have no part in.

use serde_json::Value;
use testkit::{Httpd, Request, Site};

use crate::hook_site::hook_site;

/// Notes what each function is asked with, as a line of JSON in `data/asked`, and lets everybody
/// in.
const ASKED: &str = r#"
import json, mod_wsgi, os, sys

sys.loaded = getattr(sys, 'loaded', 0) + 1
asked = os.path.join(os.path.dirname(os.path.dirname(__file__)), 'data', 'asked')
kept = []

def note(function, environ, *arguments):
    try:
        data = mod_wsgi.request_data()
    except RuntimeError:
        data = 'RuntimeError'
    late = []
    for errors in kept:
        try:
            errors.write('late\n')
        except RuntimeError:
            late.append('RuntimeError')
    kept[:] = [environ['wsgi.errors']]
    line = dict(function=function, arguments=arguments, data=data, late=late, loaded=sys.loaded,
                group=mod_wsgi.application_group, process=mod_wsgi.process_group,
                requests=len(mod_wsgi.active_requests), keys=sorted(environ),
                errors=repr(environ['wsgi.errors']),
                environ={key: value for key, value in environ.items() if isinstance(value, str)})
    with open(asked, 'a') as file:
        print(json.dumps(line), file=file)

@mod_wsgi.subscribe_events
def never(name, **payload):
    if name.startswith('request'):
        note(name, {'wsgi.errors': sys.stderr})

# Only applications are asked.
def reload_required(resource):
    return True

def allow_access(environ, host):
    note('allow_access', environ, host)
    return True

def check_password(environ, user, password):
    note('check_password', environ, user, password)
    return True

def groups_for_user(environ, user):
    note('groups_for_user', environ, user)
    return ['staff']

def callable_object(environ):
    note('callable_object', environ)
"#;

fn site() -> Site {
    hook_site()
        .script("asked.py", ASKED)
        // The scripts are asked in httpd's own processes, of which there is one.
        .config("StartServers 1\nServerLimit 1")
        .config(
            "
            <Location /app>
                WSGIApplicationGroup application
                AuthType Basic
                AuthName here
                AuthBasicProvider wsgi
                WSGIAccessScript ${WSGI}/asked.py application-group=hooks
                WSGIAuthUserScript ${WSGI}/asked.py application-group=hooks
                WSGIAuthGroupScript ${WSGI}/asked.py application-group=hooks
                WSGIDispatchScript ${WSGI}/asked.py application-group=hooks
                <RequireAll>
                    Require wsgi-group staff
                    Require wsgi-group 'old hands' staff
                </RequireAll>
            </Location>
            ",
        )
}

fn asked(server: &Httpd) -> Vec<Value> {
    let lines = server.site().read("data/asked");
    let lines = lines
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"));
    lines.collect()
}

fn functions(asked: &[Value]) -> Vec<&str> {
    let names = asked.iter().filter_map(|line| line["function"].as_str());
    names.collect()
}

/// `eve:apple`, as the header has it.
const EVE: &str = "Basic ZXZlOmFwcGxl";

#[test]
fn each_is_asked_once_and_each_line_of_groups_once() {
    let server = site().start();
    let request = Request::get("/app").header("Authorization", EVE);
    assert_eq!(server.send(&request).status, 200);
    assert_eq!(server.send(&request).status, 200);
    let asked = asked(&server);
    assert_eq!(
        functions(&asked),
        [
            "allow_access",
            "check_password",
            "groups_for_user",
            "groups_for_user",
            "callable_object",
        ]
        .repeat(2)
    );
    let arguments: Vec<_> = asked[..5]
        .iter()
        .map(|line| line["arguments"].to_string())
        .collect();
    assert_eq!(
        arguments,
        [
            r#"["127.0.0.1"]"#,
            r#"["eve","apple"]"#,
            r#"["eve"]"#,
            r#"["eve"]"#,
            "[]"
        ]
    );
    for line in &asked {
        // One interpreter, in which the script is one module, whatever its `reload_required` says.
        assert_eq!(line["group"], "hooks", "{line:#}");
        assert_eq!(line["process"], "", "{line:#}");
        assert_eq!(line["loaded"], 1, "{line:#}");
        assert_eq!(line["environ"]["mod_wsgi.application_group"], "hooks");
        assert_eq!(line["environ"]["mod_wsgi.process_group"], "");
        let errors = "<_io.TextIOWrapper name='<log>' encoding='utf-8'>";
        assert_eq!(line["errors"], errors, "{line:#}");
        // It is no application's request, and what was written to does not outlive the question.
        assert_eq!(line["data"], "RuntimeError", "{line:#}");
        assert_eq!(line["requests"], 0, "{line:#}");
    }
    assert!(
        asked[1..]
            .iter()
            .all(|line| line["late"][0] == "RuntimeError")
    );
}

#[test]
fn those_who_let_in_are_told_the_same() {
    let server = site().start();
    let request = Request::new("HEAD", "/app//a//b?q=%e9")
        .header("Authorization", EVE)
        .header("Cookie", "c=1")
        .header("Content-Type", "text/x");
    server.send(&request);
    let asked = asked(&server);
    let [access, user, group] = [0, 1, 2].map(|number| asked[number].clone());
    for key in ["keys", "environ"] {
        assert_eq!(access[key], user[key], "{key}");
        // By then the user is known, and yet no variable says so.
        assert_eq!(access[key], group[key], "{key}");
    }
    let environ = &access["environ"];
    for (name, value) in [
        ("REQUEST_METHOD", "HEAD"),
        ("REQUEST_URI", "/app//a//b?q=%e9"),
        ("QUERY_STRING", "q=%e9"),
        ("CONTENT_TYPE", "text/x"),
        ("HTTP_COOKIE", "c=1"),
        ("SERVER_PROTOCOL", "HTTP/1.1"),
        ("SERVER_NAME", "localhost"),
        ("REMOTE_ADDR", "127.0.0.1"),
    ] {
        assert_eq!(environ[name], value, "{name}");
    }
    for absent in [
        "HTTP_AUTHORIZATION",
        "REMOTE_USER",
        "AUTH_TYPE",
        "REMOTE_HOST",
        "SCRIPT_FILENAME",
        "REQUEST_SCHEME",
        "PATH",
        "wsgi.version",
    ] {
        assert_eq!(environ[absent], Value::Null, "{absent}");
    }
}
