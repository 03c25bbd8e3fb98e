//! The environ: which keys there are, what they hold, and that nothing a client or a `SetEnv`
//! says takes the place of what the server knows.

use std::collections::BTreeSet;

use rstest::rstest;
use testkit::{Connection, Mpm, Request, SharedHttpd, Site};

use crate::apps::{ENVIRON, Environ, environ};
use crate::wsgi_site::{
    CALCULATOR, app, calculate, gated_app, open_gate, reached, threaded, wsgi_site,
};

static SERVER: SharedHttpd = SharedHttpd::new(|| {
    wsgi_site()
        .module("env")
        .module("setenvif")
        .module("alias")
        .module("auth_basic")
        .module("authn_core")
        .module("authn_file")
        .module("authz_user")
        .script("environ.wsgi", ENVIRON)
        .script("calculate.wsgi", CALCULATOR)
        .file("wsgi/sub/a b.wsgi", ENVIRON)
        // user:pass
        .file("conf/users", "user:$apr1$SFj5KYsP$DmiSgA4Kl.Dv.iiIJEMHj1\n")
        .config(CONFIG)
});

const CONFIG: &str = r#"
ServerName localhost:${PORT}
ServerAdmin admin@example.com
UseCanonicalName On

<LocationMatch "^/(environ.wsgi|missing)/guarded">
    AuthType Basic
    AuthName test
    AuthUserFile ${ROOT}/conf/users
    Require valid-user
</LocationMatch>

<Location /environ.wsgi/current-uri>
    CGIVar REQUEST_URI current-uri
</Location>

<Location /environ.wsgi/set-env>
    SetEnv MINE "häuslich"
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

ErrorDocument 404 /environ.wsgi/error-document
"#;

fn environ_of(request: &Request) -> Environ {
    let server = SERVER.borrow();
    environ(&server.send(request))
}

#[test]
fn a_plain_request_has_exactly_these_keys() {
    let environ = environ_of(&Request::get("/environ.wsgi"));

    // Whether the connection has an id of its own is up to httpd's log configuration.
    let keys: Vec<&str> = environ
        .keys()
        .filter(|&key| key != "mod_wsgi.connection_id")
        .collect();
    let expected = [
        "CONTEXT_DOCUMENT_ROOT",
        "CONTEXT_PREFIX",
        "DOCUMENT_ROOT",
        "HTTP_CONNECTION",
        "HTTP_HOST",
        "PATH_INFO",
        "QUERY_STRING",
        "REMOTE_ADDR",
        "REMOTE_PORT",
        "REQUEST_METHOD",
        "REQUEST_SCHEME",
        "REQUEST_URI",
        "SCRIPT_FILENAME",
        "SCRIPT_NAME",
        "SERVER_ADDR",
        "SERVER_ADMIN",
        "SERVER_NAME",
        "SERVER_PORT",
        "SERVER_PROTOCOL",
        "SERVER_SOFTWARE",
        "__file__",
        "__name__",
        "apache.version",
        "mod_wsgi.application_group",
        "mod_wsgi.application_start",
        "mod_wsgi.callable_object",
        "mod_wsgi.daemon_start",
        "mod_wsgi.handler_script",
        "mod_wsgi.listener_host",
        "mod_wsgi.listener_port",
        "mod_wsgi.path_info",
        "mod_wsgi.process_group",
        "mod_wsgi.queue_start",
        "mod_wsgi.request_handler",
        "mod_wsgi.request_id",
        "mod_wsgi.request_start",
        "mod_wsgi.script_name",
        "mod_wsgi.server_pid",
        "mod_wsgi.thread_id",
        "mod_wsgi.version",
        "wsgi.errors",
        "wsgi.file_wrapper",
        "wsgi.input",
        "wsgi.input_terminated",
        "wsgi.multiprocess",
        "wsgi.multithread",
        "wsgi.run_once",
        "wsgi.url_scheme",
        "wsgi.version",
    ];
    assert_eq!(keys, expected);
}

#[test]
fn what_other_gateways_pass_and_this_one_does_not() {
    let server = wsgi_site()
        .script("environ.wsgi", ENVIRON)
        .env("LD_LIBRARY_PATH", "/nonexistent")
        .env("PATH", "/usr/bin:/bin")
        .config("ServerSignature On\nHostnameLookups On")
        .start();

    let environ = environ(&server.get("/environ.wsgi/path"));

    for key in [
        "PATH",
        "LD_LIBRARY_PATH",
        "GATEWAY_INTERFACE",
        "SERVER_SIGNATURE",
        "PATH_TRANSLATED",
        "REMOTE_HOST",
        "REMOTE_IDENT",
        "HTTPS",
    ] {
        assert!(!environ.has(key), "{key}: {}", environ.value(key));
    }
}

#[test]
fn cgi_variables_describe_the_request_and_the_server() {
    let server = SERVER.borrow();
    let target = "/environ.wsgi/some/path?x=%20y&z";
    let environ = environ(&server.send(&Request::new("PATCH", target)));

    let port = server.port().to_string();
    let site = server.site();
    for (key, value) in [
        ("REQUEST_METHOD", "PATCH"),
        ("SCRIPT_NAME", "/environ.wsgi"),
        ("PATH_INFO", "/some/path"),
        ("QUERY_STRING", "x=%20y&z"),
        ("REQUEST_URI", target),
        ("SERVER_PROTOCOL", "HTTP/1.1"),
        ("SERVER_NAME", "localhost"),
        ("SERVER_PORT", &port),
        ("SERVER_ADDR", "127.0.0.1"),
        ("SERVER_ADMIN", "admin@example.com"),
        ("REMOTE_ADDR", "127.0.0.1"),
        ("REQUEST_SCHEME", "http"),
        ("DOCUMENT_ROOT", &site.text_path("www")),
        ("CONTEXT_DOCUMENT_ROOT", &site.text_path("www")),
        ("CONTEXT_PREFIX", ""),
        ("SCRIPT_FILENAME", &site.text_path("wsgi/environ.wsgi")),
        ("HTTP_HOST", "localhost"),
    ] {
        assert_eq!(environ.value(key), value, "{key}");
    }
    let remote_port: u16 = environ.value("REMOTE_PORT").parse().expect("a port");
    assert_ne!(remote_port, 0);
    let software = environ.value("SERVER_SOFTWARE");
    assert!(software.starts_with("Apache/2.4"), "{software}");
    assert!(software.contains("mod_wsgi/6.1.1 Python/3."), "{software}");
}

#[test]
fn http_1_0_is_named_so() {
    let environ = environ_of(&Request::get("/environ.wsgi").http_1_0());

    assert_eq!(environ.value("SERVER_PROTOCOL"), "HTTP/1.0");
}

#[test]
fn path_info_and_query_string_are_there_when_empty() {
    let environ = environ_of(&Request::get("/environ.wsgi"));

    assert_eq!(environ.value("PATH_INFO"), "");
    assert_eq!(environ.value("QUERY_STRING"), "");
    assert_eq!(environ.value("SCRIPT_NAME"), "/environ.wsgi");
}

#[test]
fn path_info_is_decoded_bytes_as_latin_1_and_the_request_uri_is_raw() {
    let target = "/environ.wsgi/caf%C3%A9%20%ff%01%25/x?q=%C3%A9";
    let environ = environ_of(&Request::get(target));

    assert_eq!(
        environ.value("PATH_INFO"),
        "/caf\u{c3}\u{a9} \u{ff}\u{1}%/x"
    );
    assert_eq!(
        environ.value("mod_wsgi.path_info"),
        environ.value("PATH_INFO")
    );
    assert_eq!(environ.value("QUERY_STRING"), "q=%C3%A9");
    assert_eq!(environ.value("REQUEST_URI"), target);
}

#[test]
fn raw_bytes_of_the_query_string_arrive_as_latin_1() {
    let server = SERVER.borrow();
    let mut connection = server.connect();
    connection.send(b"GET /environ.wsgi?\xe9\xff HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");

    let response = connection.read_response();

    assert_eq!(environ(&response).value("QUERY_STRING"), "\u{e9}\u{ff}");
}

#[test]
fn script_name_is_decoded_too() {
    let environ = environ_of(&Request::get("/sub/a%20b.wsgi/p"));

    assert_eq!(environ.value("SCRIPT_NAME"), "/sub/a b.wsgi");
    assert_eq!(environ.value("PATH_INFO"), "/p");
    assert_eq!(environ.value("mod_wsgi.script_name"), "/sub/a b.wsgi");
}

#[test]
fn an_absolute_form_request_uri_is_kept_as_sent() {
    let target = "http://localhost/environ.wsgi/a?b";
    let environ = environ_of(&Request::get(target));

    assert_eq!(environ.value("REQUEST_URI"), target);
    assert_eq!(environ.value("PATH_INFO"), "/a");
}

#[test]
fn cgi_var_makes_the_request_uri_the_current_one() {
    let environ = environ_of(&Request::get("/environ.wsgi/current-uri/a%20b?c"));

    assert_eq!(
        environ.value("REQUEST_URI"),
        "/environ.wsgi/current-uri/a b"
    );
}

#[test]
fn duplicate_slashes_are_collapsed_in_script_name_and_path_info() {
    let server = wsgi_site()
        .script("environ.wsgi", ENVIRON)
        .config("MergeSlashes Off")
        .start();

    let environ = environ(&server.get("//environ.wsgi//a///b//"));

    assert_eq!(environ.value("SCRIPT_NAME"), "/environ.wsgi");
    assert_eq!(environ.value("PATH_INFO"), "/a/b/");
    assert_eq!(environ.value("REQUEST_URI"), "//environ.wsgi//a///b//");
}

#[test]
fn without_canonical_names_the_server_is_called_as_the_client_does() {
    let server = wsgi_site()
        .script("environ.wsgi", ENVIRON)
        .config("UseCanonicalName Off")
        .start();

    for (host, name, port) in [
        ("example.org:8080", "example.org", "8080"),
        ("[::1]:99", "[::1]", "99"),
    ] {
        let request = Request::get("/environ.wsgi").header("Host", host);
        let environ = environ(&server.send(&request));
        assert_eq!(environ.value("SERVER_NAME"), name);
        assert_eq!(environ.value("SERVER_PORT"), port);
        assert_eq!(environ.value("HTTP_HOST"), host);
    }
}

#[test]
fn content_type_and_length_are_there_when_sent_and_have_no_prefix() {
    let sent = environ_of(
        &Request::post("/environ.wsgi", "12345").header("Content-Type", "text/x-test; a=b"),
    );
    assert_eq!(sent.value("CONTENT_TYPE"), "text/x-test; a=b");
    assert_eq!(sent.value("CONTENT_LENGTH"), "5");
    assert!(!sent.has("HTTP_CONTENT_TYPE"));
    assert!(!sent.has("HTTP_CONTENT_LENGTH"));

    let not_sent = environ_of(&Request::get("/environ.wsgi"));
    assert!(!not_sent.has("CONTENT_TYPE"));
    assert!(!not_sent.has("CONTENT_LENGTH"));
}

#[test]
fn an_authenticated_user_is_named() {
    // user:pass
    let request =
        Request::get("/environ.wsgi/guarded").header("Authorization", "Basic dXNlcjpwYXNz");
    let environ = environ_of(&request);

    assert_eq!(environ.value("REMOTE_USER"), "user");
    assert_eq!(environ.value("AUTH_TYPE"), "Basic");
    assert!(!environ.has("HTTP_AUTHORIZATION"));
}

#[test]
fn the_user_of_a_request_that_was_redirected_is_named_as_such() {
    let server = SERVER.borrow();
    // user:pass
    let request = Request::get("/missing/guarded").header("Authorization", "Basic dXNlcjpwYXNz");

    let environ = environ(&server.send(&request));

    assert_eq!(environ.value("REDIRECT_REMOTE_USER"), "user");
    assert!(!environ.has("REMOTE_USER"));
}

#[test]
fn an_internal_redirect_shows_where_it_came_from() {
    let server = SERVER.borrow();

    let response = server.get("/no-such.wsgi/x?a=b");

    // The status is the one the application gave.
    let environ = environ(&response);
    assert_eq!(environ.value("SCRIPT_NAME"), "/environ.wsgi");
    assert_eq!(environ.value("PATH_INFO"), "/error-document");
    assert_eq!(environ.value("REDIRECT_URL"), "/no-such.wsgi/x");
    assert_eq!(environ.value("REDIRECT_QUERY_STRING"), "a=b");
    assert_eq!(environ.value("REDIRECT_STATUS"), "404");
    assert_eq!(environ.value("QUERY_STRING"), "");
    assert_eq!(environ.value("REQUEST_URI"), "/no-such.wsgi/x?a=b");
}

#[test]
fn qualified_redirect_urls_are_absolute() {
    let server = wsgi_site()
        .script("environ.wsgi", ENVIRON)
        .config("ServerName localhost:8080\nUseCanonicalName On")
        .config("ErrorDocument 404 /environ.wsgi\nQualifyRedirectURL On")
        .start();

    let response = server.get("/no-such.wsgi");

    let url = environ(&response).value("REDIRECT_URL").to_owned();
    assert_eq!(url, "http://localhost:8080/no-such.wsgi");
}

#[test]
fn set_env_reaches_the_application_as_latin_1() {
    let environ = environ_of(&Request::get("/environ.wsgi/set-env"));

    assert_eq!(environ.value("MINE"), "h\u{c3}\u{a4}uslich");
    assert_eq!(environ.value("EMPTY"), "");
    assert_eq!(environ.value("HTTP_X_NOT_SENT"), "configured");
}

#[test]
fn what_the_server_knows_wins_over_set_env() {
    let environ = environ_of(&Request::get("/environ.wsgi/set-env?q"));

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
        ("mod_wsgi.process_group", ""),
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

#[test]
fn the_environ_is_a_dict_of_native_strings() {
    let server = SERVER.borrow();
    let code = "r = (type(environ) is dict, \
         {type(key) for key in environ} == {str}, \
         sorted(k for k, v in environ.items() if type(v) is not str))";

    let answer = calculate(&server, "/calculate.wsgi", code);

    let not_strings = "['apache.version', 'mod_wsgi.application_start', 'mod_wsgi.daemon_start', \
         'mod_wsgi.queue_start', 'mod_wsgi.request_start', 'mod_wsgi.thread_id', \
         'mod_wsgi.version', 'wsgi.errors', 'wsgi.file_wrapper', 'wsgi.input', \
         'wsgi.input_terminated', 'wsgi.multiprocess', 'wsgi.multithread', 'wsgi.run_once', \
         'wsgi.version']";
    assert_eq!(answer, format!("(True, True, {not_strings})"));
}

#[test]
fn values_have_the_types_and_contents_of_the_interface() {
    let server = SERVER.borrow();
    for (code, answer) in [
        ("r = environ['wsgi.version']", "(1, 0)"),
        ("r = environ['wsgi.input_terminated']", "True"),
        ("r = environ['wsgi.run_once']", "False"),
        ("r = environ['wsgi.url_scheme']", "'http'"),
        (
            "import mod_wsgi; r = FileWrapper is mod_wsgi.FileWrapper",
            "True",
        ),
        (
            "r = type(environ['wsgi.errors']) is io.TextIOWrapper",
            "True",
        ),
        ("r = environ['mod_wsgi.version']", "(6, 1, 1)"),
        ("import mod_wsgi; r = mod_wsgi.version", "(6, 1, 1)"),
        (
            "v = environ['apache.version']; r = (type(v), v[:2], len(v))",
            "(<class 'tuple'>, (2, 4), 3)",
        ),
        (
            "import os; r = environ['mod_wsgi.server_pid'] == str(os.getpid())",
            "True",
        ),
        ("r = type(environ['mod_wsgi.thread_id'])", "<class 'int'>"),
        (
            "r = environ['mod_wsgi.thread_id'] >= environ['wsgi.multithread']",
            "True",
        ),
        ("r = environ['mod_wsgi.callable_object']", "'application'"),
        ("r = environ['mod_wsgi.request_handler']", "'wsgi-script'"),
        ("r = environ['mod_wsgi.handler_script']", "''"),
        ("r = environ['mod_wsgi.listener_host']", "'127.0.0.1'"),
        (
            "r = environ['mod_wsgi.listener_port'] == environ['SERVER_PORT']",
            "True",
        ),
        (
            "r = environ['mod_wsgi.queue_start'], environ['mod_wsgi.daemon_start']",
            "(0.0, 0.0)",
        ),
        ("r = 'mod_wsgi.mount_point' in environ", "False"),
        ("r = 'apache.request_rec' in environ", "False"),
        ("import sys; r = sys.argv", "['mod_wsgi']"),
    ] {
        assert_eq!(
            calculate(&server, "/calculate.wsgi", code),
            answer,
            "{code}"
        );
    }
}

#[test]
fn the_times_are_seconds_since_the_epoch_in_their_order() {
    let server = SERVER.borrow();
    let code = "import time; s, a = environ['mod_wsgi.request_start'], \
         environ['mod_wsgi.application_start']; now = time.time(); \
         r = (type(s), type(a), now - 60 < s <= a <= now)";

    let answer = calculate(&server, "/calculate.wsgi", code);

    assert_eq!(answer, "(<class 'float'>, <class 'float'>, True)");
}

#[test]
fn requests_at_the_same_time_run_on_threads_of_different_numbers() {
    let server = wsgi_site().mpm(threaded()).start();
    let url = gated_app(
        &server,
        "threads",
        r#"
def application(environ, start_response):
    appeared('thread-' + environ['QUERY_STRING'])
    wait_for('threads-go')
    start_response('200 OK', [])
    return [str(environ['mod_wsgi.thread_id']).encode()]
"#,
    );
    let mut connections: Vec<_> = (0..4).map(|_| server.connect()).collect();
    for (number, connection) in connections.iter_mut().enumerate() {
        connection.send(&Request::get(&format!("{url}?{number}")).to_bytes());
        reached(&server, &format!("thread-{number}"));
    }
    open_gate(&server, "threads-go");

    let read = |connection: &mut Connection| connection.read_response().text();
    let numbers: BTreeSet<String> = connections.iter_mut().map(read).collect();

    assert_eq!(numbers.len(), 4, "{numbers:?}");
}

#[test]
fn each_request_has_an_id_of_its_own() {
    let ids = [(); 2].map(|()| {
        let environ = environ_of(&Request::get("/environ.wsgi"));
        environ.value("mod_wsgi.request_id").to_owned()
    });

    assert!(!ids[0].is_empty());
    assert_ne!(ids[0], ids[1]);
}

#[test]
fn the_request_id_is_the_one_in_httpds_log() {
    let server = wsgi_site()
        .script("environ.wsgi", ENVIRON)
        .config("LogFormat %L id\nCustomLog ${DATA}/access.log id")
        .start();

    let environ = environ(&server.get("/environ.wsgi"));

    let id = environ.value("mod_wsgi.request_id");
    testkit::wait_until("the access log", || {
        (server.site().read("data/access.log").trim() == id).then_some(())
    });
}

#[test]
fn what_an_application_puts_into_its_environ_is_gone_with_the_request() {
    let server = SERVER.borrow();
    let set = "environ['leaked'] = 1; environ['wsgi.version'] = (9, 9)";
    calculate(&server, "/calculate.wsgi", set);

    for _ in 0..32 {
        let code = "r = environ.get('leaked'), environ['wsgi.version']";
        assert_eq!(
            calculate(&server, "/calculate.wsgi", code),
            "(None, (1, 0))"
        );
    }
}

#[test]
fn an_application_may_do_with_its_environ_what_it_likes() {
    let server = SERVER.borrow();
    let url = app(
        &server,
        "emptied",
        r#"
def application(environ, start_response):
    input, errors = environ['wsgi.input'], environ['wsgi.errors']
    environ.clear()
    environ[None] = environ
    start_response('200 OK', [])
    errors.write('still logged\n')
    yield input.read()
    del input, errors
"#,
    );
    let mark = server.log().mark();

    let response = server.send(&Request::post(&url, "still read"));

    assert_eq!(
        (response.status, response.text().as_str()),
        (200, "still read")
    );
    let line = server.log().wait_for(mark, "still logged");
    assert!(line.contains("/emptied.wsgi] still logged"), "{line}");
}

#[test]
fn file_names_are_decoded_as_python_decodes_them() {
    let server = wsgi_site()
        .script("r\u{e9}pertoire.wsgi", CALCULATOR)
        .env("LC_ALL", "C.UTF-8")
        .start();
    let code = "r = environ['SCRIPT_FILENAME'].rsplit('/')[-1], environ['SCRIPT_NAME']";

    let answer = calculate(&server, "/r%c3%a9pertoire.wsgi", code);

    assert_eq!(answer, r"('r\xe9pertoire.wsgi', '/r\xc3\xa9pertoire.wsgi')");
}

#[rstest]
fn the_concurrency_flags_follow_the_mpm(
    #[values(Mpm::Event, Mpm::Worker, Mpm::Prefork)] mpm: Mpm,
    #[values(true, false)] several_processes: bool,
) {
    let limits = match (mpm, several_processes) {
        (Mpm::Prefork, false) => "MaxRequestWorkers 1\nServerLimit 1",
        (_, false) => "ServerLimit 1\nMaxRequestWorkers 16",
        (_, true) => "",
    };
    let server = Site::new()
        .mpm(mpm)
        .script("calculate.wsgi", CALCULATOR)
        .config("WSGIScriptAlias /calculate ${WSGI}/calculate.wsgi")
        .config("WSGIApplicationGroup %{GLOBAL}")
        .config(limits)
        .start();

    let code = "r = [environ['wsgi.' + k] for k in ('multithread', 'multiprocess', 'run_once')]";
    let answer = calculate(&server, "/calculate", code);

    let python = |flag| if flag { "True" } else { "False" };
    let threads = python(mpm != Mpm::Prefork);
    assert_eq!(
        answer,
        format!("[{threads}, {}, False]", python(several_processes))
    );
}

#[test]
fn the_one_thread_of_a_prefork_child_is_number_zero() {
    let server = wsgi_site()
        .mpm(Mpm::Prefork)
        .script("environ.wsgi", ENVIRON)
        .start();

    assert_eq!(
        environ(&server.get("/environ.wsgi")).value("mod_wsgi.thread_id"),
        "0"
    );
}
