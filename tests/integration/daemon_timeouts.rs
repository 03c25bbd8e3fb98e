//! Requests that take longer than `request-timeout`: interrupted, given up, and where they were.

use rstest::rstest;
use testkit::{Connection, Ending, Httpd, Mark, Site, is_reference, ours, wait_until};

/// Takes as long as it is told to, in the way it is told to; answers with its process.
const SLOW: &str = r#"
import mod_wsgi, os, time

def keep_busy():
    end = time.time() + 60
    while time.time() < end:
        time.sleep(0.01)

def keep_busy_whatever_comes():
    while True:
        try:
            keep_busy()
        except BaseException:
            pass

def application(environ, start_response):
    way = environ['QUERY_STRING']
    write = start_response('200 OK', [('Content-Type', 'text/plain')])
    if way == 'late':
        write(b'begun')
    if way == 'sleep':
        time.sleep(60)
    if way == 'somewhat':
        time.sleep(4)
    if way == 'stubborn':
        keep_busy_whatever_comes()
    if way == 'cleanup':
        try:
            keep_busy()
        except mod_wsgi.RequestTimeout:
            return [b'gave up in order']
    if way in ('busy', 'late'):
        keep_busy()
    return [str(os.getpid()).encode()]
"#;

/// Is slow to load as long as a file is not there.
const SLOW_TO_LOAD: &str = r"
import os, time
while not os.path.exists(os.environ['GATE']):
    time.sleep(0.01)

def application(environ, start_response):
    start_response('200 OK', [])
    return [b'loaded']
";

/// Has the server call its functions, of which one is busy as long as a file is there that names
/// it.
const CALLED_BACK: &str = r"
import mod_wsgi, os, time

def be_busy(name):
    while os.path.exists(os.environ['GATE'] + name):
        time.sleep(0.01)

def reload_required(resource):
    be_busy('reload')
    return False

def told(name, **payload):
    be_busy(name)

class File:
    def fileno(self):
        be_busy('fileno')
        raise OSError('none')
    def tell(self):
        return 0
    def read(self, size):
        return b''
    def close(self):
        be_busy('close')

def application(environ, start_response):
    if environ['QUERY_STRING'] == 'subscribe':
        mod_wsgi.subscribe_events(told)
    if environ['QUERY_STRING'] == 'raise':
        raise ValueError
    start_response('200 OK', [('X-Process', str(os.getpid()))])
    wrapper = environ['wsgi.file_wrapper'](File())
    if environ['QUERY_STRING'] == 'close':
        wrapper.close()
        return [b'closed']
    return wrapper
";

/// A group of two threads whose requests may take two seconds: somewhat more, with two threads.
fn slow(options: &str) -> Httpd {
    let site = Site::new()
        .script("slow.wsgi", SLOW)
        .script("load.wsgi", SLOW_TO_LOAD)
        .script("called.wsgi", CALLED_BACK);
    let gate = site.text_path("data/gate");
    site.env("GATE", &gate)
        .config(&format!(
            "WSGISocketPrefix ${{ROOT}}/logs/wsgi
             WSGIDaemonProcess slow threads=2 request-timeout=1 shutdown-timeout=2 {options}
             WSGIProcessGroup slow
             WSGIScriptAlias /main ${{WSGI}}/slow.wsgi application-group=%{{GLOBAL}}
             WSGIScriptAlias /sub ${{WSGI}}/slow.wsgi application-group=sub
             WSGIScriptAlias /load ${{WSGI}}/load.wsgi application-group=sub
             WSGIScriptAlias /called ${{WSGI}}/called.wsgi application-group=sub"
        ))
        .start()
}

/// Asks without waiting for the answer.
fn ask(server: &Httpd, target: &str) -> Connection {
    let mut connection = server.connect();
    let request = format!("GET {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    connection.send(request.as_bytes());
    connection
}

#[test]
fn one_that_can_be_interrupted_ends_with_504_and_its_process_lives_on() {
    let server = slow("interrupt-timeout=30");
    for group in ["main", "sub"] {
        let url = format!("/{group}");
        let process = server.get(&url).text();
        let mark = server.log().mark();
        let response = server.get(&format!("{url}?busy"));
        assert_eq!((response.head.status, response.text().as_str()), (504, ""));
        assert_eq!(server.get(&url).text(), process);

        let log = server.log();
        let injected = log.wait_for(mark, "Injected RequestTimeout into thread");
        assert!(injected.contains(":info]"), "{injected}");
        log.wait_for(
            mark,
            "Request interrupted by RequestTimeout; thread recovered",
        );
        for part in ["Dumping stack trace", "in keep_busy", "in application"] {
            assert_eq!(log.matching(mark, part).len(), 1, "{part}");
        }
        for id in ["WSGI0174", "Traceback"] {
            assert!(log.matching(mark, id).is_empty(), "{id}");
        }
    }
}

#[test]
fn its_application_may_answer_all_the_same() {
    let server = slow("interrupt-timeout=30");
    let response = server.get("/sub?cleanup");
    assert_eq!(response.head.status, 200);
    assert_eq!(response.text(), "gave up in order");
}

#[test]
fn a_response_that_has_begun_is_cut_short() {
    let server = slow("interrupt-timeout=30");
    let process = server.get("/sub").text();
    let response = server.get("/sub?late");
    assert_eq!(
        (response.head.status, response.text().as_str()),
        (200, "begun")
    );
    if ours("D40") {
        assert_eq!(response.ending, Ending::Cut);
    }
    assert_eq!(server.get("/sub").text(), process);
}

#[test]
fn what_was_meant_for_one_request_does_not_meet_the_next() {
    let server = slow("interrupt-timeout=30");
    let process = server.get("/main").text();
    for _ in 0..3 {
        assert_eq!(server.get("/main?busy").head.status, 504);
        for _ in 0..20 {
            assert_eq!(server.get("/main").text(), process);
        }
    }
}

#[test]
fn while_a_script_is_loaded_it_is_interrupted_too() {
    let server = slow("interrupt-timeout=30");
    let process = server.get("/main").text();
    let status = server.get("/load").head.status;
    // mod_wsgi takes it for a failure to load.
    assert_eq!(status, if is_reference() { 500 } else { 504 });
    server.site().write("data/gate", "open");
    assert_eq!(server.get("/load").text(), "loaded");
    assert_eq!(server.get("/main").text(), process);
}

/// Has a module of Python's library, which an interpreter imports before its first script, be slow
/// to import as long as a file is not there.
const SLOW_LIBRARY: &str = r"
import os, sys, time

def be_slow(event, arguments):
    if event == 'import' and arguments[0] == 'threading' and 'mod_wsgi' in sys.modules:
        while not os.path.exists(os.environ['GATE']):
            time.sleep(0.01)

sys.addaudithook(be_slow)
";

#[test]
fn while_a_script_is_about_to_be_loaded_it_is_interrupted_too() {
    if !ours("D105") {
        return;
    }
    let site = Site::new()
        .file("library/sitecustomize.py", SLOW_LIBRARY)
        .script("slow.wsgi", SLOW);
    let (gate, library) = (site.text_path("data/gate"), site.text_path("library"));
    let server = site
        .env("GATE", &gate)
        .env("PYTHONPATH", &library)
        .config(
            "WSGIDaemonProcess slow request-timeout=1 interrupt-timeout=30
             WSGIScriptAlias / ${WSGI}/slow.wsgi process-group=slow",
        )
        .start();
    assert_eq!(server.get("/").status, 504);
    let unusable = server.log().matching(Mark::START, "WSGI1430");
    assert!(unusable.is_empty(), "{unusable:?}");
    server.site().write("data/gate", "open");
    assert_eq!(server.get("/").status, 200);
}

#[test]
fn what_the_server_calls_on_its_behalf_is_interrupted_too() {
    if !ours("D105") {
        return;
    }
    let server = slow("interrupt-timeout=30");
    let process = |target: &str| {
        let response = server.get(target);
        let process = response.head.header("X-Process").map(str::to_owned);
        (response.head.status, process)
    };
    let before = process("/called?subscribe");
    assert_eq!(before.0, 200);
    for (busy, target) in [
        ("reload", "/called"),
        ("request_started", "/called"),
        ("response_started", "/called"),
        ("fileno", "/called"),
        ("close", "/called?close"),
        ("request_exception", "/called?raise"),
    ] {
        let mark = server.log().mark();
        let gate = format!("data/gate{busy}");
        server.site().write(&gate, "");
        assert_eq!(server.get(target).head.status, 504, "{busy}");
        server.site().remove(&gate);
        let log = server.log();
        log.wait_for(mark, "Request interrupted by RequestTimeout");
        let tracebacks = log.matching(mark, "Traceback").len();
        assert_eq!(tracebacks, usize::from(target.ends_with("raise")), "{busy}");
        assert_eq!(process("/called"), before, "{busy}");
    }
}

#[test]
fn one_that_cannot_be_interrupted_costs_its_process() {
    for way in ["sleep", "stubborn"] {
        let server = slow("interrupt-timeout=1 graceful-timeout=1");
        let process = server.get("/sub").text();
        let mark = server.log().mark();
        let mut hanging = ask(&server, &format!("/sub?{way}"));
        server
            .log()
            .wait_for(mark, "Injected RequestTimeout into thread");
        let stacks = "Dumping stack trace for active Python threads of sub-interpreter 'sub'";
        server.log().wait_for(mark, stacks);
        assert_eq!(hanging.read_response().head.status, 502, "{way}");
        wait_until("another process", || {
            (server.get("/sub").text() != process).then_some(())
        });
    }
}

#[test]
fn without_interrupt_timeout_the_process_is_replaced_and_its_stacks_are_logged() {
    let server = slow("graceful-timeout=1");
    let process = server.get("/main").text();
    let mark = server.log().mark();
    let mut hanging = ask(&server, "/main?busy");
    let log = server.log();
    log.wait_for(mark, "Dumping stack trace for active Python threads");
    log.wait_for(mark, "in application");
    assert_eq!(hanging.read_response().head.status, 502);
    assert_ne!(server.get("/main").text(), process);
    let injected = log.matching(Mark::START, "Injected");
    assert!(injected.is_empty(), "{injected:?}");
}

/// It has as long as a process may take to stop.
#[rstest]
fn one_that_ends_while_its_process_stops_is_answered(
    #[values("", "graceful-timeout=0")] options: &str,
) {
    let server = slow(&format!("shutdown-timeout=15 {options}"));
    let process = server.get("/main").text();
    let mark = server.log().mark();
    let answer = ask(&server, "/main?somewhat").read_response();
    server.log().wait_for(mark, "Dumping stack trace");
    assert_eq!(answer.status, 200, "{options}");
    assert_eq!(answer.text(), process, "{options}");
    assert!(answer.is_whole(), "{options}: {answer:?}");
    wait_until("another process", || {
        (server.get("/main").text() != process).then_some(())
    });
}

#[test]
fn others_are_served_while_one_hangs() {
    let server = slow("interrupt-timeout=1 graceful-timeout=1");
    server.get("/main");
    let mut hanging = ask(&server, "/main?sleep");
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let response = hanging.read_response();
            done.store(true, std::sync::atomic::Ordering::SeqCst);
            assert_eq!(response.head.status, 502);
        });
        while !done.load(std::sync::atomic::Ordering::SeqCst) {
            assert_eq!(server.get("/main").head.status, 200);
        }
    });
}

/// Is silent for longer than it may be, unless it is asked for a word.
const SILENT: &str = r#"
import time

def application(environ, start_response):
    if environ['QUERY_STRING'] != 'word':
        time.sleep(3)
    start_response('200 OK', [('Content-Type', 'text/plain')])
    return [b'a word']
"#;

#[rstest]
#[case("socket-timeout=1", 60)]
#[case("", 1)]
#[case("socket-timeout=0", 1)]
fn a_process_that_is_silent_for_too_long_is_given_up(#[case] options: &str, #[case] timeout: u32) {
    let server = Site::new()
        .script("a.wsgi", SILENT)
        .config(&format!(
            "Timeout {timeout}
             WSGIDaemonProcess one threads=2 {options}
             WSGIScriptAlias / ${{WSGI}}/a.wsgi process-group=one application-group=%{{GLOBAL}}"
        ))
        .start();
    // It may be silent for too long, too, while it starts.
    wait_until("a word", || {
        (server.get("/?word").text() == "a word").then_some(())
    });
    let mark = server.log().mark();
    assert_eq!(server.get("/").status, 504);
    server.log().wait_for(mark, "WSGI0145");
    assert_eq!(server.get("/?word").text(), "a word");
}
