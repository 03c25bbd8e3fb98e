//! Restarts, changed scripts and sudden deaths while clients keep asking.

use std::collections::BTreeSet;
use std::fs;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use testkit::{Connection, Ending, Httpd, Mark, Mpm, Process, Site, ours, wait_until};

use crate::daemon_places;

/// How often something happens.
const TIMES: usize = 20;

/// How many clients ask all the time.
const CLIENTS: usize = 4;

/// A script that answers with a number and its process.
fn numbered(number: usize) -> String {
    format!(
        "import os\n\n\
         def application(environ, start_response):\n    \
         start_response('200 OK', [('Content-Type', 'text/plain')])\n    \
         return [b'{number} ', str(os.getpid()).encode()]\n"
    )
}

fn group() -> Httpd {
    site().start()
}

fn site() -> Site {
    Site::new().script("a.wsgi", &numbered(0)).config(
        "WSGISocketPrefix ${DATA}/socket
         WSGIDaemonProcess one processes=2 threads=3
         WSGIScriptAlias / ${WSGI}/a.wsgi process-group=one application-group=%{GLOBAL}",
    )
}

/// What clients got.
#[derive(Debug, Default)]
struct Answers {
    whole: AtomicUsize,
    /// Which processes they are of.
    processes: Mutex<BTreeSet<i32>>,
    /// What was no whole answer with status 200.
    others: Mutex<Vec<(u16, Ending)>>,
}

impl Answers {
    fn count(&self) -> usize {
        self.whole.load(Ordering::Relaxed)
    }

    /// Takes note of a whole answer.
    fn note(&self, text: &str) {
        self.whole.fetch_add(1, Ordering::Relaxed);
        let pid = text.split(' ').next_back().and_then(|pid| pid.parse().ok());
        let pid = pid.expect("a number and a process id");
        self.processes.lock().expect("a set").insert(pid);
    }

    /// Waits until two processes answer that are not this one, beginning at `act`.
    fn wait_for_two_without(&self, victim: Process, act: impl FnOnce()) {
        self.processes.lock().expect("a set").clear();
        act();
        wait_until("two that serve", || {
            let mut processes = self.processes.lock().expect("a set").clone();
            processes.remove(&victim.pid);
            (processes.len() == 2).then_some(())
        });
    }

    /// Asserts that nothing failed.
    fn check(self) {
        let others = self.others.into_inner().expect("no client panicked");
        assert!(others.is_empty(), "{others:?}");
    }
}

/// Does something while clients ask all the time.
fn under_load(server: &Httpd, act: impl FnOnce(&Answers)) -> Answers {
    let done = AtomicBool::new(false);
    let answers = Answers::default();
    let client = || {
        while !done.load(Ordering::Relaxed) {
            let response = server.get("/");
            if response.status == 200 && response.is_whole() {
                answers.note(&response.text());
            } else {
                let other = (response.status, response.ending);
                answers.others.lock().expect("a list").push(other);
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(client);
        }
        // They end however this ends, or else a failed assertion would wait for them for ever.
        let _done = Done(&done);
        act(&answers);
    });
    answers
}

/// Tells clients, as it is dropped, that it is done what they ask beside.
struct Done<'a>(&'a AtomicBool);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Asserts that after most of these deaths the service was whole again within a second. A machine
/// that is busy otherwise may spoil some; what waits by design spoils all.
fn check_pauses(mut pauses: Vec<Duration>) {
    pauses.sort();
    let median = pauses.get(pauses.len() / 2);
    let bound = Duration::from_secs(1);
    assert!(median.is_some_and(|median| *median < bound), "{pauses:?}");
}

/// Waits until clients have got so many answers more.
fn wait_for_answers(answers: &Answers, count: usize) {
    let before = answers.count();
    wait_until("answers", || {
        (answers.count() >= before + count).then_some(())
    });
}

/// The workers of the group: the children of the one child of httpd that has any.
fn workers(server: &Httpd) -> Vec<Process> {
    supervisor(server).children()
}

fn supervisor(server: &Httpd) -> Process {
    wait_until("the supervisor", || {
        let mut children = server.children().into_iter();
        children.find(|child| !child.children().is_empty())
    })
}

fn kill_hard(process: Process) {
    // It may be gone by itself.
    let _ = kill(Pid::from_raw(process.pid), Signal::SIGKILL);
}

/// What there may be no more of afterwards.
fn resources(server: &Httpd) -> (usize, usize, usize) {
    wait_until("two workers", || (workers(server).len() == 2).then_some(()));
    let supervisor = supervisor(server);
    (
        server.process().open_files(),
        supervisor.open_files(),
        workers(server).len(),
    )
}

#[test]
fn graceful_restarts_cost_no_request_and_nothing_grows() {
    // mod_wsgi cuts off the requests of its processes.
    if !ours("D94") {
        return;
    }
    let server = group();
    let restart = |answers: &Answers| {
        server.restart_gracefully();
        wait_for_answers(answers, 1);
    };
    under_load(&server, |answers| restart(answers)).check();
    let before = resources(&server);
    let memory = server.process().resident_kib() + supervisor(&server).resident_kib();

    under_load(&server, |answers| (0..TIMES).for_each(|_| restart(answers))).check();

    // Of a worker that has just ended the supervisor may still have a descriptor.
    wait_until("nothing to have grown", || {
        (resources(&server) == before).then_some(())
    });
    let now = server.process().resident_kib() + supervisor(&server).resident_kib();
    assert!(
        now.saturating_sub(memory) < 4096,
        "from {memory} to {now} KiB"
    );
}

#[test]
fn a_changed_script_is_new_for_every_request_after_the_change() {
    if !ours("D94") {
        return;
    }
    let server = group();
    assert!(server.get("/").text().starts_with("0 "));
    let before = resources(&server);
    under_load(&server, |answers| {
        for number in 1..=TIMES {
            let next = server.site().path("wsgi/next");
            server.site().write("wsgi/next", numbered(number));
            fs::rename(&next, server.site().path("wsgi/a.wsgi")).expect("it is replaced");
            for _ in 0..3 {
                let text = server.get("/").text();
                assert!(text.starts_with(&format!("{number} ")), "{number}: {text}");
            }
            wait_for_answers(answers, 1);
        }
    })
    .check();
    wait_until("nothing to have grown", || {
        (resources(&server) == before).then_some(())
    });
}

#[test]
fn workers_that_are_killed_cost_no_more_than_their_own_requests() {
    if !ours("D65") {
        return;
    }
    let server = group();
    server.log().expect_alarm("died of signal 9 (SIGKILL)");
    assert_eq!(server.get("/").status, 200);
    let mut pauses = Vec::new();
    let answers = under_load(&server, |answers| {
        for _ in 0..TIMES {
            let victim = wait_until("a worker", || workers(&server).first().copied());
            let begin = Instant::now();
            answers.wait_for_two_without(victim, || kill_hard(victim));
            pauses.push(begin.elapsed());
        }
    });
    check_pauses(pauses);
    let others = answers.others.into_inner().expect("no client panicked");
    // A worker that is killed was running three requests at most.
    assert!(others.len() <= 3 * TIMES, "{others:?}");
    for (status, ending) in &others {
        let is_told = [502, 503, 504].contains(status) || matches!(ending, Ending::Cut);
        assert!(is_told, "{status} {ending:?}");
    }
    // 502 or 504, 503, and what is cut off.
    let told = [
        "No complete answer to GET /",
        "is not available",
        "Unable to proxy response",
    ]
    .map(|text| server.log().matching(Mark::START, text).len());
    let count: usize = told.iter().sum();
    assert_eq!(
        count,
        others.len(),
        "each with a line in the log: {told:?}, {others:?}"
    );
}

#[test]
fn a_child_of_httpd_that_is_killed_takes_no_worker_along() {
    let server = group();
    let workers = || {
        let answers = under_load(&server, |answers| {
            answers.wait_for_two_without(server.process(), || ());
        });
        answers.processes.into_inner().expect("a set")
    };
    let before = workers();
    let mut children = server.children().into_iter();
    let is_of_httpd = |child: &Process| child.children().is_empty() && !before.contains(&child.pid);
    let child = children.find(is_of_httpd).expect("a child");
    kill_hard(child);
    wait_until("it to be gone", || (!child.is_running()).then_some(()));
    assert_eq!(workers(), before);
}

/// Numbers below a bound that seem random, the same for the same seed (a linear congruence).
fn random_numbers(mut seed: u64) -> impl FnMut(usize) -> usize {
    move |bound| {
        seed = seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(seed >> 33).unwrap_or(0) % bound
    }
}

/// Wherever a child is when it dies, it leaves no place in a worker taken.
#[test]
#[expect(
    clippy::print_stdout,
    reason = "what a failed test did can be done again"
)]
fn children_of_httpd_that_are_killed_under_load_leave_the_workers_free() {
    if !ours("D92") {
        return;
    }
    let several = "ServerLimit 4\nStartServers 3\nThreadsPerChild 4\nMaxRequestWorkers 16\nMinSpareThreads 12";
    let server = site().mpm(Mpm::Event).config(several).start();
    let seed = SystemTime::UNIX_EPOCH.elapsed().expect("a clock");
    let seed = u64::try_from(seed.as_micros()).expect("a time");
    println!("seed: {seed}");
    let mut random = random_numbers(seed);
    assert_eq!(server.get("/").status, 200);
    let before = workers(&server);
    let supervisor = supervisor(&server);
    let (done, answers) = (AtomicBool::new(false), Answers::default());
    let client = || {
        while !done.load(Ordering::Relaxed) {
            let mut client = server.connect();
            client.try_send(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
            // The connection may end with the child that has it.
            if let Some(head) = client.read_head() {
                assert_eq!(head.status, 200);
                answers.whole.fetch_add(1, Ordering::Relaxed);
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(client);
        }
        let _done = Done(&done);
        for _ in 0..TIMES {
            // This is what is random: where in a request the child is.
            thread::sleep(Duration::from_millis(random(51) as u64));
            let victim = wait_until("a child", || {
                let mut children = server.children();
                children.retain(|child| *child != supervisor);
                (!children.is_empty()).then(|| children.swap_remove(random(children.len())))
            });
            kill_hard(victim);
            wait_until("its end", || (!victim.is_running()).then_some(()));
            wait_for_answers(&answers, 10);
        }
    });
    assert_eq!(workers(&server), before);
    let table = daemon_places::table(before[0], before.len());
    wait_until("all places to be free", || {
        let mut slots = table.slots().iter();
        slots.all(|slot| slot.active() == 0).then_some(())
    });
}

/// The processes of groups: the supervisor and the workers.
fn of_groups(server: &Httpd) -> Vec<Process> {
    let mut all = workers(server);
    all.push(supervisor(server));
    all
}

fn wait_for_end(processes: &[Process]) {
    wait_until("them to be gone", || {
        (!processes.iter().any(|process| process.is_running())).then_some(())
    });
}

#[test]
fn when_the_parent_is_killed_nothing_of_its_groups_is_left() {
    if !ours("D259") {
        return;
    }
    let server = group();
    assert_eq!(server.get("/").status, 200);
    let left = of_groups(&server);
    let children = server.children();
    let sockets = || {
        let data = fs::read_dir(server.site().path("data")).expect("data/");
        let names = data.flatten().map(|entry| entry.file_name());
        names
            .filter(|name| name.as_encoded_bytes().starts_with(b"socket."))
            .count()
    };
    assert_eq!(sockets(), 1);
    kill_hard(server.process());
    wait_for_end(&left);
    assert_eq!(sockets(), 0);
    // The other children are httpd's own affair.
    children.into_iter().for_each(kill_hard);
}

#[test]
fn when_the_parent_is_killed_under_load_nothing_of_the_groups_is_left() {
    if !ours("D259") {
        return;
    }
    let server = group();
    assert_eq!(server.get("/").status, 200);
    let left = of_groups(&server);
    let children = server.children();
    let done = AtomicBool::new(false);
    let (asked, address) = (AtomicUsize::new(0), server.address());
    // What they get once the parent is gone is nobody's affair.
    let client = || {
        while !done.load(Ordering::Relaxed) {
            let mut client = Connection::open(address);
            client.send(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
            client.read_head();
            asked.fetch_add(1, Ordering::Relaxed);
        }
    };
    thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(client);
        }
        let _done = Done(&done);
        wait_until("requests", || {
            (asked.load(Ordering::Relaxed) > 50).then_some(())
        });
        kill_hard(server.process());
        wait_for_end(&left);
    });
    children.into_iter().for_each(kill_hard);
}

#[test]
fn a_child_that_serves_only_process_groups_maps_no_python() {
    if !ours("D05") {
        return;
    }
    let server = group();
    assert_eq!(server.get("/").status, 200);
    let supervisor = supervisor(&server);
    for process in server.children().into_iter().chain([server.process()]) {
        assert!(!process.maps("python"), "{process:?}");
    }
    for worker in supervisor.children() {
        assert!(worker.maps("python"), "{worker:?}");
    }
}

#[test]
fn a_supervisor_that_is_killed_costs_no_request() {
    if !ours("D92") {
        return;
    }
    let server = group();
    server
        .log()
        .expect_alarm("supervisor of the process groups died of signal 9");
    assert_eq!(server.get("/").status, 200);
    let mut pauses = Vec::new();
    under_load(&server, |answers| {
        for _ in 0..5 {
            let victim = supervisor(&server);
            let begin = Instant::now();
            kill_hard(victim);
            wait_for_answers(answers, 10);
            pauses.push(begin.elapsed());
            wait_until("another supervisor with two workers", || {
                let now = server.children();
                let now = now.iter().find(|child| child.children().len() == 2);
                now.is_some_and(|now| *now != victim).then_some(())
            });
            wait_for_answers(answers, 10);
        }
    })
    .check();
    check_pauses(pauses);
}
