//! Service scripts: groups with `threads=0`, which serve no requests but run a script.

use std::fs;
use std::time::Duration;

use testkit::{Httpd, Mark, Process, Site, assert_soon, ours, wait_until};

use crate::apps::answering;

/// The end of a script with nothing to do takes a moment, and not until it would be killed.
const PROMPTLY: Duration = Duration::from_secs(3);

/// What a script has to leave traces: empty files in `data/`, named after what happens and the
/// process.
const TRACES: &str = r"
import atexit, os, signal, sys, threading, time
from pathlib import Path

data = Path(os.environ['DATA'])

def trace(event):
    (data / f'{event}-{os.getpid()}').touch()
";

/// Waits for the end, in one of the ways that a script can.
const WAITING: &str = r"
atexit.register(trace, 'atexit')
trace('main' if threading.current_thread() is threading.main_thread() else 'other')
signal.signal(signal.SIGUSR1, lambda *_: trace('usr1'))
try:
    trace('begun')
    while True:
        time.sleep(60)
except SystemExit:
    trace('terminated')
    raise
";

fn service(script: &str) -> Site {
    let site = Site::new()
        .script("job.py", &format!("{TRACES}{script}"))
        .script("a.wsgi", &answering("ran"));
    let data = site.text_path("data");
    site.env("DATA", &data).config(
        "WSGISocketPrefix ${ROOT}/logs/wsgi
         WSGIDaemonProcess jobs threads=0
         WSGIDaemonProcess apps
         WSGIImportScript ${WSGI}/job.py process-group=jobs application-group=%{GLOBAL}
         WSGIScriptAlias /app ${WSGI}/a.wsgi process-group=apps
         WSGIScriptAlias /job ${WSGI}/a.wsgi process-group=jobs",
    )
}

/// The processes that have left a trace of an event.
fn traces(server: &Httpd, event: &str) -> Vec<Process> {
    let entries = fs::read_dir(server.site().path("data")).expect("data/");
    let names = entries.flatten().map(|entry| entry.file_name());
    let mut processes: Vec<Process> = names
        .filter_map(|name| {
            let pid = name.to_str()?.strip_prefix(event)?.strip_prefix('-')?;
            Some(Process {
                pid: pid.parse().ok()?,
            })
        })
        .collect();
    processes.sort();
    processes
}

fn wait_for(server: &Httpd, event: &str, process: Process) {
    wait_until(&format!("{event} in {}", process.pid), || {
        traces(server, event).contains(&process).then_some(())
    });
}

/// Waits for a process other than these to leave a trace.
fn another(server: &Httpd, event: &str, known: &[Process]) -> Process {
    wait_until(&format!("another {event}"), || {
        let all = traces(server, event).into_iter();
        all.into_iter().find(|process| !known.contains(process))
    })
}

fn signal(process: Process, signal: nix::sys::signal::Signal) {
    let pid = nix::unistd::Pid::from_raw(process.pid);
    nix::sys::signal::kill(pid, signal).expect("a process that runs");
}

#[test]
fn a_script_runs_on_the_main_thread_and_may_handle_signals() {
    let server = service(WAITING).start();
    let process = another(&server, "begun", &[]);
    assert_eq!(traces(&server, "main"), [process]);
    signal(process, nix::sys::signal::Signal::SIGUSR1);
    wait_for(&server, "usr1", process);
    assert_eq!(server.get("/app").text(), "ran");
}

#[test]
fn when_the_server_stops_it_is_told_by_an_exception() {
    assert_soon(PROMPTLY, || {
        let mut server = service(WAITING).start();
        let process = another(&server, "begun", &[]);
        let took = server.stop();
        for event in ["terminated", "atexit"] {
            wait_for(&server, event, process);
        }
        assert_eq!(traces(&server, "begun"), [process]);
        took
    });
}

/// Ends a process that `multiprocessing` has forked in the way that this has for it.
const TERMINATING: &str = r"
import multiprocessing

def work():
    trace('working')
    time.sleep(60)

process = multiprocessing.get_context('fork').Process(target=work)
process.start()
while not any(data.glob('working-*')):
    time.sleep(0.01)
process.terminate()
process.join()
trace(f'exit-{process.exitcode}')
try:
    os.kill(os.getpid(), signal.SIGTERM)
except SystemExit as raised:
    trace(f'args-{raised.args}')
time.sleep(60)
";

#[test]
fn a_process_that_it_forks_ends_well_when_it_is_terminated() {
    let server = service(TERMINATING).start();
    let process = another(&server, "working", &[]);
    let parent = another(&server, "args-()", &[]);
    assert_ne!(parent, process);
    assert_eq!(traces(&server, "exit-0"), [parent]);
}

/// What a script is told of its process, and what it is not told.
const KNOWING: &str = r"
import apache, mod_wsgi

def told(event, **payload):
    trace('told')

mod_wsgi.subscribe_events(told)
mod_wsgi.subscribe_shutdown(told)
mod_wsgi.subscribe_signals(told)
known = {
    'group': mod_wsgi.process_group == 'jobs' and mod_wsgi.application_group == '',
    'shape': (mod_wsgi.maximum_processes, mod_wsgi.threads_per_process) == (1, 0),
    'metrics': mod_wsgi.server_metrics() is None,
    'argv': sys.argv == ['mod_wsgi'],
    'signals': all(signal.getsignal(getattr(signal, name)) is None
                   for name in ('SIGINT', 'SIGHUP', 'SIGUSR1', 'SIGUSR2', 'SIGXCPU')),
    'blocked': not signal.pthread_sigmask(signal.SIG_BLOCK, []),
}
for name, is_so in known.items():
    trace(name if is_so else f'not-{name}')
atexit.register(trace, 'atexit')
trace('begun')
while True:
    time.sleep(60)
";

#[test]
fn it_knows_its_process_and_is_told_of_no_events() {
    let mut server = service(KNOWING).start();
    let process = another(&server, "begun", &[]);
    for known in ["group", "shape", "metrics", "argv", "signals", "blocked"] {
        assert_eq!(traces(&server, known), [process], "{known}");
    }
    server.stop();
    wait_for(&server, "atexit", process);
    assert_eq!(traces(&server, "told"), []);
}

#[test]
fn a_handler_of_its_own_replaces_that() {
    let script = "
signal.signal(signal.SIGTERM, lambda *_: (trace('told'), os._exit(0)))
trace('begun')
while True:
    time.sleep(60)
";
    let mut server = service(script).start();
    let process = another(&server, "begun", &[]);
    server.stop();
    wait_for(&server, "told", process);
}

/// Becomes a shell, which leaves traces of the same kind.
const ANOTHER_PROGRAM: &str = r#"
shell = '''
trap 'touch "$DATA/told-$$"; exit 0' TERM
touch "$DATA/begun-$$"
while :; do sleep 0.05; done
'''
os.execv('/bin/sh', ['sh', '-c', shell])
"#;

#[test]
fn another_program_in_its_place_is_told_by_a_signal() {
    let mut server = service(ANOTHER_PROGRAM).start();
    let first = another(&server, "begun", &[]);
    server.restart_gracefully();
    wait_for(&server, "told", first);
    let last = another(&server, "begun", &[first]);
    server.stop();
    wait_for(&server, "told", last);
}

#[test]
fn another_program_in_its_place_ends_with_the_supervisor() {
    if !ours("D92") {
        return;
    }
    let server = service(ANOTHER_PROGRAM).start();
    server
        .log()
        .expect_alarm("supervisor of the process groups died of signal 9");
    let process = another(&server, "begun", &[]);
    let is_supervisor = |child: &&Process| !child.children().is_empty();
    let children = server.children();
    let supervisor = children.iter().find(is_supervisor);
    signal(
        *supervisor.expect("a supervisor"),
        nix::sys::signal::Signal::SIGKILL,
    );
    wait_for(&server, "told", process);
    another(&server, "begun", &[process]);
}

#[test]
fn one_that_is_terminated_is_started_again() {
    let server = service(WAITING).start();
    let process = another(&server, "begun", &[]);
    signal(process, nix::sys::signal::Signal::SIGTERM);
    wait_for(&server, "terminated", process);
    another(&server, "begun", &[process]);
}

#[test]
fn one_that_ends_is_started_again() {
    for end in ["", "sys.exit()", "sys.exit(3)", "os._exit(0)"] {
        let server = service(&format!("trace('begun')\n{end}\n")).start();
        let first = another(&server, "begun", &[]);
        another(&server, "begun", &[first]);
        let reports = server.log().matching(Mark::START, "SystemExit");
        assert!(reports.is_empty(), "{end}: {reports:?}");
    }
}

#[test]
fn one_that_fails_is_logged_and_started_again() {
    let server = service("trace('begun')\nraise ValueError('not today')\n").start();
    server.log().wait_for(Mark::START, "ValueError: not today");
    let first = another(&server, "begun", &[]);
    another(&server, "begun", &[first]);
    assert_eq!(server.get("/app").text(), "ran");
}

#[test]
fn signals_that_mean_nothing_to_it_do_not_end_it() {
    use nix::sys::signal::Signal::{SIGHUP, SIGINT, SIGUSR2, SIGXCPU};

    let ticking = "
trace('begun')
signal.signal(signal.SIGUSR1, lambda *_: trace('usr1'))
trace('ready')
while True:
    time.sleep(0.01)
";
    let server = service(ticking).start();
    let process = another(&server, "ready", &[]);
    for number in [SIGINT, SIGHUP, SIGUSR2, SIGXCPU] {
        signal(process, number);
    }
    signal(process, nix::sys::signal::Signal::SIGUSR1);
    wait_for(&server, "usr1", process);
    assert!(process.is_running());
    assert_eq!(traces(&server, "begun"), [process]);
}

#[test]
fn a_restart_ends_it_before_another_begins() {
    let alone = "
lock = data / 'lock'
if lock.exists():
    trace('overlap')
try:
    lock.touch()
    trace('begun')
    while True:
        time.sleep(60)
finally:
    time.sleep(0.2)
    lock.unlink()
";
    let server = service(alone).start();
    let mut known = vec![another(&server, "begun", &[])];
    for _ in 0..3 {
        server.restart_gracefully();
        known.push(another(&server, "begun", &known));
    }
    assert_eq!(traces(&server, "overlap"), []);
}

#[test]
fn requests_to_it_are_refused() {
    // mod_wsgi lets them wait for a process that never accepts them.
    if !ours("D63") {
        return;
    }
    let server = service(WAITING).start();
    another(&server, "begun", &[]);
    let response = server.get("/job");
    assert_eq!(response.head.status, 503);
    assert!(response.header("Retry-After").is_some());
    server.log().wait_for(Mark::START, "threads=0");
}
