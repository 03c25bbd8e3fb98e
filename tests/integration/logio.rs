//! What mod_logio counts of a request: all that came from the client and went to it, whoever made
//! it.

use std::str::FromStr;

use rstest::rstest;
use testkit::{Connection, Httpd, Request, Site, wait_until};

use crate::wsgi_site::Mode;

/// Answers in the way that the query says.
const ANSWERS: &str = r"
import tempfile

def application(environ, start_response):
    body = environ['wsgi.input'].read()
    how = environ['QUERY_STRING']
    size = {'nothing': 0, 'large': 3_000_000}.get(how, 1000)
    headers = [('Content-Length', str(size))] if how != 'pieces' else []
    start_response('404 Not Found' if how == 'missing' else '200 OK', headers)
    if how == 'file':
        file = tempfile.TemporaryFile()
        file.write(b'f' * size)
        file.seek(0)
        return environ['wsgi.file_wrapper'](file)
    if how == 'pieces':
        return (b'p' * 100 for _ in range(10))
    return [b'd' * size]
";

fn server(mode: Mode) -> Httpd {
    mode.site()
        .module("logio")
        .script("answers.wsgi", ANSWERS)
        .config(
            "LogFormat \"%U?%q %m %I %O %S %B\" counted
             CustomLog ${ROOT}/logs/counted counted
             WSGIChunkedRequest On",
        )
        .start()
}

/// The last line that was logged, once there are so many: what came, what went, both, and the body
/// alone.
fn counted(site: &Site, lines: usize) -> [usize; 4] {
    let line = wait_until("the request to be logged", || {
        let log = site.path("logs/counted");
        let text = std::fs::read_to_string(log).unwrap_or_default();
        let is_there = text.lines().count() == lines && text.ends_with('\n');
        is_there.then(|| text.lines().last().map(str::to_owned))?
    });
    let numbers: Vec<_> = line.split(' ').skip(2).map(usize::from_str).collect();
    let [Ok(came), Ok(went), Ok(both), Ok(body)] = numbers[..] else {
        panic!("{line}");
    };
    [came, went, both, body]
}

#[rstest]
fn what_came_and_what_went(#[values(Mode::Embedded, Mode::Daemon)] mode: Mode) {
    let server = server(mode);
    let target = |how: &str| format!("/answers.wsgi?{how}");
    let post = |how: &str, size: usize| Request::post(&target(how), vec![b'b'; size]);
    let requests = [
        (Request::get(&target("some")), 1000),
        (Request::get(&target("nothing")), 0),
        (Request::get(&target("missing")), 1000),
        (Request::get(&target("large")), 3_000_000),
        (Request::get(&target("file")), 1000),
        (Request::get(&target("pieces")), 1000),
        (Request::get(&target("pieces")).http_1_0(), 1000),
        (Request::new("HEAD", &target("some")), 0),
        (post("some", 100), 1000),
        (post("file", 1_000_000), 1000),
        (
            Request::new("POST", &target("pieces")).chunked(["one", "another"]),
            1000,
        ),
    ];
    for (number, (request, body)) in requests.into_iter().enumerate() {
        let bytes = request.header("Connection", "close").to_bytes();
        let mut connection = Connection::open(server.address());
        connection.send(&bytes);
        let answer = connection.read_to_end();
        let [came, went, both, of_body] = counted(server.site(), number + 1);
        let what = String::from_utf8_lossy(bytes.get(..60).unwrap_or_default()).into_owned();
        assert_eq!(came, bytes.len(), "{what}");
        assert_eq!(went, answer.len(), "{what}");
        assert_eq!(both, came + went, "{what}");
        assert_eq!(of_body, body, "{what}");
    }
}

/// So they are where the application never asks for the body, and of requests that share a
/// connection.
#[rstest]
fn each_request_of_a_connection_has_its_own(#[values(Mode::Embedded, Mode::Daemon)] mode: Mode) {
    let server = server(mode);
    let ignoring = "
def application(environ, start_response):
    start_response('200 OK', [('Content-Length', '2')])
    return [b'no']
";
    server.site().write("wsgi/ignoring.wsgi", ignoring);
    let mut connection = server.connect();
    for number in 1..=3 {
        let request = Request::post("/ignoring.wsgi", vec![b'b'; 1000 * number]).to_bytes();
        connection.send(&request);
        assert_eq!(connection.read_response().text(), "no");
        let [came, went, both, body] = counted(server.site(), number);
        assert_eq!(came, request.len(), "{number}");
        assert!(went > 100, "{number}: {went}");
        assert_eq!((both, body), (came + went, 2), "{number}");
    }
}
