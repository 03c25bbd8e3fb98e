//! The timers of a process group fire when they should: not before their time, and not long after.

use std::fs;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rstest::rstest;
use testkit::{Connection, Httpd, Process, Site, ours, wait_until};

/// Leaves in `data/` which processes loaded it, and answers with its process: with `?busy` only
/// when it is interrupted, and then with how long that took, with `?sleep` and `?hold` never: the
/// latter holds the GIL.
const TIMED: &str = r#"
import ctypes, mod_wsgi, os, time
from pathlib import Path

(Path(os.environ['DATA']) / str(os.getpid())).touch()

def application(environ, start_response):
    answer = str(os.getpid())
    begin = time.monotonic()
    if environ['QUERY_STRING'] == 'busy':
        try:
            while time.monotonic() - begin < 60:
                time.sleep(0.01)
        except mod_wsgi.RequestTimeout:
            answer = f'{time.monotonic() - begin:.2f}'
    if environ['QUERY_STRING'] == 'sleep':
        time.sleep(60)
    if environ['QUERY_STRING'] == 'hold':
        ctypes.PyDLL(None).sleep(60)
    start_response('200 OK', [])
    return [answer.encode()]
"#;

/// Cannot be loaded.
const BROKEN: &str = r"
import os
from pathlib import Path
(Path(os.environ['DATA']) / str(os.getpid())).touch()
raise ValueError('not yet')
";

/// Holds the GIL for ever in `/hold`.
const HOLDING: &str = r"
import ctypes, os
from pathlib import Path

def application(environ, start_response):
    start_response('200 OK', [])
    if environ['PATH_INFO'] == '/hold':
        (Path(os.environ['DATA']) / 'holding').touch()
        ctypes.PyDLL(None).sleep(1000)
    return [str(os.getpid()).encode()]
";

/// How much longer than its time a timer may take on a machine that is busy.
const MARGIN: Duration = Duration::from_secs(10);

fn group(options: &str) -> Httpd {
    serving(TIMED, options)
}

fn serving(source: &str, options: &str) -> Httpd {
    let site = Site::new().script("a.wsgi", source);
    let data = site.text_path("data");
    site.env("DATA", &data)
        .config(&format!(
            "WSGISocketPrefix ${{ROOT}}/logs/wsgi
             WSGIDaemonProcess one {options}
             WSGIProcessGroup one
             WSGIScriptAlias / ${{WSGI}}/a.wsgi"
        ))
        .start()
}

fn worker(server: &Httpd) -> Process {
    let pid = server.get("/").text().parse().expect("a process id");
    Process { pid }
}

fn ask(server: &Httpd, query: &str) -> Connection {
    let mut client = server.connect();
    let request = format!("GET /?{query} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    client.send(request.as_bytes());
    client
}

/// Asserts that what `act` waits for happens no sooner than so many seconds after `begin`, before
/// which its timer was not set, and not long after they are over.
fn assert_takes<T>(seconds: f64, begin: Instant, act: impl FnOnce() -> T) -> T {
    let (time, now) = (Duration::from_secs_f64(seconds), Instant::now());
    let result = act();
    let (since_begin, took) = (begin.elapsed(), now.elapsed());
    assert!(since_begin >= time, "{since_begin:?}, and not {time:?}");
    assert!(took < time + MARGIN, "{took:?}, and not {time:?}");
    result
}

fn wait_for_end(process: Process) {
    wait_until("its end", || (!process.is_running()).then_some(()));
}

/// Waits for the answer of a request that is interrupted.
fn interrupted(server: &Httpd) -> f64 {
    let response = ask(server, "busy").read_response();
    response.text().parse().expect("a time")
}

#[rstest]
#[case("restart-interval=4", 4.0)]
#[case("inactivity-timeout=3", 3.0)]
fn a_process_is_replaced_after(#[case] options: &str, #[case] seconds: f64) {
    let begin = Instant::now();
    let server = group(options);
    let old = worker(&server);
    assert_takes(seconds, begin, || wait_for_end(old));
}

#[test]
fn inactivity_begins_anew_with_each_request() {
    let server = group("inactivity-timeout=3");
    let old = worker(&server);
    let begin = Instant::now();
    let mut last = begin;
    while begin.elapsed() < Duration::from_secs(6) {
        last = Instant::now();
        assert_eq!(worker(&server), old);
    }
    assert_takes(3.0, last, || wait_for_end(old));
}

#[test]
fn nobody_is_inactive_who_was_not_asked_yet() {
    let server = group("inactivity-timeout=1 threads=1");
    let processes = || server.process().descendants();
    wait_until("the process to be there", || {
        (processes().len() > 1).then_some(())
    });
    let before = processes();
    let begin = Instant::now();
    wait_until("some seconds", || {
        (begin.elapsed() > Duration::from_secs(4)).then_some(())
    });
    let asked = Instant::now();
    let old = worker(&server);
    assert!(before.contains(&old), "{old:?} is none of {before:?}");
    assert_takes(1.0, asked, || wait_for_end(old));
}

/// The time grows with the threads: it is multiplied by 1 + ln(threads). It begins a moment before
/// the application does, so it is the client that knows how long it was at least.
#[rstest]
#[case(1, 2.0)]
#[case(3, 4.19)]
#[case(8, 6.15)]
fn a_request_is_interrupted_after(#[case] threads: u32, #[case] seconds: f64) {
    let options = format!("threads={threads} request-timeout=2 interrupt-timeout=30");
    let server = group(&options);
    let old = worker(&server);
    assert_takes(seconds, Instant::now(), || interrupted(&server));
    assert_eq!(worker(&server), old);
}

#[test]
fn one_that_takes_no_notice_costs_its_process_after_both_times() {
    let options = "threads=1 request-timeout=1 interrupt-timeout=2 shutdown-timeout=1";
    let server = group(options);
    let old = worker(&server);
    let begin = Instant::now();
    let _hanging = ask(&server, "sleep");
    assert_takes(3.0, begin, || wait_for_end(old));
}

#[test]
fn who_does_not_get_the_gil_is_replaced_after() {
    let server = group("deadlock-timeout=3 shutdown-timeout=2");
    let old = worker(&server);
    let begin = Instant::now();
    let mut hanging = ask(&server, "hold");
    // It may have begun to wait for the GIL a moment before this request had it.
    assert_takes(2.0, begin, || wait_for_end(old));
    assert_eq!(hanging.read_response().status, 502);
    assert_ne!(worker(&server), old);
}

#[test]
fn without_deadlock_timeout_the_others_fire_all_the_same() {
    if !ours("D179") {
        return;
    }
    let begin = Instant::now();
    let server = group("deadlock-timeout=0 restart-interval=2");
    let old = worker(&server);
    assert_takes(2.0, begin, || wait_for_end(old));

    let server = group("deadlock-timeout=0 threads=1 request-timeout=1 interrupt-timeout=30");
    // It is loaded before.
    worker(&server);
    assert_takes(1.0, Instant::now(), || interrupted(&server));

    let server = serving(BROKEN, "deadlock-timeout=0 startup-timeout=1");
    let data = server.site().path("data");
    wait_until("another process to try", || {
        assert_eq!(server.get("/").status, 500);
        (fs::read_dir(&data).expect("data/").count() == 2).then_some(())
    });

    let server = group("deadlock-timeout=0 threads=2 graceful-timeout=1 shutdown-timeout=1");
    let old = worker(&server);
    let mut sleeping = ask(&server, "sleep");
    wait_until("the request to run", || {
        // One more request that the process answers came after it.
        (worker(&server) == old).then_some(())
    });
    kill(Pid::from_raw(old.pid), Signal::SIGUSR1).expect("it runs");
    assert_eq!(sleeping.read_response().status, 502);
    assert_ne!(worker(&server), old);
}

#[test]
fn a_script_has_as_long_to_load_from_the_first_request_on() {
    let server = serving(BROKEN, "startup-timeout=4");
    let tried = || {
        let entries = fs::read_dir(server.site().path("data")).expect("data/");
        entries.count()
    };
    // Only a request begins the time.
    let begin = Instant::now();
    wait_until("some seconds", || {
        (begin.elapsed() > Duration::from_secs(2)).then_some(())
    });
    assert_takes(4.0, Instant::now(), || {
        wait_until("another process to try", || {
            assert_eq!(server.get("/").status, 500);
            (tried() == 2).then_some(())
        });
    });
}

/// For ever is how long `graceful-timeout=0` has it wait for its requests.
#[test]
fn one_that_stands_still_as_it_leaves_is_not_waited_for() {
    let options = "graceful-timeout=0 deadlock-timeout=5 shutdown-timeout=1";
    let server = serving(HOLDING, options);
    let pid = server.get("/").text().parse().expect("a process id");
    let old = Process { pid };
    let mut client = server.connect();
    client.send(b"GET /hold HTTP/1.1\r\nHost: x\r\n\r\n");
    let holding = server.site().path("data/holding");
    wait_until("the GIL to be held", || holding.exists().then_some(()));
    kill(Pid::from_raw(pid), Signal::SIGUSR1).expect("it runs");
    wait_for_end(old);
}
