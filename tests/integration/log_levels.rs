//! `LogLevel`: which lines of applications and of the module it lets into the error log.

use rstest::rstest;
use testkit::{Mark, Request, Site, ours};

use crate::apps::TALKATIVE;
use crate::wsgi_site::{Mode, app, is_daemon_mode, wsgi_site};

/// Prints for the log, and says so.
const PRINTS: &str = r"
def application(environ, start_response):
    print('said by', environ['SCRIPT_NAME'], file=environ['wsgi.errors'])
    start_response('200 OK', [])
    return [b'']
";

#[test]
fn a_log_level_above_error_silences_a_place() {
    // mod_wsgi's processes do not know what is said of a place.
    if is_daemon_mode() && !ours("D121") {
        return;
    }
    let server = wsgi_site()
        .config("<Location /quiet.wsgi>\nLogLevel wsgi:crit\n</Location>")
        .start();

    for name in ["quiet", "loud"] {
        assert_eq!(server.get(&app(&server, name, PRINTS)).status, 200);
    }

    let log = server.log();
    log.wait_for(Mark::START, "said by /loud.wsgi");
    assert!(log.matching(Mark::START, "said by /quiet.wsgi").is_empty());
}

#[rstest]
fn a_virtual_host_names_the_module_in_each_way_that_httpd_knows(
    #[values(Mode::Embedded, Mode::Daemon)] mode: Mode,
) {
    let levels = [
        ("quiet1", "wsgi:crit"),
        ("quiet2", "wsgi_module:crit"),
        ("quiet3", "mod_wsgi.c:crit"),
        ("quiet4", "crit"),
        ("loud1", "crit wsgi:error"),
        ("loud2", "crit wsgi_module:error"),
        ("loud3", "crit mod_wsgi.c:error"),
    ];
    let hosts = levels.map(|(name, levels)| {
        format!("<VirtualHost *:*>\nServerName {name}\nLogLevel {levels}\n</VirtualHost>\n")
    });
    let server = mode
        .site()
        .script("prints.wsgi", &PRINTS.replace("SCRIPT_NAME", "HTTP_HOST"))
        .config(&hosts.concat())
        .start();
    for (host, _) in levels {
        let request = Request::get("/prints.wsgi").header("Host", host);
        assert_eq!(server.send(&request).status, 200);
    }
    for (host, _) in levels.iter().filter(|(host, _)| host.starts_with("loud")) {
        server
            .log()
            .wait_for(Mark::START, &format!("said by {host}"));
    }
    let quiet = server.log().matching(Mark::START, "said by quiet");
    assert!(quiet.is_empty(), "{quiet:?}");
}

#[test]
fn a_process_group_keeps_to_the_log_level_outside_requests_too() {
    let server = Site::new()
        .script("talks.wsgi", TALKATIVE)
        .config(
            "LogLevel error
             WSGIDaemonProcess group
             WSGIScriptAlias / ${WSGI}/talks.wsgi process-group=group application-group=%{GLOBAL}",
        )
        .start();
    server.log().wait_for(Mark::START, "error at load");
    let warnings = server.log().matching(Mark::START, "warning at load");
    assert!(warnings.is_empty(), "{warnings:?}");
}
