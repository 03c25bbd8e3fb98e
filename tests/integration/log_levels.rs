//! `LogLevel`: which lines of applications and of the module it lets into the error log.

use testkit::{Mark, Site};

use crate::apps::TALKATIVE;
use crate::wsgi_site::{app, wsgi_site};

#[test]
fn a_log_level_above_error_silences_it() {
    let server = wsgi_site()
        .config("<Location /quiet.wsgi>\nLogLevel wsgi:crit\n</Location>")
        .start();

    for name in ["quiet", "loud"] {
        let source = r#"
def application(environ, start_response):
    print('said by', environ['SCRIPT_NAME'], file=environ['wsgi.errors'])
    start_response('200 OK', [])
    return [b'']
"#;
        assert_eq!(server.get(&app(&server, name, source)).status, 200);
    }

    server.log().wait_for(Mark::START, "said by /loud.wsgi");
    assert!(
        server
            .log()
            .matching(Mark::START, "said by /quiet.wsgi")
            .is_empty()
    );
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
