//! The CGI variables of the environ: which there are, and what they say of request and server.

use testkit::{Request, SharedHttpd, Site};

use crate::apps::{ENVIRON, Environ, environ};
use crate::wsgi_site::wsgi_site;

static SERVER: SharedHttpd = SharedHttpd::new(|| {
    wsgi_site()
        .module("auth_basic")
        .module("authn_core")
        .module("authn_file")
        .module("authz_user")
        .script("environ.wsgi", ENVIRON)
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
fn a_query_in_the_name_of_a_script_is_not_passed_where_a_module_says_so() {
    // In daemon mode, mod_wsgi looks for a script of the name that is passed.
    let server = Site::new()
        .module("lua")
        .script("environ.wsgi?x=1", ENVIRON)
        .file(
            "conf/notes.lua",
            "require 'apache2'
             function note(r)
                 r.notes['proxy-noquery'] = r.args
                 return apache2.DECLINED
             end",
        )
        .config(
            "LuaHookFixups ${ROOT}/conf/notes.lua note
             WSGIScriptAliasMatch ^/environ \"${WSGI}/environ.wsgi?x=1\"",
        )
        .start();
    let script = server.site().text_path("wsgi/environ.wsgi");
    for (query, filename) in [("", format!("{script}?x=1")), ("?note", script.clone())] {
        let environ = environ(&server.get(&format!("/environ{query}")));
        assert_eq!(environ.value("SCRIPT_FILENAME"), filename, "{query}");
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
