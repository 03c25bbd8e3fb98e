//! A request that a worker has taken is run once, whatever becomes of the worker.

use std::fs;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use testkit::{Connection, Httpd, Mark, Mpm, Process, Request, Site, ours, wait_until};

use crate::daemon_places;

/// Writes down that it runs, then dies without a look at the request's body, hangs, or answers it;
/// says in which process.
const NOTING: &str = r#"
import os, signal, time

def application(environ, start_response):
    with open(os.environ['NOTES'], 'a') as notes:
        notes.write('run\n')
    if environ['QUERY_STRING'] == 'die':
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

fn body(length: usize) -> Vec<u8> {
    (0..=u8::MAX).cycle().take(length).collect()
}

#[test]
fn an_unread_body_does_not_make_it_run_again() {
    for length in [1, 40_000, 60_000, 300_000] {
        let server = noting("processes=3 threads=2");
        server.log().expect_alarm("died of signal 9 (SIGKILL)");
        let response = server.send(&Request::post("/?die", body(length)));
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
