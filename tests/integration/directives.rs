//! The directives: where they may stand. How they merge is told in `merges.rs`, and what each of
//! them does where that belongs: groups, handler, environ, Python's settings.

use std::collections::BTreeSet;

use testkit::{Mark, Request, Site, ours};

use crate::apps::answering;
use crate::documented::known_directives;

/// Where a directive may stand.
#[derive(Clone, Copy, PartialEq)]
enum Context {
    /// The main server only.
    Global,
    /// The main server and virtual hosts.
    Server,
    /// Those, and directory sections.
    Directory,
    /// Those, and `.htaccess` under `AllowOverride FileInfo`.
    FileInfo,
    /// Directory sections only, and `.htaccess` under `AllowOverride AuthConfig`.
    AuthConfig,
}

const DIRECTIVES: [(&str, Context); 49] = [
    ("WSGIScriptAlias /a ${WSGI}/a.wsgi", Context::Server),
    ("WSGIScriptAliasMatch ^/b ${WSGI}/a.wsgi", Context::Server),
    (
        "WSGIImportScript ${WSGI}/a.wsgi process-group=%{GLOBAL} application-group=a",
        Context::Server,
    ),
    ("WSGIDaemonProcess name", Context::Server),
    ("WSGIProcessGroup %{GLOBAL}", Context::Directory),
    ("WSGIRestrictProcess %{GLOBAL}", Context::Directory),
    ("WSGIApplicationGroup name", Context::Directory),
    ("WSGIDispatchScript ${WSGI}/a.wsgi", Context::Directory),
    ("WSGIPassApacheRequest On", Context::Directory),
    ("WSGIAccessScript ${WSGI}/a.wsgi", Context::AuthConfig),
    ("WSGIAuthUserScript ${WSGI}/a.wsgi", Context::AuthConfig),
    ("WSGIAuthGroupScript ${WSGI}/a.wsgi", Context::AuthConfig),
    ("WSGIGroupAuthoritative Off", Context::AuthConfig),
    ("WSGICallableObject application", Context::FileInfo),
    ("WSGIScriptReloading On", Context::FileInfo),
    ("WSGIPassAuthorization On", Context::FileInfo),
    ("WSGIChunkedRequest On", Context::FileInfo),
    ("WSGIMapHEADToGET Auto", Context::FileInfo),
    ("WSGIErrorOverride On", Context::FileInfo),
    ("WSGIIgnoreActivity On", Context::FileInfo),
    ("WSGIHandlerScript own ${WSGI}/a.wsgi", Context::Directory),
    ("WSGIEnableSendfile On", Context::FileInfo),
    ("WSGITrustedProxies 127.0.0.1", Context::FileInfo),
    ("WSGITrustedProxyHeaders X-Forwarded-For", Context::FileInfo),
    ("WSGISocketPrefix ${ROOT}/logs/wsgi", Context::Global),
    ("WSGISocketRotation Off", Context::Global),
    ("WSGIAcceptMutex default", Context::Global),
    ("WSGISwitchInterval 0.01", Context::Global),
    ("WSGIPerInterpreterGIL Off", Context::Global),
    ("WSGIFreeThreading Off", Context::Global),
    (
        "<WSGIInterpreterOptions application-group=a>\n</WSGIInterpreterOptions>",
        Context::Global,
    ),
    ("WSGICaseSensitivity On", Context::Global),
    ("WSGIPythonPath ${WSGI}", Context::Global),
    ("WSGIPythonOptimize 0", Context::Global),
    ("WSGIPythonWarnings default", Context::Global),
    ("WSGIPythonHashSeed 1", Context::Global),
    ("WSGIDontWriteBytecode On", Context::Global),
    ("WSGIRestrictEmbedded Off", Context::Global),
    ("WSGIRestrictStdin Off", Context::Global),
    ("WSGIRestrictStdout Off", Context::Global),
    ("WSGIRestrictSignal On", Context::Global),
    ("WSGIDestroyInterpreter On", Context::Global),
    ("WSGIPythonHome ${WSGI}", Context::Global),
    ("WSGIPythonEggs ${WSGI}", Context::Global),
    ("WSGIServerMetrics On", Context::Global),
    ("WSGISlowRequests 1", Context::Global),
    ("WSGITelemetryService unix:/t", Context::Global),
    ("WSGITelemetryOptions None", Context::Global),
    ("WSGIVerboseDebugging Off", Context::Global),
];

fn directives_of(contexts: &[Context]) -> impl Iterator<Item = &'static str> {
    let chosen = DIRECTIVES
        .iter()
        .filter(|(_, context)| contexts.contains(context));
    chosen.map(|(line, _)| *line)
}

fn lines_of(contexts: &[Context]) -> String {
    directives_of(contexts).collect::<Vec<_>>().join("\n")
}

/// Wraps `lines` in `<NAME argument>`.
fn within(section: &str, argument: &str, lines: &str) -> String {
    format!("<{section} {argument}>\n{lines}\n</{section}>")
}

fn site() -> Site {
    Site::new().script("a.wsgi", &answering("ran"))
}

#[test]
fn no_directive_is_left_out_here() {
    let name = |line: &str| {
        let name = line.split([' ', '>']).next().unwrap_or_default();
        name.to_owned()
    };
    let here: BTreeSet<String> = DIRECTIVES.iter().map(|(line, _)| name(line)).collect();
    let known: BTreeSet<String> = known_directives().into_keys().collect();
    assert_eq!(here, known);
}

#[test]
fn every_directive_is_accepted_where_it_may_stand() {
    use Context::{AuthConfig, Directory, FileInfo, Global, Server};
    let everywhere = lines_of(&[Global, Server, Directory, FileInfo]);
    let in_host = lines_of(&[Server, Directory, FileInfo]);
    let in_directory = lines_of(&[Directory, FileInfo, AuthConfig]);
    for config in [
        everywhere.clone(),
        within("VirtualHost", "*:*", &in_host),
        within("Directory", "/", &in_directory),
        within("Location", "/", &in_directory),
        within("Files", "*.wsgi", &in_directory),
        within("If", "true", &in_directory),
        within(
            "VirtualHost",
            "*:*",
            &within("Location", "/", &in_directory),
        ),
        within("Location", "/", &within("If", "true", &in_directory)),
        within(
            "Location",
            "/",
            &within("LimitExcept", "GET", &in_directory),
        ),
        within("IfDirective", "WSGIScriptAlias", &everywhere),
        // What is no setting of interpreters counts as if it stood outside.
        within("WSGIInterpreterOptions", "process-group=a", &everywhere),
        format!("{}\nUse M", within("Macro", "M", &everywhere)),
    ] {
        let answer = site().module("macro").config(&config).configtest();
        assert!(answer.success, "{config}\n{}", answer.text);
        assert!(answer.text.contains("Syntax OK"), "{}", answer.text);
    }
}

#[test]
fn every_directive_is_refused_where_it_may_not_stand() {
    use Context::{AuthConfig, Global, Server};
    let in_host = directives_of(&[Global, AuthConfig]);
    let in_host = in_host.map(|line| within("VirtualHost", "*:*", line));
    let in_directory = directives_of(&[Global, Server]).map(|line| within("Location", "/", line));
    for config in in_host.chain(in_directory) {
        let answer = site().config(&config).configtest();
        assert!(!answer.success, "{config}");
        let name = config.split_whitespace().nth(2).expect("a directive");
        let name = name.trim_matches(['<', '>']);
        assert!(answer.text.contains("Syntax error"), "{}", answer.text);
        assert!(answer.text.contains(name), "{}", answer.text);
    }
}

#[test]
fn htaccess_takes_what_file_info_allows() {
    let htaccess = lines_of(&[Context::FileInfo]) + "\nSetHandler wsgi-script\n";
    let server = Site::new()
        .file("www/allowed/a.wsgi", answering("ran"))
        .file("www/allowed/.htaccess", &htaccess)
        .file("www/other-right/a.wsgi", answering("ran"))
        .file("www/other-right/.htaccess", "WSGIPassAuthorization On\n")
        .config(
            "<Directory ${WWW}>
                 AllowOverride FileInfo
                 Options ExecCGI
             </Directory>
             <Directory ${WWW}/other-right>
                 AllowOverride AuthConfig
             </Directory>",
        )
        .start();
    assert_eq!(server.get("/allowed/a.wsgi").text(), "ran");
    server.log().expect_alarm("not allowed here");
    let mark = server.log().mark();
    assert_eq!(server.get("/other-right/a.wsgi").status, 500);
    server
        .log()
        .wait_for(mark, "WSGIPassAuthorization not allowed here");
}

#[test]
fn htaccess_takes_what_auth_config_allows() {
    let server = Site::new()
        .file("www/allowed/page", "a page")
        .file(
            "www/allowed/.htaccess",
            lines_of(&[Context::AuthConfig]) + "\nWSGIAccessScript ${WSGI}/access.py\n",
        )
        .script(
            "access.py",
            "def allow_access(environ, host): return True\n",
        )
        .file("www/other-right/page", "a page")
        .file("www/other-right/.htaccess", "WSGIAccessScript /a\n")
        .config(
            "<Directory ${WWW}>
                 AllowOverride AuthConfig
             </Directory>
             <Directory ${WWW}/other-right>
                 AllowOverride FileInfo
             </Directory>",
        )
        .start();
    assert_eq!(server.get("/allowed/page").text(), "a page");
    server.log().expect_alarm("not allowed here");
    let mark = server.log().mark();
    assert_eq!(server.get("/other-right/page").status, 500);
    server
        .log()
        .wait_for(mark, "WSGIAccessScript not allowed here");
}

#[test]
fn htaccess_takes_nothing_else_whatever_is_allowed() {
    use Context::{Directory, Global, Server};
    let site = Site::new().config("<Directory ${WWW}>\nAllowOverride All\n</Directory>");
    let server = directives_of(&[Global, Server, Directory])
        .enumerate()
        .fold(site, |site, (number, line)| {
            site.file(&format!("www/{number}/.htaccess"), format!("{line}\n"))
                .file(&format!("www/{number}/page"), "a page")
        })
        .start();
    server.log().expect_alarm("not allowed here");
    for (number, line) in directives_of(&[Global, Server, Directory]).enumerate() {
        let mark = server.log().mark();
        assert_eq!(server.get(&format!("/{number}/page")).status, 500, "{line}");
        let name = line.split(' ').next().expect("a name");
        server
            .log()
            .wait_for(mark, &format!("{name} not allowed here"));
    }
}

#[test]
fn a_directive_nobody_knows_is_an_error() {
    for (name, instead) in [
        ("WSGINoSuch", None),
        ("WSGILazyInitialization", Some("take the line away")),
        (
            "WSGINewRelicConfigFile",
            Some("newrelic.agent.initialize()"),
        ),
        (
            "WSGINewRelicEnvironment",
            Some("newrelic.agent.initialize()"),
        ),
        ("WSGIPy3kWarningFlag", Some("Python 2")),
        ("WSGIPythonExecutable", Some("WSGIPythonHome")),
        ("WSGIApacheExtensions", Some("WSGIPassApacheRequest")),
        ("WSGIServerGroup", Some("WSGIApplicationGroup")),
        ("wsgireloadmechanism", Some("WSGIScriptReloading")),
        ("WSGIOutputBuffering", Some("take the line away")),
    ] {
        let lines =
            format!("<VirtualHost *:*>\n<Location />\n{name} On\n</Location>\n</VirtualHost>");
        let answer = Site::new().config(&lines).configtest();
        assert!(!answer.success, "{name}");
        let complaint = format!("Invalid command '{name}'");
        assert!(answer.text.contains(&complaint), "{}", answer.text);
        if let (Some(instead), true) = (instead, ours("D70")) {
            assert!(answer.text.contains("WSGI1402"), "{}", answer.text);
            assert!(answer.text.contains(instead), "{}", answer.text);
        }
    }
}

/// So that a configuration for several versions can ask.
#[test]
fn a_directive_that_is_gone_does_not_exist_for_if_directive() {
    let lines = "<IfDirective WSGILazyInitialization>
                     WSGILazyInitialization On
                 </IfDirective>
                 <IfModule !wsgi_module>
                     WSGIReloadMechanism Process
                 </IfModule>";
    let answer = Site::new().config(lines).configtest();
    assert!(answer.success, "{}", answer.text);
    assert!(!answer.text.contains("WSGI1402"), "{}", answer.text);
}

#[test]
fn script_reloading_off_keeps_the_loaded_script() {
    let server = Site::new()
        .script("kept.wsgi", &answering("old"))
        .script("reloaded.wsgi", &answering("old"))
        .config(
            "WSGIScriptAlias /kept ${WSGI}/kept.wsgi
             WSGIScriptAlias /reloaded ${WSGI}/reloaded.wsgi
             <Location /kept>
                 WSGIScriptReloading Off
             </Location>",
        )
        .start();
    for url in ["/kept", "/reloaded"] {
        assert_eq!(server.get(url).text(), "old");
    }
    server.site().write("wsgi/kept.wsgi", answering("new"));
    server.site().write("wsgi/reloaded.wsgi", answering("new"));
    assert_eq!(server.get("/kept").text(), "old");
    assert_eq!(server.get("/reloaded").text(), "new");
}

#[test]
fn map_head_to_get_decides_the_method_of_head() {
    let source = "
def application(environ, start_response):
    start_response('200 OK', [('X-Method', environ['REQUEST_METHOD'])])
    return [b'a body']
";
    let server = Site::new()
        .module("filter")
        .module("deflate")
        .script("method.wsgi", source)
        .config(
            "WSGIScriptAlias / ${WSGI}/method.wsgi
             <Location /on>
                 WSGIMapHEADToGET On
             </Location>
             <Location /off>
                 WSGIMapHEADToGET Off
             </Location>
             <Location /auto>
                 WSGIMapHEADToGET Auto
             </Location>
             <LocationMatch filtered>
                 SetOutputFilter DEFLATE
             </LocationMatch>",
        )
        .start();
    for (url, method) in [
        ("/on", "GET"),
        ("/on/filtered", "GET"),
        ("/off", "HEAD"),
        ("/off/filtered", "HEAD"),
        ("/auto", "HEAD"),
        ("/auto/filtered", "GET"),
        ("/default", "HEAD"),
        ("/default/filtered", "GET"),
    ] {
        let response = server.send(&Request::new("HEAD", url));
        assert_eq!(response.header("X-Method"), Some(method), "{url}");
        assert_eq!(response.text(), "", "{url}");
    }
}

#[test]
fn restrict_embedded_refuses_to_run_anything() {
    let server = site()
        .config(
            "WSGIRestrictEmbedded On
             WSGIScriptAlias / ${WSGI}/a.wsgi",
        )
        .file("www/page", "a page")
        .start();
    let mark = server.log().mark();
    assert_eq!(server.get("/").status, 500);
    server.log().wait_for(mark, "WSGI0143");
    for line in server.log().since(Mark::START) {
        assert!(!line.contains("Initializing Python"), "{line}");
    }
}

/// One that is taken back by another asks for nothing.
#[test]
fn python_is_not_in_httpd_because_of_what_does_not_count() {
    if !ours("D185") {
        return;
    }
    let server = site()
        .config(
            "WSGIRestrictEmbedded Off
             WSGIRestrictEmbedded On
             WSGIScriptAlias / ${WSGI}/a.wsgi process-group=%{GLOBAL} application-group=%{GLOBAL}",
        )
        .start();
    assert_eq!(server.get("/").status, 500);
    let lines = server.log().matching(Mark::START, "Initializing Python");
    assert!(lines.is_empty(), "{lines:?}");
}

/// The last one counts. What httpd needs Python for itself is no application.
#[test]
fn python_is_in_httpd_where_something_needs_it() {
    let hook = "<Location /page>\nWSGIAccessScript ${WSGI}/access.py\n</Location>";
    let import =
        "WSGIImportScript ${WSGI}/access.py process-group=%{GLOBAL} application-group=%{GLOBAL}";
    for (config, python, status) in [
        ("WSGIRestrictEmbedded Off".to_owned(), true, 200),
        ("WSGIRestrictEmbedded On".to_owned(), false, 500),
        (
            "WSGIRestrictEmbedded On\nWSGIRestrictEmbedded Off".to_owned(),
            true,
            200,
        ),
        (format!("WSGIRestrictEmbedded On\n{hook}"), true, 500),
        (format!("{hook}\nWSGIRestrictEmbedded On"), true, 500),
        (format!("WSGIRestrictEmbedded On\n{import}"), true, 500),
        (format!("{import}\nWSGIRestrictEmbedded On"), true, 500),
    ] {
        let server = site()
            .script(
                "access.py",
                "def allow_access(environ, host): return True\n",
            )
            .file("www/page", "a page")
            .config("WSGIScriptAlias /a ${WSGI}/a.wsgi process-group=%{GLOBAL}")
            .config(&config)
            .start();
        assert_eq!(server.get("/page").text(), "a page", "{config}");
        assert_eq!(server.get("/a").status, status, "{config}");
        if python {
            server.log().wait_for(Mark::START, "Initializing Python");
        } else {
            let lines = server.log().matching(Mark::START, "Initializing Python");
            assert!(lines.is_empty(), "{config}: {lines:?}");
        }
    }
}
