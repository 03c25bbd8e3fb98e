//! Which process group and application group serve a request: the options of an alias, the
//! directive, and how their values are expanded.

use testkit::{Httpd, Request, SharedHttpd, Site, ours};

use crate::apps::{ENVIRON, Environ, WHERE, environ};

/// `/NAME` is the environ under the directive of that name.
static DIRECTIVES: SharedHttpd = SharedHttpd::new(|| {
    let site = Site::new()
        .module("env")
        .module("setenvif")
        .module("rewrite")
        .env("FROM_PROCESS", "process")
        .env("FROM_BOTH", "process")
        .script("environ.wsgi", ENVIRON)
        .config(
            "
            WSGIScriptAlias /per ${WSGI}/environ.wsgi
            RewriteEngine On
            RewriteRule ^/application/rewritten - [E=FROM_REWRITE:rewritten]
            SetEnvIf Request_URI ^/ FROM_SETENVIF=matched
            SetEnv FROM_SETENV set
            SetEnv FROM_BOTH set
            SetEnv TO_GLOBAL %{GLOBAL}
            SetEnv TO_HOST %{HOST}
            SetEnv TO_SERVER %{SERVER}
            SetEnv TO_RESOURCE %{RESOURCE}
            SetEnv TO_ENV %{ENV:FROM_SETENV}
            SetEnv TO_EMPTY \"\"
            ",
        );
    FORMS
        .iter()
        .fold(site, |site, (name, form)| {
            site.config(&format!(
                "WSGIScriptAlias /application/{name} ${{WSGI}}/environ.wsgi\n\
                 <Location /application/{name}>\nWSGIApplicationGroup {form}\n</Location>\n\
                 WSGIScriptAlias /option/{name} ${{WSGI}}/environ.wsgi application-group={form}\n\
                 WSGIScriptAlias /process/{name} ${{WSGI}}/environ.wsgi process-group={form}\n"
            ))
        })
        .config("WSGIScriptAlias / ${WSGI}/environ.wsgi")
});

const FORMS: [(&str, &str); 19] = [
    ("global", "%{GLOBAL}"),
    ("resource", "%{RESOURCE}"),
    ("server", "%{SERVER}"),
    ("host", "%{HOST}"),
    ("setenv", "%{ENV:FROM_SETENV}"),
    ("setenvif", "%{ENV:FROM_SETENVIF}"),
    ("rewritten", "%{ENV:FROM_REWRITE}"),
    ("process", "%{ENV:FROM_PROCESS}"),
    ("both", "%{ENV:FROM_BOTH}"),
    ("note", "%{ENV:alias-forced-type}"),
    ("nowhere", "%{ENV:NOWHERE}"),
    ("to-global", "%{ENV:TO_GLOBAL}"),
    ("to-host", "%{ENV:TO_HOST}"),
    ("to-server", "%{ENV:TO_SERVER}"),
    ("to-resource", "%{ENV:TO_RESOURCE}"),
    ("to-env", "%{ENV:TO_ENV}"),
    ("to-empty", "%{ENV:TO_EMPTY}"),
    ("unknown", "%{Host}"),
    ("text", "some-name"),
];

/// What each form expands to for a request to `/KIND/FORM` of `other.test:8080`; `KIND` stands
/// for the first segment.
const EXPANSIONS: [(&str, &str); 19] = [
    ("global", ""),
    ("resource", "localhost:8080|/KIND/resource"),
    ("server", "localhost:8080"),
    ("host", "other.test:8080"),
    ("setenv", "set"),
    ("setenvif", "matched"),
    ("rewritten", "rewritten"),
    ("process", "process"),
    ("both", "set"),
    ("note", "wsgi-script"),
    ("nowhere", "%{ENV:NOWHERE}"),
    ("to-global", ""),
    ("to-host", "other.test:8080"),
    ("to-server", "localhost:8080"),
    ("to-resource", "localhost:8080|/KIND/to-resource"),
    ("to-env", "%{ENV:FROM_SETENV}"),
    ("to-empty", ""),
    ("unknown", "%{Host}"),
    ("text", "some-name"),
];

fn ask(server: &Httpd, url: &str, host: &str) -> Environ {
    environ(&server.send(&Request::get(url).header("Host", host)))
}

fn group(server: &Httpd, url: &str, host: &str) -> String {
    ask(server, url, host)
        .value("mod_wsgi.application_group")
        .to_owned()
}

#[test]
fn the_directive_expands_every_form() {
    let server = DIRECTIVES.borrow();
    for (name, expected) in EXPANSIONS {
        let found = group(
            &server,
            &format!("/application/{name}/p"),
            "other.test:8080",
        );
        assert_eq!(found, expected.replace("KIND", "application"), "{name}");
    }
}

#[test]
fn the_option_expands_every_form() {
    let server = DIRECTIVES.borrow();
    // That variable is set for the URL of the directive only.
    for (name, expected) in EXPANSIONS.iter().filter(|(name, _)| *name != "rewritten") {
        let found = group(&server, &format!("/option/{name}/p"), "other.test:8080");
        assert_eq!(found, expected.replace("KIND", "option"), "{name}");
    }
}

#[test]
fn a_process_group_that_expands_to_nothing_is_the_embedded_one() {
    let server = DIRECTIVES.borrow();
    for name in ["global", "to-global", "to-empty"] {
        let seen = ask(&server, &format!("/process/{name}"), "localhost");
        assert_eq!(seen.value("mod_wsgi.process_group"), "", "{name}");
    }
}

#[test]
fn an_application_that_changes_the_environment_changes_no_group() {
    // In mod_wsgi the next request finds what the last one has left.
    if !ours("D225") {
        return;
    }
    let server = Site::new()
        .env("FROM_PROCESS", "process")
        .script(
            "where.wsgi",
            &format!("import os\nos.environ['FROM_PROCESS'] = 'changed'\n{WHERE}"),
        )
        .config("WSGIScriptAlias / ${WSGI}/where.wsgi application-group=%{ENV:FROM_PROCESS}")
        .start();
    for _ in 0..2 {
        let seen = environ(&server.get("/"));
        assert_eq!(seen.value("application_group"), "process");
    }
}

#[test]
fn a_process_group_that_does_not_exist_is_an_error() {
    let server = DIRECTIVES.borrow();
    for (name, group) in [
        ("text", "some-name"),
        ("host", "other.test:8080"),
        ("server", "localhost:8080"),
        ("resource", "localhost:8080|/process/resource"),
        ("setenv", "set"),
        ("nowhere", "%{ENV:NOWHERE}"),
    ] {
        let mark = server.log().mark();
        let request = Request::get(&format!("/process/{name}")).header("Host", "other.test:8080");
        assert_eq!(server.send(&request).status, 500, "{name}");
        let line = server.log().wait_for(mark, "WSGI0150");
        assert!(line.contains(group), "{line}");
    }
}

#[test]
fn without_a_directive_each_script_has_its_own_group() {
    let server = DIRECTIVES.borrow();
    assert_eq!(group(&server, "/per", "localhost"), "localhost|/per");
    assert_eq!(group(&server, "/per/path", "localhost"), "localhost|/per");
    assert_eq!(group(&server, "/", "localhost"), "localhost|");
    assert_eq!(
        ask(&server, "/per", "localhost").value("mod_wsgi.process_group"),
        ""
    );
}

#[test]
fn the_well_known_ports_are_left_out() {
    let server = DIRECTIVES.borrow();
    for (host, name) in [
        ("localhost", "localhost"),
        ("localhost:80", "localhost"),
        ("localhost:443", "localhost"),
        ("localhost:8443", "localhost:8443"),
    ] {
        let found = group(&server, "/application/server", host);
        assert_eq!(found, name, "{host}");
        let found = group(&server, "/application/resource", host);
        assert_eq!(found, format!("{name}|/application/resource"), "{host}");
        let found = group(&server, "/application/host", host);
        assert_eq!(found, name, "{host}");
    }
}

#[test]
fn a_request_without_host_takes_the_name_of_the_server() {
    let server = DIRECTIVES.borrow();
    let mut connection = server.connect();
    connection.send(b"GET /application/host HTTP/1.0\r\n\r\n");
    let seen = environ(&connection.read_response());
    assert_eq!(seen.value("mod_wsgi.application_group"), "localhost");
}

#[test]
fn without_case_the_resource_is_in_lower_case() {
    let server = Site::new()
        .script("Mixed.wsgi", ENVIRON)
        .config(
            "WSGICaseSensitivity Off
             WSGIScriptAlias /Scripts/ ${WSGI}/",
        )
        .start();
    let found = group(&server, "/Scripts/Mixed.wsgi/Path", "localhost");
    assert_eq!(found, "localhost|/scripts/mixed.wsgi");
}

#[test]
fn the_nearest_directive_wins_and_the_option_over_it() {
    let server = Site::new()
        .script("environ.wsgi", ENVIRON)
        .config(
            "WSGIApplicationGroup base
             WSGIScriptAlias /option ${WSGI}/environ.wsgi application-group=option
             WSGIScriptAlias / ${WSGI}/environ.wsgi
             <Location /location>
                 WSGIApplicationGroup location
             </Location>
             <Location /option>
                 WSGIApplicationGroup location
             </Location>
             <VirtualHost *:*>
                 ServerName one.test
                 WSGIApplicationGroup one
             </VirtualHost>
             <VirtualHost *:*>
                 ServerName two.test
                 <Location /own>
                     WSGIApplicationGroup own
                 </Location>
             </VirtualHost>",
        )
        .start();
    for (host, url, expected) in [
        ("one.test", "/", "one"),
        ("one.test", "/location", "location"),
        ("one.test", "/option", "option"),
        ("two.test", "/", "base"),
        ("two.test", "/own", "own"),
        ("two.test", "/location", "location"),
    ] {
        assert_eq!(group(&server, url, host), expected, "{host}{url}");
    }
}

#[test]
fn one_name_is_one_interpreter_in_every_virtual_host() {
    let server = Site::new()
        .script("where.wsgi", WHERE)
        .config(
            "WSGIScriptAlias /named ${WSGI}/where.wsgi application-group=named
             WSGIScriptAlias /own ${WSGI}/where.wsgi
             <VirtualHost *:*>
                 ServerName one.test
             </VirtualHost>
             <VirtualHost *:*>
                 ServerName two.test
             </VirtualHost>",
        )
        .start();
    let interpreter =
        |url: &str, host: &str| ask(&server, url, host).value("interpreter").to_owned();
    assert_eq!(
        interpreter("/named", "one.test"),
        interpreter("/named", "two.test")
    );
    assert_ne!(
        interpreter("/own", "one.test"),
        interpreter("/own", "two.test")
    );
    assert_eq!(
        interpreter("/own", "one.test"),
        interpreter("/own", "one.test")
    );
}

#[test]
fn the_option_decides_whether_authorization_is_passed() {
    let server = Site::new()
        .script("environ.wsgi", ENVIRON)
        .config(
            "WSGIScriptAlias /on ${WSGI}/environ.wsgi pass-authorization=On
             WSGIScriptAlias /lower ${WSGI}/environ.wsgi pass-authorization=on
             WSGIScriptAlias /off ${WSGI}/environ.wsgi pass-authorization=Off
             WSGIScriptAlias /directive ${WSGI}/environ.wsgi
             WSGIScriptAlias /neither ${WSGI}/environ.wsgi
             <Location /off>
                 WSGIPassAuthorization On
             </Location>
             <Location /on>
                 WSGIPassAuthorization Off
             </Location>
             <Location /directive>
                 WSGIPassAuthorization On
             </Location>",
        )
        .start();
    for (url, passed) in [
        ("/on", true),
        ("/lower", true),
        ("/off", false),
        ("/directive", true),
        ("/neither", false),
    ] {
        let request = Request::get(url)
            .header("Authorization", "Basic dTpw")
            .header("Proxy-Authorization", "Basic cHJveHk=");
        let seen = environ(&server.send(&request));
        let expected = if passed { "Basic dTpw" } else { "<absent>" };
        assert_eq!(seen.value("HTTP_AUTHORIZATION"), expected, "{url}");
        assert!(!seen.has("HTTP_PROXY_AUTHORIZATION"), "{url}");
    }
}

#[test]
fn all_options_may_be_given_in_any_order() {
    let server = Site::new()
        .script("where.wsgi", &format!("{WHERE}\nchosen = application\ndel application\n"))
        .config(
            r#"WSGIScriptAlias /all ${WSGI}/where.wsgi callable-object=chosen process-group=%{GLOBAL} pass-authorization=On application-group="two words""#,
        )
        .start();
    let seen = environ(&server.get("/all"));
    assert_eq!(seen.value("application_group"), "two words");
    assert_eq!(seen.value("process_group"), "");
}

#[test]
fn the_options_of_an_expression_work_like_those_of_a_path() {
    let server = Site::new()
        .script("where.wsgi", WHERE)
        .config(
            "WSGIScriptAliasMatch ^/(where) ${WSGI}/$1.wsgi process-group=%{GLOBAL} \
             application-group=%{ENV:NOWHERE}",
        )
        .start();
    let seen = environ(&server.get("/where"));
    assert_eq!(seen.value("application_group"), "%{ENV:NOWHERE}");
}

#[test]
fn an_included_url_has_the_group_of_its_application() {
    let server = Site::new()
        .module("include")
        .script("environ.wsgi", ENVIRON)
        .file(
            "www/page.shtml",
            r#"<!--#include virtual="/app/with/more" -->"#,
        )
        .config(
            "
            WSGIScriptAlias /app ${WSGI}/environ.wsgi
            <Location /page.shtml>
                Options +Includes
                SetOutputFilter INCLUDES
            </Location>
            ",
        )
        .start();
    let found = group(&server, "/page.shtml", "localhost");
    // Not one for every URL below the application: each would be an interpreter more.
    assert_eq!(found, "localhost|/app");
}
