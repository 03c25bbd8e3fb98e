//! `reload_required()` of scripts in process groups, and requests with bodies that meet a process
//! which is out of date.

use testkit::{Httpd, Mark, Request, Site, ours};

/// Counts its requests in this process. Says that it is out of date as often as there is a file
/// `data/stale`, which that takes away.
const COUNTING: &str = r#"
import os
from pathlib import Path
data = Path(__file__).resolve().parents[1] / 'data'
count = 0

def reload_required(resource):
    (data / 'resource').write_text(resource)
    try:
        (data / 'stale').unlink()
        return True
    except FileNotFoundError:
        return False

def application(environ, start_response):
    global count
    count += 1
    body = environ['wsgi.input'].read()
    start_response('200 OK', [])
    return [f'{count} {len(body)}'.encode()]

handle_request = application
"#;

fn site(options: &str) -> Site {
    Site::new()
        .script("counting.wsgi", COUNTING)
        .config(&format!(
            "WSGISocketPrefix ${{ROOT}}/logs/wsgi
         WSGIDaemonProcess one threads=2
         WSGIScriptAlias /script ${{WSGI}}/counting.wsgi process-group=one {options}
         WSGIHandlerScript own ${{WSGI}}/counting.wsgi process-group=one application-group=own
         <Location /handler>
             SetHandler own
         </Location>"
        ))
}

/// How many requests the process that answers has answered, and how long the body was.
fn ask(server: &Httpd, url: &str, body: usize) -> String {
    let request = Request::new("POST", url).body(vec![b'x'; body]);
    let response = server.send(&request);
    assert_eq!(response.status, 200, "{}", response.text());
    response.text()
}

#[test]
fn a_script_that_says_so_is_loaded_anew_in_another_process() {
    for (url, resource) in [
        ("/script/path", "wsgi/counting.wsgi"),
        ("/handler/path", "www/handler"),
    ] {
        let server = site("").start();
        assert_eq!(ask(&server, url, 0), "1 0");
        assert_eq!(ask(&server, url, 0), "2 0");
        let asked_about = server.site().read("data/resource");
        assert_eq!(asked_about, server.site().text_path(resource));
        for body in [0, 1000, 300_000] {
            server.site().write("data/stale", "");
            assert_eq!(ask(&server, url, body), format!("1 {body}"), "{url}");
            assert_eq!(ask(&server, url, body), format!("2 {body}"), "{url}");
        }
    }
}

#[test]
fn a_large_body_reaches_the_successor_of_a_process_whose_script_changed() {
    let server = site("").start();
    assert_eq!(ask(&server, "/script", 0), "1 0");
    for round in 1..4 {
        server.site().write("wsgi/counting.wsgi", COUNTING);
        let length = round * 500_000;
        assert_eq!(ask(&server, "/script", length), format!("1 {length}"));
    }
}

#[test]
fn an_exception_in_that_question_is_logged_and_means_no() {
    let source =
        format!("{COUNTING}\ndef reload_required(resource):\n    raise ValueError('no idea')\n");
    let server = site("").script("counting.wsgi", &source).start();
    assert_eq!(ask(&server, "/script", 0), "1 0");
    assert_eq!(ask(&server, "/script", 0), "2 0");
    server.log().wait_for(Mark::START, "ValueError: no idea");
}

#[test]
fn a_script_is_not_asked_where_reloading_is_off() {
    let server = site("").config("WSGIScriptReloading Off").start();
    assert_eq!(ask(&server, "/script", 0), "1 0");
    server.site().write("data/stale", "");
    assert_eq!(ask(&server, "/script", 0), "2 0");
}

const ALWAYS: &str = "\ndef reload_required(resource):\n    return True\n";

#[test]
fn a_script_that_always_says_so_has_a_process_for_each_request() {
    let server = site("")
        .script("counting.wsgi", &format!("{COUNTING}{ALWAYS}"))
        .start();
    for _ in 0..3 {
        assert_eq!(ask(&server, "/script", 0), "1 0");
    }
}

#[test]
fn a_script_that_is_never_up_to_date_is_given_up() {
    let server = site("application-group=%{GLOBAL}")
        .script("counting.wsgi", &format!("{COUNTING}{ALWAYS}"))
        .start();
    // It is preloaded, so no process is without it when the request comes.
    server.log().wait_for(Mark::START, "Loading WSGI script");
    let response = server.get("/script");
    assert_eq!(response.status, 503);
    server.log().wait_for(Mark::START, "WSGI0124");
}

#[test]
fn a_script_that_is_mended_is_loaded_by_a_new_process() {
    const BROKEN: &str = "
import os
from pathlib import Path
(Path(__file__).resolve().parents[1] / 'data/tried').write_text(str(os.getpid()))
raise ValueError('not yet')
";
    const MENDED: &str = "
import os

def application(environ, start_response):
    start_response('200 OK', [])
    return [str(os.getpid()).encode()]
";
    let server = Site::new()
        .script("a.wsgi", BROKEN)
        .config(
            "WSGISocketPrefix ${ROOT}/logs/wsgi
             WSGIDaemonProcess one
             WSGIScriptAlias / ${WSGI}/a.wsgi process-group=one",
        )
        .start();
    assert_eq!(server.get("/").status, 500);
    server.site().write("wsgi/a.wsgi", MENDED);
    let mended = server.get("/");
    assert_eq!(mended.status, 200);
    if ours("D229") {
        let tried =
            std::fs::read_to_string(server.site().path("data/tried")).expect("it was tried");
        assert_ne!(mended.text(), tried);
    }
}

#[test]
fn an_error_document_that_fails_leaves_the_error_what_it_was() {
    let server = Site::new()
        .module("alias")
        .script("failing.wsgi", "raise ValueError('never')")
        .config(
            "WSGISocketPrefix ${ROOT}/logs/wsgi
             WSGIDaemonProcess one
             Redirect gone /gone
             ErrorDocument 410 /failing
             WSGIScriptAlias /failing ${WSGI}/failing.wsgi process-group=one",
        )
        .start();
    let response = server.get("/gone");
    if ours("D230") {
        assert_eq!(response.status, 410);
    }
    server.log().wait_for(Mark::START, "ValueError: never");
}
