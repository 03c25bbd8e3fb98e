//! The variables of a request as the rest of httpd sees them: in the format of an access log, for
//! `Header`, for what follows an internal redirect.

use rstest::rstest;
use testkit::{Curl, Httpd, Mpm, Request, Site, ours};

use crate::apps::{ENVIRON, environ};
use crate::wsgi_site::Mode;

/// A directive that logs what each of these variables is, one request a line: `NAME=value|…`.
fn logging(names: &[&str]) -> String {
    let format: Vec<String> = names
        .iter()
        .map(|name| format!("{name}=%{{{name}}}e"))
        .collect();
    format!(
        "LogFormat \"%{{PATH_INFO}}e {}\" variables\nCustomLog ${{DATA}}/access.log variables\n",
        format.join("|")
    )
}

/// What the log has of each variable for the request with this `PATH_INFO`.
fn logged(server: &Httpd, path_info: &str) -> Vec<String> {
    let log = server.site().path("data/access.log");
    let prefix = format!("{path_info} ");
    testkit::wait_until(path_info, || {
        let text = std::fs::read_to_string(&log).ok()?;
        let (complete, _) = text.rsplit_once('\n')?;
        let line = complete
            .lines()
            .find_map(|line| line.strip_prefix(&prefix))?;
        Some(line.split('|').map(str::to_owned).collect())
    })
}

/// A site whose application answers with its environ at `/environ.wsgi`, and which logs `names`.
fn site(mode: Mode, names: &[&str]) -> Site {
    mode.site()
        .mpm(Mpm::Event)
        .module("env")
        .module("setenvif")
        .module("headers")
        .script("environ.wsgi", ENVIRON)
        .config("ServerName localhost\nUseCanonicalName On\nWSGIApplicationGroup %{GLOBAL}")
        .config(&logging(names))
}

/// What the configuration can set, and the gateway does not where others would see it.
const LEFT_ALONE: [&str; 10] = [
    "PATH",
    "LD_LIBRARY_PATH",
    "SERVER_SIGNATURE",
    "GATEWAY_INTERFACE",
    "PATH_TRANSLATED",
    "REMOTE_HOST",
    "HTTP_PROXY",
    "HTTP_AUTHORIZATION",
    "mod_wsgi.mount_point",
    "mod_wsgi.thread_id",
];

const OWN: [&str; 12] = [
    "mod_wsgi.process_group",
    "mod_wsgi.application_group",
    "mod_wsgi.callable_object",
    "mod_wsgi.request_handler",
    "mod_wsgi.handler_script",
    "mod_wsgi.script_name",
    "mod_wsgi.path_info",
    "mod_wsgi.listener_host",
    "mod_wsgi.listener_port",
    "mod_wsgi.request_id",
    "mod_wsgi.server_pid",
    "mod_wsgi.mount_point",
];

#[rstest]
fn an_access_log_may_name_what_the_application_finds_in_its_environ(
    #[values(Mode::Embedded, Mode::Daemon)] mode: Mode,
) {
    let server = site(mode, &OWN)
        .config("WSGITrustedProxyHeaders X-Script-Name")
        .start();
    let request = Request::get("/environ.wsgi/a//b").header("X-Script-Name", "/front");
    let seen = environ(&server.send(&request));

    let expected = OWN.map(|name| format!("{name}={}", seen.value(name)));
    assert_eq!(logged(&server, "/a/b"), expected);
    let group = if mode == Mode::Daemon { "wsgi" } else { "" };
    assert_eq!(expected[0], format!("mod_wsgi.process_group={group}"));
    assert_eq!(expected[11], "mod_wsgi.mount_point=/front");
}

#[rstest]
fn so_may_it_name_cgi_variables(#[values(Mode::Embedded, Mode::Daemon)] mode: Mode) {
    const NAMES: [&str; 14] = [
        "REQUEST_METHOD",
        "SCRIPT_NAME",
        "QUERY_STRING",
        "REQUEST_URI",
        "SERVER_PROTOCOL",
        "SERVER_NAME",
        "SERVER_PORT",
        "SERVER_ADDR",
        "SERVER_SOFTWARE",
        "REMOTE_ADDR",
        "REMOTE_PORT",
        "DOCUMENT_ROOT",
        "SCRIPT_FILENAME",
        "HTTP_HOST",
    ];
    let server = site(mode, &NAMES).start();
    let seen = environ(&server.get("/environ.wsgi/cgi?a=b"));

    let expected = NAMES.map(|name| format!("{name}={}", seen.value(name)));
    assert_eq!(logged(&server, "/cgi"), expected);
}

/// Of what the gateway adds that is no string, and of what describes the server, nothing.
#[rstest]
fn the_rest_is_not_there(#[values(Mode::Embedded, Mode::Daemon)] mode: Mode) {
    let more = [
        "HTTPS",
        "mod_wsgi.version",
        "mod_wsgi.request_start",
        "mod_wsgi.application_start",
        "wsgi.version",
        "wsgi.url_scheme",
    ];
    let names = [&LEFT_ALONE[..], &more].concat();
    let server = site(mode, &names)
        .env("LD_LIBRARY_PATH", "/nonexistent")
        .config("ServerSignature On\nHostnameLookups On")
        .start();
    let request = Request::get("/environ.wsgi/rest");
    let request = request.header("Proxy", "x").header("Authorization", "x");
    server.send(&request);

    let expected: Vec<_> = names.iter().map(|name| format!("{name}=-")).collect();
    assert_eq!(logged(&server, "/rest"), expected);
}

#[rstest]
fn what_only_the_configuration_says_stays(#[values(Mode::Embedded, Mode::Daemon)] mode: Mode) {
    let names = [&LEFT_ALONE[..], &["REMOTE_IDENT", "mod_wsgi.x-mine"]].concat();
    let set: Vec<_> = names
        .iter()
        .map(|name| format!("SetEnv {name} configured"))
        .collect();
    let server = site(mode, &names).config(&set.join("\n")).start();
    let seen = environ(&server.get("/environ.wsgi/set"));

    let expected: Vec<_> = names
        .iter()
        .map(|name| format!("{name}=configured"))
        .collect();
    assert_eq!(logged(&server, "/set"), expected);
    for name in names {
        let expected = match name {
            "PATH" | "mod_wsgi.x-mine" => "<absent>",
            "mod_wsgi.thread_id" => continue,
            _ => "configured",
        };
        assert_eq!(seen.value(name), expected, "{name}");
    }
}

#[rstest]
fn a_response_header_may_name_them(#[values(Mode::Embedded, Mode::Daemon)] mode: Mode) {
    let server = site(mode, &[])
        .config(
            "Header set X-Groups \"<%{mod_wsgi.process_group}e|%{mod_wsgi.application_group}e>\"
             Header set X-Id \"%{mod_wsgi.request_id}e\"
             Header set X-Daemon yes \"expr=-n reqenv('mod_wsgi.process_group')\"
             SetEnv mod_wsgi.process_group configured",
        )
        .start();
    let response = server.get("/environ.wsgi/header");

    let (group, is_daemon) = match mode {
        Mode::Embedded => ("", None),
        Mode::Daemon => ("wsgi", Some("yes")),
    };
    assert_eq!(
        response.header("X-Groups"),
        Some(format!("<{group}|>").as_str())
    );
    assert_eq!(response.header("X-Daemon"), is_daemon);
    let id = environ(&response).value("mod_wsgi.request_id").to_owned();
    assert_eq!(response.header("X-Id"), Some(id.as_str()));
}

#[rstest]
fn a_log_may_be_one_of_applications(#[values(Mode::Embedded, Mode::Daemon)] mode: Mode) {
    let server = site(mode, &["mod_wsgi.process_group"])
        .file("www/page.html", "a page")
        .config(
            "Alias /page.html ${WWW}/page.html
             CustomLog ${DATA}/applications.log %U env=mod_wsgi.process_group
             CustomLog ${DATA}/others.log %U env=!mod_wsgi.process_group",
        )
        .module("alias")
        .start();
    server.get("/page.html");
    server.get("/environ.wsgi/application");
    logged(&server, "/application");

    let lines = |name: &str| server.site().read(&format!("data/{name}.log"));
    testkit::wait_until("both lines", || {
        (!lines("others").is_empty() && !lines("applications").is_empty()).then_some(())
    });
    assert_eq!(lines("applications"), "/environ.wsgi/application\n");
    assert_eq!(lines("others"), "/page.html\n");
}

/// `HTTPS` is what the application's scheme is made of.
#[rstest]
fn the_scheme_that_was_found_out_is_in_https(#[values(Mode::Embedded, Mode::Daemon)] mode: Mode) {
    let server = site(mode, &["HTTPS"])
        .config(
            "SetEnvIf X-Set (.+) HTTPS=$1
             <Location /environ.wsgi/proxied>
                WSGITrustedProxyHeaders X-Forwarded-Proto
             </Location>",
        )
        .start();
    for (path, header, value, https, scheme) in [
        ("/none", "X-None", "", "-", "http"),
        ("/off", "X-Set", "off", "off", "http"),
        ("/on", "X-Set", "On", "On", "https"),
        ("/proxied/https", "X-Forwarded-Proto", "https", "1", "https"),
        ("/proxied/http", "X-Forwarded-Proto", "http", "-", "http"),
        ("/proxied/other", "X-Forwarded-Proto", "gopher", "-", "http"),
    ] {
        let request = Request::get(&format!("/environ.wsgi{path}")).header(header, value);
        let seen = environ(&server.send(&request));
        assert_eq!(seen.value("wsgi.url_scheme"), scheme, "{path}");
        assert_eq!(logged(&server, path), [format!("HTTPS={https}")], "{path}");
    }
    let both = Request::get("/environ.wsgi/proxied/both").header("X-Set", "1");
    server.send(&both.header("X-Forwarded-Proto", "http"));
    assert_eq!(logged(&server, "/proxied/both"), ["HTTPS=-"]);
}

#[rstest]
fn mod_ssl_is_believed_about_https(#[values(Mode::Embedded, Mode::Daemon)] mode: Mode) {
    let server = site(mode, &["HTTPS", "mod_wsgi.connection_id"])
        .tls_host()
        .config(
            "<Location /environ.wsgi/std>
                SSLOptions +StdEnvVars
            </Location>",
        )
        .start();
    for path in ["/plain", "/std"] {
        let answer = Curl::https(&server, &format!("/environ.wsgi{path}")).send();
        assert_eq!(answer.status, 200, "{answer:?}");
        let seen: serde_json::Value = serde_json::from_str(&answer.body).expect("JSON");
        assert_eq!(seen["wsgi.url_scheme"], "https");
        let id = seen["mod_wsgi.connection_id"].as_str().unwrap_or("-");
        let expected = ["HTTPS=1".to_owned(), format!("mod_wsgi.connection_id={id}")];
        assert_eq!(logged(&server, path), expected, "{path}");
    }
}

#[test]
fn they_say_where_a_dispatch_script_sent_the_request() {
    let dispatch = "
def process_group(environ):
    return environ['QUERY_STRING']

def application_group(environ):
    return 'dispatched'

def callable_object(environ):
    return 'other'
";
    let server = site(Mode::Daemon, &OWN[..3])
        .script("dispatch.py", dispatch)
        .script("environ.wsgi", &format!("{ENVIRON}\nother = application\n"))
        .config("WSGIDispatchScript ${WSGI}/dispatch.py")
        .start();
    for (path, group) in [("/a", "wsgi"), ("/b", "")] {
        let target = format!("/environ.wsgi{path}?{group}");
        assert_eq!(server.get(&target).status, 200);
        let expected = [
            format!("mod_wsgi.process_group={group}"),
            "mod_wsgi.application_group=dispatched".to_owned(),
            "mod_wsgi.callable_object=other".to_owned(),
        ];
        assert_eq!(logged(&server, path), expected, "{path}");
    }
}

/// The options of an alias are notes of the request.
#[test]
fn a_log_may_name_the_options_of_an_alias() {
    const OPTIONS: [&str; 5] = [
        "mod_wsgi.process_group",
        "mod_wsgi.application_group",
        "mod_wsgi.callable_object",
        "mod_wsgi.pass_authorization",
        "alias-forced-type",
    ];
    let notes = OPTIONS.map(|name| format!("%{{{name}}}n")).join(",");
    let server = Site::new()
        .script("environ.wsgi", ENVIRON)
        .config(&format!(
            "LogFormat \"%U {notes}\" notes
             CustomLog ${{DATA}}/access.log notes
             WSGIScriptAlias /all ${{WSGI}}/environ.wsgi process-group=%{{GLOBAL}} \
                application-group=%{{SERVER}} callable-object=application pass-authorization=Off
             WSGIScriptAlias /none ${{WSGI}}/environ.wsgi"
        ))
        .start();
    for (url, expected) in [
        ("/all", ",%{SERVER},application,0,wsgi-script"),
        ("/none", "-,-,-,-,wsgi-script"),
    ] {
        assert_eq!(server.get(url).status, 200);
        assert_eq!(logged(&server, url), [expected], "{url}");
    }
}

#[test]
fn they_name_the_script_of_a_handler() {
    let server = site(Mode::Embedded, &OWN[2..5])
        .module("mime")
        .script(
            "handler.py",
            &ENVIRON.replace("application(", "handle_request("),
        )
        .file("www/page.own", "a page")
        .config(
            "TypesConfig /dev/null
             WSGIHandlerScript own ${WSGI}/handler.py
             AddHandler own .own
             AcceptPathInfo On
             Alias /page.own ${WWW}/page.own",
        )
        .module("alias")
        .start();
    assert_eq!(server.get("/page.own/handler").status, 200);

    let script = server.site().text_path("wsgi/handler.py");
    let expected = [
        "mod_wsgi.callable_object=handle_request".to_owned(),
        "mod_wsgi.request_handler=own".to_owned(),
        format!("mod_wsgi.handler_script={script}"),
    ];
    assert_eq!(logged(&server, "/handler"), expected);
}

/// httpd hands the variables of the request that failed on to that for its error document.
#[test]
fn an_error_document_is_told_which_application_failed() {
    let fails = "
def application(environ, start_response):
    start_response('404 Not Found', [])
    return []
";
    let server = site(Mode::Daemon, &[])
        .script("fails.wsgi", fails)
        .config(
            "WSGIErrorOverride On
             ErrorDocument 404 /environ.wsgi/document
             <Location /environ.wsgi>
                WSGIProcessGroup %{GLOBAL}
             </Location>",
        )
        .start();
    let seen = environ(&server.get("/fails.wsgi/missing"));

    for (name, value) in [
        ("REDIRECT_STATUS", "404"),
        ("REDIRECT_URL", "/fails.wsgi/missing"),
        ("REDIRECT_PATH_INFO", "/missing"),
        ("REDIRECT_SCRIPT_NAME", "/fails.wsgi"),
        ("REDIRECT_mod_wsgi.process_group", "wsgi"),
        ("REDIRECT_mod_wsgi.application_group", ""),
        ("REDIRECT_mod_wsgi.callable_object", "application"),
        ("mod_wsgi.process_group", ""),
        ("mod_wsgi.path_info", "/document"),
    ] {
        assert_eq!(seen.value(name), value, "{name}");
    }
    for name in ["REDIRECT_PATH", "REDIRECT_SERVER_SIGNATURE"] {
        assert!(!seen.has(name), "{name}");
    }
    if ours("D97") {
        let transport: Vec<_> = seen
            .keys()
            .filter(|name| name.contains("mod_wsgi.x-"))
            .collect();
        assert!(transport.is_empty(), "{transport:?}");
    }
}

/// What a request that never got to an application tells is what the configuration says.
#[test]
fn a_request_that_is_refused_before_has_none() {
    let server = site(Mode::Embedded, &OWN[..2])
        .config("SetEnv mod_wsgi.process_group configured")
        .config("LogFormat \"%U %{mod_wsgi.process_group}e\" own\nCustomLog ${DATA}/own.log own")
        .start();
    assert_eq!(server.get("/missing.wsgi").status, 404);
    testkit::wait_until("the line", || {
        (server.site().read("data/own.log") == "/missing.wsgi configured\n").then_some(())
    });
}

/// What could pass for another header is out of the request, not only out of the environ.
#[rstest]
fn a_header_that_was_dropped_is_not_there_for_logs_either(
    #[values(Mode::Embedded, Mode::Daemon)] mode: Mode,
) {
    let server = site(mode, &[])
        .config("LogFormat \"%U %{X-One}i %{X_One}i %{X.One}i\" dropped")
        .config("CustomLog ${DATA}/dropped.log dropped")
        .start();
    let request = Request::get("/environ.wsgi")
        .header("X-One", "a")
        .header("X_One", "b")
        .header("X.One", "c");
    let seen = environ(&server.send(&request));
    assert_eq!(seen.value("HTTP_X_ONE"), "a");
    testkit::wait_until("the line", || {
        (server.site().read("data/dropped.log") == "/environ.wsgi a - -\n").then_some(())
    });
}
