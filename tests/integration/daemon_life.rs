//! Why the processes of a group are replaced, and that nobody waits for it.

use std::fs;
use std::io::{Write as _, stderr};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal::{self, SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGUSR2, SIGXCPU};
use rstest::rstest;
use testkit::{Connection, Httpd, Mark, Process, Site, ours, wait_until};

/// Answers with its process, and leaves the reason of its end in `data/`.
const REASON: &str = r#"
import hashlib, mod_wsgi, os, signal, time
from pathlib import Path

data = Path(os.environ['DATA'])

def stopping(event, shutdown_reason, **_):
    (data / f'reason-{os.getpid()}').write_text(shutdown_reason)

mod_wsgi.subscribe_shutdown(stopping)

def application(environ, start_response):
    way = environ['QUERY_STRING']
    if way == 'wait':
        (data / 'waiting').touch()
        while not (data / 'gate').exists():
            time.sleep(0.01)
    if way == 'burn':
        while True:
            pass
    if way == 'burn-unlocked':
        end = time.thread_time() + 3
        while time.thread_time() < end:
            hashlib.sha256(bytes(10_000_000))
    start_response('200 OK', [('Content-Type', 'text/plain')])
    return [str(os.getpid()).encode()]
"#;

/// Cannot be loaded; writes down who tried.
const BROKEN: &str = r"
import os
from pathlib import Path
(Path(os.environ['DATA']) / f'tried-{os.getpid()}').touch()
raise ValueError('not yet')
";

fn group(options: &str) -> Httpd {
    site(options)
        .config("WSGIScriptAlias / ${WSGI}/a.wsgi")
        .start()
}

fn site(options: &str) -> Site {
    let site = Site::new()
        .script("a.wsgi", REASON)
        .script("broken.wsgi", BROKEN);
    let data = site.text_path("data");
    site.env("DATA", &data).config(&format!(
        "WSGISocketPrefix ${{ROOT}}/logs/wsgi
         WSGIDaemonProcess one threads=3 {options}
         WSGIProcessGroup one
         WSGIApplicationGroup %{{GLOBAL}}
         WSGIScriptAlias /broken ${{WSGI}}/broken.wsgi"
    ))
}

fn worker(server: &Httpd) -> Process {
    let response = server.get("/");
    assert_eq!(response.head.status, 200);
    let pid = response.text().parse().expect("a process id");
    Process { pid }
}

/// Waits for the end of a process, and gives the reason that its application was told.
fn reason(server: &Httpd, worker: Process) -> String {
    let file = server.site().path(&format!("data/reason-{}", worker.pid));
    wait_until("a reason", || {
        let reason = fs::read_to_string(&file).ok()?;
        (!reason.is_empty()).then_some(reason)
    })
}

fn wait_for_end(worker: Process) {
    wait_until("the end of the old process", || {
        (!worker.is_running()).then_some(())
    });
}

fn send(worker: Process, signal: Signal) {
    let pid = nix::unistd::Pid::from_raw(worker.pid);
    nix::sys::signal::kill(pid, signal).expect("a process that runs");
}

/// Has a request wait in the group, as long as nothing opens the gate.
fn ask_to_wait(server: &Httpd) -> Connection {
    let mut connection = server.connect();
    connection.send(b"GET /?wait HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    let waiting = server.site().path("data/waiting");
    wait_until("the request to wait", || waiting.exists().then_some(()));
    connection
}

#[rstest]
#[case("maximum-requests=1", "maximum_requests")]
#[case("restart-interval=1", "restart_interval")]
#[case("inactivity-timeout=1", "inactivity_timeout")]
fn limits_are_reasons(#[case] options: &str, #[case] expected: &str) {
    let server = group(options);
    let old = worker(&server);
    assert_eq!(reason(&server, old), expected);
    wait_for_end(old);
    assert_ne!(worker(&server), old);
}

#[rstest]
#[case("", SIGTERM, "shutdown_signal")]
#[case("", SIGINT, "shutdown_signal")]
#[case("", SIGUSR1, "graceful_signal")]
#[case("eviction-timeout=5", SIGUSR1, "eviction_signal")]
#[case("", SIGXCPU, "cpu_time_limit")]
fn signals_are_reasons(#[case] options: &str, #[case] signal: Signal, #[case] expected: &str) {
    let server = group(options);
    let old = worker(&server);
    send(old, signal);
    assert_eq!(reason(&server, old), expected);
    wait_for_end(old);
    assert_ne!(worker(&server), old);
}

#[test]
fn signals_that_are_for_the_application_end_nothing() {
    let server = group("");
    let old = worker(&server);
    for signal in [SIGHUP, SIGUSR2] {
        send(old, signal);
    }
    for _ in 0..10 {
        assert_eq!(worker(&server), old);
    }
}

#[test]
fn time_of_a_processor_is_limited() {
    let server = group("cpu-time-limit=2 graceful-timeout=1 shutdown-timeout=1");
    let old = worker(&server);
    let mut burning = server.connect();
    burning.send(b"GET /?burn HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    assert_eq!(burning.read_response().head.status, 502);
    wait_for_end(old);
    assert_ne!(worker(&server), old);
    if ours("D61") {
        server.log().wait_for(Mark::START, "WSGI1216");
        let told = server.log().wait_for(Mark::START, "WSGI0146");
        let cause = format!(
            "worker {}, which was to end (cpu_time_limit), ended with exit status",
            old.pid
        );
        assert!(told.contains(&cause), "{told}");
        assert_no_kill(&server);
    }
}

/// However many threads use a process up, it finishes what it has begun.
#[test]
fn a_process_that_has_used_its_time_finishes_its_requests() {
    if !ours("D61") {
        return;
    }
    if !may_raise_limits() {
        // If standard error is closed there is nobody to tell.
        let _ = writeln!(
            stderr(),
            "SKIPPED, not passed: without CAP_SYS_RESOURCE the kernel ends such a process before that"
        );
        return;
    }
    let server = group("cpu-time-limit=1 graceful-timeout=60 shutdown-timeout=1");
    let old = worker(&server);
    let mut waiting = ask_to_wait(&server);
    let mut burning: Vec<_> = (0..2).map(|_| server.connect()).collect();
    for connection in &mut burning {
        connection.send(b"GET /?burn-unlocked HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    }
    for connection in &mut burning {
        assert_eq!(connection.read_response().head.status, 200);
    }
    server.site().write("data/gate", "");
    assert_eq!(waiting.read_response().text(), old.pid.to_string());
    wait_for_end(old);
    assert_no_kill(&server);
}

/// Whether httpd, started from here, has `CAP_SYS_RESOURCE`.
fn may_raise_limits() -> bool {
    const SYS_RESOURCE: u64 = 1 << 24;
    let status = fs::read_to_string("/proc/self/status").expect("this process");
    let mut lines = status.lines();
    let has = lines.find_map(|line| line.strip_prefix("CapEff:"));
    let has = has.and_then(|has| u64::from_str_radix(has.trim(), 16).ok());
    has.is_some_and(|has| has & SYS_RESOURCE != 0)
}

fn assert_no_kill(server: &Httpd) {
    let kills = server.log().matching(Mark::START, "died of signal");
    assert!(kills.is_empty(), "{kills:?}");
}

#[test]
fn a_process_whose_script_does_not_load_in_time_is_replaced() {
    wait_for_another_try(&group("startup-timeout=1"));
}

fn wait_for_another_try(server: &Httpd) {
    let tried = || {
        let entries = fs::read_dir(server.site().path("data")).expect("data/");
        entries
            .flatten()
            .filter(|entry| entry.file_name().to_string_lossy().starts_with("tried-"))
            .count()
    };
    wait_until("a second process to try", || {
        assert_eq!(server.get("/broken").head.status, 500);
        (tried() > 1).then_some(())
    });
}

/// A script that is loaded at the start of the process is not that of a request.
#[test]
fn that_another_script_was_loaded_keeps_no_process() {
    let server = site("startup-timeout=1")
        .config("WSGIImportScript ${WSGI}/a.wsgi process-group=one application-group=%{GLOBAL}")
        .start();
    wait_for_another_try(&server);
}

#[test]
fn one_whose_script_has_loaded_may_take_longer_to_answer() {
    let server = group("startup-timeout=1 shutdown-timeout=1");
    let mut waiting = ask_to_wait(&server);
    // Longer than the timeout, however loaded the machine is.
    let begin = Instant::now();
    wait_until("the timeout to be over", || {
        (begin.elapsed() > Duration::from_secs(4)).then_some(())
    });
    server.site().write("data/gate", "open");
    assert_eq!(waiting.read_response().head.status, 200);
}

#[test]
fn one_that_is_in_use_is_not_idle() {
    let server = group("inactivity-timeout=1");
    let old = worker(&server);
    let mut waiting = ask_to_wait(&server);
    // Longer than the timeout, however loaded the machine is.
    let begin = Instant::now();
    wait_until("the timeout to be over", || {
        (begin.elapsed() > Duration::from_secs(3)).then_some(())
    });
    assert!(old.is_running());
    server.site().write("data/gate", "open");
    assert_eq!(waiting.read_response().text(), old.pid.to_string());
}

#[test]
fn requests_in_flight_have_the_graceful_timeout() {
    let server = group("graceful-timeout=30");
    let old = worker(&server);
    let mut waiting = ask_to_wait(&server);
    send(old, SIGUSR1);
    if ours("D61") {
        wait_until("another process to serve", || {
            (worker(&server) != old).then_some(())
        });
    }
    assert!(old.is_running());
    server.site().write("data/gate", "open");
    assert_eq!(waiting.read_response().text(), old.pid.to_string());
    wait_for_end(old);
}

#[rstest]
#[case("graceful-timeout=1 shutdown-timeout=1", SIGUSR1)]
#[case("graceful-timeout=60 eviction-timeout=1 shutdown-timeout=1", SIGUSR1)]
#[case("graceful-timeout=60 shutdown-timeout=1", SIGTERM)]
fn and_no_longer(#[case] options: &str, #[case] signal: Signal) {
    let server = group(options);
    let old = worker(&server);
    let mut waiting = ask_to_wait(&server);
    let begin = Instant::now();
    send(old, signal);
    assert_eq!(waiting.read_response().head.status, 502);
    wait_for_end(old);
    let took = begin.elapsed();
    assert!(took < Duration::from_secs(20), "{took:?}");
    assert_ne!(worker(&server), old);
}

#[test]
fn a_process_that_has_served_enough_is_replaced_while_others_are_served() {
    let server = group("maximum-requests=5");
    let mut seen = Vec::new();
    wait_until("three processes to have served", || {
        let old = worker(&server);
        if seen.last() != Some(&old) {
            assert!(!seen.contains(&old), "{old:?} again after {seen:?}");
            seen.push(old);
        }
        (seen.len() > 2).then_some(())
    });
}

/// Leaves its process no descriptor, until the gate is opened.
const GREEDY: &str = r"
import os, resource, time
from pathlib import Path

data = Path(os.environ['DATA'])

def application(environ, start_response):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    next = os.dup(0)
    os.close(next)
    os.mknod(data / 'waiting')
    resource.setrlimit(resource.RLIMIT_NOFILE, (next, hard))
    while not (data / 'gate').exists():
        time.sleep(0.01)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    start_response('200 OK', [])
    return [b'sated']
";

#[test]
fn without_descriptors_requests_wait() {
    // In mod_wsgi the process ends.
    if !ours("D67") {
        return;
    }
    let server = group("");
    server.site().write("wsgi/broken.wsgi", GREEDY);
    let mut greedy = server.connect();
    greedy.send(b"GET /broken HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    let waiting = server.site().path("data/waiting");
    wait_until("the greedy one", || waiting.exists().then_some(()));
    let mut patient = server.connect();
    patient.send(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    server.log().wait_for(Mark::START, "WSGI1360");
    server.site().write("data/gate", "open");
    assert_eq!(greedy.read_response().text(), "sated");
    assert_eq!(patient.read_response().head.status, 200);
    let told = server.log().matching(Mark::START, "WSGI1360");
    assert_eq!(told.len(), 1, "{told:?}");
}
