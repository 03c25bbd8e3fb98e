//! Children of httpd that die after they have reserved a place in a process of a group: it is free
//! again, though requests never cease.

use std::fs::{self, File};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use control::Table;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use testkit::{Connection, Httpd, Mpm, Process, Site, ours, wait_until};

/// How many threads the process has.
const THREADS: u32 = 3;

/// Answers with its process; with `?NAME` only when `data/NAME` is there.
const GATED: &str = "
import os, time

def application(environ, start_response):
    gate = environ['QUERY_STRING']
    if gate:
        open(os.path.join(os.environ['DATA'], f'waits-{os.urandom(8).hex()}'), 'w').close()
    while gate and not os.path.exists(os.path.join(os.environ['DATA'], gate)):
        time.sleep(0.005)
    start_response('200 OK', [])
    return [str(os.getpid()).encode()]
";

fn group() -> Httpd {
    let site = Site::new().script("a.wsgi", GATED);
    let data = site.text_path("data");
    site.env("DATA", &data)
        .mpm(Mpm::Event)
        .config(&format!(
            "ServerLimit 1\nThreadsPerChild 16\nMaxRequestWorkers 16
             LimitRequestFieldSize 4000000
             WSGISocketPrefix ${{DATA}}/socket
             WSGIDaemonProcess one threads={THREADS}
             WSGIScriptAlias / ${{WSGI}}/a.wsgi process-group=one application-group=%{{GLOBAL}}"
        ))
        .start()
}

fn send(process: Process, signal: Signal) {
    kill(Pid::from_raw(process.pid), signal).expect("a process that runs");
}

fn worker(server: &Httpd) -> Process {
    let pid = server.get("/").text().parse().expect("a process id");
    Process { pid }
}

/// The child of httpd that serves: neither the supervisor nor a process of mod_wsgi's.
pub(crate) fn child(server: &Httpd, worker: Process) -> Process {
    wait_until("a child that serves", || {
        let mut children = server.children().into_iter();
        children.find(|child| *child != worker && child.children().is_empty())
    })
}

/// The table of a group of so many processes, as one of its workers has it open.
pub(crate) fn table(worker: Process, processes: usize) -> Table {
    let descriptors = fs::read_dir(format!("/proc/{}/fd", worker.pid)).expect("its descriptors");
    let path = descriptors
        .flatten()
        .map(|entry| entry.path())
        .find(|path| {
            fs::read_link(path)
                .is_ok_and(|target| target.to_string_lossy().contains("wsgi-workers"))
        });
    let path = path.expect("a table");
    let file = File::options().read(true).write(true).open(path);
    let file = file.expect("it can be opened");
    Table::map(OwnedFd::from(file), processes).expect("a table with a slot for each")
}

fn ask(server: &Httpd, target: &str, header: &str) -> Connection {
    let mut client = server.connect();
    let request = format!("GET {target} HTTP/1.1\r\nHost: x\r\n{header}Connection: close\r\n\r\n");
    client.send(request.as_bytes());
    client
}

/// Has all threads of the group serve at the same time, which `name` is the gate for.
fn use_all_threads(server: &Httpd, name: &str) {
    let waiting = || {
        let entries = fs::read_dir(server.site().path("data")).expect("data/");
        let names = entries.flatten().map(|entry| entry.file_name());
        names
            .filter(|name| name.to_string_lossy().starts_with("waits-"))
            .count()
    };
    let before = waiting();
    let mut clients: Vec<_> = (0..THREADS)
        .map(|_| ask(server, &format!("/?{name}"), ""))
        .collect();
    wait_until("all of them to run", || {
        (waiting() == before + clients.len()).then_some(())
    });
    server.site().write(&format!("data/{name}"), "");
    for client in &mut clients {
        assert_eq!(client.read_response().status, 200);
    }
}

/// Does something while one client asks all the time.
fn under_load(server: &Httpd, act: impl FnOnce()) {
    struct Done<'a>(&'a AtomicBool);
    impl Drop for Done<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                // A child that has been killed answers nothing.
                let mut client = ask(server, "/", "");
                client.read_head();
            }
        });
        let _done = Done(&done);
        act();
    });
}

#[test]
fn what_a_dead_child_has_reserved_is_free_again_under_constant_load() {
    let server = group();
    let worker = worker(&server);
    let huge = format!("X-Huge: {}\r\n", "x".repeat(3_000_000));
    for round in 0..3 {
        // A connection for each of its threads.
        use_all_threads(&server, &format!("gate-{round}"));
        let child = child(&server, worker);
        if ours("D92") {
            let table = table(worker, 1);
            let slot = &table.slots()[0];
            wait_until("all places to be free", || {
                (slot.active() == 0).then_some(())
            });
            // It cannot take a request whole that is larger than what sockets hold.
            send(worker, Signal::SIGSTOP);
            let _clients: Vec<_> = (0..THREADS).map(|_| ask(&server, "/", &huge)).collect();
            wait_until("places to be reserved", || {
                (slot.active() == THREADS).then_some(())
            });
            send(child, Signal::SIGKILL);
            send(worker, Signal::SIGCONT);
        } else {
            send(child, Signal::SIGKILL);
        }
        wait_until("another child", || (!child.is_running()).then_some(()));
        under_load(&server, || {
            if ours("D92") {
                let table = table(worker, 1);
                wait_until("no place to be taken but for one client", || {
                    (table.slots()[0].active() <= 1).then_some(())
                });
            }
            use_all_threads(&server, &format!("again-{round}"));
        });
    }
    assert_eq!(self::worker(&server), worker);
}
