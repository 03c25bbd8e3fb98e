//! Graceful restarts that change what a process group is like, while clients keep asking.

use std::collections::HashSet;
use std::fs;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use testkit::{Connection, Httpd, Mark, Process, Site, ours, wait_until};

use crate::daemon_site::as_root;

/// Answers with its process; with `?gate` when there is a file of that name.
const SCRIPT: &str = r#"
import os, time
from pathlib import Path

data = Path(os.environ['DATA'])

def application(environ, start_response):
    gate = environ['QUERY_STRING']
    if gate:
        note = data / f'waiting-{os.getpid()}'
        note.touch()
        while not (data / gate).exists():
            time.sleep(0.005)
        note.unlink()
    start_response('200 OK', [('Content-Type', 'text/plain')])
    return [str(os.getpid()).encode()]
"#;

fn definition(options: &str) -> String {
    format!("WSGIDaemonProcess one {options}\n")
}

fn group(options: &str) -> Httpd {
    let site = Site::new()
        .script("a.wsgi", SCRIPT)
        .file("conf/group.conf", definition(options));
    let data = site.text_path("data");
    site.env("DATA", &data)
        .config("ServerLimit 4\nThreadsPerChild 32\nMaxRequestWorkers 128")
        .config(
            "WSGISocketPrefix ${ROOT}/logs/wsgi
             Include ${ROOT}/conf/group.conf
             WSGIScriptAlias / ${WSGI}/a.wsgi process-group=one application-group=%{GLOBAL}",
        )
        .start()
}

fn reshape(server: &Httpd, options: &str) {
    server.site().write("conf/group.conf", definition(options));
    server.restart_gracefully();
}

/// The workers of the group: the children of the child of httpd that has any.
fn workers(server: &Httpd) -> Vec<Process> {
    let children = server.children().into_iter();
    children.flat_map(Process::children).collect()
}

fn ask(server: &Httpd, target: &str) -> Connection {
    let mut client = server.connect();
    let request = format!("GET {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    client.send(request.as_bytes());
    client
}

/// Waits until so many requests wait for their gate.
fn wait_until_running(server: &Httpd, count: usize) {
    let data = server.site().path("data");
    wait_until("requests to run", || {
        let files = fs::read_dir(&data).expect("data/").flatten();
        let notes =
            files.filter(|file| file.file_name().as_encoded_bytes().starts_with(b"waiting-"));
        (notes.count() == count).then_some(())
    });
}

#[test]
fn no_request_is_lost() {
    // mod_wsgi cuts off the requests of its processes.
    if !ours("D94") {
        return;
    }
    // More clients than threads, so that some are always in the queue.
    let server = group("processes=1 threads=2");
    let (done, answered) = (AtomicBool::new(false), AtomicUsize::new(0));
    let failures = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    let response = server.get("/");
                    if response.status == 200 && response.is_whole() {
                        answered.fetch_add(1, Ordering::Relaxed);
                    } else {
                        failures.lock().expect("a list").push(response.status);
                    }
                }
            });
        }
        for (options, processes) in [
            ("processes=3 threads=2", 3),
            ("processes=1 threads=2", 1),
            ("processes=2 threads=2", 2),
            ("processes=2 threads=2 listen-backlog=50", 2),
            ("processes=2 threads=2 send-buffer-size=8192", 2),
            ("processes=2 threads=2 receive-buffer-size=8192", 2),
            ("processes=2 threads=2 socket-user=www-data", 2),
            ("processes=1 threads=2", 1),
        ] {
            reshape(&server, options);
            wait_until(&format!("{options} to be so"), || {
                (workers(&server).len() == processes).then_some(())
            });
            let before = answered.load(Ordering::Relaxed);
            wait_until("answers", || {
                (answered.load(Ordering::Relaxed) > before + 50).then_some(())
            });
        }
        done.store(true, Ordering::Relaxed);
    });
    let failures = failures.into_inner().expect("no client panicked");
    assert!(failures.is_empty(), "{failures:?}");
    let refused = server.log().matching(Mark::START, "is not available");
    assert!(refused.is_empty(), "{refused:?}");
}

#[test]
fn who_waits_in_the_queue_goes_on_waiting() {
    if !ours("D94") {
        return;
    }
    let server = group("processes=1 threads=1 graceful-timeout=60");
    let mut running = ask(&server, "/?gate");
    wait_until_running(&server, 1);
    let mut queued: Vec<_> = (0..10).map(|_| ask(&server, "/")).collect();
    reshape(&server, "processes=2 threads=1 listen-backlog=10");
    let pids: HashSet<_> = queued
        .iter_mut()
        .map(|client| client.read_response())
        .inspect(|response| assert_eq!(response.status, 200))
        .map(|response| response.text())
        .collect();
    server.site().write("data/gate", "");
    let last = running.read_response();
    assert_eq!(last.status, 200);
    assert!(!pids.contains(&last.text()), "the old one leaves");
}

#[test]
fn all_processes_that_a_group_gets_have_work() {
    // The restart may cost a request of mod_wsgi's.
    if !ours("D94") {
        return;
    }
    let server = group("processes=1 threads=1");
    for count in [3, 2, 4] {
        reshape(&server, &format!("processes={count} threads=1"));
        wait_until("the old ones to leave", || {
            (workers(&server).len() == count).then_some(())
        });
        // As many at a time as there are threads: each is served by another process.
        let gate = format!("gate-{count}");
        let target = format!("/?{gate}");
        let mut clients: Vec<_> = (0..count).map(|_| ask(&server, &target)).collect();
        wait_until_running(&server, count);
        server.site().write(&format!("data/{gate}"), "");
        let pids: HashSet<_> = clients
            .iter_mut()
            .map(|client| client.read_response().text())
            .collect();
        assert_eq!(pids.len(), count);
    }
}

#[test]
fn a_socket_gets_another_user() {
    if !as_root() {
        return;
    }
    let server = group("socket-user=nobody");
    assert_eq!(server.get("/").status, 503);
    reshape(&server, "socket-user=www-data");
    assert_eq!(server.get("/").status, 200);
}

#[test]
fn a_queue_becomes_shorter() {
    // mod_wsgi's new processes have a new socket, but the old ones take their requests along.
    if !ours("D94") {
        return;
    }
    let server = group("threads=1 connect-timeout=1 graceful-timeout=60");
    assert_eq!(server.get("/").status, 200);
    reshape(
        &server,
        "threads=1 connect-timeout=1 listen-backlog=3 graceful-timeout=60",
    );
    assert_eq!(server.get("/").status, 200);
    let old = workers(&server);
    wait_until("the new worker to be alone", || {
        (workers(&server).len() == 1).then_some(())
    });
    assert!(!old.is_empty());
    let mut busy = ask(&server, "/?gate");
    wait_until_running(&server, 1);
    let mut queued: Vec<_> = (0..20).map(|_| ask(&server, "/")).collect();
    wait_until("some to be turned away", || {
        let away = server.log().matching(Mark::START, "WSGI0116");
        (away.len() >= 10).then_some(())
    });
    server.site().write("data/gate", "");
    assert_eq!(busy.read_response().status, 200);
    let mut statuses = queued.iter_mut().map(|it| it.read_response().status);
    assert!(statuses.all(|status| [200, 503].contains(&status)));
}

#[test]
fn a_socket_that_was_removed_is_there_again_after_a_restart() {
    let server = group("threads=1");
    assert_eq!(server.get("/").status, 200);
    let sockets = || {
        let logs = fs::read_dir(server.site().path("logs")).expect("logs/");
        let paths = logs.flatten().map(|entry| entry.path());
        paths
            .filter(|path| path.extension().is_some_and(|it| it == "sock"))
            .collect::<Vec<_>>()
    };
    for socket in sockets() {
        fs::remove_file(socket).expect("it is there");
    }
    server.restart_gracefully();
    assert_eq!(server.get("/").status, 200);
    assert_eq!(sockets().len(), 1);
}
