//! `WSGIDispatchScript`: a script says where a request goes.

use testkit::{Httpd, Mark, Request, Response, Site, ours};

use crate::apps::environ;
use crate::hook_site::{check_logged, hook_site};
use crate::wsgi_site::quoted;

/// Each function returns what the expression of its name in the query string is, or else `None`.
const DISPATCH: &str = r#"
import json, os
from urllib.parse import parse_qsl

DATA = os.path.join(os.path.dirname(os.path.dirname(__file__)), 'data')

def wanted(environ, name):
    print('asked for', name, file=environ['wsgi.errors'])
    expressions = dict(parse_qsl(environ['QUERY_STRING']))
    if 'show' in expressions:
        seen = {key: value if isinstance(value, str) else repr(value)
                for key, value in environ.items()}
        with open(os.path.join(DATA, expressions['show']), 'w') as file:
            json.dump(seen, file)
    return eval(expressions.get(name, 'None'))

def process_group(environ):
    environ['kept'] = 'from the first'
    return wanted(environ, 'p')

def application_group(environ):
    return wanted(environ, 'a')

def callable_object(environ):
    assert environ['kept'] == 'from the first'
    return wanted(environ, 'c')
"#;

/// Two applications.
fn applications() -> String {
    let second = "
def second(environ, start_response):
    return application(dict(environ, SECOND='yes'), start_response)
";
    format!("{}{second}", crate::apps::ENVIRON)
}

fn site() -> Site {
    hook_site()
        .script("app.wsgi", &applications())
        .script("dispatch.py", DISPATCH)
        .config(
            "
            ServerName site.example
            WSGISocketPrefix ${ROOT}/logs/wsgi
            WSGIDaemonProcess first threads=2
            WSGIDaemonProcess second threads=2
            <VirtualHost *:*>
            </VirtualHost>
            <VirtualHost *:*>
                ServerName foreign.example
                WSGIDaemonProcess foreign
            </VirtualHost>
            <Location /app>
                WSGIDispatchScript ${WSGI}/dispatch.py
                SetEnv GROUP first
                SetEnv FORM %{SERVER}
                SetEnv CALLABLE second
            </Location>
            <Location /app/restricted>
                WSGIRestrictProcess first
            </Location>
            <Location /app/missing>
                WSGIDispatchScript ${WSGI}/none.py
            </Location>
            <Location /app/broken>
                WSGIDispatchScript ${WSGI}/broken.py
            </Location>
            <Location /app/empty>
                WSGIDispatchScript ${WSGI}/empty.py
            </Location>
            <Location /app/grouped>
                WSGIDispatchScript ${WSGI}/dispatch.py application-group=%{SERVER}
            </Location>
            WSGIScriptAlias /alias ${WSGI}/app.wsgi process-group=second \\
                application-group=%{GLOBAL} callable-object=second
            <Location /alias>
                WSGIDispatchScript ${WSGI}/dispatch.py
            </Location>
            ",
        )
}

/// What the application is asked at `url`, with these expressions.
fn ask(server: &Httpd, url: &str, expressions: &[(&str, &str)]) -> Response {
    let query: Vec<String> = expressions
        .iter()
        .map(|(name, expression)| format!("{name}={}", quoted(expression)))
        .collect();
    let request = Request::get(&format!("{url}?{}", query.join("&")));
    server.send(&request.header("Host", "site.example"))
}

/// Where a request went: process group, application group, callable.
fn place(response: &Response) -> [String; 3] {
    let seen = environ(response);
    assert_eq!(
        seen.has("SECOND"),
        seen.value("mod_wsgi.callable_object") == "second"
    );
    ["process_group", "application_group", "callable_object"]
        .map(|name| seen.value(&format!("mod_wsgi.{name}")).to_owned())
}

#[test]
fn each_setting_can_be_replaced() {
    let server = site().start();
    for (url, expressions, expected) in [
        ("/app", &[][..], ["", "", "application"]),
        ("/app", &[("p", "'first'")], ["first", "", "application"]),
        ("/app", &[("p", "b'first'")], ["first", "", "application"]),
        ("/app", &[("p", "''")], ["", "", "application"]),
        ("/app", &[("a", "'blog'")], ["", "blog", "application"]),
        ("/app", &[("a", "b'blog'")], ["", "blog", "application"]),
        ("/app", &[("c", "'second'")], ["", "", "second"]),
        ("/app", &[("c", "b'second'")], ["", "", "second"]),
        (
            "/app",
            &[("p", "'second'"), ("a", "'blog'"), ("c", "'second'")],
            ["second", "blog", "second"],
        ),
        ("/alias", &[], ["second", "", "second"]),
        (
            "/alias",
            &[("p", "'first'"), ("a", "'blog'"), ("c", "'application'")],
            ["first", "blog", "application"],
        ),
        ("/alias", &[("p", "'%{GLOBAL}'")], ["", "", "second"]),
    ] {
        let response = ask(&server, url, expressions);
        assert_eq!(place(&response), expected, "{url} {expressions:?}");
    }
}

#[test]
fn names_mean_what_they_mean_in_directives() {
    let server = site().start();
    for (expressions, expected) in [
        (("p", "'%{GLOBAL}'"), ["", "", "application"]),
        (("p", "'%{ENV:GROUP}'"), ["first", "", "application"]),
        (("a", "'%{GLOBAL}'"), ["", "", "application"]),
        (("a", "'%{SERVER}'"), ["", "site.example", "application"]),
        (("a", "'%{HOST}'"), ["", "site.example", "application"]),
        (
            ("a", "'%{RESOURCE}'"),
            ["", "site.example|/app", "application"],
        ),
        (("a", "'%{ENV:FORM}'"), ["", "site.example", "application"]),
        (("c", "'%{ENV:CALLABLE}'"), ["", "", "second"]),
        (("c", "'%{ENV:NONE}'"), ["", "", "application"]),
        (("c", "'%{GLOBAL}'"), ["", "", "application"]),
    ] {
        let response = ask(&server, "/app", &[expressions]);
        assert_eq!(place(&response), expected, "{expressions:?}");
    }
}

#[test]
fn a_group_must_exist_and_be_reachable_and_allowed() {
    let server = site().start();
    for (url, expression, status, id) in [
        ("/app", "'none'", 500, "WSGI0151"),
        ("/app", "'%{ENV:NONE}'", 500, "WSGI0151"),
        ("/app", "'foreign'", 500, "WSGI0152"),
        ("/app/restricted", "'first'", 200, ""),
        ("/app/restricted", "'second'", 500, "WSGI0149"),
        ("/app/restricted", "None", 500, "WSGI0149"),
    ] {
        let mark = server.log().mark();
        let response = ask(&server, url, &[("p", expression)]);
        assert_eq!(response.status, status, "{url} {expression}");
        check_logged(&server, mark, id);
    }
}

#[test]
fn a_callable_must_exist() {
    let server = site().start();
    for (expressions, status) in [
        (&[("c", "'none'")][..], 404),
        (&[("c", "''")], 404),
        (&[("c", "'none'"), ("p", "'first'")], 500),
    ] {
        let response = ask(&server, "/app", expressions);
        assert_eq!(response.status, status, "{expressions:?}");
    }
}

#[test]
fn what_is_no_name_is_an_error() {
    let server = site().start();
    let mark = server.log().mark();
    for name in ["p", "a", "c"] {
        for (expression, id) in [
            ("5", "WSGI0174"),
            ("False", "WSGI0174"),
            ("['first']", "WSGI0174"),
            ("'\\u20ac'", "WSGI0174"),
            ("'\\udcff'", "WSGI0174"),
            ("1 / 0", "WSGI0174"),
            ("exit()", "WSGI0175"),
        ] {
            let mark = server.log().mark();
            let response = ask(&server, "/app", &[(name, expression)]);
            assert_eq!(response.status, 500, "{name}={expression}");
            check_logged(&server, mark, id);
        }
    }
    assert!(server.log().matching(mark, "asked for c").len() == 7);
    if ours("D86") {
        let mark = server.log().mark();
        assert_eq!(ask(&server, "/app", &[("p", "'first\\0x'")]).status, 500);
        check_logged(&server, mark, "WSGI1300");
    }
}

#[test]
fn a_failure_stops_the_other_functions() {
    let server = site().start();
    for (expression, count) in [("None", 3), ("1 / 0", 1), ("5", 1)] {
        let mark = server.log().mark();
        ask(&server, "/app", &[("p", expression)]);
        let asked = server.log().matching(mark, "asked for");
        assert_eq!(asked.len(), count, "{expression}: {asked:#?}");
    }
}

#[test]
fn a_script_without_a_say_changes_nothing() {
    let server = site().start();
    for (url, id) in [
        ("/app/missing", "WSGI0105"),
        ("/app/broken", "WSGI0109"),
        ("/app/empty", ""),
    ] {
        let mark = server.log().mark();
        let response = ask(&server, url, &[("c", "'second'")]);
        assert_eq!(place(&response), ["", "", "application"], "{url}");
        check_logged(&server, mark, id);
    }
}

#[test]
fn the_environ_is_that_of_the_request_and_nothing_of_wsgi() {
    let server = site()
        .config(
            "
            <Location /app/environ>
                SetEnv HTTPS on
                SetEnv mod_wsgi.x-mine 5
                WSGIPassAuthorization On
            </Location>
            ",
        )
        .start();
    let request = Request::get("/app//environ?show=seen")
        .header("Host", "site.example")
        .header("Authorization", "Basic ZXZlOmFwcGxl");
    assert_eq!(server.send(&request).status, 200);
    let seen: serde_json::Value =
        serde_json::from_str(&server.site().read("data/seen")).expect("JSON");
    let script = server.site().text_path("wsgi/app.wsgi");
    for (key, value) in [
        ("GROUP", "first"),
        ("HTTPS", "on"),
        ("HTTP_AUTHORIZATION", "Basic ZXZlOmFwcGxl"),
        ("PATH_INFO", "/environ"),
        ("QUERY_STRING", "show=seen"),
        ("REQUEST_METHOD", "GET"),
        ("SCRIPT_FILENAME", &script),
        ("SCRIPT_NAME", "/app"),
        ("mod_wsgi.application_group", ""),
        ("mod_wsgi.handler_script", ""),
        ("mod_wsgi.path_info", "/environ"),
        ("mod_wsgi.process_group", ""),
        ("mod_wsgi.request_handler", "wsgi-script"),
        ("mod_wsgi.script_name", "/app"),
        ("mod_wsgi.x-enable_sendfile", "0"),
        ("mod_wsgi.x-mine", "5"),
        ("mod_wsgi.x-script_reloading", "1"),
    ] {
        assert_eq!(seen[key], value, "{key}");
    }
    let keys = seen.as_object().expect("an object").keys();
    let of_wsgi: Vec<_> = keys.filter(|key| key.starts_with("wsgi.")).collect();
    assert_eq!(of_wsgi, ["wsgi.errors"]);
    for key in [
        "PATH",
        "SERVER_SIGNATURE",
        "apache.version",
        "mod_ssl.is_https",
        "mod_wsgi.callable_object",
        "mod_wsgi.version",
    ] {
        assert!(seen.get(key).is_none(), "{key}: {seen}");
    }
    ask(&server, "/app/grouped", &[("show", "grouped")]);
    let seen: serde_json::Value =
        serde_json::from_str(&server.site().read("data/grouped")).expect("JSON");
    assert_eq!(seen["mod_wsgi.application_group"], "site.example");
}

/// It does not make an application of what is none.
#[test]
fn only_requests_for_applications_are_dispatched() {
    let server = hook_site()
        .script("dispatch.py", DISPATCH)
        .file("www/page.html", "page")
        .config("WSGIDispatchScript ${WSGI}/dispatch.py")
        .start();
    assert_eq!(server.get("/page.html").text(), "page");
    assert_eq!(server.get("/none").status, 404);
    assert!(server.log().matching(Mark::START, "asked for").is_empty());
    assert_eq!(server.get("/app").status, 200);
    server.log().wait_for(Mark::START, "asked for p");
}

#[test]
fn a_dispatch_script_runs_although_embedded_mode_is_restricted() {
    let server = site().config("WSGIRestrictEmbedded On").start();
    let response = ask(&server, "/app", &[("p", "'first'")]);
    assert_eq!(place(&response), ["first", "", "application"]);
    let mark = server.log().mark();
    assert_eq!(ask(&server, "/app", &[]).status, 500);
    check_logged(&server, mark, "WSGI0143");
}

#[test]
fn a_changed_dispatch_script_is_loaded_anew() {
    let choosing = |name: &str| format!("def callable_object(environ): return {name:?}");
    let server = hook_site()
        .script("app.wsgi", &applications())
        .script("dispatch.py", &choosing("second"))
        .config("<Location /app>\nWSGIDispatchScript ${WSGI}/dispatch.py\n</Location>")
        .start();
    let callable = || {
        environ(&server.get("/app"))
            .value("mod_wsgi.callable_object")
            .to_owned()
    };
    assert_eq!(callable(), "second");
    server
        .site()
        .write("wsgi/dispatch.py", choosing("application"));
    assert_eq!(callable(), "application");
}

#[test]
fn a_host_can_be_sent_to_a_process_group_of_its_own() {
    let server = site()
        .script(
            "by_host.py",
            "def process_group(environ):\n    \
             return environ['HTTP_HOST'].partition('.')[0] + ''\n",
        )
        .config("<Location /app/by-host>\nWSGIDispatchScript ${WSGI}/by_host.py\n</Location>")
        .start();
    let answers = crate::apps::at_once(8, |number| {
        let group = ["first", "second"][number % 2];
        let request = Request::get("/app/by-host").header("Host", format!("{group}.example"));
        (group, server.send(&request))
    });
    for (group, response) in answers {
        assert_eq!(environ(&response).value("mod_wsgi.process_group"), group);
    }
}

#[test]
fn the_environ_tells_what_a_trusted_proxy_says_of_the_scheme() {
    let server = site()
        .config(
            "
            <Location /app/environ>
                WSGITrustedProxyHeaders X-Forwarded-Proto
            </Location>
            ",
        )
        .start();
    let request = Request::get("/app/environ?show=seen").header("X-Forwarded-Proto", "https");
    assert_eq!(server.send(&request).status, 200);
    let seen: serde_json::Value =
        serde_json::from_str(&server.site().read("data/seen")).expect("JSON");
    assert_eq!(seen["HTTPS"], "1");
}
