//! Stopping httpd: its process groups are gone when it is, in order, and another httpd can start.

use std::fs;
use std::io::Write as _;
use std::net::{SocketAddr, TcpStream};
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use testkit::{Httpd, Process, Site, ours, wait_until};

/// Answers, or with `?wait` never; writes down that its process ends.
const SCRIPT: &str = r#"
import atexit, os, time
from pathlib import Path

data = Path(os.environ['DATA'])
takes = float(os.environ['ENDS_FOR'])

@atexit.register
def end():
    (data / f'ending-{os.getpid()}').touch()
    time.sleep(takes)
    (data / f'ended-{os.getpid()}').touch()

def application(environ, start_response):
    if environ['QUERY_STRING'] == 'wait':
        (data / 'waiting').touch()
        while True:
            time.sleep(0.01)
    start_response('200 OK', [])
    return [str(os.getpid()).encode()]
"#;

fn group(options: &str, ends_for: &str) -> Httpd {
    site(options, ends_for).start()
}

fn site(options: &str, ends_for: &str) -> Site {
    let site = Site::new().script("a.wsgi", SCRIPT);
    let data = site.text_path("data");
    site.env("DATA", &data)
        .env("ENDS_FOR", ends_for)
        .config(&format!(
            "WSGISocketPrefix ${{ROOT}}/logs/wsgi
             WSGIDaemonProcess one threads=3 {options}
             WSGIDaemonProcess idle
             WSGIScriptAlias / ${{WSGI}}/a.wsgi process-group=one application-group=%{{GLOBAL}}"
        ))
}

fn worker(server: &Httpd) -> Process {
    let response = server.get("/");
    assert_eq!(response.status, 200);
    Process {
        pid: response.text().parse().expect("a process id"),
    }
}

fn running(processes: &[Process]) -> Vec<Process> {
    let running = processes.iter().filter(|process| process.is_running());
    running.copied().collect()
}

#[test]
fn when_httpd_has_stopped_its_workers_have_ended_in_order() {
    let mut server = group("processes=2", "0.5");
    let worker = worker(&server);
    let all = server.process().descendants();
    server.stop();
    assert_eq!(running(&all), []);
    let ended = server.site().path(&format!("data/ended-{}", worker.pid));
    assert!(ended.exists(), "{ended:?}");
}

#[test]
fn a_request_that_does_not_end_delays_it_no_longer_than_it_may() {
    let server = group("shutdown-timeout=2", "0");
    worker(&server);
    let mut client = server.connect();
    client.send(b"GET /?wait HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    let waiting = server.site().path("data/waiting");
    wait_until("the request to run", || waiting.exists().then_some(()));
    let (parent, all) = (server.process(), server.process().descendants());
    let pid_file = server.site().path("logs/httpd.pid");
    kill(Pid::from_raw(parent.pid), Signal::SIGTERM).expect("it runs");
    // httpd waits up to ten seconds for its own children, who wait for the answer.
    wait_until("httpd's own children to end", || {
        (!pid_file.exists()).then_some(())
    });
    let begin = Instant::now();
    wait_until("the parent to end", || (!parent.is_running()).then_some(()));
    let took = begin.elapsed();
    assert_eq!(running(&all), []);
    // What is more than two seconds is that of a busy machine.
    assert!(took < Duration::from_secs(6), "{took:?}");
}

#[test]
fn a_graceful_stop_leaves_nothing_either() {
    let mut server = group("processes=2", "0.5");
    let worker = worker(&server);
    let all = server.process().descendants();
    server.stop_gracefully();
    assert_eq!(running(&all), []);
    let ended = server.site().path(&format!("data/ended-{}", worker.pid));
    assert!(ended.exists(), "{ended:?}");
}

/// Where httpd is one process, for a debugger, that is parent and child at once.
#[test]
fn one_process_for_debuggers_has_process_groups_and_ends_them() {
    let mut server = site("processes=2", "0").argument("-X").start();
    let worker = worker(&server);
    assert_ne!(worker, server.process());
    let all = server.process().descendants();
    server.stop();
    if ours("D259") {
        assert_eq!(running(&all), []);
    }
}

/// httpd's program, as `apachectl` calls it on the same configuration.
struct Control {
    program: PathBuf,
    root: String,
    environment: Vec<(String, String)>,
}

impl Control {
    fn of(server: &Httpd, environment: &[(&str, &str)]) -> Self {
        let program = fs::read_link(format!("/proc/{}/exe", server.process().pid));
        Self {
            program: program.expect("it runs"),
            root: server.site().text_path(""),
            environment: environment
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
        }
    }

    /// Has what it may have started end with the test.
    fn guard(&self) -> Guard<'_> {
        Guard(self)
    }

    fn order(&self, what: &str) {
        let status = self.status_of(what);
        assert!(
            status.success(),
            "-k {what}: {status} {:?}",
            status.signal()
        );
    }

    fn status_of(&self, what: &str) -> ExitStatus {
        Command::new(&self.program)
            .args(["-d", &self.root, "-f", "conf/httpd.conf", "-k", what])
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .expect("httpd runs")
    }
}

/// An httpd that is told to stop also where a test fails.
struct Guard<'c>(&'c Control);

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        // Most often it has stopped.
        self.0.status_of("stop");
    }
}

#[test]
fn another_httpd_can_start_as_soon_as_the_file_of_its_pid_is_gone() {
    // In mod_wsgi the old one holds the port while it waits for its processes.
    if !ours("D110") {
        return;
    }
    let server = group("", "2");
    let old = worker(&server);
    let data = server.site().text_path("data");
    let control = Control::of(&server, &[("DATA", &data), ("ENDS_FOR", "0")]);
    let pid_file = server.site().path("logs/httpd.pid");

    control.order("stop");
    let begin = Instant::now();
    wait_until("the old one to stop", || (!pid_file.exists()).then_some(()));
    // The file goes a moment before the ports.
    let _guard = control.guard();
    wait_until("the new one to start", || {
        control.status_of("start").success().then_some(())
    });
    wait_until("the new one to serve", || pid_file.exists().then_some(()));
    let new = worker(&server);
    assert_ne!(new, old);
    if begin.elapsed() < Duration::from_secs(2) {
        assert!(old.is_running(), "it takes two seconds to end");
    }

    let pid = fs::read_to_string(&pid_file).expect("it is there");
    let parent = Process {
        pid: pid.trim().parse().expect("a process id"),
    };
    let all = parent.descendants();
    control.order("stop");
    wait_until("the new one to end", || {
        (!parent.is_running()).then_some(())
    });
    assert_eq!(running(&all), []);
}

/// Sends a body for some seconds, or until that fails.
fn upload(address: SocketAddr, path: &str) {
    let mut client = TcpStream::connect(address).expect("a connection");
    let head = "Host: localhost\r\nTransfer-Encoding: chunked\r\n\r\n";
    let mut piece = format!("POST {path} HTTP/1.1\r\n{head}").into_bytes();
    for _ in 0..4000 {
        if client.write_all(&piece).is_err() {
            return;
        }
        piece = format!("3e8\r\n{}\r\n", "x".repeat(1000)).into_bytes();
        thread::sleep(Duration::from_micros(500));
    }
}

/// httpd closes the sockets of a child that is to end at once under its threads. What is opened
/// then may get the number of one that another thread waits for.
#[test]
fn uploads_do_not_hold_up_a_restart() {
    let server = Site::new()
        .script("reads.wsgi", READS)
        .config(
            "WSGIChunkedRequest On
             WSGIDaemonProcess one threads=4
             WSGIScriptAlias /here ${WSGI}/reads.wsgi process-group=%{GLOBAL}
             WSGIScriptAlias /there ${WSGI}/reads.wsgi process-group=one",
        )
        .start();
    let address = server.address();
    for _ in 0..4 {
        let mark = server.log().mark();
        let upload = |path| thread::spawn(move || upload(address, path));
        let clients: Vec<_> = (0..9)
            .flat_map(|_| [upload("/here"), upload("/there")])
            .collect();
        server.log().wait_for(mark, "reads a body of /here");
        server.restart_hard();
        for client in clients {
            client.join().expect("a client");
        }
        let held_up = server.log().matching(mark, "sending a SIGKILL");
        assert!(held_up.is_empty(), "{held_up:?}");
    }
}

/// Reads its body as it comes, and says so.
const READS: &str = "
def application(environ, start_response):
    try:
        environ['wsgi.input'].read(1)
        print('reads a body of', environ['SCRIPT_NAME'], file=environ['wsgi.errors'])
        environ['wsgi.input'].read()
    except OSError:
        pass
    start_response('200 OK', [])
    return []
";
