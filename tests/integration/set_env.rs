//! Variables that the configuration sets: they reach the application, and do not take the place of
//! what the server knows.

use testkit::{Request, SharedHttpd, ours};

use crate::apps::{ENVIRON, Environ, environ};
use crate::wsgi_site::{app, is_daemon_mode, wsgi_site};

static SERVER: SharedHttpd = SharedHttpd::new(|| {
    wsgi_site()
        .module("env")
        .module("setenvif")
        .module("rewrite")
        .script("environ.wsgi", ENVIRON)
        .config(CONFIG)
});

const CONFIG: &str = r#"
UseCanonicalName On

<Location /environ.wsgi/set-env>
    SetEnv MINE "häuslich"
    SetEnv HÄUSLICH mine
    SetEnv EMPTY
    SetEnv REQUEST_METHOD forged
    SetEnv SCRIPT_NAME forged
    SetEnv PATH_INFO forged
    SetEnv QUERY_STRING forged
    SetEnv REMOTE_ADDR forged
    SetEnv SERVER_NAME forged
    SetEnv HTTP_HOST forged
    SetEnv HTTP_X_NOT_SENT configured
    SetEnv PATH forged
    SetEnv wsgi.version forged
    SetEnv wsgi.url_scheme forged
    SetEnv wsgi.input forged
    SetEnv wsgi.multithread forged
    SetEnv mod_wsgi.version forged
    SetEnv mod_wsgi.process_group forged
    SetEnv mod_wsgi.application_group forged
    SetEnv mod_wsgi.thread_id forged
    SetEnv mod_wsgi.request_start forged
    SetEnv mod_wsgi.x-internal forged
</Location>
<Location /environ.wsgi>
    SetEnvIf X-Path-Info (.+) PATH_INFO=$1
</Location>
<Location /environ.wsgi/https-1>
    SetEnv HTTPS 1
</Location>
<Location /environ.wsgi/https-on>
    SetEnv HTTPS oN
</Location>
<Location /environ.wsgi/https-off>
    SetEnv HTTPS yes
</Location>
<Location /environ.wsgi/rewritten>
    SetEnvIf Request_URI . REMOTE_PORT=forged FROM_SET_ENV_IF=yes
</Location>

<Location /named.wsgi>
    SetEnv HÄUSLICH mine
</Location>

RewriteEngine On
RewriteRule ^/named.wsgi/named/(.+)$ - [E=$1:yes]
"#;

fn environ_of(request: &Request) -> Environ {
    let server = SERVER.borrow();
    environ(&server.send(request))
}

#[test]
fn set_env_reaches_the_application_as_latin_1() {
    let environ = environ_of(&Request::get("/environ.wsgi/set-env"));

    assert_eq!(environ.value("MINE"), "h\u{c3}\u{a4}uslich");
    assert_eq!(environ.value("EMPTY"), "");
    assert_eq!(environ.value("HTTP_X_NOT_SENT"), "configured");
}

#[test]
fn a_variable_is_named_in_utf_8() {
    let environ = environ_of(&Request::get("/environ.wsgi/set-env"));
    assert_eq!(environ.value("HÄUSLICH"), "mine");
}

/// Which of the variables whose names begin alike there are, in ASCII.
const NAMED: &str = r#"
def application(environ, start_response):
    named = [item for item in environ.items() if item[0].endswith('USLICH')]
    body = ascii(dict(sorted(named))).encode()
    start_response('200 OK', [('Content-Length', str(len(body)))])
    return [body]
"#;

#[test]
fn a_variable_with_a_name_that_is_not_utf_8_costs_no_request_and_no_other_variable() {
    if !ours("D241") {
        return;
    }
    let server = SERVER.borrow();
    let url = app(&server, "named", NAMED);
    let ask = |path: &str| server.get(&format!("{url}{path}")).text();
    let configured = r"'H\xc4USLICH': 'mine'";

    let both = format!(r"{{{configured}, 'H\udcc4USLICH': 'yes'}}");
    assert_eq!(ask("/named/H%C4USLICH"), both);
    assert_eq!(ask("/"), format!("{{{configured}}}"));
    assert_eq!(ask("/named/H%C4USLICH"), both);
}

#[test]
fn what_the_server_knows_wins_over_set_env() {
    let environ = environ_of(&Request::get("/environ.wsgi/set-env?q"));

    let group = if is_daemon_mode() { "wsgi" } else { "" };
    for (key, value) in [
        ("REQUEST_METHOD", "GET"),
        ("SCRIPT_NAME", "/environ.wsgi"),
        ("PATH_INFO", "/set-env"),
        ("QUERY_STRING", "q"),
        ("REMOTE_ADDR", "127.0.0.1"),
        ("SERVER_NAME", "localhost"),
        ("HTTP_HOST", "localhost"),
        ("wsgi.version", "(1, 0)"),
        ("wsgi.url_scheme", "http"),
        ("mod_wsgi.version", "(6, 1, 1)"),
        ("mod_wsgi.process_group", group),
        ("mod_wsgi.application_group", ""),
    ] {
        assert_eq!(environ.value(key), value, "{key}");
    }
    for key in environ.keys() {
        assert_ne!(environ.value(key), "forged", "{key}");
    }
    assert!(!environ.has("PATH"));
    assert!(!environ.has("mod_wsgi.x-internal"));
}

#[test]
fn set_env_if_cannot_forge_either() {
    let environ = environ_of(&Request::get("/environ.wsgi/rewritten"));

    assert_eq!(environ.value("FROM_SET_ENV_IF"), "yes");
    assert_ne!(environ.value("REMOTE_PORT"), "forged");
}

#[test]
fn a_url_without_path_info_takes_that_of_the_configuration() {
    let path_info = |url: &str| {
        let environ = environ_of(&Request::get(url).header("X-Path-Info", "//given"));
        assert_eq!(environ.value("SCRIPT_NAME"), "/environ.wsgi");
        assert_eq!(
            environ.value("mod_wsgi.path_info"),
            environ.value("PATH_INFO")
        );
        environ.value("PATH_INFO").to_owned()
    };

    assert_eq!(path_info("/environ.wsgi"), "/given");
    assert_eq!(path_info("/environ.wsgi/own"), "/own");
}

#[test]
fn the_https_variable_makes_the_scheme_and_disappears() {
    for (path, scheme) in [
        ("https-1", "https"),
        ("https-on", "https"),
        ("https-off", "http"),
    ] {
        let environ = environ_of(&Request::get(&format!("/environ.wsgi/{path}")));
        assert_eq!(environ.value("wsgi.url_scheme"), scheme, "{path}");
        assert!(!environ.has("HTTPS"), "{path}");
        assert_eq!(environ.value("REQUEST_SCHEME"), "http", "{path}");
    }
}

/// Answers with what it gets of a variable that was set without a value, of one that is empty, and
/// of ones that are not there; and with what there is of them in the environment of the process.
const VALUELESS: &str = "
import os

def application(environ, start_response):
    names = 'EMPTY', 'QUOTED', 'PASSED', 'UNPASSED', 'MATCHED'
    seen = [environ.get(name, 'absent') for name in names]
    seen += [os.environ.get(name, 'absent') for name in names]
    start_response('200 OK', [])
    return [repr(seen).encode()]
";

#[test]
fn a_variable_that_is_set_without_a_value_is_empty_and_what_is_passed_without_one_is_absent() {
    let server = wsgi_site()
        .module("env")
        .module("setenvif")
        .env("PASSED", "")
        .script("valueless.wsgi", VALUELESS)
        .config(
            "SetEnv EMPTY
             SetEnv QUOTED \"\"
             SetEnvIf Request_URI ^ MATCHED
             PassEnv PASSED UNPASSED",
        )
        .start();
    assert_eq!(
        server.get("/valueless.wsgi").text(),
        "['', '', '', 'absent', '1', 'absent', 'absent', '', 'absent', 'absent']"
    );
}

/// Answers with the variables that mod_authn_dbd has set, and puts a `None` of its own beside them,
/// which has nobody else's ways changed.
const COLUMNS: &str = "
def application(environ, start_response):
    environ['wsgi.own'] = None
    columns = {name: value for name, value in environ.items() if name.startswith('AUTHENTICATE_')}
    start_response('200 OK', [])
    return [repr(sorted(columns.items())).encode()]
";

/// A column of a database may be NULL, and mod_authn_dbd sets a variable for each.
#[test]
fn a_variable_without_a_value_is_none() {
    let server = ["authn_core", "authn_dbd", "auth_basic", "authz_user", "dbd"]
        .into_iter()
        .fold(wsgi_site(), testkit::Site::module)
        .script("columns.wsgi", COLUMNS)
        .config(
            "DBDriver sqlite3
             DBDParams ${DATA}/users.db
             <Location />
                 AuthType Basic
                 AuthName here
                 AuthBasicProvider dbd
                 Require valid-user
                 AuthDBDUserPWQuery \"SELECT '{SHA}0L4txCG+T80BcuWvzuo5cOLz2UA=' AS password, \\
                     %s AS username, '' AS blank, NULL AS phone\"
             </Location>",
        )
        .start();
    // `eve:apple`
    let request = Request::get("/columns.wsgi").header("Authorization", "Basic ZXZlOmFwcGxl");
    let none = match is_daemon_mode() && !ours("D188") {
        true => "''",
        false => "None",
    };
    for _ in 0..2 {
        assert_eq!(
            server.send(&request).text(),
            format!(
                "[('AUTHENTICATE_BLANK', ''), ('AUTHENTICATE_PHONE', {none}), \
                 ('AUTHENTICATE_USERNAME', 'eve')]"
            )
        );
    }
}
