//! Processes that are killed: within a second the service is whole again.
//!
//! On a busy machine any one of these moments may be longer, so each of these tests may try several
//! times.

use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use testkit::{Httpd, Process, Site, assert_soon, ours, wait_until};

/// How long it may take until the service is whole again.
const BOUND: Duration = Duration::from_secs(1);

/// How many requests in a row must succeed for the service to be whole.
const WHOLE: usize = 10;

/// Answers with its process.
const WHO: &str = "
import os

def application(environ, start_response):
    start_response('200 OK', [])
    return [str(os.getpid()).encode()]
";

fn group(options: &str) -> Httpd {
    let server = Site::new()
        .script("a.wsgi", WHO)
        .file("www/file", "a file")
        .config(&format!(
            "WSGISocketPrefix ${{ROOT}}/logs/wsgi
             WSGIDaemonProcess one threads=3 {options}
             WSGIScriptAlias /app ${{WSGI}}/a.wsgi process-group=one application-group=%{{GLOBAL}}"
        ))
        .start();
    assert_eq!(server.get("/app").status, 200);
    server
}

fn kill_hard(process: Process) {
    kill(Pid::from_raw(process.pid), Signal::SIGKILL).expect("it runs");
}

/// The supervisor: the child of httpd that has children.
fn supervisor(server: &Httpd) -> Process {
    wait_until("the supervisor", || {
        let mut children = server.children().into_iter();
        children.find(|child| !child.children().is_empty())
    })
}

fn worker(server: &Httpd) -> Process {
    let response = server.get("/app");
    assert_eq!(response.status, 200);
    Process {
        pid: response.text().parse().expect("a process id"),
    }
}

/// Waits until so many requests for a target have succeeded in a row.
fn wait_until_whole(server: &Httpd, target: &str) {
    let mut in_a_row = 0;
    wait_until("the service to be whole again", || {
        let is_served = server.get(target).status == 200;
        in_a_row = if is_served { in_a_row + 1 } else { 0 };
        (in_a_row == WHOLE).then_some(())
    });
}

#[test]
fn after_the_death_of_the_only_worker() {
    // In mod_wsgi httpd looks once a second whether a process has died.
    if !ours("D65") {
        return;
    }
    let server = group("");
    server.log().expect_alarm("died of signal 9 (SIGKILL)");
    assert_soon(BOUND, || {
        let victim = worker(&server);
        let begin = Instant::now();
        kill_hard(victim);
        wait_until_whole(&server, "/app");
        begin.elapsed()
    });
}

#[test]
fn after_the_death_of_a_worker_that_has_just_started() {
    if !ours("D65") {
        return;
    }
    let server = group("");
    server.log().expect_alarm("died of signal 9 (SIGKILL)");
    assert_soon(BOUND, || {
        // One that is a second old at least, and then its successor at once.
        let first = worker(&server);
        let second = Instant::now() + Duration::from_secs(1);
        wait_until("a second", || (Instant::now() > second).then_some(()));
        kill_hard(first);
        let victim = wait_until("a successor", || {
            let workers = supervisor(&server).children();
            workers.into_iter().find(|worker| *worker != first)
        });
        let begin = Instant::now();
        kill_hard(victim);
        wait_until_whole(&server, "/app");
        begin.elapsed()
    });
}

#[test]
fn after_the_death_of_the_supervisor() {
    if !ours("D92") {
        return;
    }
    let server = group("");
    server
        .log()
        .expect_alarm("supervisor of the process groups died of signal 9");
    assert_soon(BOUND, || {
        let (old, left) = (supervisor(&server), worker(&server));
        let begin = Instant::now();
        kill_hard(old);
        wait_until_whole(&server, "/app");
        let time = begin.elapsed();
        // The worker it left goes when there is another.
        wait_until("the worker of another supervisor", || {
            assert_eq!(server.get("/app").status, 200);
            (!left.is_running()).then_some(())
        });
        assert_ne!(supervisor(&server), old);
        time
    });
}

#[test]
fn after_the_death_of_a_child_of_httpd() {
    let server = group("");
    for _ in 0..3 {
        let worker = worker(&server);
        let mut children = server.children().into_iter();
        let child = children.find(|child| *child != worker && child.children().is_empty());
        kill_hard(child.expect("a child"));
        // httpd looks once a second whether one has died. Files are served from then on.
        wait_until("httpd to serve files", || {
            let mut client = server.connect();
            client.send(b"GET /file HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
            client.read_head().filter(|head| head.status == 200)
        });
        for _ in 0..WHOLE {
            let response = server.get("/app");
            assert_eq!(response.text(), worker.pid.to_string());
        }
    }
}

#[test]
fn when_supervisor_and_parent_are_killed_nothing_is_left() {
    if !ours("D259") {
        return;
    }
    let server = group("processes=2");
    let supervisor = supervisor(&server);
    let (workers, children) = (supervisor.children(), server.children());
    kill_hard(supervisor);
    kill_hard(server.process());
    wait_until("the workers to be gone", || {
        (!workers.iter().any(|worker| worker.is_running())).then_some(())
    });
    // The other children are httpd's own affair.
    for child in children {
        let _ = kill(Pid::from_raw(child.pid), Signal::SIGKILL);
    }
}
