//! Hundreds of process groups, as those have who host many sites on one machine.

use std::thread;
use std::time::{Duration, Instant};

use testkit::{Httpd, Mark, Process, Site, is_reference};

use crate::apps::answering;

/// More than fit into the limit of open files that most systems give a process at first.
const GROUPS: usize = 300;

/// How long so many processes may take on a machine that has other things to do.
const PATIENCE: Duration = Duration::from_secs(300);

fn many() -> Httpd {
    let mut site = Site::new()
        .script("a.wsgi", &answering("ran"))
        .config("WSGISocketPrefix ${ROOT}/logs/wsgi");
    for number in 0..GROUPS {
        site = site.config(&format!(
            "WSGIDaemonProcess group{number} threads=1 graceful-timeout=1
             WSGIScriptAlias /{number} ${{WSGI}}/a.wsgi process-group=group{number} \
                 application-group=%{{GLOBAL}}"
        ));
    }
    site.start()
}

/// Polls, but not so often that it takes the time of those it waits for.
fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !holds() {
        assert!(begin.elapsed() < PATIENCE, "waited {PATIENCE:?} for {what}");
        thread::sleep(Duration::from_millis(100));
    }
}

/// The workers that have loaded their script since a mark.
fn workers(server: &Httpd, mark: Mark) -> Vec<Process> {
    let loads = server.log().matching(mark, "Loading WSGI script");
    let pid = |line: &String| line.split("[pid ").nth(1)?.split(':').next()?.parse().ok();
    let pids = loads.iter().filter_map(pid);
    pids.map(|pid| Process { pid }).collect()
}

fn wait_for_workers(server: &Httpd, mark: Mark) -> Vec<Process> {
    let mut found = Vec::new();
    wait_until("every group to have a worker", || {
        found = workers(server, mark);
        found.len() == GROUPS
    });
    found
}

fn wait_for_end(workers: &[Process]) {
    wait_until("workers to end", || {
        !workers.iter().any(|worker| worker.is_running())
    });
}

fn check_some(server: &Httpd) {
    for number in [0, 1, GROUPS / 2, GROUPS - 1] {
        assert_eq!(server.get(&format!("/{number}")).text(), "ran", "{number}");
    }
}

#[test]
#[ignore = "starts 600 processes; apxs/test runs it by itself, after all others"]
fn they_start_and_restart_and_stop() {
    // mod_wsgi is not asked: it kills what does not end in three seconds.
    if is_reference() {
        return;
    }
    let mut server = many();
    let first = wait_for_workers(&server, Mark::START);
    check_some(&server);

    let mark = server.log().mark();
    server.restart_gracefully();
    check_some(&server);
    let second = wait_for_workers(&server, mark);
    wait_for_end(&first);
    check_some(&server);

    server.stop();
    wait_for_end(&second);
}
