//! How httpd and its administrators see the module.

use std::path::Path;
use std::process::Command;

use testkit::{Mark, Mpm, Request, Site, module_under_test, ours, wait_until};

use crate::apps::answering;

const BANNER: &str = "mod_wsgi/6.1.1 Python/3.";

#[test]
fn httpd_lists_the_module() {
    let answer = Site::new().run(&["-M"]);
    assert!(
        answer.text.contains("wsgi_module (shared)"),
        "{}",
        answer.text
    );
}

#[test]
fn the_configuration_can_ask_for_the_module() {
    let server = Site::new()
        .script("a.wsgi", &answering("ran"))
        .config(
            "<IfModule mod_wsgi.c>
                 WSGIScriptAlias /by-file ${WSGI}/a.wsgi
             </IfModule>
             <IfModule wsgi_module>
                 WSGIScriptAlias /by-name ${WSGI}/a.wsgi
             </IfModule>
             <IfModule !mod_wsgi.c>
                 NoSuchDirective
             </IfModule>
             <IfDirective WSGIScriptAlias>
                 WSGIScriptAlias /by-directive ${WSGI}/a.wsgi
             </IfDirective>",
        )
        .start();
    for url in ["/by-file", "/by-name", "/by-directive"] {
        assert_eq!(server.get(url).text(), "ran", "{url}");
    }
}

#[test]
fn the_log_level_of_the_module_can_be_set() {
    for name in ["wsgi", "wsgi_module", "mod_wsgi.c"] {
        let answer = Site::new()
            .config(&format!("LogLevel warn {name}:trace1"))
            .configtest();
        assert!(answer.success, "{}", answer.text);
    }
}

#[test]
fn mod_info_shows_the_module_its_directives_and_their_help() {
    let server = Site::new()
        .module("info")
        .config(
            "<Location /server-info>
                 SetHandler server-info
             </Location>
             WSGIScriptAlias /a ${WSGI}/a.wsgi",
        )
        .start();
    let page = server.get("/server-info?mod_wsgi.c").text();
    for directive in [
        "WSGIScriptAlias",
        "WSGIScriptAliasMatch",
        "WSGIApplicationGroup",
        "WSGICallableObject",
        "WSGIScriptReloading",
        "WSGIPassAuthorization",
        "WSGIChunkedRequest",
        "WSGIMapHEADToGET",
        "WSGICaseSensitivity",
        "WSGIEnableSendfile",
        "WSGIPythonHome",
        "WSGIPythonPath",
        "WSGIPythonOptimize",
        "WSGIPythonWarnings",
        "WSGIPythonHashSeed",
        "WSGIDontWriteBytecode",
        "WSGIRestrictEmbedded",
        "WSGIRestrictStdin",
        "WSGIRestrictStdout",
        "WSGIRestrictSignal",
        "WSGIDestroyInterpreter",
        "WSGITrustedProxies",
        "WSGITrustedProxyHeaders",
    ] {
        let entry = format!("<tt>{directive} - <i>");
        let start = page
            .find(&entry)
            .unwrap_or_else(|| panic!("no {directive} in {page}"));
        let help = page.get(start + entry.len()..).unwrap_or_default();
        assert!(!help.starts_with("</i>"), "{directive} has no help");
    }
}

#[test]
fn the_banner_names_the_module_and_python() {
    let server = Site::new().config("ServerTokens Full").start();
    let line = server
        .log()
        .wait_for(Mark::START, "configured -- resuming normal operations");
    assert!(line.contains(BANNER), "{line}");
    let header = server
        .get("/")
        .header("Server")
        .unwrap_or_default()
        .to_owned();
    assert!(header.contains(BANNER), "{header}");
}

#[test]
fn server_tokens_hide_the_module() {
    let server = Site::new().config("ServerTokens Prod").start();
    assert_eq!(server.get("/").header("Server"), Some("Apache"));
}

#[test]
fn the_module_exports_nothing_but_its_record() {
    if !ours("D05") {
        return;
    }
    let exported = output("nm", &["-D", "--defined-only"], module_under_test());
    let names: Vec<&str> = exported
        .lines()
        .filter_map(|line| line.split_whitespace().nth(2))
        .collect();
    assert_eq!(names, ["wsgi_module"]);
}

#[test]
fn the_module_contains_no_python() {
    if !ours("D05") {
        return;
    }
    let libraries = output("ldd", &[], module_under_test());
    assert!(!libraries.contains("python"), "{libraries}");
    let undefined = output("nm", &["-D", "--undefined-only"], module_under_test());
    for line in undefined.lines() {
        assert!(!line.contains(" Py") && !line.contains(" _Py"), "{line}");
    }
}

#[test]
fn python_is_only_where_an_application_runs() {
    if !ours("D05") {
        return;
    }
    let server = Site::new()
        .mpm(Mpm::Event)
        .script("a.wsgi", &answering("ran"))
        .config("WSGIScriptAlias /a ${WSGI}/a.wsgi")
        .start();
    assert_eq!(server.get("/a").text(), "ran");
    assert!(
        !server.process().maps("libpython"),
        "the parent needs no Python"
    );
    assert!(
        server
            .children()
            .iter()
            .any(|child| child.maps("libpython"))
    );

    let server = Site::new().file("www/page", "a page").start();
    assert_eq!(server.get("/page").text(), "a page");
    let children = wait_until("a child", || {
        Some(server.children()).filter(|c| !c.is_empty())
    });
    assert!(!children.iter().any(|child| child.maps("libpython")));
}

#[test]
fn a_server_without_any_configuration_for_it_is_not_disturbed() {
    let server = Site::new().file("www/page", "a page").start();
    assert_eq!(server.get("/page").text(), "a page");
    assert_eq!(server.send(&Request::new("HEAD", "/page")).status, 200);
}

fn output(program: &str, arguments: &[&str], file: &Path) -> String {
    let output = Command::new(program)
        .args(arguments)
        .arg(file)
        .output()
        .expect(program);
    assert!(output.status.success(), "{program}: {output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn a_process_of_a_group_shows_under_its_own_name() {
    if !ours("D82") {
        return;
    }
    let server = Site::new()
        .script(
            "names.wsgi",
            r#"
def application(environ, start_response):
    start_response('200 OK', [])
    command = open('/proc/self/cmdline', 'rb').read().split(b'\0')[0]
    return [command, b' ', open('/proc/self/comm', 'rb').read().rstrip()]
"#,
        )
        .config(
            "WSGIDaemonProcess plain
             WSGIDaemonProcess shown display-name=a-name-that-is-long
             WSGIScriptAlias /plain ${WSGI}/names.wsgi process-group=plain
             WSGIScriptAlias /shown ${WSGI}/names.wsgi process-group=shown",
        )
        .start();

    assert_eq!(server.get("/plain").text(), "(wsgi:plain) (wsgi:plain)");
    assert_eq!(
        server.get("/shown").text(),
        "a-name-that-is-long a-name-that-is-"
    );
}
