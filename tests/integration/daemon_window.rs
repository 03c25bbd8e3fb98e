//! Large responses and bodies of requests in a process group, which do not go through its sockets.

use std::thread;
use std::time::{Duration, Instant};

use rstest::rstest;
use testkit::{Connection, Httpd, Request, Site, ours, wait_until};

use crate::apps::shared_library;

/// Answers with as many bytes as it is asked for, which tell the request that they are for: in one
/// piece, in pieces that are sent at once, or in a list. Or with the body of the request, read in
/// as many ways.
const SIZED: &str = r#"
def application(environ, start_response):
    if environ['REQUEST_METHOD'] == 'POST':
        start_response('200 OK', [('Content-Type', 'text/plain')])
        body = environ['wsgi.input']
        match environ['PATH_INFO']:
            case '/pieces': return [piece for piece in iter(lambda: body.read(9_000), b'')]
            case '/list': return list(body)
            case '/some': return [body.read(10)]
        return [body.read()]
    size, seed = map(int, environ['QUERY_STRING'].split('-'))
    data = (b'%06d ' % seed * (size // 7 + 1))[:size]
    path = environ['PATH_INFO']
    start_response('200 OK', [('Content-Type', 'text/plain')])
    if path == '/pieces':
        return (data[start:start + 40_000] for start in range(0, size, 40_000))
    if path == '/list':
        return [data[start:start + 40_000] for start in range(0, size, 40_000)]
    return [data]
"#;

fn expected(size: usize, seed: usize) -> Vec<u8> {
    let text = format!("{seed:06} ");
    text.bytes().cycle().take(size).collect()
}

fn site(options: &str) -> Site {
    Site::new().script("a.wsgi", SIZED).config(&format!(
        "WSGISocketPrefix ${{DATA}}/socket
         WSGIDaemonProcess one processes=2 threads=3 {options}
         WSGIScriptAlias / ${{WSGI}}/a.wsgi process-group=one application-group=%{{GLOBAL}}"
    ))
}

fn group(options: &str) -> Httpd {
    site(options).start()
}

/// The same, where the system takes little of a response that its client does not read.
fn narrow_group() -> Httpd {
    site("").config("SendBufferSize 8192").start()
}

/// A client that has read no more than the head of a response in one piece.
fn slow_client(server: &Httpd, size: usize, seed: usize) -> Connection {
    let mut client = server.connect();
    client.send(format!("GET /whole?{size}-{seed} HTTP/1.0\r\nHost: x\r\n\r\n").as_bytes());
    client.read_head().expect("a head");
    client
}

/// How much memory the processes of the server share that is of no file, in KiB.
fn shared_kib(server: &Httpd) -> u64 {
    let processes = server.process().descendants();
    processes.iter().map(|it| it.shared_kib()).sum()
}

/// Around the sizes at which a response goes another way.
const SIZES: [usize; 10] = [
    1,
    8191,
    8192,
    40_000,
    65_536,
    100_001,
    (1 << 20) - 1,
    1 << 20,
    (1 << 20) + 1,
    3 << 20,
];

#[rstest]
fn every_response_arrives_as_it_is(#[values("/whole", "/pieces", "/list")] path: &str) {
    let server = group("");
    // Large ones behind small ones and the other way round, on connections that are used again.
    for round in 0..3 {
        for (number, size) in SIZES.iter().chain(SIZES.iter().rev()).enumerate() {
            let seed = 100 * round + number;
            let response = server.get(&format!("{path}?{size}-{seed}"));
            assert_eq!(response.status, 200);
            assert!(response.body == expected(*size, seed), "{path} {size}");
        }
    }
}

#[rstest]
fn every_body_arrives_as_it_is(#[values("/whole", "/pieces", "/list")] path: &str) {
    let server = group("");
    for round in 0..3 {
        for (number, size) in SIZES.iter().chain(SIZES.iter().rev()).enumerate() {
            // Lines, of which there are no two.
            let body = expected(*size, 100 * round + number);
            let body: Vec<u8> = body
                .chunks(100)
                .enumerate()
                .flat_map(|(line, rest)| [format!("{line:09}").as_bytes(), rest, b"\n"].concat())
                .take(*size)
                .collect();
            let response = server.send(&Request::post(path, body.clone()));
            assert!(response.body == body, "{path} {size}");
        }
    }
}

#[test]
fn what_is_not_read_of_a_body_is_not_read_by_the_next_request() {
    let server = group("");
    for seed in 0..20 {
        let body = expected(40_000, seed);
        let response = server.send(&Request::post("/some", body.clone()));
        assert!(response.body == body[..10]);
        let response = server.send(&Request::post("/whole", &body[..20_000]));
        assert!(response.body == body[..20_000]);
        let response = server.send(&Request::post("/whole", b"a few"));
        assert_eq!(response.text(), "a few");
    }
}

#[test]
fn responses_at_the_same_time_do_not_mix() {
    let server = group("");
    thread::scope(|scope| {
        for client in 0..8 {
            let server = &server;
            scope.spawn(move || {
                for turn in 0..20 {
                    let (size, seed) = (SIZES[(client + turn) % SIZES.len()], 100 * client + turn);
                    let response = server.get(&format!("/whole?{size}-{seed}"));
                    assert!(response.body == expected(size, seed), "{size} {seed}");
                }
            });
        }
    });
}

#[test]
fn a_client_that_is_slow_sees_nothing_of_later_responses() {
    let server = narrow_group();
    let size = 1 << 20;
    let mut slow: Vec<_> = (0..4)
        .map(|seed| slow_client(&server, size, seed))
        .collect();
    for seed in 10..50 {
        let response = server.get(&format!("/whole?{size}-{seed}"));
        assert!(response.body == expected(size, seed), "{seed}");
    }
    for (seed, client) in slow.iter_mut().enumerate() {
        assert!(client.read_to_end() == expected(size, seed), "{seed}");
    }
}

#[test]
fn a_response_is_there_until_a_slow_client_has_it() {
    let server = narrow_group();
    let size = 1 << 20;
    let mut client = slow_client(&server, size, 1);
    // Longer than it takes a worker to find that it has nothing to do.
    let later = Instant::now() + Duration::from_secs(4);
    wait_until("some seconds", || (Instant::now() >= later).then_some(()));
    assert!(client.read_to_end() == expected(size, 1));
}

/// Forks, and answers with how the new process ended: it has read the right body or none, or
/// answered like the old one.
const FORKING: &str = "
import os

def application(environ, start_response):
    length = int(environ['CONTENT_LENGTH'])
    process = os.fork()
    if not process and environ['PATH_INFO'] == '/read':
        try:
            os._exit(0 if environ['wsgi.input'].read() == b'x' * length else 1)
        except OSError:
            os._exit(0)
    start_response('200 OK', [])
    if not process:
        return [b'y' * 20_000]
    return [str(os.waitpid(process, 0)[1]).encode().ljust(20_000)]
";

#[rstest]
#[case::reads("/read")]
#[case::answers("/answer")]
fn a_process_that_is_forked_hurts_nobody(#[case] path: &str) {
    // Two processes that answer the same request are one too many for mod_wsgi.
    if path == "/answer" && !ours("D66") {
        return;
    }
    let server = Site::new()
        .script("a.wsgi", FORKING)
        .config(
            "WSGISocketPrefix ${DATA}/socket
             WSGIDaemonProcess one
             WSGIScriptAlias / ${WSGI}/a.wsgi process-group=one application-group=%{GLOBAL}",
        )
        .start();
    for _ in 0..5 {
        let response = server.send(&Request::post(path, vec![b'x'; 20_000]));
        assert_eq!(response.text().trim_end(), "0");
        assert_eq!(response.body.len(), 20_000);
    }
}

/// A list is complete when it is returned, and so has a length.
#[test]
fn a_complete_response_has_a_length_whatever_its_size() {
    // mod_wsgi sends the items of a list one by one.
    if !ours("D47") {
        return;
    }
    let server = group("");
    for size in SIZES.into_iter().filter(|size| *size <= 1 << 20) {
        for seed in 0..10 {
            let response = server.get(&format!("/whole?{size}-{seed}"));
            let length = response.header("Content-Length");
            assert_eq!(length, Some(size.to_string().as_str()), "{size}");
        }
    }
}

#[test]
fn the_memory_that_large_responses_needed_is_given_back() {
    // That is where they are kept, and when it is given back.
    if !ours("D112") {
        return;
    }
    let server = group("");
    let shared = || shared_kib(&server);
    server.get("/whole?1-1");
    let before = shared();
    let size = 1 << 20;
    // A connection has a window from its second large response on, and until there is nothing more
    // to do, which may be before a busy machine has looked.
    wait_until("a window", || {
        thread::scope(|scope| {
            for seed in 0..4 {
                let server = &server;
                scope.spawn(move || server.get(&format!("/whole?{size}-{seed}")));
            }
        });
        (shared() >= before + 900).then_some(())
    });
    wait_until("the memory", || (shared() < before + 500).then_some(()));
    let response = server.get(&format!("/whole?{size}-7"));
    assert!(response.body == expected(size, 7));
}

/// A library that is loaded before all others, with which the system has no memory to share but for
/// small things.
const NO_MEMORY: &str = r"
#include <errno.h>

int madvise(void *start, unsigned long length, int advice) {
    int is_refused = advice == 23 /* MADV_POPULATE_WRITE */ && length > 16384;
    errno = is_refused ? EFAULT : 0;
    return is_refused ? -1 : 0;
}
";

#[test]
fn where_the_system_has_no_memory_the_socket_does() {
    // There are no windows otherwise.
    if !ours("D112") {
        return;
    }
    let site = Site::new();
    let library = shared_library(&site, "no-memory", NO_MEMORY);
    let server = site
        .env("LD_PRELOAD", &library)
        .script("a.wsgi", SIZED)
        .config(
            "WSGISocketPrefix ${DATA}/socket
             WSGIDaemonProcess one
             WSGIScriptAlias / ${WSGI}/a.wsgi process-group=one application-group=%{GLOBAL}",
        )
        .start();
    // Until there is a worker, processes come and go.
    server.get("/whole?1-1");
    let before = shared_kib(&server);
    for size in [100_000, 1 << 20] {
        for seed in 0..4 {
            let response = server.get(&format!("/whole?{size}-{seed}"));
            assert!(response.body == expected(size, seed));
            let response = server.send(&Request::post("/whole", &response.body[..40_000]));
            assert!(response.body == expected(40_000, seed));
        }
    }
    assert!(shared_kib(&server) < before + 100, "nothing lies there");
}
