//! A request that a worker has taken is run once, whatever becomes of the worker.

use testkit::{Httpd, Request, Site};

/// Writes down that it runs, then dies without a look at the request's body, or answers it.
const NOTING: &str = r#"
import os, signal

def application(environ, start_response):
    with open(os.environ['NOTES'], 'a') as notes:
        notes.write('run\n')
    if environ['QUERY_STRING'] == 'die':
        os.kill(os.getpid(), signal.SIGKILL)
    body = environ['wsgi.input'].read()
    start_response('200 OK', [('Content-Length', str(len(body)))])
    return [body]
"#;

fn noting() -> Httpd {
    let site = Site::new().script("a.wsgi", NOTING);
    let notes = site.text_path("data/notes");
    site.env("NOTES", &notes)
        .config(
            "WSGIDaemonProcess notes processes=3 threads=2
             WSGIScriptAlias / ${WSGI}/a.wsgi process-group=notes application-group=%{GLOBAL}",
        )
        .start()
}

fn body(length: usize) -> Vec<u8> {
    (0..=u8::MAX).cycle().take(length).collect()
}

#[test]
fn an_unread_body_does_not_make_it_run_again() {
    for length in [1, 40_000, 60_000, 300_000] {
        let server = noting();
        let response = server.send(&Request::post("/?die", body(length)));
        assert_eq!(response.head.status, 502, "{length} bytes");
        assert_eq!(server.site().read("data/notes"), "run\n", "{length} bytes");
    }
}

#[test]
fn bodies_of_every_size_arrive_whole() {
    let server = noting();
    for length in [
        0, 1, 8_191, 8_192, 32_768, 65_535, 65_536, 65_537, 200_000, 3_000_000,
    ] {
        let sent = body(length);
        let response = server.send(&Request::post("/", &sent));
        assert_eq!(response.head.status, 200, "{length} bytes");
        assert!(response.body == sent, "{length} bytes");
    }
}
