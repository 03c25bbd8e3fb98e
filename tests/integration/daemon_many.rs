//! Hundreds of process groups, and a group of hundreds of sites, as those have who host many of
//! them on one machine.

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

/// What an idle group may cost: figures of a small machine, with some room for others.
fn check_cost(server: &Httpd, workers: &[Process]) {
    const WORKER_KIB: u64 = 8 << 10;
    const SUPERVISOR_KIB: u64 = 64;
    const DESCRIPTORS: [usize; 3] = [6, 3, 6];

    let supervisor = supervisor(server);
    let (parent, children) = (server.process(), server.children());
    let child = children.into_iter().find(|child| *child != supervisor);
    let child = child.expect("a child");
    let memory = workers.iter().map(|it| it.proportional_kib()).sum::<u64>() / GROUPS as u64;
    let own = supervisor.proportional_kib() / GROUPS as u64;
    let descriptors = [parent, child, supervisor].map(|it| it.open_files() / GROUPS);
    let sleeps = |workers: &[Process]| workers.iter().map(|it| it.sleeps()).sum::<u64>();
    let (begin, before, supervised) = (Instant::now(), sleeps(workers), supervisor.sleeps());
    thread::sleep(Duration::from_secs(20));
    let seconds = begin.elapsed().as_secs_f64();
    let rate = (sleeps(workers) - before) as f64 / seconds / GROUPS as f64;
    let supervised = (supervisor.sleeps() - supervised) as f64 / seconds;
    let figures = format!(
        "for each idle group: {memory} KiB in its worker, {own} KiB in the supervisor; descriptors \
         {descriptors:?} in parent, child and supervisor; {rate:.2} wake-ups a second; the supervisor \
         has {supervised:.2}"
    );
    let is_small = memory < WORKER_KIB && own < SUPERVISOR_KIB;
    let is_within = descriptors
        .iter()
        .zip(DESCRIPTORS)
        .all(|(has, may)| *has <= may);
    let is_asleep = rate < 0.5 && supervised < 1.0;
    assert!(is_small && is_within && is_asleep, "{figures}");
}

/// The supervisor: the child of httpd that has children.
fn supervisor(server: &Httpd) -> Process {
    let mut children = server.children().into_iter();
    let found = children.find(|child| !child.children().is_empty());
    found.expect("a supervisor")
}

fn check_some(server: &Httpd) {
    for number in [0, 1, GROUPS / 2, GROUPS - 1] {
        assert_eq!(server.get(&format!("/{number}")).text(), "ran", "{number}");
    }
}

/// Their names alone are more than a process is told in one packet.
#[test]
fn one_group_loads_the_scripts_of_many_sites() {
    const SITES: usize = 1500;
    let name = |number: usize| format!("{number}-{}.wsgi", "x".repeat(160));
    let mut site = Site::new().config(
        "WSGISocketPrefix ${ROOT}/logs/wsgi
         WSGIDaemonProcess one",
    );
    for number in 0..SITES {
        let script = name(number);
        site = site.script(&script, &answering("ran")).config(&format!(
            "WSGIScriptAlias /{number} ${{WSGI}}/{script} process-group=one \
                 application-group=%{{GLOBAL}}"
        ));
    }
    let server = site.start();
    for number in [0, SITES - 1] {
        assert_eq!(server.get(&format!("/{number}")).text(), "ran", "{number}");
    }
    let loads = server.log().matching(Mark::START, "Loading WSGI script");
    assert_eq!(loads.len(), SITES);
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
    check_cost(&server, &first);

    let mark = server.log().mark();
    server.restart_gracefully();
    check_some(&server);
    let second = wait_for_workers(&server, mark);
    wait_for_end(&first);
    check_some(&server);

    server.stop();
    wait_for_end(&second);
}
