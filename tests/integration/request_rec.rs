//! `WSGIPassApacheRequest`: httpd's own record of a request, for Python in httpd's processes.

use testkit::{Httpd, ours};

use crate::apps::environ;
use crate::hook_site::hook_site;

const SCRIPT: &str = r#"
import os
DATA = os.path.join(os.path.dirname(os.path.dirname(__file__)), 'data')

def allow_access(environ, host):
    with open(os.path.join(DATA, 'access'), 'w') as file:
        file.write(repr(environ.get('apache.request_rec')))
    return True

def process_group(environ):
    with open(os.path.join(DATA, 'dispatch'), 'w') as file:
        file.write(repr(environ.get('apache.request_rec')))
"#;

/// What hooks and the application get at `url`, without addresses.
fn records(server: &Httpd, url: &str) -> [String; 3] {
    let seen = environ(&server.get(url));
    let application = seen.value("apache.request_rec").to_owned();
    let [access, dispatch] = ["data/access", "data/dispatch"].map(|path| server.site().read(path));
    [access, dispatch, application].map(|text| match text.find(" at 0x") {
        Some(end) => text[..end].to_owned(),
        None => text,
    })
}

#[test]
fn the_record_is_passed_where_the_directive_says_so() {
    let server = hook_site()
        .script("hooks.py", SCRIPT)
        .config(
            "
            WSGISocketPrefix ${ROOT}/logs/wsgi
            WSGIDaemonProcess apart
            WSGIScriptAlias /apart ${WSGI}/app.wsgi process-group=apart
            <LocationMatch ^/(app|apart)>
                WSGIAccessScript ${WSGI}/hooks.py
                WSGIDispatchScript ${WSGI}/hooks.py
            </LocationMatch>
            <LocationMatch /with>
                WSGIPassApacheRequest On
            </LocationMatch>
            <LocationMatch /with/out>
                WSGIPassApacheRequest Off
            </LocationMatch>
            <LocationMatch /forged>
                SetEnv apache.request_rec forged
            </LocationMatch>
            ",
        )
        .start();
    let capsule = "<capsule object NULL";
    assert_eq!(records(&server, "/app"), ["None", "None", "<absent>"]);
    assert_eq!(records(&server, "/app/with"), [capsule; 3]);
    assert_eq!(
        records(&server, "/app/with/out"),
        ["None", "None", "<absent>"]
    );
    assert_eq!(
        records(&server, "/apart/with"),
        [capsule, capsule, "<absent>"]
    );
    // Nothing else can be under that name.
    assert_eq!(records(&server, "/app/with/forged"), [capsule; 3]);
    if ours("D188") {
        for url in ["/app/forged", "/apart/forged", "/apart/with/forged"] {
            assert_eq!(records(&server, url)[2], "<absent>", "{url}");
        }
    }
}
