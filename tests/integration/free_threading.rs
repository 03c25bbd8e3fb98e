//! `WSGIFreeThreading`: requests of a process that run at the same time, in a Python that can do
//! without a GIL. The reference needs a build for that Python.

use std::fs;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use testkit::{Connection, Httpd, Mark, Site, ours, wait_until};

use crate::apps::{Environ, at_once, environ};
use crate::own_gil::meet_at_the_end;
use crate::second_python::{SecondPython, output};

/// Does what the query says.
const DOING: &str = r#"
import atexit, itertools, json, os, sys, threading, time
import mod_wsgi

def note(name):
    open(DATA + name, 'w').close()

atexit.register(note, 'atexit-' + mod_wsgi.application_group)

def tell(environ):
    gil = getattr(sys, '_is_gil_enabled', lambda: True)()
    yield json.dumps({
        'gil': str(gil),
        'version': '%d.%d' % sys.version_info[:2],
        'free': str(bool(sys.abiflags.count('t'))),
        'prefix': sys.prefix,
        'interval': str(sys.getswitchinterval()),
        'group': environ['mod_wsgi.process_group'],
    }).encode()

def hold(environ):
    '''Computes in a call that would never let go of a GIL.'''
    note('holding')
    total = sum(itertools.repeat(1, 100_000_000))
    note('let-go')
    return [b'%d' % total]

def spin(environ):
    '''Computes until the other one has begun to, too.'''
    own, other = environ['PATH_INFO'][1:], environ['PATH_INFO'][:0:-1]
    spinning.add(own)
    while other not in spinning:
        pass
    return [b'met']

def busy(environ):
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        pass
    return [b'done']

def give_up(environ):
    try:
        return busy(environ)
    except mod_wsgi.RequestTimeout:
        return [b'gave up in order']

def stand_still(environ):
    '''Waits in C, for good, as if it had a GIL to keep.'''
    import ctypes
    note('standing-still')
    ctypes.PyDLL(None).pause()

def collect(environ):
    '''Has all threads of the interpreter stop for a moment.'''
    import gc
    return [b'%d' % gc.collect()]

def threads(environ):
    many = [threading.Thread(target=lambda: None) for _ in range(8)]
    for one in many:
        one.start()
    for one in many:
        one.join()
    return [b'done']

spinning = set()

def application(environ, start_response):
    start_response('200 OK', [('Content-Type', 'text/plain')])
    return globals()[environ['QUERY_STRING']](environ)
"#;

fn doing(site: Site) -> Site {
    let data = format!("DATA = {:?}", site.text_path("data/"));
    site.script("doing.wsgi", &format!("{data}\n{DOING}"))
}

/// `/free`, `/free-sub` in a group without a GIL, `/usual`, `/usual-sub` in one with.
fn two_groups(free: &SecondPython, further: &str) -> Site {
    doing(free.alone())
        .config(&format!("{} {further}", free.group("free")))
        .config(&free.group("usual"))
        .config(
            "<WSGIInterpreterOptions process-group=free>
                 WSGIFreeThreading On
             </WSGIInterpreterOptions>
             WSGIScriptAlias /free ${WSGI}/doing.wsgi process-group=free application-group=%{GLOBAL}
             WSGIScriptAlias /free-sub ${WSGI}/doing.wsgi process-group=free application-group=sub
             WSGIScriptAlias /usual ${WSGI}/doing.wsgi process-group=usual application-group=%{GLOBAL}
             WSGIScriptAlias /usual-sub ${WSGI}/doing.wsgi process-group=usual application-group=sub",
        )
}

fn tell(server: &Httpd, url: &str) -> Environ {
    environ(&server.get(&format!("{url}?tell")))
}

#[test]
fn a_process_has_no_gil_where_the_directive_is_on_and_one_everywhere_else() {
    let Some(free) = SecondPython::free_threaded() else {
        return;
    };
    let server = two_groups(free, "")
        .config("WSGIScriptAlias /embedded ${WSGI}/doing.wsgi application-group=%{GLOBAL}")
        .start();
    for (url, gil) in [
        ("/free", "False"),
        ("/free-sub", "False"),
        ("/usual", "True"),
        ("/usual-sub", "True"),
        ("/embedded", "True"),
    ] {
        let seen = tell(&server, url);
        assert_eq!(seen.value("gil"), gil, "{url}");
        assert_eq!(seen.value("free"), "True", "{url}");
    }
    let started =
        "Initializing Python runtime in daemon process 'free' with free-threading enabled";
    server.log().wait_for(Mark::START, started);
}

#[test]
fn embedded_mode_can_do_without_a_gil() {
    let Some(free) = SecondPython::free_threaded() else {
        return;
    };
    let mut server = doing(free.alone())
        .config(
            "WSGIFreeThreading On
             WSGIScriptAlias / ${WSGI}/doing.wsgi application-group=%{GLOBAL}",
        )
        .start();
    assert_eq!(tell(&server, "/").value("gil"), "False");
    assert_eq!(server.get("/?threads").text(), "done");
    server.stop();
    assert!(server.site().path("data/atexit-").exists());
}

#[test]
fn a_graceful_restart_of_embedded_mode_without_a_gil_costs_no_request() {
    let Some(free) = SecondPython::free_threaded() else {
        return;
    };
    let server = doing(free.alone())
        .config(
            "WSGIFreeThreading On
             WSGIScriptAlias /main ${WSGI}/doing.wsgi application-group=%{GLOBAL}
             WSGIScriptAlias /sub ${WSGI}/doing.wsgi application-group=sub",
        )
        .start();
    for url in ["/main", "/sub"] {
        tell(&server, url);
    }
    let done = AtomicBool::new(false);
    let client = |url| {
        while !done.load(Ordering::Relaxed) {
            assert_eq!(tell(&server, url).value("gil"), "False", "{url}");
            assert_eq!(server.get(&format!("{url}?threads")).text(), "done");
        }
    };
    thread::scope(|scope| {
        let client = &client;
        let clients = ["/main", "/sub"].map(|url| scope.spawn(move || client(url)));
        for _ in 0..3 {
            server.restart_gracefully();
        }
        done.store(true, Ordering::Relaxed);
        for client in clients {
            client.join().expect("answers");
        }
    });
    for group in ["", "sub"] {
        let noted = server.site().path(&format!("data/atexit-{group}"));
        wait_until("an end", || noted.exists().then_some(()));
    }
    let fatal = server.log().matching(Mark::START, "Fatal Python error");
    assert!(fatal.is_empty(), "{fatal:?}");
}

#[test]
fn the_variable_of_python_does_not_override_the_directive() {
    // There it does.
    if !ours("D130") {
        return;
    }
    let Some(free) = SecondPython::free_threaded() else {
        return;
    };
    for (variable, other) in [("0", "/usual"), ("1", "/free")] {
        let server = two_groups(free, "").env("PYTHON_GIL", variable).start();
        let gil = (other == "/usual").to_string();
        assert_eq!(tell(&server, other).value("gil").to_lowercase(), gil);
    }
}

#[test]
fn usual_and_free_threaded_pythons_of_groups_answer_side_by_side() {
    if !ours("D73") {
        return;
    }
    let Some(free) = SecondPython::free_threaded() else {
        return;
    };
    let site = doing(free.site())
        .config(&free.group("free"))
        .config(
            "WSGIFreeThreading On
             WSGIDaemonProcess usual threads=8
             WSGIDaemonProcess venv threads=8 python-home=${ROOT}/venv
             WSGIScriptAlias /embedded ${WSGI}/doing.wsgi
             WSGIScriptAlias /usual ${WSGI}/doing.wsgi process-group=usual
             WSGIScriptAlias /free ${WSGI}/doing.wsgi process-group=free application-group=sub
             WSGIScriptAlias /venv ${WSGI}/doing.wsgi process-group=venv application-group=%{GLOBAL}",
        );
    free.add_venv(&site);
    // It was the usual Python's before.
    let (major, minor) = free.version;
    let packages = format!("venv/lib/python{major}.{minor}/site-packages");
    fs::create_dir_all(site.path(&packages)).expect("a directory");
    let answer = site.configtest();
    let line = answer.text.lines().find(|line| line.contains("WSGI0200"));
    let line = line.expect("a warning");
    assert!(line.contains("process group \"usual\""), "{line}");
    assert!(line.contains("embedded mode"), "{line}");
    assert!(
        !line.contains("\"free\"") && !line.contains("\"venv\""),
        "{line}"
    );

    let server = site.start();
    let urls = ["/embedded", "/usual", "/free", "/venv"];
    at_once(32, |number| {
        let url = urls[number % urls.len()];
        let seen = tell(&server, url);
        let is_free = matches!(url, "/free" | "/venv");
        assert_eq!(seen.value("free") == "True", is_free, "{url}");
        assert_eq!(seen.value("gil") == "False", is_free, "{url}");
    });
    let prefix = server.site().text_path("venv");
    assert_eq!(tell(&server, "/venv").value("prefix"), prefix);
}

#[test]
fn a_free_threaded_home_without_an_engine_is_told_apart_from_a_usual_one() {
    if !ours("D73") {
        return;
    }
    let Some(free) = SecondPython::free_threaded() else {
        return;
    };
    let (major, minor) = free.version;
    let library = format!("free/lib/python{major}.{}t/os.py", minor + 80);
    let site = doing(free.site())
        .file(&library, "")
        .config("WSGIDaemonProcess future python-home=${ROOT}/free")
        .config("WSGIScriptAlias / ${WSGI}/doing.wsgi process-group=future");
    let answer = site.configtest();
    let version = format!("Python {major}.{}t", minor + 80);
    assert!(answer.text.contains("WSGI1232"), "{}", answer.text);
    assert!(answer.text.contains(&version), "{}", answer.text);
}

#[test]
fn requests_of_a_process_run_at_the_same_time() {
    let Some(free) = SecondPython::free_threaded() else {
        return;
    };
    let server = two_groups(free, "").start();
    let exists = |name: &str| server.site().path(name).exists();
    assert_eq!(tell(&server, "/free").value("gil"), "False");
    thread::scope(|scope| {
        let holder = scope.spawn(|| server.get("/free?hold"));
        wait_until("a request to compute", || {
            exists("data/holding").then_some(())
        });
        for _ in 0..8 {
            assert_eq!(tell(&server, "/free").value("gil"), "False");
        }
        assert!(!exists("data/let-go"), "answered while the other computed");
        assert_eq!(holder.join().expect("an answer").text(), "100000000");
    });
    at_once(2, |number| {
        let url = ["/free/ab?spin", "/free/ba?spin"][number];
        assert_eq!(server.get(url).text(), "met");
    });
}

#[test]
fn what_needs_a_gil_is_skipped_with_a_warning() {
    let Some(free) = SecondPython::free_threaded() else {
        return;
    };
    let server = two_groups(free, "switch-interval=0.04")
        .config(
            "WSGISwitchInterval 0.02
             WSGIPerInterpreterGIL On
             <WSGIInterpreterOptions process-group=%{GLOBAL}>
                 WSGIFreeThreading On
             </WSGIInterpreterOptions>
             WSGIScriptAlias /embedded ${WSGI}/doing.wsgi application-group=%{GLOBAL}",
        )
        .start();
    for url in ["/free", "/free-sub", "/embedded"] {
        assert_eq!(tell(&server, url).value("interval"), "0.005", "{url}");
    }
    let log = server.log();
    for (id, named) in [
        ("WSGI0202", "sub-interpreter 'sub' in daemon process 'free'"),
        ("WSGI0203", "in embedded mode"),
        ("WSGI0204", "in daemon process 'free'"),
        ("WSGI0205", "sub-interpreter 'sub'"),
    ] {
        let mark = Mark::START;
        let line = wait_until(id, || {
            let mut lines = log.matching(mark, id).into_iter();
            lines.find(|line| line.contains(named))
        });
        assert!(line.contains(":warn]"), "{line}");
        let cause = "free-threading is active in this process";
        assert!(line.contains("Skipping") && line.contains(cause), "{line}");
    }
    // Where there is a GIL, nothing of that is skipped.
    assert_eq!(tell(&server, "/usual").value("gil"), "True");
    for id in ["WSGI0202", "WSGI0204", "WSGI0205"] {
        let lines = log.matching(Mark::START, id);
        assert!(
            lines.iter().all(|line| !line.contains("usual")),
            "{lines:?}"
        );
    }
}

#[test]
fn a_request_that_takes_too_long_is_interrupted_without_a_stack_trace() {
    let Some(free) = SecondPython::free_threaded() else {
        return;
    };
    let server = two_groups(free, "request-timeout=1 interrupt-timeout=30").start();
    for url in ["/free", "/free-sub"] {
        tell(&server, url);
        let mark = server.log().mark();
        let response = server.get(&format!("{url}?busy"));
        assert_eq!(response.head.status, 504, "{url}");
        let recovered = "Request interrupted by RequestTimeout; thread recovered";
        server.log().wait_for(mark, recovered);
    }
}

#[test]
fn requests_that_take_too_long_at_the_same_time_are_each_interrupted() {
    // There some are not.
    if !ours("D152") {
        return;
    }
    let Some(free) = SecondPython::free_threaded() else {
        return;
    };
    let server = two_groups(free, "request-timeout=1 interrupt-timeout=30").start();
    for url in ["/free", "/free-sub"] {
        tell(&server, url);
    }
    at_once(4, |number| {
        let url = ["/free?give_up", "/free-sub?give_up"][number % 2];
        assert_eq!(server.get(url).text(), "gave up in order", "{url}");
    });
    for url in ["/free", "/free-sub"] {
        assert_eq!(tell(&server, url).value("gil"), "False");
    }
    let injected = server
        .log()
        .matching(Mark::START, "Injected RequestTimeout");
    assert_eq!(injected.len(), 4, "{injected:?}");
}

#[test]
fn no_stacks_are_logged_of_a_process_that_is_replaced() {
    let Some(free) = SecondPython::free_threaded() else {
        return;
    };
    let server = two_groups(free, "request-timeout=1 graceful-timeout=1").start();
    tell(&server, "/free");
    let mut hanging = hang(&server, "/free?busy");
    assert!(hanging.read_response().head.status >= 500);
    assert_eq!(tell(&server, "/free").value("gil"), "False");
    let dumped = server.log().matching(Mark::START, "Dumping stack trace");
    assert!(dumped.is_empty(), "{dumped:?}");
}

#[test]
fn an_interpreter_that_stands_still_has_its_process_replaced() {
    if !ours("D180") {
        return;
    }
    let Some(free) = SecondPython::free_threaded() else {
        return;
    };
    let server = two_groups(free, "deadlock-timeout=2 shutdown-timeout=1").start();
    for url in ["/free", "/free-sub"] {
        tell(&server, url);
    }
    let _still = hang(&server, "/free-sub?stand_still");
    let note = server.site().path("data/standing-still");
    wait_until("it to stand still", || note.exists().then_some(()));
    let _waiting = hang(&server, "/free-sub?collect");
    server.log().wait_for(Mark::START, "deadlock_timeout");
    assert_eq!(tell(&server, "/free-sub").value("gil"), "False");
}

#[test]
fn interpreters_are_told_of_the_end_side_by_side() {
    if !ours("D180") {
        return;
    }
    let Some(free) = SecondPython::free_threaded() else {
        return;
    };
    let site = free.alone().config(&free.group("group"));
    meet_at_the_end(site.config("WSGIFreeThreading On"), 3.0);
}

/// Has a thread state made for a thread that there is not, as an extension module may.
const STRANGER: &str = r#"
import ctypes
python = ctypes.pythonapi
python.PyInterpreterState_Get.restype = ctypes.c_void_p
python.PyThreadState_New.restype = ctypes.c_void_p
state = python.PyThreadState_New(ctypes.c_void_p(python.PyInterpreterState_Get()))
"#;

#[test]
fn a_thread_state_of_an_extension_module_does_not_hurt_the_end() {
    let Some(free) = SecondPython::free_threaded() else {
        return;
    };
    let site = doing(free.alone());
    let data = format!("DATA = {:?}", site.text_path("data/"));
    let mut server = site
        .script("stranger.wsgi", &format!("{data}\n{DOING}\n{STRANGER}"))
        .config(&free.group("free"))
        .config(
            "WSGIFreeThreading On
             WSGIScriptAlias /one ${WSGI}/stranger.wsgi process-group=free application-group=one
             WSGIScriptAlias /main ${WSGI}/doing.wsgi process-group=free application-group=%{GLOBAL}",
        )
        .start();
    for url in ["/one", "/main"] {
        assert_eq!(tell(&server, url).value("gil"), "False");
    }
    server.stop();
    let fatal = server.log().matching(Mark::START, "Fatal Python error");
    assert!(fatal.is_empty(), "{fatal:?}");
    for group in ["one", ""] {
        let noted = server.site().path(&format!("data/atexit-{group}"));
        assert!(noted.exists(), "{group}");
    }
}

/// An extension module as they were before there were slots, and an application that imports it.
const OLD_EXTENSION: &str = r#"
#include <Python.h>
static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "old", NULL, -1, NULL};
PyMODINIT_FUNC PyInit_old(void) { return PyModule_Create(&module); }
"#;

const IMPORTING: &str = r#"
import os, sys
sys.path.append(os.path.dirname(__file__))

def application(environ, start_response):
    import old
    start_response('200 OK', [])
    return [str(sys._is_gil_enabled()).encode()]
"#;

#[test]
fn an_extension_module_of_the_old_kind_is_for_the_main_interpreter() {
    let Some(free) = SecondPython::free_threaded() else {
        return;
    };
    let site = free
        .alone()
        .file("wsgi/old.c", OLD_EXTENSION)
        .script("importing.wsgi", IMPORTING)
        .config(&free.group("free"))
        .config(
            "WSGIFreeThreading On
             WSGIScriptAlias /main ${WSGI}/importing.wsgi process-group=free application-group=%{GLOBAL}
             WSGIScriptAlias /sub ${WSGI}/importing.wsgi process-group=free application-group=sub",
        );
    let where_headers_are = "import sysconfig; print(sysconfig.get_path('include'))";
    let headers = output(Command::new(&free.program).args(["-I", "-c", where_headers_are]));
    output(
        Command::new("gcc")
            .args(["-shared", "-fPIC", "-I", &headers.expect("headers"), "-o"])
            .args([site.path("wsgi/old.so"), site.path("wsgi/old.c")]),
    )
    .expect("an extension module");
    let server = site.start();
    assert_eq!(server.get("/main").text(), "False");
    assert_eq!(server.get("/sub").status, 500);
    let refused = "ImportError: module old does not support loading in subinterpreters";
    server.log().wait_for(Mark::START, refused);
    if ours("D74") {
        let line = server.log().wait_for(Mark::START, "WSGI1403");
        assert!(line.contains("WSGIApplicationGroup %{GLOBAL}"), "{line}");
    }
}

/// Asks without waiting for the answer.
fn hang(server: &Httpd, target: &str) -> Connection {
    let mut connection = server.connect();
    let request = format!("GET {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    connection.send(request.as_bytes());
    connection
}
