//! A process that ends while requests are in flight: its applications are told, and have time.

use std::fs;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rstest::rstest;
use testkit::{Connection, Httpd, Mark, Site, is_reference, ours, wait_until};

/// Leaves the reason of its end in `data/`. Answers with its process; with `?told` when the
/// application was told of the end, and how long after the request began; with `?seconds=N` after
/// that time. With `?gate` it waits for `data/gate` when it is told.
const LEAVING: &str = r#"
import mod_wsgi, os, threading, time
from pathlib import Path

data = Path(os.environ['DATA'])
ending = threading.Event()

def stopping(event, shutdown_reason, **_):
    (data / 'reason').write_text(shutdown_reason)
    ending.set()

mod_wsgi.subscribe_shutdown(stopping)
mod_wsgi.subscribe_signals(lambda *args, **payload: (data / 'signal').touch())

def application(environ, start_response):
    way, _, value = environ['QUERY_STRING'].partition('=')
    answer = str(os.getpid())
    if way:
        (data / 'begun').touch()
        begin = time.monotonic()
    if way in ('told', 'gate'):
        ending.wait(30)
        (data / 'told').touch()
        answer = f'{time.monotonic() - begin:.2f}'
    while way == 'gate' and not (data / 'gate').exists():
        time.sleep(0.01)
    if way == 'seconds':
        time.sleep(float(value))
    start_response('200 OK', [])
    return [answer.encode()]
"#;

fn group(options: &str) -> Httpd {
    let site = Site::new().script("a.wsgi", LEAVING);
    let data = site.text_path("data");
    site.env("DATA", &data)
        .config(&format!(
            "WSGISocketPrefix ${{ROOT}}/logs/wsgi
             WSGIDaemonProcess one threads=3 {options}
             WSGIScriptAlias / ${{WSGI}}/a.wsgi process-group=one application-group=%{{GLOBAL}}"
        ))
        .start()
}

fn wait_for(server: &Httpd, trace: &str) {
    let path = server.site().path(&format!("data/{trace}"));
    wait_until(trace, || path.exists().then_some(()));
}

/// Has a request begin, and then sends its process a signal.
fn signal_during(server: &Httpd, query: &str, signal: Signal) -> (Connection, Pid) {
    let pid = server.get("/").text().parse().expect("a process id");
    let pid = Pid::from_raw(pid);
    let mut client = server.connect();
    let request = format!("GET /?{query} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    client.send(request.as_bytes());
    wait_for(server, "begun");
    kill(pid, signal).expect("it runs");
    (client, pid)
}

fn wait_a_moment() {
    let begin = Instant::now();
    wait_until("a moment", || {
        (begin.elapsed() > Duration::from_millis(500)).then_some(())
    });
}

fn seconds(mut client: Connection) -> f64 {
    let response = client.read_response();
    assert_eq!(response.status, 200, "{}", response.text());
    response.text().parse().expect("a time")
}

#[test]
fn requests_in_flight_are_told_of_the_end_while_they_run() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let server = group("shutdown-timeout=25");
        let (client, _) = signal_during(&server, "told", signal);
        let time = seconds(client);
        assert!(time < 10.0, "{signal}: {time}");
    }
}

#[test]
fn they_are_told_when_the_time_to_finish_by_themselves_is_over() {
    let server = group("graceful-timeout=2 shutdown-timeout=25");
    let (client, _) = signal_during(&server, "told", Signal::SIGUSR1);
    let time = seconds(client);
    // The signal came somewhat after the request.
    assert!((1.9..12.0).contains(&time), "{time}");
}

#[rstest]
#[case("graceful-timeout=1", Signal::SIGUSR1)]
#[case("graceful-timeout=60 eviction-timeout=1", Signal::SIGUSR1)]
#[case("graceful-timeout=1", Signal::SIGXCPU)]
#[case("graceful-timeout=1", Signal::SIGTERM)]
fn what_is_left_then_has_the_time_in_which_the_process_ends(
    #[case] options: &str,
    #[case] signal: Signal,
) {
    let server = group(&format!("{options} shutdown-timeout=12"));
    // More than half of that.
    let (mut client, pid) = signal_during(&server, "seconds=8", signal);
    let response = client.read_response();
    assert_eq!(response.status, 200);
    assert_eq!(response.text(), pid.to_string());
    let cut_off = server.log().matching(Mark::START, "WSGI1216");
    assert!(cut_off.is_empty(), "{cut_off:?}");
}

#[rstest]
#[case("graceful-timeout=0")]
#[case("graceful-timeout=0 eviction-timeout=0")]
fn without_a_time_limit_they_have_all_the_time(#[case] options: &str) {
    let server = group(&format!("{options} shutdown-timeout=1"));
    let (mut client, pid) = signal_during(&server, "seconds=5", Signal::SIGUSR1);
    let response = client.read_response();
    assert_eq!(response.text(), pid.to_string());
}

#[test]
fn without_shutdown_timeout_they_have_time_but_not_for_ever() {
    let server = group("shutdown-timeout=0");
    let (mut client, pid) = signal_during(&server, "seconds=6", Signal::SIGTERM);
    assert_eq!(client.read_response().text(), pid.to_string());
    if ours("D178") {
        server.site().remove("data/begun");
        let (mut client, _) = signal_during(&server, "seconds=100", Signal::SIGTERM);
        let begin = Instant::now();
        assert_eq!(client.read_response().status, 502);
        let took = begin.elapsed().as_secs_f64();
        assert!((8.0..20.0).contains(&took), "{took}");
    }
}

/// An order to stop shortens the time, but is not why the process leaves.
#[rstest]
#[case("graceful-timeout=60", Signal::SIGUSR1, "graceful_signal")]
#[case("eviction-timeout=60", Signal::SIGUSR1, "eviction_signal")]
#[case("graceful-timeout=60", Signal::SIGXCPU, "cpu_time_limit")]
fn the_first_reason_stands(#[case] options: &str, #[case] first: Signal, #[case] reason: &str) {
    let server = group(&format!("{options} shutdown-timeout=25"));
    let (client, pid) = signal_during(&server, "told", first);
    // Of two that wait the order is lost.
    let taken = match is_reference() {
        true => "waiting for in-flight requests to complete",
        false => "is to be replaced",
    };
    server.log().wait_for(Mark::START, taken);
    kill(pid, Signal::SIGTERM).expect("it runs");
    let time = seconds(client);
    assert!(time < 20.0, "{time}");
    assert_eq!(server.site().read("data/reason"), reason);
}

#[test]
fn a_signal_is_for_one_process() {
    let server = group("processes=2");
    let both = || {
        let mut seen = Vec::new();
        wait_until("both processes to answer", || {
            let pid = server.get("/").text();
            if !seen.contains(&pid) {
                seen.push(pid);
            }
            (seen.len() == 2).then(|| seen.clone())
        })
    };
    let before = both();
    let victim = Pid::from_raw(before[0].parse().expect("a process id"));
    kill(victim, Signal::SIGUSR1).expect("it runs");
    wait_until("its end", || kill(victim, None).is_err().then_some(()));
    let after = both();
    assert!(after.contains(&before[1]) && !after.contains(&before[0]));
}

#[test]
fn who_was_told_of_the_end_is_told_of_no_other_signal() {
    let server = group("shutdown-timeout=25");
    let (mut client, pid) = signal_during(&server, "gate", Signal::SIGTERM);
    wait_for(&server, "told");
    for signal in [Signal::SIGHUP, Signal::SIGUSR2] {
        kill(pid, signal).expect("it runs");
    }
    // One that is dispatched is so within a moment.
    wait_a_moment();
    server.site().write("data/gate", "");
    assert_eq!(client.read_response().status, 200);
    let traces = fs::read_dir(server.site().path("data")).expect("data/");
    let mut names = traces.flatten().map(|entry| entry.file_name());
    assert!(!names.any(|name| name == "signal"));
}
