//! HTTP/2, which mod_http2 speaks: the same applications, many at once on one connection.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};

use testkit::{Curl, CurlAnswer, Httpd, SharedHttpd, Site, ours, wait_until};

use crate::apps::{ECHO_IN_PIECES, ENVIRON};
use crate::wsgi_site::{
    app, gated_app, in_embedded_mode, is_daemon_mode, open_gate, reached, threaded, wsgi_site,
};

static SERVER: SharedHttpd = SharedHttpd::new(site);

fn site() -> Site {
    wsgi_site()
        .mpm(threaded())
        .module("http2")
        .tls_host()
        .script("environ.wsgi", ENVIRON)
        .config(
            "WSGIChunkedRequest On
            Protocols h2 h2c http/1.1
            H2MinWorkers 16
            H2MaxWorkers 32",
        )
}

fn h2(server: &Httpd, target: &str, arguments: &[&str]) -> CurlAnswer {
    let answer = Curl::http(server, target)
        .args(["--http2-prior-knowledge"])
        .args(arguments.iter().copied())
        .send();
    assert_eq!(answer.exit, 0, "{answer:?}");
    assert!(answer.head.starts_with("HTTP/2 "), "{answer:?}");
    answer
}

#[test]
fn the_environ_tells_of_it() {
    let server = SERVER.borrow();

    let answer = h2(
        &server,
        "/environ.wsgi/a%20b?c=d",
        &["-H", "X-Custom: value"],
    );

    assert_eq!(answer.status, 200);
    let environ: serde_json::Value = serde_json::from_str(&answer.body).expect("JSON");
    for (key, value) in [
        ("SERVER_PROTOCOL", "HTTP/2.0"),
        ("REQUEST_METHOD", "GET"),
        ("PATH_INFO", "/a b"),
        ("QUERY_STRING", "c=d"),
        ("HTTP_X_CUSTOM", "value"),
        ("HTTP_HOST", &server.address().to_string()),
        ("wsgi.url_scheme", "http"),
    ] {
        assert_eq!(environ[key], value, "{key}");
    }
}

const ECHO: &str = r#"
def application(environ, start_response):
    start_response('201 Created', [('X-Answer', 'yes'), ('Content-Type', 'text/plain')])
    for line in environ['wsgi.input']:
        yield b'<' + line.rstrip() + b'>'
"#;

#[test]
fn bodies_go_both_ways() {
    let server = SERVER.borrow();
    let url = app(&server, "echo", ECHO);

    let answer = h2(&server, &url, &["--data-binary", "one\ntwo"]);

    assert_eq!((answer.status, answer.body.as_str()), (201, "<one><two>"));
    assert!(
        answer.head.contains("\r\nx-answer: yes\r\n"),
        "{}",
        answer.head
    );
    assert!(
        answer.head.contains("\r\ncontent-type: text/plain\r\n"),
        "{}",
        answer.head
    );
}

#[test]
fn a_large_body_goes_both_ways() {
    let server = SERVER.borrow();
    let url = app(&server, "large", ECHO_IN_PIECES);
    let body = "0123456789abcdef".repeat(100_000);
    server.site().write("data/large", &body);
    let argument = format!("@{}", server.site().text_path("data/large"));

    let answer = h2(&server, &url, &["--data-binary", &argument]);

    assert!(answer.body == body, "{} bytes came", answer.body.len());
}

// mod_http2 says of such a body that it is chunked, as over HTTP/1.1.
#[test]
fn a_body_of_unknown_length_is_read_to_its_end() {
    if is_daemon_mode() && !ours("D96") {
        return;
    }
    let server = SERVER.borrow();
    let url = app(&server, "unknown_length", ECHO);

    let answer = h2(
        &server,
        &url,
        &["--header", "Content-Length:", "--data-binary", "one\ntwo"],
    );

    assert_eq!((answer.status, answer.body.as_str()), (201, "<one><two>"));
}

/// A curl that hands on what it gets as it comes.
fn streaming(server: &Httpd, url: &str) -> Child {
    Command::new("curl")
        .args([
            "--silent",
            "--no-buffer",
            "--http2-prior-knowledge",
            "--max-time",
            "30",
        ])
        .arg(format!("http://{}{url}", server.address()))
        .stdout(Stdio::piped())
        .spawn()
        .expect("curl runs")
}

#[test]
fn each_chunk_arrives_before_the_next_is_made() {
    let server = SERVER.borrow();
    let url = gated_app(
        &server,
        "stream",
        r#"
def application(environ, start_response):
    start_response('200 OK', [])
    for number in range(3):
        yield b'chunk %d\n' % number
        wait_for('h2-%d' % number)
"#,
    );
    let mut curl = streaming(&server, &url);
    let mut lines = BufReader::new(curl.stdout.take().expect("a pipe")).lines();

    for number in 0..3 {
        let line = lines.next().expect("a chunk").expect("text");
        assert_eq!(line, format!("chunk {number}"));
        open_gate(&server, &format!("h2-{number}"));
    }
    assert!(lines.next().is_none());
    assert!(curl.wait().expect("curl ends").success());
}

/// A curl that makes several requests on one connection. With TLS, because curl does not use a
/// connection without it again.
fn one_connection(server: &Httpd, targets: &str) -> Command {
    let port = server.tls_port();
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--http2", "--max-time", "30", "--insecure"]);
    curl.arg(format!("https://127.0.0.1:{port}{targets}"));
    curl
}

#[test]
fn many_streams_of_one_connection_run_at_once() {
    let server = SERVER.borrow();
    let url = gated_app(
        &server,
        "at_once",
        r#"
def application(environ, start_response):
    me = environ['QUERY_STRING']
    appeared('stream-' + me)
    wait_for('streams-go')
    start_response('200 OK', [])
    return [('stream %s of port %s\n' % (me, environ['REMOTE_PORT'])).encode()]
"#,
    );
    // `[0-4]` makes five requests of one URL; mod_http2 runs up to six at once at first.
    let curl = one_connection(&server, &format!("{url}?[0-4]"))
        .args(["--parallel", "--parallel-max", "5"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("curl runs");
    for number in 0..5 {
        reached(&server, &format!("stream-{number}"));
    }
    open_gate(&server, "streams-go");

    let output = curl.wait_with_output().expect("curl ends");

    let text = String::from_utf8(output.stdout).expect("text");
    let streams: BTreeSet<&str> = text
        .lines()
        .filter_map(|line| line.split(' ').nth(1))
        .collect();
    let ports: BTreeSet<&str> = text
        .lines()
        .filter_map(|line| line.rsplit(' ').next())
        .collect();
    assert_eq!(streams.len(), 5, "{text}");
    assert_eq!(ports.len(), 1, "one connection: {text}");
}

/// Answers the highest number of a thread that has served requests.
const THREADS: &str = r#"
import mod_wsgi, time
mod_wsgi.start_recording_metrics()

def application(environ, start_response):
    start_response('200 OK', [])
    threads = [row['thread_id'] for row in mod_wsgi.process_metrics()['threads']]
    time.sleep(0.05)
    return [b'%d\n' % max(threads)]
"#;

#[test]
fn threads_that_come_and_go_share_their_numbers() {
    if !in_embedded_mode("a process group has its threads from its start") || !ours("D106") {
        return;
    }
    let server = site()
        .script("threads.wsgi", THREADS)
        .config("H2MinWorkers 1\nH2MaxWorkers 4\nH2MaxWorkerIdleSeconds 1")
        .start();
    let mut at_rest = None;
    for _ in 0..6 {
        let output = one_connection(&server, "/threads.wsgi?[0-9]")
            .args(["--parallel", "--parallel-max", "10"])
            .stderr(Stdio::null())
            .output()
            .expect("curl runs");
        let text = String::from_utf8(output.stdout).expect("text");
        let highest: Vec<u32> = text.lines().filter_map(|line| line.parse().ok()).collect();
        assert_eq!(highest.len(), 10, "{text}");
        assert!(highest.iter().all(|number| *number <= 4), "{text}");
        let child = *server.children().first().expect("a child");
        let at_rest = *at_rest.get_or_insert(child.threads() - 1);
        wait_until("a thread to end", || {
            (child.threads() <= at_rest).then_some(())
        });
    }
}

#[test]
fn statuses_and_methods_without_a_body() {
    let server = SERVER.borrow();
    let url = app(
        &server,
        "bodiless",
        r#"
def application(environ, start_response):
    start_response(environ['QUERY_STRING'] + ' Status', [('X-Kept', 'yes')])
    return [b'dropped']
"#,
    );
    for (query, arguments) in [("204", &[][..]), ("304", &[]), ("200", &["--head"])] {
        let answer = h2(&server, &format!("{url}?{query}"), arguments);
        assert_eq!(answer.status.to_string(), query);
        assert_eq!(answer.body, "", "{query}");
        assert!(answer.head.contains("\r\nx-kept: yes"), "{}", answer.head);
    }
}

#[test]
fn a_file_is_sent() {
    let server = SERVER.borrow();
    let url = app(
        &server,
        "file",
        r#"
def application(environ, start_response):
    start_response('200 OK', [])
    return environ['wsgi.file_wrapper'](open(__file__, 'rb'))
"#,
    );

    let answer = h2(&server, &url, &[]);

    assert_eq!(answer.body, server.site().read("wsgi/file.wsgi"));
    let length = format!("\r\ncontent-length: {}", answer.body.len());
    assert!(answer.head.contains(&length), "{}", answer.head);
}

#[test]
fn a_failure_is_a_500_and_the_connection_goes_on() {
    let server = SERVER.borrow();
    let url = app(
        &server,
        "fails",
        r#"
def application(environ, start_response):
    if environ['QUERY_STRING'] == '1':
        raise ValueError('one of the streams fails')
    start_response('200 OK', [])
    return [b'fine']
"#,
    );
    let output = one_connection(&server, &format!("{url}?[0-2]"))
        .args(["--write-out", "%{http_code} %{num_connects}\\n"])
        .args(["--output", "/dev/null"].repeat(3))
        .output()
        .expect("curl runs");

    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "200 1\n500 0\n200 0\n"
    );
}

#[test]
fn a_client_that_hangs_up_ends_the_iteration() {
    let server = SERVER.borrow();
    let url = app(
        &server,
        "hang_up",
        r#"
def application(environ, start_response):
    start_response('200 OK', [])
    try:
        while True:
            yield b'x' * 65536
    finally:
        print('hung up, closed', file=environ['wsgi.errors'])
"#,
    );
    let mark = server.log().mark();
    let mut curl = streaming(&server, &url);
    let mut begin = [0; 1000];
    let mut output = curl.stdout.take().expect("a pipe");
    output.read_exact(&mut begin).expect("some of the body");
    curl.kill().expect("curl still runs");
    curl.wait().expect("curl ends");

    server.log().wait_for(mark, "hung up, closed");
}
