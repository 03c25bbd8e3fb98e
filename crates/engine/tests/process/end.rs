//! The end of Python.

use std::path::{Path, PathBuf};
use std::time::Duration;

use engine_abi::Outcome;

use crate::memory::{App, server_log};
use crate::{in_own_process, stop};

const LONG: Duration = Duration::from_secs(20);

/// An application that notes its end in a file: callbacks, `atexit` functions, threads.
fn noting(file: &Path) -> String {
    format!(
        "
import atexit, threading, mod_wsgi

def note(text):
    with open('{file}', 'a') as file:
        file.write(f'{{mod_wsgi.application_group}}:{{text}}\\n')

leave = threading.Event()

def work():
    leave.wait()
    note('thread')

# Threads of a thread that Python has not made are daemons unless told otherwise.
threading.Thread(target=work, daemon=False).start()
threading._register_atexit(leave.set)
atexit.register(note, 'atexit')
mod_wsgi.subscribe_shutdown(lambda name, **payload: note((name, payload)))

def application(environ, start_response):
    start_response('200 OK', [])
    return [b'served']
",
        file = file.display()
    )
}

/// A file to note in, and what is noted there.
struct Notes {
    _directory: tempfile::TempDir,
    file: PathBuf,
}

impl Notes {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("notes");
        Self {
            _directory: directory,
            file,
        }
    }

    fn lines(&self) -> Vec<String> {
        let text = std::fs::read_to_string(&self.file).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }
}

#[test]
fn a_thread_without_an_end_keeps_no_application_from_its_own() {
    in_own_process(
        "end::a_thread_without_an_end_keeps_no_application_from_its_own",
        |_| {},
        || {
            let notes = Notes::new();
            let app = App::new(&format!(
                "{}\nthreading.Thread(target=threading.Event().wait, daemon=False).start()",
                noting(&notes.file)
            ));
            for group in ["", "blog", "shop"] {
                assert_eq!(app.ask().group(group).answer().text(), "served");
            }
            let limit = Duration::from_secs(6);
            let (status, taken) = stop(limit);
            assert_ne!(status, 0);
            assert!(taken < limit, "{taken:?}");
            let lines = notes.lines();
            for group in ["", "blog", "shop"] {
                let line = format!("{group}:atexit");
                assert!(lines.contains(&line), "{group}: {lines:#?}");
            }
        },
    );
}

const STOPPING: &str = "('process_stopping', {'shutdown_reason': 'test'})";

#[test]
fn everything_ends_in_order_in_every_group() {
    in_own_process(
        "end::everything_ends_in_order_in_every_group",
        |_| {},
        || {
            let notes = Notes::new();
            let app = App::new(&noting(&notes.file));
            for group in ["", "blog"] {
                assert_eq!(app.ask().group(group).answer().text(), "served");
            }
            assert_eq!(stop(LONG).0, 0, "{:#?}", server_log());
            let lines = notes.lines();
            assert_eq!(lines.len(), 6, "{lines:#?}");
            for group in ["", "blog"] {
                let of_group = lines
                    .iter()
                    .filter_map(|line| line.strip_prefix(&format!("{group}:")));
                assert_eq!(of_group.collect::<Vec<_>>(), [STOPPING, "thread", "atexit"]);
            }
            // Again is no mistake, and nobody is served any more.
            assert_eq!(stop(LONG).0, 0);
            let answer = app.ask().answer();
            assert_eq!(
                (answer.outcome.kind, answer.outcome.status),
                (Outcome::ENDING, 503)
            );
        },
    );
}

#[test]
fn without_destruction_only_subscribers_are_told() {
    in_own_process(
        "end::without_destruction_only_subscribers_are_told",
        |config| config.destroy_interpreter = false,
        || {
            let notes = Notes::new();
            let app = App::new(&noting(&notes.file));
            app.ask().group("blog").answer().text();
            assert_eq!(stop(LONG).0, 0);
            assert_eq!(notes.lines(), [format!("blog:{STOPPING}")]);
        },
    );
}

#[test]
fn a_request_that_does_not_end_does_not_hold_it_up() {
    in_own_process(
        "end::a_request_that_does_not_end_does_not_hold_it_up",
        |_| {},
        || {
            let notes = Notes::new();
            let app = App::new(&format!(
                "{}
def stuck(environ, start_response):
    note('stuck')
    threading.Event().wait()
",
                noting(&notes.file)
            ));
            std::thread::spawn(move || app.ask().callable("stuck").answer());
            crate::wait_until("the request is inside", || notes.lines().len() == 1);
            let limit = Duration::from_secs(4);
            let (status, took) = stop(limit);
            assert_ne!(status, 0);
            assert!(took < limit + Duration::from_secs(2), "{took:?}");
            assert_eq!(
                notes.lines(),
                [":stuck", &format!(":{STOPPING}"), ":thread", ":atexit"]
            );
        },
    );
}

#[test]
fn a_request_that_ends_is_waited_for() {
    in_own_process(
        "end::a_request_that_ends_is_waited_for",
        |_| {},
        || {
            let notes = Notes::new();
            let app = App::new(&format!(
                "{}
stopping = threading.Event()
mod_wsgi.subscribe_shutdown(lambda name, **payload: stopping.set())

def patient(environ, start_response):
    note('inside')
    stopping.wait()
    note('left')
    return application(environ, start_response)
",
                noting(&notes.file)
            ));
            let request = std::thread::spawn(move || app.ask().callable("patient").answer().text());
            crate::wait_until("the request is inside", || notes.lines().len() == 1);
            assert_eq!(stop(LONG).0, 0);
            assert_eq!(request.join().unwrap(), "served");
            let lines = notes.lines();
            assert!(lines.contains(&":left".to_owned()), "{lines:#?}");
            assert_eq!(lines.last().unwrap(), ":atexit");
        },
    );
}

#[test]
fn daemon_threads_of_the_application_are_left_alone() {
    in_own_process(
        "end::daemon_threads_of_the_application_are_left_alone",
        |_| {},
        || {
            let notes = Notes::new();
            let app = App::new(&format!(
                "{}
import time
def forever():
    while True:
        print('still here')
        time.sleep(0.001)
threading.Thread(target=forever, daemon=True).start()
",
                noting(&notes.file)
            ));
            for group in ["", "blog"] {
                app.ask().group(group).answer().text();
            }
            assert_eq!(stop(LONG).0, 0);
            assert_eq!(notes.lines().len(), 6);
        },
    );
}

/// Stops an application that has threads which the engine does not know, in a sub-interpreter.
fn stop_with_strangers(strangers: &str) {
    let notes = Notes::new();
    let app = App::new(&format!("{}\n{strangers}", noting(&notes.file)));
    for group in ["", "blog"] {
        app.ask().group(group).answer().text();
    }
    assert_eq!(stop(LONG).0, 0);
    assert_eq!(notes.lines().len(), 6);
    let told = "Threads of an application are still running; Python is not finalised.";
    let log = server_log();
    assert!(log.iter().any(|line| line.ends_with(told)), "{log:#?}");
}

#[test]
fn a_thread_of_c_code_that_runs_no_python_is_left_alone() {
    in_own_process(
        "end::a_thread_of_c_code_that_runs_no_python_is_left_alone",
        |_| {},
        || {
            stop_with_strangers(
                "
import ctypes
if mod_wsgi.application_group:
    python = ctypes.pythonapi
    python.PyInterpreterState_Get.restype = ctypes.c_void_p
    python.PyThreadState_New.restype = ctypes.c_void_p
    state = python.PyThreadState_New(ctypes.c_void_p(python.PyInterpreterState_Get()))
",
            );
        },
    );
}

#[test]
fn threads_that_start_one_another_are_never_overlooked() {
    in_own_process(
        "end::threads_that_start_one_another_are_never_overlooked",
        |_| {},
        || {
            stop_with_strangers(
                "
import _thread
def go_on():
    # There may be no more threads for the moment.
    while True:
        try:
            return _thread.start_new_thread(go_on, ())
        except RuntimeError:
            pass
if mod_wsgi.application_group:
    go_on()
",
            );
        },
    );
}

#[test]
fn an_end_that_hangs_has_a_deadline() {
    in_own_process(
        "end::an_end_that_hangs_has_a_deadline",
        |_| {},
        || {
            let app = App::new(
                "
import atexit, threading
atexit.register(threading.Event().wait)

def application(environ, start_response):
    start_response('200 OK', [])
    return []
",
            );
            app.ask().answer().text();
            let limit = Duration::from_millis(500);
            let (status, took) = stop(limit);
            assert_ne!(status, 0);
            assert!(
                took >= limit && took < limit + Duration::from_secs(2),
                "{took:?}"
            );
            assert!(
                server_log()
                    .iter()
                    .any(|line| line.starts_with("WSGI1012: "))
            );
        },
    );
}

#[test]
fn what_raises_at_the_end_is_reported() {
    in_own_process(
        "end::what_raises_at_the_end_is_reported",
        |_| {},
        || {
            let app = App::new(
                "
import atexit, mod_wsgi

def fail(*arguments, **keywords):
    raise KeyError('at the end')

atexit.register(fail)
mod_wsgi.subscribe_shutdown(fail)

def application(environ, start_response):
    start_response('200 OK', [])
    return []
",
            );
            app.ask().group("blog").answer().text();
            assert_eq!(stop(LONG).0, 0);
            let log = server_log();
            let told =
                "WSGI0112: KeyError exception raised by event callback for 'process_stopping'.";
            assert!(log.contains(&told.to_owned()), "{log:#?}");
            let count = log
                .iter()
                .filter(|line| *line == "KeyError: 'at the end'")
                .count();
            assert_eq!(count, 2, "{log:#?}");
        },
    );
}

#[test]
fn an_unused_python_ends_too() {
    in_own_process(
        "end::an_unused_python_ends_too",
        |_| {},
        || {
            assert_eq!(stop(LONG).0, 0);
        },
    );
}
