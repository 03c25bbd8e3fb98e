//! More requests than threads: the queue of a process group.

use std::time::{Duration, Instant};

use rstest::rstest;
use testkit::{Connection, Httpd, Mark, Mpm, Request, Site, ours, wait_until};

/// Notes that it runs, and with `?wait=NAME` stays until `data/NAME` is there.
const WAITING: &str = r#"
import os, time

DATA = os.environ['DATA_DIRECTORY']

def application(environ, start_response):
    name = environ['PATH_INFO'][1:]
    with open(os.path.join(DATA, 'ran'), 'a') as notes:
        notes.write(name + '\n')
    gate = environ['QUERY_STRING']
    while gate and not os.path.exists(os.path.join(DATA, gate)):
        time.sleep(0.005)
    start_response('200 OK', [('Content-Type', 'text/plain')])
    return [name.encode()]
"#;

fn group(options: &str) -> Httpd {
    let site = Site::new().script("a.wsgi", WAITING);
    let data = site.text_path("data");
    site.env("DATA_DIRECTORY", &data)
        .mpm(Mpm::Event)
        // No request waits for a thread of httpd.
        .config("ServerLimit 1\nThreadsPerChild 64\nMaxRequestWorkers 64")
        .config(&format!(
            "WSGISocketPrefix ${{DATA}}/socket
             WSGIDaemonProcess one {options}
             WSGIScriptAlias / ${{WSGI}}/a.wsgi process-group=one application-group=%{{GLOBAL}}"
        ))
        .start()
}

fn ask(server: &Httpd, target: &str) -> Connection {
    let mut client = server.connect();
    client.send(
        &Request::get(target)
            .header("Connection", "close")
            .to_bytes(),
    );
    client
}

fn ran(server: &Httpd) -> Vec<String> {
    if !server.site().path("data/ran").exists() {
        return Vec::new();
    }
    let notes = server.site().read("data/ran");
    notes.lines().map(str::to_owned).collect()
}

fn wait_until_ran(server: &Httpd, count: usize) {
    wait_until(&format!("{count} requests to run"), || {
        (ran(server).len() >= count).then_some(())
    });
}

/// How many descriptors httpd's children have open.
fn open_files(server: &Httpd) -> usize {
    let children = server.children().into_iter();
    children.map(|child| child.open_files()).sum()
}

/// Asks, and waits until httpd has the request and is on its way to the group with it: two more
/// sockets.
fn queue_up(server: &Httpd, target: &str) -> Connection {
    let before = open_files(server);
    let client = ask(server, target);
    wait_until("the request to be in the queue", || {
        (open_files(server) >= before + 2).then_some(())
    });
    client
}

#[test]
fn requests_are_run_in_the_order_in_which_they_came() {
    let server = group("threads=1");
    let mut clients = vec![ask(&server, "/first?gate")];
    wait_until_ran(&server, 1);
    for number in 0..10 {
        clients.push(queue_up(&server, &format!("/{number}")));
    }
    server.site().write("data/gate", "");
    for client in &mut clients {
        assert_eq!(client.read_response().status, 200);
    }
    let expected: Vec<String> = (0..10).map(|number| number.to_string()).collect();
    assert_eq!(ran(&server)[1..], expected, "each once");
}

#[test]
fn one_client_with_many_connections_does_not_starve_another() {
    let server = group("threads=1");
    let mut greedy = vec![ask(&server, "/greedy?gate")];
    wait_until_ran(&server, 1);
    for _ in 0..30 {
        greedy.push(queue_up(&server, "/greedy"));
    }
    let mut modest = queue_up(&server, "/modest");
    greedy.extend((0..10).map(|_| ask(&server, "/greedy")));
    server.site().write("data/gate", "");
    for client in greedy.iter_mut().chain([&mut modest]) {
        assert_eq!(client.read_response().status, 200);
    }
    let ran = ran(&server);
    assert_eq!(ran.len(), 42);
    let place = ran.iter().position(|name| name == "modest");
    assert_eq!(place, Some(31), "behind those that came before");
}

#[test]
fn a_request_goes_to_whichever_process_is_free_first() {
    let server = group("processes=2 threads=1");
    let mut stuck = ask(&server, "/stuck?never");
    wait_until_ran(&server, 1);
    let mut short = ask(&server, "/short?gate");
    wait_until_ran(&server, 2);
    // Both are busy now. One will stay so for long.
    let mut queued: Vec<_> = (0..6)
        .map(|n| ask(&server, &format!("/queued-{n}")))
        .collect();
    server.site().write("data/gate", "");
    for client in queued.iter_mut().chain([&mut short]) {
        assert_eq!(client.read_response().status, 200);
    }
    server.site().write("data/never", "");
    assert_eq!(stuck.read_response().status, 200);
}

#[test]
fn a_request_that_waits_too_long_is_turned_away_and_not_run() {
    // mod_wsgi finds out that the time was over when a thread is free.
    if !ours("D91") {
        return;
    }
    let server = group("threads=1 queue-timeout=1");
    let mut busy = ask(&server, "/busy?gate");
    wait_until_ran(&server, 1);
    let turned_away = ask(&server, "/late").read_response();
    assert_eq!(turned_away.status, 503);
    let retry = turned_away.head.header("Retry-After");
    assert!(
        retry.is_some_and(|seconds| seconds.parse::<u32>().is_ok()),
        "{retry:?}"
    );
    assert_eq!(server.log().matching(Mark::START, "WSGI0084").len(), 1);
    server.site().write("data/gate", "");
    assert_eq!(busy.read_response().text(), "busy");
    assert_eq!(server.get("/next").text(), "next");
    assert_eq!(ran(&server), ["busy", "next"]);
}

#[test]
fn the_time_in_which_the_body_comes_is_none_in_the_queue() {
    let server = group("threads=1 queue-timeout=1");
    let mut slow = server.connect();
    slow.send(b"POST /slow HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n.");
    let begin = Instant::now();
    wait_until("some seconds", || {
        (begin.elapsed() >= Duration::from_secs(2)).then_some(())
    });
    slow.send(b".");
    assert_eq!(slow.read_response().status, 200);
}

#[rstest]
fn a_queue_that_is_full_turns_requests_away(#[values(0, 1)] connect_timeout: u32) {
    let server = group(&format!(
        "threads=1 listen-backlog=3 connect-timeout={connect_timeout}"
    ));
    let mut busy = ask(&server, "/busy?gate");
    wait_until_ran(&server, 1);
    let mut queued: Vec<_> = (0..20).map(|n| ask(&server, &format!("/{n}"))).collect();
    let log = server.log();
    wait_until("some to be turned away", || {
        (log.matching(Mark::START, "WSGI0116").len() >= 10).then_some(())
    });
    server.site().write("data/gate", "");
    assert_eq!(busy.read_response().status, 200);
    let statuses: Vec<u16> = queued
        .iter_mut()
        .map(|client| client.read_response().status)
        .collect();
    let served = statuses.iter().filter(|status| **status == 200).count();
    assert!((3..=10).contains(&served), "{statuses:?}");
    assert!(
        statuses.iter().all(|status| [200, 503].contains(status)),
        "{statuses:?}"
    );
    assert_eq!(
        ran(&server).len(),
        1 + served,
        "none that was turned away is run"
    );
}
