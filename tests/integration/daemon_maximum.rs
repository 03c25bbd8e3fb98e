//! `maximum-requests`: how many requests a process serves, and that no request suffers from the
//! change.

use std::collections::HashMap;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rstest::rstest;
use testkit::{Httpd, Process, Request, Site, ours, wait_until};

/// Takes a while to load, then answers with its process after a moment.
const SCRIPT: &str = r#"
import atexit, os, time
time.sleep(float(os.environ['LOADS_FOR']))
print('loaded by', os.getpid())
atexit.register(lambda: print('left by', os.getpid()))

def application(environ, start_response):
    time.sleep(0.02)
    start_response('200 OK', [('Content-Type', 'text/plain')])
    return [str(os.getpid()).encode()]
"#;

fn group(options: &str, loads_for: &str) -> Httpd {
    Site::new()
        .script("a.wsgi", SCRIPT)
        .env("LOADS_FOR", loads_for)
        .config(&format!(
            "WSGISocketPrefix ${{ROOT}}/logs/wsgi
             WSGIDaemonProcess one {options}
             WSGIScriptAlias / ${{WSGI}}/a.wsgi process-group=one application-group=%{{GLOBAL}}"
        ))
        .start()
}

/// What so many requests by so many clients came to.
#[derive(Debug, Default)]
struct Served {
    by: HashMap<String, u64>,
    longest: Duration,
}

fn ask(server: &Httpd, clients: usize, requests: usize) -> Served {
    let served = Mutex::new(Served::default());
    thread::scope(|scope| {
        for _ in 0..clients {
            scope.spawn(|| {
                for _ in 0..requests / clients {
                    let begin = Instant::now();
                    let response = server.get("/");
                    assert_eq!(response.status, 200);
                    let mut served = served.lock().expect("no client panicked");
                    *served.by.entry(response.text()).or_default() += 1;
                    served.longest = served.longest.max(begin.elapsed());
                }
            });
        }
    });
    served.into_inner().expect("no client panicked")
}

#[rstest]
#[case(1, 6)]
#[case(4, 20)]
fn of_one_client_a_process_serves_as_many(#[case] maximum: u64, #[case] requests: usize) {
    let server = group(&format!("maximum-requests={maximum}"), "0");
    let served = ask(&server, 1, requests);
    assert!(
        served.by.values().all(|count| *count == maximum),
        "{served:?}"
    );
}

#[rstest]
#[case("threads=5 maximum-requests=1", 1, 1)]
#[case("threads=5 maximum-requests=7", 7, 1)]
#[case("threads=1 maximum-requests=7", 7, 1)]
#[case("processes=2 threads=5 maximum-requests=7", 7, 2)]
fn of_many_clients_it_serves_no_more(
    #[case] options: &str,
    #[case] maximum: u64,
    #[case] processes: usize,
) {
    // In mod_wsgi a process goes on until a request ends and no other is there.
    if !ours("D61") {
        return;
    }
    let server = group(options, "0");
    let served = ask(&server, 5, 35);
    assert!(
        served.by.values().all(|count| *count <= maximum),
        "{served:?}"
    );
    let fewer = served.by.values().filter(|count| **count < maximum);
    assert!(fewer.count() <= processes, "{served:?}");
}

#[test]
fn the_successor_of_a_busy_process_is_there_when_it_is_needed() {
    if !ours("D61") {
        return;
    }
    let server = group("threads=5 maximum-requests=500", "2");
    server.get("/");
    // The third of these processes has served a while before its successor was needed. On a machine
    // that is busy otherwise it may be needed sooner than it can be there.
    wait_until("a change of processes that nobody notices", || {
        let served = ask(&server, 4, 700);
        assert!(served.by.len() > 1, "{served:?}");
        (served.longest < Duration::from_millis(1500)).then_some(())
    });
}

/// `graceful-timeout=0` sets no limit to how long that may take.
#[test]
fn what_is_in_flight_when_it_is_reached_is_finished_however_long_that_takes() {
    if !ours("D255") {
        return;
    }
    let script = r#"
import os, time

GATE = os.path.join(os.path.dirname(os.path.dirname(__file__)), 'data', 'gate')

def application(environ, start_response):
    while environ['QUERY_STRING'] and not os.path.exists(GATE):
        time.sleep(0.01)
    start_response('200 OK', [('Content-Type', 'text/plain')])
    return [str(os.getpid()).encode()]
"#;
    let server = Site::new()
        .script("a.wsgi", script)
        .config(
            "WSGISocketPrefix ${ROOT}/logs/wsgi
             WSGIDaemonProcess one maximum-requests=2 graceful-timeout=0 shutdown-timeout=1
             WSGIScriptAlias / ${WSGI}/a.wsgi process-group=one application-group=%{GLOBAL}",
        )
        .start();
    let mark = server.log().mark();
    let mut long = server.connect();
    long.send(&Request::get("/?gate").to_bytes());
    server.log().wait_for(mark, "Loading WSGI script");
    let first = server.get("/").text();
    assert_ne!(server.get("/").text(), first);
    let replaced = Instant::now();
    wait_until("twice the time that it has to end", || {
        assert_ne!(server.get("/").text(), first);
        (replaced.elapsed() > Duration::from_secs(2)).then_some(())
    });
    server.site().write("data/gate", "");
    assert_eq!(long.read_response().text(), first);
}

/// Such a successor is ready and serves nobody yet.
#[test]
fn one_that_stands_by_and_is_to_be_replaced_is_replaced_when_it_serves() {
    if !ours("D61") {
        return;
    }
    let server = group("threads=5 maximum-requests=120", "0");
    let first = server.get("/").text();
    // While it starts nobody asks, so that it is not needed yet when it is there.
    let standby = wait_until("a successor", || {
        assert_eq!(server.get("/").text(), first);
        other_worker(&server, &first)
    });
    wait_until("it to stand by", || {
        standby.has_thread("wsgi-control").then_some(())
    });
    let mark = server.log().mark();
    kill(Pid::from_raw(standby.pid), Signal::SIGUSR1).expect("it runs");
    for _ in 0..3 {
        assert_eq!(server.get("/").text(), first);
    }
    assert!(standby.is_running());
    assert!(server.log().matching(mark, "to be replaced").is_empty());

    let standby_pid = standby.pid.to_string();
    let third = wait_until("the one after it", || {
        let response = server.get("/");
        assert_eq!(response.status, 200);
        let pid = response.text();
        (pid != first && pid != standby_pid).then_some(pid)
    });
    server
        .log()
        .wait_for(mark, "to be replaced (graceful_signal)");
    wait_until("its end", || (!standby.is_running()).then_some(()));
    server
        .log()
        .wait_for(mark, &format!("left by {standby_pid}"));
    assert_eq!(server.get("/").text(), third);
}

/// The process of the group beside `first`.
fn other_worker(server: &Httpd, first: &str) -> Option<Process> {
    let children = server.children().into_iter();
    let mut workers = children.flat_map(Process::children);
    workers.find(|worker| worker.pid.to_string() != first)
}
