//! A request that a worker has taken is run once, whatever becomes of the worker.

use std::collections::BTreeSet;
use std::fs;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicUsize, Ordering};
use std::thread;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rstest::rstest;
use testkit::{Connection, Httpd, Mark, Mpm, Process, Request, Site, ours, wait_until};

use crate::daemon_places;

/// Writes down that it runs, then dies without a look at the request's body, or with one at its
/// beginning, hangs, or answers it; says in which process.
const NOTING: &str = r#"
import os, signal, time

def application(environ, start_response):
    with open(os.environ['NOTES'], 'a') as notes:
        notes.write('run\n')
    if environ['QUERY_STRING'] == 'die':
        os.kill(os.getpid(), signal.SIGKILL)
    if environ['QUERY_STRING'] == 'begin':
        environ['wsgi.input'].read(1)
        os.kill(os.getpid(), signal.SIGKILL)
    if environ['QUERY_STRING'] == 'hang':
        time.sleep(60)
    body = environ['wsgi.input'].read()
    start_response('200 OK', [('Content-Length', str(len(body))), ('X-Process', str(os.getpid()))])
    return [body]
"#;

fn noting(options: &str) -> Httpd {
    let site = Site::new().script("a.wsgi", NOTING);
    let notes = site.text_path("data/notes");
    site.env("NOTES", &notes)
        .mpm(Mpm::Event)
        .config(&format!(
            "ServerLimit 1\nThreadsPerChild 16\nMaxRequestWorkers 16
             WSGIDaemonProcess notes {options}
             WSGIScriptAlias / ${{WSGI}}/a.wsgi process-group=notes application-group=%{{GLOBAL}}"
        ))
        .start()
}

/// Writes down which request it runs, and answers with its process and a full stop.
const NUMBERED: &str = r#"
import os

def application(environ, start_response):
    with open(os.environ['NOTES'], 'a') as notes:
        notes.write(environ['QUERY_STRING'] + '\n')
    environ['wsgi.input'].read()
    answer = b'%d.' % os.getpid()
    start_response('200 OK', [('Content-Length', str(len(answer)))])
    return [answer]
"#;

/// Who is killed.
#[derive(Clone, Copy, Debug)]
enum Victim {
    Child,
    Worker,
}

impl Victim {
    /// One of them, where `worker` is a process of the group.
    fn choose(self, server: &Httpd, worker: Process) -> Process {
        match self {
            Self::Child => daemon_places::child(server, worker),
            Self::Worker => worker,
        }
    }
}

/// Clients that ask all the time, each time for something else.
#[derive(Default)]
struct Clients {
    next: AtomicUsize,
    done: AtomicBool,
    answered: Mutex<BTreeSet<usize>>,
    /// Who has answered last.
    worker: AtomicI32,
}

impl Clients {
    fn ask(&self, server: &Httpd) {
        while !self.done.load(Ordering::Relaxed) {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            // One that a worker gets whole, or one that it must ask for.
            let length = [0, 100, 100_000][number % 3];
            let request = Request::post(&format!("/?{number}"), body(length));
            let mut client = server.connect();
            // The connection may end with the child that has it.
            client.try_send(&request.header("Connection", "close").to_bytes());
            let answer = client.read_to_end();
            let answer = String::from_utf8_lossy(&answer).into_owned();
            if answer.starts_with("HTTP/1.1 200") {
                let pid = answer.rsplit("\r\n\r\n").next().unwrap_or_default();
                // An answer that was cut off could name another process.
                let pid = pid.strip_suffix('.').map(str::parse);
                if let Some(Ok(pid)) = pid {
                    self.worker.store(pid, Ordering::Relaxed);
                    self.answered.lock().expect("a set").insert(number);
                }
            }
        }
    }

    fn answers(&self) -> usize {
        self.answered.lock().expect("a set").len()
    }
}

#[rstest]
fn no_request_is_run_twice_whoever_is_killed(
    #[values(Victim::Child, Victim::Worker)] victim: Victim,
) {
    let site = Site::new().script("a.wsgi", NUMBERED);
    let notes = site.text_path("data/notes");
    let server = site
        .env("NOTES", &notes)
        .mpm(Mpm::Event)
        .config(
            "ServerLimit 2\nStartServers 2\nThreadsPerChild 8\nMaxRequestWorkers 16
             WSGIDaemonProcess notes processes=2 threads=2
             WSGIScriptAlias / ${WSGI}/a.wsgi process-group=notes application-group=%{GLOBAL}",
        )
        .start();
    server.log().expect_alarm("exit signal Killed");
    server.log().expect_alarm("died of signal 9 (SIGKILL)");
    let clients = Clients::default();
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| clients.ask(&server));
        }
        // They end however this ends.
        let _done = Done(&clients.done);
        for kills in 1..=8 {
            let before = clients.answers();
            wait_until("answers", || {
                (clients.answers() >= before + 5 * kills).then_some(())
            });
            let worker = Process {
                pid: clients.worker.load(Ordering::Relaxed),
            };
            // It may be gone by itself.
            let _ = kill(
                Pid::from_raw(victim.choose(&server, worker).pid),
                Signal::SIGKILL,
            );
        }
        let before = clients.answers();
        wait_until("answers after that", || {
            (clients.answers() >= before + 10).then_some(())
        });
    });
    let mut run = BTreeSet::new();
    for number in server.site().read("data/notes").lines() {
        let number: usize = number.parse().expect("a number");
        assert!(run.insert(number), "{number} was run twice");
    }
    let answered = clients.answered.into_inner().expect("a set");
    assert!(answered.is_subset(&run), "whatever was answered was run");
}

/// Tells clients, as it is dropped, to ask no more.
struct Done<'a>(&'a AtomicBool);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn body(length: usize) -> Vec<u8> {
    (0..=u8::MAX).cycle().take(length).collect()
}

#[rstest]
fn an_unread_body_does_not_make_it_run_again(#[values("die", "begin")] way: &str) {
    for length in [1, 40_000, 60_000, 300_000] {
        let server = noting("processes=3 threads=2");
        server.log().expect_alarm("died of signal 9 (SIGKILL)");
        let response = server.send(&Request::post(&format!("/?{way}"), body(length)));
        assert_eq!(response.head.status, 502, "{length} bytes");
        assert_eq!(server.site().read("data/notes"), "run\n", "{length} bytes");
    }
}

#[test]
fn bodies_of_every_size_arrive_whole() {
    let server = noting("processes=3 threads=2");
    for length in [
        0, 1, 8_191, 8_192, 32_768, 65_535, 65_536, 65_537, 200_000, 3_000_000,
    ] {
        let sent = body(length);
        let response = server.send(&Request::post("/", &sent));
        assert_eq!(response.head.status, 200, "{length} bytes");
        assert!(response.body == sent, "{length} bytes");
    }
}

fn ask(server: &Httpd, target: &str) -> Connection {
    let mut client = server.connect();
    let request = format!("GET {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    client.send(request.as_bytes());
    client
}

/// Has a client answered, and returns the process that did. Nothing of the request goes on then:
/// httpd hangs up when it has put the connection to the worker back.
fn answered(mut client: Connection) -> Process {
    let response = client.read_response();
    assert_eq!(response.status, 200);
    assert!(client.is_closed());
    let pid = response
        .header("X-Process")
        .and_then(|pid| pid.parse().ok());
    Process {
        pid: pid.expect("a process id"),
    }
}

fn send(process: Process, signal: Signal) {
    kill(Pid::from_raw(process.pid), signal).expect("a process that runs");
}

/// A group of one thread that has served, and of which no request was noted yet; and its worker,
/// which will be killed.
fn having_served() -> (Httpd, Process) {
    let server = noting("processes=1 threads=1");
    server.log().expect_alarm("died of signal 9 (SIGKILL)");
    let worker = answered(ask(&server, "/"));
    server.site().remove("data/notes");
    (server, worker)
}

/// It lies in the socket of a connection that the worker has, and nobody has read it there.
#[test]
fn what_a_worker_has_not_read_when_it_dies_another_runs() {
    let (server, worker) = having_served();
    let stop = || {
        send(worker, Signal::SIGSTOP);
        wait_until("it to stand still", || worker.is_stopped().then_some(()));
    };
    let client = if ours("D92") {
        let table = daemon_places::table(worker, 1);
        let active = |count| (table.slots()[0].active() == count).then_some(());
        // It gives its place back a moment after it has answered.
        wait_until("no place to be taken", || active(0));
        stop();
        let client = ask(&server, "/");
        wait_until("the request to have its place", || active(1));
        let child = daemon_places::child(&server, worker);
        wait_until("it to be sent", || child.is_asleep().then_some(()));
        client
    } else {
        stop();
        ask(&server, "/")
    };
    send(worker, Signal::SIGKILL);
    assert_ne!(answered(client), worker);
    assert_eq!(server.site().read("data/notes"), "run\n");
    let told = server.log().matching(Mark::START, "No complete answer");
    assert!(told.is_empty(), "{told:?}");
}

#[test]
fn what_a_worker_was_running_when_it_dies_no_other_runs() {
    let (server, worker) = having_served();
    let mut client = ask(&server, "/?hang");
    let notes = server.site().path("data/notes");
    wait_until("it to run", || {
        fs::read_to_string(&notes)
            .is_ok_and(|text| text == "run\n")
            .then_some(())
    });
    send(worker, Signal::SIGKILL);
    assert_eq!(client.read_response().status, 502);
    assert_eq!(server.site().read("data/notes"), "run\n");
    assert_ne!(answered(ask(&server, "/")), worker);
}
