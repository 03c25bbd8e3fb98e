//! Scripts that are loaded at the start of a process, which is done on Python's main thread.

use testkit::{Mark, Mpm, Site, ours};

use crate::apps::{Environ, environ};
use crate::wsgi_site::{Mode, threaded};

/// Where a script is loaded at the start, and by which directive.
const PLACES: [(&str, &str); 2] = [("alias", "%{GLOBAL}"), ("import", "sub")];

/// Tells how it was loaded.
const TELLING: &str = r"
import asyncio, json, signal, threading

loaded = {'thread': threading.current_thread().name}
loaded['is main'] = str(threading.current_thread() is threading.main_thread())
loaded['its threads'] = 'daemons' if threading.Thread().daemon else 'no daemons'

# Where the main thread blocks a signal, so do programs that a script starts.
status = threading.Thread(target=lambda: loaded.update(
    line.strip().split(':\t') for line in open('/proc/thread-self/status') if line.startswith('SigBlk')))
status.start()
status.join()

asyncio.get_event_loop_policy().get_event_loop().close()
try:
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)
    loaded['signal'] = 'handled'
except ValueError as error:
    loaded['signal'] = str(error)

def application(environ, start_response):
    loaded['thread of a request'] = str(threading.current_thread() is threading.main_thread())
    start_response('200 OK', [])
    return [json.dumps(loaded).encode()]
";

fn group(mode: Mode) -> (&'static str, &'static str) {
    match mode {
        Mode::Embedded => ("", "%{GLOBAL}"),
        Mode::Daemon => ("WSGIDaemonProcess group", "group"),
    }
}

/// What a script tells that was loaded in a process of this kind.
fn told(mode: Mode, directive: &str, application: &str) -> Environ {
    let (definition, process) = group(mode);
    let options = format!("process-group={process} application-group={application}");
    let loading = match directive {
        "alias" => format!("WSGIScriptAlias /told ${{WSGI}}/telling.wsgi {options}"),
        _ => format!(
            "WSGIImportScript ${{WSGI}}/telling.wsgi {options}
             WSGIScriptAlias /told ${{WSGI}}/telling.wsgi
             WSGIProcessGroup {process}
             WSGIApplicationGroup {application}"
        ),
    };
    let server = Site::new()
        .mpm(threaded())
        .script("telling.wsgi", TELLING)
        .config("WSGIRestrictSignal Off")
        .config(definition)
        .config(&loading)
        .start();
    environ(&server.get("/told"))
}

#[rstest::rstest]
fn a_script_is_loaded_on_the_main_thread(#[values(Mode::Embedded, Mode::Daemon)] mode: Mode) {
    for (directive, application) in PLACES {
        let told = told(mode, directive, application);
        let place = format!("{directive} {application}");
        assert_eq!(told.value("thread"), "MainThread", "{place}");
        assert_eq!(told.value("is main"), "True", "{place}");
        assert_eq!(told.value("its threads"), "no daemons", "{place}");
        assert_eq!(told.value("thread of a request"), "False", "{place}");
        // CPython lets only the main interpreter do that.
        let is_handled = told.value("signal") == "handled";
        assert_eq!(is_handled, application == "%{GLOBAL}", "{place}");
        if matches!(mode, Mode::Daemon) {
            let blocked = u64::from_str_radix(told.value("SigBlk"), 16).expect("a mask");
            assert_eq!(blocked, 0, "{place}");
        }
    }
}

/// Leaves the status of a program that is told to end: -15, unless it blocks SIGTERM.
const PROGRAMS: &str = r"
import os, subprocess

data = os.environ['DATA']

def start(moment):
    ended = subprocess.run(['sh', '-c', 'kill -TERM $$; exit 1'])
    with open(f'{data}/{moment}', 'w') as trace:
        trace.write(str(ended.returncode))
";

#[test]
fn programs_that_are_started_before_and_after_all_requests_can_be_told_to_end() {
    let customize = format!("{PROGRAMS}\nstart('begin')\n");
    let ending = format!("import atexit\n{PROGRAMS}\natexit.register(start, 'end')\n{LOADED}");
    let site = Site::new()
        .file("path/sitecustomize.py", &customize)
        .script("a.wsgi", &ending);
    let (data, path) = (site.text_path("data"), site.text_path("path"));
    let mut server = site
        .env("DATA", &data)
        .env("PYTHONPATH", &path)
        .config(
            "WSGIRestrictEmbedded On
             WSGIDaemonProcess group
             WSGIScriptAlias / ${WSGI}/a.wsgi process-group=group application-group=%{GLOBAL}",
        )
        .start();
    assert_eq!(server.get("/").status, 200);
    server.stop();
    for moment in ["begin", "end"] {
        let status = std::fs::read_to_string(server.site().path(&format!("data/{moment}")));
        assert_eq!(status.expect("a trace"), "-15", "{moment}");
    }
}

/// That of the main interpreter has nothing to do with requests.
#[rstest::rstest]
fn a_request_that_loads_the_first_script_makes_its_thread_the_main_one(
    #[values(Mode::Embedded, Mode::Daemon)] mode: Mode,
) {
    let (definition, process) = group(mode);
    let server = Site::new()
        .mpm(threaded())
        .script("telling.wsgi", LOADED)
        .script("second.wsgi", LOADED)
        .config(definition)
        .config(&format!("WSGIProcessGroup {process}"))
        .config("WSGIScriptAlias /second ${WSGI}/second.wsgi application-group=%{SERVER}")
        .config("WSGIScriptAlias /sub ${WSGI}/telling.wsgi")
        .config("WSGIScriptAlias /main ${WSGI}/telling.wsgi application-group=%{GLOBAL}")
        .start();
    assert_eq!(server.get("/main").text(), "not the main thread");
    assert_eq!(server.get("/sub").text(), "the main thread");
    assert_eq!(server.get("/second").text(), "the main thread");
}

/// Tells whether its first loader is the main thread, which is what asyncio goes by.
const LOADED: &str = r"
import threading
if threading.current_thread() is threading.main_thread():
    loaded = 'the main thread'
else:
    loaded = 'not the main thread'

def application(environ, start_response):
    start_response('200 OK', [])
    return [loaded.encode()]
";

#[test]
fn under_prefork_a_script_is_loaded_on_the_thread_that_serves() {
    const THREADS: &str = r"
import threading
loading = threading.get_ident()

def application(environ, start_response):
    start_response('200 OK', [])
    return [str(loading == threading.get_ident()).encode()]
";
    let server = Site::new()
        .mpm(Mpm::Prefork)
        .script("a.wsgi", THREADS)
        .config(
            "WSGIScriptAlias /a ${WSGI}/a.wsgi process-group=%{GLOBAL} application-group=%{GLOBAL}",
        )
        .start();
    assert_eq!(server.get("/a").text(), "True");
}

/// The new process runs the script to its end, as the other does.
const FORKING: &str = r"
import os
process = os.fork()
status = os.waitpid(process, 0)[1] if process else None

def application(environ, start_response):
    start_response('200 OK', [])
    return [str(status).encode()]
";

/// Under prefork it is not Python's main thread that loads a script.
#[rstest::rstest]
fn what_a_script_forks_ends_with_it(
    #[values(Mpm::Event, Mpm::Prefork)] mpm: Mpm,
    #[values(Mode::Embedded, Mode::Daemon)] mode: Mode,
) {
    if !ours("D228") {
        return;
    }
    let (definition, process) = group(mode);
    let server = Site::new()
        .mpm(mpm)
        .script("a.wsgi", FORKING)
        .config(definition)
        .config(&format!(
            "WSGIScriptAlias /a ${{WSGI}}/a.wsgi process-group={process} application-group=%{{GLOBAL}}"
        ))
        .start();
    assert_eq!(server.get("/a").text(), "0");
}

/// Starts a thread that has something to do when the process ends.
const WITH_THREAD: &str = r"
import atexit, threading, time

def work():
    while threading.main_thread().is_alive():
        time.sleep(0.01)
    time.sleep(0.2)
    print('the thread has ended')

threading.Thread(target=work).start()
atexit.register(print, 'atexit')

def application(environ, start_response):
    start_response('200 OK', [])
    return [b'served']
";

/// In a sub-interpreter, where mod_wsgi joins no threads. In httpd's processes it takes their
/// interpreter away from them, which may end such a process with SIGSEGV.
#[rstest::rstest]
fn a_thread_without_an_end_keeps_no_application_from_its_own(
    #[values(Mode::Embedded, Mode::Daemon)] mode: Mode,
) {
    if matches!(mode, Mode::Embedded) && !ours("D07") {
        return;
    }
    let (definition, process) = group(mode);
    let endless = format!("{WITH_THREAD}\nthreading.Thread(target=threading.Event().wait).start()");
    let mut server = Site::new()
        .mpm(threaded())
        .script("a.wsgi", &endless)
        .config(definition)
        .config(&format!(
            "WSGIScriptAlias /a ${{WSGI}}/a.wsgi process-group={process} application-group=sub"
        ))
        .start();
    assert_eq!(server.get("/a").text(), "served");
    server.stop();
    let ends = server.log().matching(Mark::START, "atexit");
    assert!(!ends.is_empty());
}

#[rstest::rstest]
fn a_thread_that_it_starts_is_waited_for_at_the_end(
    #[values(Mode::Embedded, Mode::Daemon)] mode: Mode,
) {
    let (definition, process) = group(mode);
    let mut server = Site::new()
        .mpm(threaded())
        .script("a.wsgi", WITH_THREAD)
        .config(definition)
        .config(&format!(
            "WSGIScriptAlias /a ${{WSGI}}/a.wsgi process-group={process} application-group=%{{GLOBAL}}"
        ))
        .start();
    assert_eq!(server.get("/a").text(), "served");
    server.stop();
    let ends = |line: &String| line.ends_with("the thread has ended") || line.ends_with("atexit");
    let lines = server.log().matching(Mark::START, "");
    let ended: Vec<_> = lines.iter().filter(|line| ends(line)).collect();
    let is_thread = |line: &&String| line.ends_with("the thread has ended");
    assert!(ended.first().is_some_and(is_thread), "{ended:?}");
    assert!(ended.iter().any(|line| !is_thread(line)), "{ended:?}");
}

/// The usual loop of a thread that is to end with its program, and one that waits for just that.
const UNTIL_THE_END: &str = r"
import atexit, os, threading, time
from pathlib import Path

data = Path(os.environ['DATA'])

def loop():
    while threading.main_thread().is_alive():
        time.sleep(0.01)
    (data / 'looped').touch()

def wait():
    threading.main_thread().join()
    (data / 'waited').touch()

for function in (loop, wait):
    threading.Thread(target=function).start()
atexit.register(lambda: (data / 'exited').touch())

def application(environ, start_response):
    start_response('200 OK', [])
    return [b'ran']
";

#[rstest::rstest]
fn threads_that_wait_for_the_end_of_the_main_one_go_on_at_the_end(
    #[values(Mode::Embedded, Mode::Daemon)] mode: Mode,
) {
    // mod_wsgi does not join the threads of sub-interpreters.
    if !ours("D07") {
        return;
    }
    let (definition, process) = group(mode);
    let site = Site::new().script("a.wsgi", UNTIL_THE_END);
    let data = site.text_path("data");
    let mut server = site
        .env("DATA", &data)
        .config(definition)
        .config(&format!("WSGIProcessGroup {process}"))
        .config("WSGIScriptAlias / ${WSGI}/a.wsgi application-group=%{SERVER}")
        .start();
    assert_eq!(server.get("/").text(), "ran");
    server.stop();
    for name in ["looped", "waited", "exited"] {
        let trace = server.site().path(&format!("data/{name}"));
        assert!(trace.exists(), "{name}");
    }
    let late = server.log().matching(Mark::START, "WSGI1012");
    assert!(late.is_empty(), "{late:?}");
}
