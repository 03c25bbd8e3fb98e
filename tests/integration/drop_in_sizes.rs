//! What the options of mod_wsgi's own command-line tool for sizes do: of buffers, of queues, of the
//! set of processes.

use std::fs;
use std::io::Write as _;
use std::net::TcpStream;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use testkit::{Process, Site, ours, wait_until};

use crate::daemon_site::SELF;
use crate::drop_in_effects::{start, words};
use crate::express::{Express, Package, told};

/// `/SIZE` answers with as many bytes, `/head/SIZE` with a header that long, `/gate` when it may.
const SIZED: &str = "
import os, time
HERE = os.path.dirname(os.path.abspath(__file__))

def application(environ, start_response):
    *path, size = environ['PATH_INFO'].strip('/').split('/')
    if size == 'gate':
        open(HERE + '/data/waiting', 'w').close()
        while not os.path.exists(HERE + '/data/gate'):
            time.sleep(0.01)
    size = int(size) if size.isdigit() else 0
    headers = [('X-Long', 'y' * size)] if path else []
    start_response('200 OK', headers)
    return [b'x' * (0 if path else size)]
";

/// A server with this application, in a process group of its own.
fn serving(source: &str, package: &Arc<Package>, options: &str) -> Express {
    let site = Site::new().without_subject().file("sized.wsgi", source);
    let mut command = package.express();
    command.args(["start-server", "sized.wsgi"]);
    Express::start(site, package.clone(), command, &words(options))
}

#[test]
fn buffers_of_sockets() {
    let Some(package) = Package::find() else {
        return;
    };
    let options = "--send-buffer-size 20480 --receive-buffer-size 10240";
    let own = told(&serving(SELF, &package, options).get("/"));
    // Linux doubles them, for its own needs.
    assert!(own["sent"].contains("40960"), "{}", own["sent"]);
    assert!(own["received"].contains("20480"), "{}", own["received"]);
}

#[test]
fn a_line_of_a_head_can_be_as_long_as_the_option_says() {
    let Some(package) = Package::find() else {
        return;
    };
    for (options, status) in [("", 500), ("--header-buffer-size 65536", 200)] {
        let options = format!("--processes 1 {options}");
        let server = serving(SIZED, &package, &options);
        assert_eq!(server.get("/head/40000").status, status, "{options}");
    }
}

/// More than the sockets on the way take.
const LARGE: usize = 12 << 20;

#[test]
fn a_client_that_reads_nothing_holds_a_thread_when_the_buffer_is_full() {
    let Some(package) = Package::find() else {
        return;
    };
    if !ours("D90") {
        return;
    }
    for (size, status) in [(65_536, 503), (LARGE * 2, 200)] {
        let options = format!("--threads 1 --queue-timeout 1 --response-buffer-size {size}");
        let server = serving(SIZED, &package, &options);
        let mut slow = server.connect();
        slow.send(format!("GET /{LARGE} HTTP/1.0\r\nHost: localhost\r\n\r\n").as_bytes());
        assert_eq!(slow.read_head().expect("a head").status, 200);
        assert_eq!(server.get("/1").status, status, "{size}");
    }
}

fn signal(processes: &[Process], signal: Signal) {
    for process in processes {
        kill(Pid::from_raw(process.pid), signal).expect("a process that runs");
    }
}

/// How many connections wait to be accepted at a port: `rx_queue` of a socket that listens, see
/// proc_pid_net(5).
fn waiting_at(port: u16) -> usize {
    const LISTENS: &str = "0A";
    let tables = ["tcp", "tcp6"].map(|table| fs::read_to_string(format!("/proc/net/{table}")));
    let port = format!(":{port:04X}");
    let waiting = |row: &str| {
        let mut columns = row.split_whitespace().skip(1);
        let is_it = columns.next()?.ends_with(&port) && columns.nth(1)? == LISTENS;
        let (_, queue) = columns.next().filter(|_| is_it)?.split_once(':')?;
        usize::from_str_radix(queue, 16).ok()
    };
    let rows = tables.iter().flatten().flat_map(|table| table.lines());
    rows.filter_map(waiting).sum()
}

#[test]
fn as_many_connections_wait_for_httpd_as_the_option_says() {
    let Some(package) = Package::find() else {
        return;
    };
    let server = start(Site::new(), &package, &["--server-backlog", "4"]);
    let mut processes = server.httpd().descendants();
    processes.push(server.httpd());
    signal(&processes, Signal::SIGSTOP);
    let address = ([127, 0, 0, 1], server.port()).into();
    let connect = || {
        let mut stream = TcpStream::connect_timeout(&address, Duration::from_millis(500)).ok()?;
        // One that says nothing is in no queue yet (`TCP_DEFER_ACCEPT`).
        stream.write_all(b"GET / HTTP/1.0\r\n\r\n").ok()?;
        Some(stream)
    };
    let mut connections = Vec::new();
    let mut waiting = 0;
    for _ in 0..50 {
        connections.extend(connect());
        waiting = waiting_at(server.port());
        if waiting >= 5 {
            break;
        }
    }
    let one_more = connect();
    signal(&processes, Signal::SIGCONT);
    // Linux has one more wait than it was asked for.
    assert_eq!(waiting, 5);
    assert!(one_more.is_none(), "there is room for more");
}

#[test]
fn as_many_requests_wait_for_the_application_as_the_option_says() {
    let Some(package) = Package::find() else {
        return;
    };
    let options = "--threads 1 --daemon-backlog 3 --connect-timeout 1 --max-clients 60";
    let server = serving(SIZED, &package, options);
    thread::scope(|scope| {
        let busy = scope.spawn(|| server.get("/gate").status);
        wait_until("the thread to be busy", || {
            server.site().path("data/waiting").exists().then_some(())
        });
        let queued: Vec<_> = (0..20)
            .map(|_| scope.spawn(|| server.get("/1").status))
            .collect();
        wait_until("some to be turned away", || {
            (server.log().matches("WSGI0116").count() >= 10).then_some(())
        });
        server.site().write("data/gate", "");
        assert_eq!(busy.join().expect("an answer"), 200);
        let statuses: Vec<u16> = queued
            .into_iter()
            .map(|it| it.join().expect("an answer"))
            .collect();
        let served = statuses.iter().filter(|status| **status == 200).count();
        assert!((3..=10).contains(&served), "{statuses:?}");
        assert!(
            statuses.iter().all(|status| [200, 503].contains(status)),
            "{statuses:?}"
        );
    });
}

/// How many processes of httpd there are beside its first.
fn workers(server: &Express) -> usize {
    let children = server.httpd().children();
    let is_worker = |child: &&Process| {
        fs::read(format!("/proc/{}/cmdline", child.pid)).is_ok_and(|it| it.starts_with(b"named "))
    };
    children.iter().filter(is_worker).count()
}

#[test]
fn as_many_processes_wait_for_clients_as_the_options_say() {
    let Some(package) = Package::find() else {
        return;
    };
    // Shares of the 20 that there may be.
    for (initial, minimum, maximum, few, many) in [
        ("0.5", "0.1", "0.9", 10, 10),
        ("0.1", "0.4", "0.9", 8, 18),
        ("0.4", "0.1", "0.2", 4, 4),
    ] {
        let options = [
            &words("--server-mpm prefork --max-clients 20 --process-name named")[..],
            &["--initial-workers", initial],
            &["--minimum-spare-workers", minimum],
            &["--maximum-spare-workers", maximum],
        ];
        let server = start(Site::new(), &package, &options.concat());
        wait_until("that many processes", || {
            (few..=many).contains(&workers(&server)).then_some(())
        });
    }
}
