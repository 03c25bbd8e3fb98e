//! `WSGIAccessScript`: who may enter, by what a request is and where it comes from.

use testkit::{Curl, Httpd, Request, Site, ours};

use crate::apps::environ;
use crate::hook_site::{ask_as, check_logged, hook_site, unaskable, with_values};

/// Tests look for what was logged, so each has a server of its own.
fn server() -> Httpd {
    hook_site()
        .script(
            "access.py",
            &with_values("def allow_access(environ, host): return value(environ['QUERY_STRING'])"),
        )
        .script(
            "password.py",
            "def check_password(e, user, p): return user == 'eve'",
        )
        .config(
            "
            <Location /app>
                WSGIAccessScript ${WSGI}/access.py
            </Location>
            <LocationMatch ^/app/(any|all)$>
                AuthType Basic
                AuthName test
                AuthBasicProvider wsgi
                WSGIAuthUserScript ${WSGI}/password.py
                Require valid-user
            </LocationMatch>
            <Location /app/any>
                Satisfy Any
            </Location>
            <Location /app/closed>
                Require all denied
            </Location>
            ",
        )
        .config(&unaskable("WSGIAccessScript"))
        .start()
}

#[test]
fn each_result_has_its_status() {
    let server = server();
    for (result, status, id) in [
        ("true", 200, ""),
        ("none", 200, ""),
        ("false", 403, "WSGI0057"),
        ("one", 403, "WSGI0055"),
        ("zero", 403, "WSGI0055"),
        ("text", 403, "WSGI0055"),
        ("bytes", 403, "WSGI0055"),
        ("empty", 403, "WSGI0055"),
        ("raise", 403, "WSGI0174"),
        ("exit", 403, "WSGI0175"),
        ("interrupt", 403, "WSGI0174"),
    ] {
        let mark = server.log().mark();
        let response = server.get(&format!("/app?{result}"));
        assert_eq!(response.status, status, "{result}");
        check_logged(&server, mark, id);
        if status == 403 {
            let line = server.log().wait_for(mark, "WSGI0057");
            assert!(
                line.contains("lient denied by server configuration"),
                "{line}"
            );
        }
    }
}

#[test]
fn an_exception_is_in_the_log_and_not_in_the_response() {
    let server = server();
    let mark = server.log().mark();
    let response = server.get("/app?raise");
    assert!(!response.text().contains("boom"), "{}", response.text());
    let line = server.log().wait_for(mark, "WSGI0174");
    let script = server.site().text_path("wsgi/access.py");
    let words = format!("KeyError exception raised processing WSGI script '{script}'");
    assert!(line.contains(&words), "{line}");
    assert!(line.contains("[client 127.0.0.1:"), "{line}");
    server.log().wait_for(mark, "KeyError: 'boom'");
}

#[test]
fn a_script_that_cannot_be_asked_lets_nobody_in() {
    let server = server();
    for (place, id) in [
        ("missing", "WSGI0105"),
        ("broken", "WSGI0109"),
        ("empty", "WSGI0056"),
    ] {
        let mark = server.log().mark();
        assert_eq!(server.get(&format!("/app/{place}?true")).status, 403);
        check_logged(&server, mark, id);
        check_logged(&server, mark, "WSGI0057");
    }
}

#[test]
fn other_checks_apply_as_well() {
    let server = server();
    assert_eq!(server.get("/app/closed?true").status, 403);
    assert_eq!(server.get("/app/closed?none").status, 403);
}

#[test]
fn host_and_user_combine_as_satisfy_says() {
    let server = server();
    for (place, result, user, status) in [
        ("any", "true", "", 200),
        ("any", "none", "", 200),
        ("any", "false", "", 401),
        ("any", "false", "eve", 200),
        ("any", "false", "adam", 401),
        ("any", "raise", "", 401),
        ("any", "raise", "eve", 200),
        ("any", "one", "adam", 401),
        ("all", "true", "", 401),
        ("all", "true", "eve", 200),
        ("all", "none", "eve", 200),
        ("all", "false", "eve", 403),
        ("all", "raise", "eve", 403),
    ] {
        let mark = server.log().mark();
        let answer = ask_as(&server, &format!("/app/{place}?{result}"), user);
        assert_eq!(answer.status, status, "{place} {result} {user:?}");
        let denials = server.log().matching(mark, "WSGI0057").len();
        assert_eq!(
            denials,
            usize::from(status == 403),
            "{place} {result} {user:?}"
        );
    }
}

/// A script that writes what it sees to files in `data/`.
const WITNESS: &str = r#"
import json, os
DATA = os.path.join(os.path.dirname(os.path.dirname(__file__)), 'data')

def allow_access(environ, host):
    seen = {key: value if isinstance(value, str) else repr(value)
            for key, value in environ.items()}
    seen['host'] = host
    name = environ['QUERY_STRING'] or 'seen'
    with open(os.path.join(DATA, name), 'w') as file:
        json.dump(seen, file)
    return True
"#;

fn witness_site() -> Site {
    hook_site().script("witness.py", WITNESS)
}

fn seen(server: &Httpd, name: &str) -> serde_json::Map<String, serde_json::Value> {
    serde_json::from_str(&server.site().read(&format!("data/{name}"))).expect("JSON")
}

#[test]
fn the_environ_has_the_url_as_it_was_asked_for() {
    let server = witness_site()
        .module("rewrite")
        .module("include")
        .file(
            "www/page.shtml",
            r#"<!--#include virtual="/app/with/more?seen" -->"#,
        )
        .config(
            "
            <Location /app>
                WSGIAccessScript ${WSGI}/witness.py
                CGIVar REQUEST_URI current-uri
            </Location>
            <Location /page.shtml>
                Options +Includes
                SetOutputFilter INCLUDES
            </Location>
            RewriteEngine On
            RewriteRule ^/old$ /app/new [PT]
            ",
        )
        .start();
    let path = |name: &str| {
        let seen = seen(&server, name);
        ["REQUEST_URI", "SCRIPT_NAME", "PATH_INFO"]
            .map(|name| seen[name].as_str().unwrap_or("").to_owned())
    };
    assert_eq!(server.get("/old?seen").status, 200);
    assert_eq!(path("seen"), ["/old?seen", "/app", "/new"]);
    assert_eq!(server.get("/page.shtml").status, 200);
    assert_eq!(
        path("seen"),
        ["/page.shtml", "/app/with/more", "/with/more"]
    );

    let mut client = server.connect();
    client.send(b"GET /app?seen HTTP/1.1\r\nHost: [::1]\r\n\r\n");
    assert_eq!(client.read_response().status, 200);
    assert_eq!(seen(&server, "seen")["SERVER_NAME"], "::1");
}

#[test]
fn the_environ_is_what_the_server_knows() {
    let server = witness_site()
        .config(
            "
            <Location /app>
                WSGIAccessScript ${WSGI}/witness.py
                SetEnv FOO bar
                SetEnv REMOTE_ADDR 10.0.0.1
                WSGITrustedProxyHeaders X-Forwarded-For
            </Location>
            ",
        )
        .start();
    let request = Request::post("/app//x%C3%A9?seen", "abc")
        .header("Content-Type", "text/x")
        .header("Authorization", "Basic ZXZlOmFwcGxl")
        .header("Proxy-Authorization", "Basic ZXZlOmFwcGxl")
        .header("Proxy", "evil")
        .header("X-Ok", b"b\xe9b")
        .header("X_Under", "smuggled")
        .header("X-Forwarded-For", "1.2.3.4");
    assert_eq!(server.send(&request).status, 200);
    let seen = seen(&server, "seen");
    let keys: Vec<&str> = seen.keys().map(String::as_str).collect();
    assert_eq!(
        keys,
        [
            "CONTENT_LENGTH",
            "CONTENT_TYPE",
            "DOCUMENT_ROOT",
            "HTTP_CONNECTION",
            "HTTP_HOST",
            "HTTP_PROXY",
            "HTTP_X_FORWARDED_FOR",
            "HTTP_X_OK",
            "PATH_INFO",
            "QUERY_STRING",
            "REMOTE_ADDR",
            "REMOTE_PORT",
            "REQUEST_METHOD",
            "REQUEST_URI",
            "SCRIPT_NAME",
            "SERVER_ADDR",
            "SERVER_ADMIN",
            "SERVER_NAME",
            "SERVER_PORT",
            "SERVER_PROTOCOL",
            "SERVER_SIGNATURE",
            "SERVER_SOFTWARE",
            "apache.version",
            "host",
            "mod_ssl.is_https",
            "mod_ssl.var_lookup",
            "mod_wsgi.application_group",
            "mod_wsgi.process_group",
            "mod_wsgi.version",
            "wsgi.errors",
        ]
    );
    let www = server.site().text_path("www");
    for (key, value) in [
        ("CONTENT_LENGTH", "3"),
        ("CONTENT_TYPE", "text/x"),
        ("DOCUMENT_ROOT", &www),
        ("HTTP_HOST", "localhost"),
        ("HTTP_PROXY", "evil"),
        ("HTTP_X_OK", "b\u{e9}b"),
        ("PATH_INFO", "/x\u{c3}\u{a9}"),
        ("QUERY_STRING", "seen"),
        ("REMOTE_ADDR", "127.0.0.1"),
        ("REQUEST_METHOD", "POST"),
        ("REQUEST_URI", "/app//x%C3%A9?seen"),
        ("SCRIPT_NAME", "/app"),
        ("SERVER_ADDR", "127.0.0.1"),
        ("SERVER_NAME", "localhost"),
        ("SERVER_PORT", "80"),
        ("SERVER_PROTOCOL", "HTTP/1.1"),
        ("SERVER_SIGNATURE", ""),
        ("host", "127.0.0.1"),
        ("mod_wsgi.application_group", ""),
        ("mod_wsgi.process_group", ""),
        ("mod_wsgi.version", "(6, 1, 1)"),
    ] {
        assert_eq!(seen[key], value, "{key}");
    }
}

#[test]
fn the_host_is_the_client_and_not_its_proxy() {
    let server = witness_site()
        .module("remoteip")
        .config(
            "
            HostnameLookups On
            RemoteIPHeader X-Client
            RemoteIPInternalProxy 127.0.0.1
            <Location /app>
                WSGIAccessScript ${WSGI}/witness.py
            </Location>
            ",
        )
        .start();
    let request = Request::get("/app?proxied").header("X-Client", "192.0.2.7");
    assert_eq!(server.send(&request).status, 200);
    let proxied = seen(&server, "proxied");
    assert_eq!(proxied["REMOTE_ADDR"], "192.0.2.7");
    assert_ne!(proxied["REMOTE_PORT"], "0");
    if ours("D87") {
        assert_eq!(proxied["host"], "192.0.2.7");
        assert!(proxied.get("REMOTE_HOST").is_none(), "{proxied:?}");
    }
    // Without a proxy, both are whatever the system calls the client.
    assert_eq!(server.get("/app?direct").status, 200);
    let direct = seen(&server, "direct");
    let name = direct.get("REMOTE_HOST").unwrap_or(&direct["REMOTE_ADDR"]);
    assert_eq!(direct["host"], *name);
}

#[test]
fn a_head_request_is_one_and_a_file_is_no_application() {
    let server = witness_site()
        .file("www/page.html", "page")
        .config("<Location />\nWSGIAccessScript ${WSGI}/witness.py\n</Location>")
        .start();
    let request = Request::new("HEAD", "/page.html?head");
    assert_eq!(server.send(&request).status, 200);
    let seen = seen(&server, "head");
    assert_eq!(seen["REQUEST_METHOD"], "HEAD");
    assert_eq!(seen["SCRIPT_NAME"], "/page.html");
    assert_eq!(seen["PATH_INFO"], "");
}

#[test]
fn the_application_group_is_chosen_by_the_option() {
    let server = witness_site()
        .config(
            "
            ServerName site.example
            <Location /app/absent>
                WSGIAccessScript ${WSGI}/witness.py
            </Location>
            <Location /app/global>
                WSGIAccessScript ${WSGI}/witness.py application-group=%{GLOBAL}
            </Location>
            <Location /app/server>
                WSGIAccessScript ${WSGI}/witness.py application-group=%{SERVER}
            </Location>
            <Location /app/host>
                WSGIAccessScript ${WSGI}/witness.py application-group=%{HOST}
            </Location>
            <Location /app/resource>
                WSGIAccessScript ${WSGI}/witness.py application-group=%{RESOURCE}
            </Location>
            <Location /app/variable>
                SetEnv GROUP named
                WSGIAccessScript ${WSGI}/witness.py application-group=%{ENV:GROUP}
            </Location>
            <Location /app/literal>
                WSGIAccessScript ${WSGI}/witness.py application-group='my own'
            </Location>
            ",
        )
        .start();
    // The client asks for port 80, whatever it connects to.
    for (place, group) in [
        ("absent", String::new()),
        ("global", String::new()),
        ("server", "site.example".to_owned()),
        ("host", "asked.example".to_owned()),
        ("resource", "%{RESOURCE}".to_owned()),
        ("variable", "%{ENV:GROUP}".to_owned()),
        ("literal", "my own".to_owned()),
    ] {
        let request =
            Request::get(&format!("/app/{place}?{place}")).header("Host", "asked.example");
        assert_eq!(server.send(&request).status, 200, "{place}");
        assert_eq!(seen(&server, place)["mod_wsgi.application_group"], group);
    }
}

/// Asks mod_ssl, in time and too late.
const ASKING: &str = r#"
import json, os
DATA = os.path.join(os.path.dirname(os.path.dirname(__file__)), 'data')
kept = {}

def answer(function, *arguments):
    try:
        return function(*arguments)
    except Exception as error:
        return type(error).__name__

def allow_access(environ, host):
    first = not kept
    kept.setdefault('environ', environ)
    of = environ if first else kept['environ']
    lookup = of['mod_ssl.var_lookup']
    told = [answer(of['mod_ssl.is_https'])]
    told += [answer(lookup, name) for name in ('HTTPS', b'SSL_PROTOCOL', 'SSL_CLIENT_S_DN', 'NO')]
    told += [answer(lookup), answer(lookup, 1), answer(lookup, '\u20ac')]
    told += [answer(of['wsgi.errors'].write, 'x')]
    with open(os.path.join(DATA, 'first' if first else 'late'), 'w') as file:
        json.dump(told, file)
    return True
"#;

fn told(server: &Httpd, name: &str) -> serde_json::Value {
    serde_json::from_str(&server.site().read(&format!("data/{name}"))).expect("JSON")
}

fn check_expired(server: &Httpd) {
    let late = told(server, "late");
    let late = late.as_array().expect("a list");
    for (place, answer) in late.iter().enumerate() {
        // Arguments may be looked at first.
        let expected = if matches!(place, 5..=7) {
            "TypeError"
        } else {
            "RuntimeError"
        };
        assert!(answer == "RuntimeError" || answer == expected, "{late:?}");
    }
}

#[test]
fn mod_ssl_can_be_asked_until_the_function_returns() {
    let server = hook_site()
        .script("asking.py", ASKING)
        .config("<Location /app>\nWSGIAccessScript ${WSGI}/asking.py\n</Location>")
        .start();
    assert_eq!(server.get("/app").status, 200);
    assert_eq!(server.get("/app").status, 200);
    let expected = serde_json::json!([
        0,
        null,
        null,
        null,
        null,
        "TypeError",
        "TypeError",
        "TypeError",
        1
    ]);
    assert_eq!(told(&server, "first"), expected);
    check_expired(&server);
}

#[test]
fn mod_ssl_tells_of_the_connection() {
    let server = hook_site()
        .tls_host()
        .script("asking.py", ASKING)
        .config(
            "
            <Location /app>
                WSGIAccessScript ${WSGI}/asking.py
            </Location>
            ",
        )
        .start();
    for _ in 0..2 {
        let answer = Curl::https(&server, "/app").send();
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    let first = told(&server, "first");
    assert_eq!(first[0], 1);
    assert_eq!(first[1], "on");
    let protocol = first[2].as_str().expect("a protocol");
    assert!(protocol.starts_with("TLSv1"), "{first}");
    assert_eq!(first[4], "", "{first}");
    check_expired(&server);
}

#[test]
fn a_htaccess_file_may_name_a_script() {
    let script =
        with_values("def allow_access(environ, host): return value(environ['QUERY_STRING'])");
    let server = hook_site()
        .script("access.py", &script)
        .file("www/page.html", "page")
        .config("<Directory ${WWW}>\nAllowOverride AuthConfig\n</Directory>");
    let path = server.text_path("wsgi/access.py");
    let server = server
        .file("www/.htaccess", format!("WSGIAccessScript {path}\n"))
        .start();
    assert_eq!(server.get("/page.html?true").status, 200);
    assert_eq!(server.get("/page.html?false").status, 403);
    server.log().expect_alarm(".htaccess");
    server.site().write("www/.htaccess", "WSGIAccessScript\n");
    assert_eq!(server.get("/page.html?true").status, 500);
}

#[test]
fn the_innermost_script_counts() {
    let server = hook_site()
        .script("no.py", "def allow_access(environ, host): return False")
        .script("yes.py", "def allow_access(environ, host): return True")
        .config(
            "
            <Location /app>
                WSGIAccessScript ${WSGI}/no.py
            </Location>
            <Location /app/open>
                WSGIAccessScript ${WSGI}/yes.py
            </Location>
            ",
        )
        .start();
    assert_eq!(server.get("/app").status, 403);
    assert_eq!(
        environ(&server.get("/app/open")).value("PATH_INFO"),
        "/open"
    );
}
