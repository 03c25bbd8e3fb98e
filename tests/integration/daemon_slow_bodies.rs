//! Clients that send a byte a second: they hold no thread of an application, however they announce
//! their body.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rstest::rstest;
use testkit::{Connection, Httpd, Process, Request, Site, assert_soon, ours, wait_until};

use crate::wsgi_site::threaded;

/// Answers with the body, or with 6 MiB; or when a second request meets the first, which takes two threads.
const READS: &str = r#"
import threading

BOTH = threading.Barrier(2)

def application(environ, start_response):
    path = environ['PATH_INFO']
    if path == '/meet':
        BOTH.wait(10)
    if path == '/large':
        start_response('200 OK', [('Content-Length', str(6 << 20))])
        return [bytes(6 << 20)]
    if path == '/refuse':
        start_response('403 Forbidden', [('Content-Length', '2')])
        return [b'no']
    body = environ['wsgi.input'].read()
    start_response('200 OK', [('Content-Length', str(len(body)))])
    return [body]
"#;

fn site(threads: u32) -> Site {
    Site::new()
        .mpm(threaded())
        .script("a.wsgi", READS)
        .config(&format!(
            "WSGISocketPrefix ${{DATA}}/socket
         WSGIChunkedRequest On
         WSGIDaemonProcess few threads={threads}
         WSGIScriptAlias / ${{WSGI}}/a.wsgi process-group=few application-group=%{{GLOBAL}}"
        ))
}

/// Calls `act` this many times, once in a second.
fn every_second(times: u32, act: impl FnMut(u32)) {
    every(Duration::from_secs(1), times, act);
}

/// Calls `act` this many times, once in this time.
fn every(time: Duration, times: u32, mut act: impl FnMut(u32)) {
    let begin = Instant::now();
    for number in 0..times {
        wait_until("a while", || {
            (begin.elapsed() >= time * number).then_some(())
        });
        act(number);
    }
}

/// Two requests meet, so two threads of the application are free; and they do so at once.
fn meet(server: &Httpd) {
    let begin = Instant::now();
    thread::scope(|scope| {
        let other = scope.spawn(|| server.get("/meet"));
        assert_eq!(server.get("/meet").status, 200);
        assert_eq!(other.join().expect("an answer").status, 200);
    });
    assert!(begin.elapsed() < Duration::from_secs(5));
}

/// A client that has sent the head of a request to `path`, with these headers.
fn announce(server: &Httpd, path: &str, headers: &str) -> Connection {
    let mut client = server.connect();
    let head = format!("POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}\r\n");
    client.send(head.as_bytes());
    client
}

const CHUNKED: &str = "Transfer-Encoding: chunked\r\n";
const EXPECT: &str = "Expect: 100-continue\r\n";

#[test]
fn chunks_that_come_slowly_hold_no_thread_for_as_long_as_they_come() {
    if !ours("D90") {
        return;
    }
    let server = site(2).start();
    // Some send a chunk in a second. Of others it is a byte that arrives, and most are none of the
    // body.
    let (chunk, bytes) = ("1\r\n.\r\n", "1\r\n.\r\n".repeat(5));
    let mut slow: Vec<_> = (0..4).map(|_| announce(&server, "/", CHUNKED)).collect();
    // For longer than is waited for a stream.
    every_second(25, |number| {
        let at = usize::try_from(number).expect("a small number");
        for (index, client) in slow.iter_mut().enumerate() {
            match index % 2 {
                0 => client.send(chunk.as_bytes()),
                _ => client.send(&bytes.as_bytes()[at..=at]),
            }
        }
        meet(&server);
    });
    for (index, client) in slow.iter_mut().enumerate() {
        let (rest, length) = if index % 2 == 0 {
            ("", 25)
        } else {
            (&bytes[25..], 5)
        };
        client.send(format!("{rest}0\r\n\r\n").as_bytes());
        assert_eq!(client.read_response().text(), ".".repeat(length));
    }
}

/// A byte of a body comes now and then, and one of a response is taken. One thread answers others
/// meanwhile, who would wait for ever if it were held.
#[test]
fn bodies_of_known_length_that_trickle_hold_no_thread_either_way() {
    if !ours("D90") {
        return;
    }
    let server = site(1).start();
    let mut uploads: Vec<_> = (0..3)
        .map(|_| announce(&server, "/", "Content-Length: 10\r\n"))
        .collect();
    let mut downloads: Vec<_> = (0..3)
        .map(|_| announce(&server, "/large", "Content-Length: 0\r\n"))
        .collect();
    for client in &mut downloads {
        assert_eq!(client.read_head().expect("a head").status, 200);
    }
    // For longer than is waited for a client that is silent.
    every(Duration::from_millis(300), 10, |_| {
        for client in &mut uploads {
            client.send(b".");
        }
        for client in &mut downloads {
            assert_eq!(client.read_exactly(1), [0]);
        }
        assert_eq!(server.get("/").status, 200);
    });
    for client in &mut uploads {
        assert_eq!(client.read_response().text(), "..........");
    }
    for client in &mut downloads {
        assert_eq!(client.read_to_end().len(), (6 << 20) - 10);
    }
}

#[rstest]
fn clients_that_were_told_to_continue_leave_threads_to_others(
    #[values("Content-Length: 5\r\n", CHUNKED)] length: &str,
    #[values(1, 2)] threads: u32,
) {
    if !ours("D90") {
        return;
    }
    let server = site(threads).start();
    let mut slow: Vec<_> = (0..4)
        .map(|_| announce(&server, "/", &format!("{EXPECT}{length}")))
        .collect();
    for client in &mut slow {
        assert_eq!(client.read_head().expect("an interim response").status, 100);
    }
    let (piece, end) = match length {
        CHUNKED => ("1\r\n.\r\n", "0\r\n\r\n"),
        _ => (".", ""),
    };
    every_second(5, |_| {
        for client in &mut slow {
            client.send(piece.as_bytes());
        }
        let begin = Instant::now();
        assert_eq!(server.get("/").status, 200);
        assert!(begin.elapsed() < Duration::from_secs(3));
    });
    for client in &mut slow {
        client.send(end.as_bytes());
        assert_eq!(client.read_response().text(), ".....");
    }
}

#[test]
fn half_of_the_threads_are_for_clients_that_ask_before_they_send() {
    // mod_wsgi tells all of them to go on, whatever the application does.
    if !ours("D191") {
        return;
    }
    let server = site(2).start();
    let headers = format!("{EXPECT}Content-Length: 2\r\n");
    let ask = |path| announce(&server, path, &headers);
    // Nobody else asks, so the application has the word.
    assert_eq!(ask("/refuse").read_head().expect("a head").status, 403);

    let mut slow = ask("/");
    assert_eq!(slow.read_head().expect("an interim response").status, 100);
    // Now somebody does.
    let mut other = ask("/refuse");
    assert_eq!(other.read_head().expect("an interim response").status, 100);
    other.send(b"ab");
    assert_eq!(other.read_response().status, 403);

    slow.send(b"ab");
    assert_eq!(slow.read_response().text(), "ab");
    wait_until("the thread to be free again", || {
        (ask("/refuse").read_head().expect("a head").status == 403).then_some(())
    });
}

#[rstest]
fn a_client_that_waits_for_an_answer_gets_it(
    #[values("", EXPECT)] expect: &str,
    #[values(1, 2)] threads: u32,
) {
    // mod_wsgi sends the whole body before it looks at the response.
    if !ours("D80") {
        return;
    }
    const ECHO: &str = "
def application(environ, start_response):
    start_response('200 OK', [('Content-Type', 'text/plain')])
    while piece := environ['wsgi.input'].read(3):
        yield piece.upper()
";
    let server = site(threads).script("a.wsgi", ECHO).start();
    let mut client = announce(&server, "/", &format!("{expect}{CHUNKED}"));
    if !expect.is_empty() {
        assert_eq!(client.read_head().expect("an interim response").status, 100);
    }
    client.send(b"3\r\none\r\n");
    assert_eq!(client.read_head().expect("a head").status, 200);
    assert_eq!(client.read_chunk().as_deref(), Some(&b"ONE"[..]));
    client.send(b"3\r\ntwo\r\n");
    assert_eq!(client.read_chunk().as_deref(), Some(&b"TWO"[..]));
    client.send(b"0\r\n\r\n");
    assert_eq!(client.read_chunk().as_deref(), Some(&b""[..]));
}

#[rstest]
fn what_a_client_may_send_is_limited_however_slowly_it_comes(#[values("", EXPECT)] expect: &str) {
    let server = site(1).config("LimitRequestBody 3").start();
    let mut slow = announce(&server, "/", &format!("{expect}{CHUNKED}"));
    if !expect.is_empty() {
        assert_eq!(slow.read_head().expect("an interim response").status, 100);
    }
    every_second(4, |_| slow.send(b"1\r\n.\r\n"));
    assert_eq!(slow.read_response().status, 413);
    assert_eq!(server.send(&Request::post("/", "abc")).text(), "abc");
}

#[rstest]
fn a_slow_client_that_leaves_leaves_nothing_behind(#[values("", EXPECT)] expect: &str) {
    let server = site(1).start();
    let chunked = Request::new("POST", "/").chunked(["abc"]);
    assert_eq!(server.send(&chunked).text(), "abc");
    let open_files = |server: &Httpd| -> usize {
        server
            .process()
            .descendants()
            .into_iter()
            .map(Process::open_files)
            .sum()
    };
    let before = open_files(&server);
    for _ in 0..10 {
        let mut slow: Vec<_> = (0..10)
            .map(|_| announce(&server, "/", &format!("{expect}{CHUNKED}")))
            .collect();
        for client in &mut slow {
            client.try_send(b"1\r\n.\r\n");
        }
        drop(slow);
        assert_eq!(server.send(&chunked).text(), "abc");
    }
    // Connections to the worker may be kept for the next ten, with both ends and windows.
    wait_until("fewer open files than there were clients", || {
        (open_files(&server) < before + 60).then_some(())
    });
}

/// The end of what a client sends is nothing that is waited for.
#[rstest]
fn a_client_that_sends_no_more_is_not_waited_for(
    #[values("", EXPECT)] expect: &str,
    #[values("", "5", "5\r\nab", "1\r\n.\r\n")] begun: &str,
) {
    let server = site(1).start();
    assert_soon(Duration::from_secs(2), || {
        let mut client = announce(&server, "/", &format!("{expect}{CHUNKED}"));
        client.send(begun.as_bytes());
        let begin = Instant::now();
        client.half_close();
        let answer = client.read_to_end();
        assert!(!answer.is_empty());
        begin.elapsed()
    });
    assert_eq!(server.get("/").status, 200);
}

/// Over TLS bytes come in records, over HTTP/2 in frames of one connection for all.
#[rstest]
fn what_comes_slowly_through_other_protocols_holds_no_thread(
    #[values("--http2-prior-knowledge", "--http1.1")] protocol: &str,
    #[values("Expect:", "Expect: 100-continue")] expect: &str,
) {
    if !ours("D90") {
        return;
    }
    let server = site(1)
        .module("http2")
        .tls_host()
        .config("Protocols h2c http/1.1")
        .start();
    let url = match protocol {
        "--http1.1" => format!("https://localhost:{}/", server.tls_port()),
        _ => format!("http://{}/", server.address()),
    };
    let upload = || {
        Command::new("curl")
            .args(["--silent", "--no-buffer", "--insecure", "--max-time", "60"])
            .args([protocol, "--header", expect, "--upload-file", ".", &url])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("curl runs")
    };
    let mut slow: Vec<_> = (0..3).map(|_| upload()).collect();
    every_second(5, |_| {
        for client in &mut slow {
            let body = client.stdin.as_mut().expect("a pipe");
            body.write_all(b".").expect("curl reads");
        }
        let begin = Instant::now();
        assert_eq!(server.get("/").status, 200);
        assert!(begin.elapsed() < Duration::from_secs(3));
    });
    for mut client in slow {
        drop(client.stdin.take());
        let answer = client.wait_with_output().expect("curl ends");
        assert_eq!(String::from_utf8_lossy(&answer.stdout), ".....");
    }
}
