//! `WSGIIgnoreActivity`: requests that keep no process alive.

use testkit::{Site, wait_until};

const WHO: &str = r#"
import os

def application(environ, start_response):
    start_response('200 OK', [])
    return [str(os.getpid()).encode()]
"#;

#[test]
fn requests_that_are_ignored_do_not_keep_a_process_from_being_inactive() {
    let server = Site::new()
        .script("who.wsgi", WHO)
        .config(
            "WSGISocketPrefix ${ROOT}/logs/wsgi
             WSGIDaemonProcess one threads=2 inactivity-timeout=2
             WSGIScriptAlias / ${WSGI}/who.wsgi process-group=one application-group=%{GLOBAL}
             <Location /health>
                 WSGIIgnoreActivity On
             </Location>",
        )
        .start();
    // Before the first request that counts nothing is timed.
    let old = server.get("/").text();
    wait_until("another process", || {
        (server.get("/health").text() != old).then_some(())
    });
}
