//! Connections that outlive a request: whatever an application leaves unread, the next request
//! is read from its own beginning.

use rstest::rstest;
use testkit::{Connection, Ending, Httpd, Mpm, Request, SharedHttpd};

use crate::wsgi_site::{app, wsgi_site};

static SERVER: SharedHttpd = SharedHttpd::new(site);

fn site() -> testkit::Site {
    wsgi_site()
        .script("reads.wsgi", READS)
        .config("<Location /reads.wsgi/chunked>\nWSGIChunkedRequest On\n</Location>")
        .config("KeepAlive On\nMaxKeepAliveRequests 0\nKeepAliveTimeout 30")
}

/// Reads as many bytes of its input as the query string says, and answers how many it got and
/// what was asked.
const READS: &str = r#"
def application(environ, start_response):
    count = len(environ['wsgi.input'].read(int(environ['QUERY_STRING'])))
    body = b'%d %s' % (count, environ['REQUEST_METHOD'].encode())
    start_response('200 OK', [('Content-Length', str(len(body)))])
    return [body]
"#;

fn reads(count: usize) -> String {
    format!("/reads.wsgi?{count}")
}

fn assert_answer(connection: &mut Connection, answer: &str) {
    let response = connection.read_response();
    assert_eq!((response.status, response.text().as_str()), (200, answer));
}

#[rstest]
fn an_unread_body_does_not_become_the_next_request(
    #[values(Mpm::Event, Mpm::Worker, Mpm::Prefork)] mpm: Mpm,
) {
    let server = site().mpm(mpm).start();
    let body = "GET /reads.wsgi?0 HTTP/1.1\r\nHost: smuggled\r\n\r\n";
    let mut connection = server.connect();
    for read in [0, 10, body.len()] {
        connection.send(&Request::post(&reads(read), body).to_bytes());
        assert_answer(&mut connection, &format!("{read} POST"));
        connection.send(&Request::new("PUT", &reads(0)).to_bytes());
        assert_answer(&mut connection, "0 PUT");
    }
}

#[test]
fn an_unread_chunked_body_does_not_either() {
    let server = SERVER.borrow();
    let mut connection = server.connect();
    for read in [0, 3, 100] {
        let request = Request::new("POST", &format!("/reads.wsgi/chunked?{read}")).chunked([
            "GET / HT",
            "TP/1.1\r\n",
            "Host: smuggled\r\n\r\n",
        ]);
        connection.send(&request.to_bytes());
        assert_answer(&mut connection, &format!("{} POST", read.min(34)));
        connection.send(&Request::new("PUT", &reads(0)).to_bytes());
        assert_answer(&mut connection, "0 PUT");
    }
}

#[test]
fn a_large_unread_body_is_passed_over() {
    let server = SERVER.borrow();
    let mut connection = server.connect();
    connection.send(&Request::post(&reads(100), vec![b'x'; 300_000]).to_bytes());
    connection.send(&Request::new("PUT", &reads(0)).to_bytes());

    assert_answer(&mut connection, "100 POST");
    assert_answer(&mut connection, "0 PUT");
}

#[test]
fn pipelined_requests_are_answered_in_their_order() {
    let server = SERVER.borrow();
    let mut bytes = Vec::new();
    for number in 0..20 {
        bytes.extend(Request::post(&reads(number), "12345678901234567890").to_bytes());
        bytes.extend(Request::new(&format!("M{number}"), &reads(0)).to_bytes());
    }
    let mut connection = server.connect();
    connection.send(&bytes);

    for number in 0..20 {
        assert_answer(&mut connection, &format!("{number} POST"));
        assert_answer(&mut connection, &format!("0 M{number}"));
    }
}

#[test]
fn every_way_to_end_a_body_leaves_the_connection_in_order() {
    let server = SERVER.borrow();
    let url = ways(&server);
    let mut connection = server.connect();
    for way in [
        "list", "chunks", "empty", "write", "file", "none", "excess", "304",
    ] {
        connection.send(&Request::get(&format!("{url}?{way}")).to_bytes());
        let response = connection.read_response();
        assert!(response.is_whole(), "{way}");
        assert_ne!(response.ending, Ending::Close, "{way}");
        connection.send(&Request::new("PUT", &reads(0)).to_bytes());
        assert_answer(&mut connection, "0 PUT");
    }
}

fn ways(server: &Httpd) -> String {
    app(
        server,
        "ways",
        r#"
def application(environ, start_response):
    way = environ['QUERY_STRING']
    status = '304 Not Modified' if way == '304' else '200 OK'
    write = start_response(status, [('Content-Length', '2')] if way == 'excess' else [])
    if way == 'write':
        write(b'written')
    return {
        'list': lambda: [b'body'],
        'chunks': lambda: (b'%d' % n for n in range(9)),
        'empty': lambda: [b''],
        'write': lambda: [],
        'file': lambda: environ['wsgi.file_wrapper'](open(__file__, 'rb')),
        'none': lambda: iter(()),
        'excess': lambda: [b'a', b'bc', b'd'],
        '304': lambda: [b'dropped'],
    }[way]()
"#,
    )
}

#[test]
fn http_1_0_connections_are_kept_when_asked_and_the_length_is_known() {
    let server = SERVER.borrow();
    let mut connection = server.connect();
    for _ in 0..3 {
        let request = Request::post(&reads(2), "abc").http_1_0();
        connection.send(&request.header("Connection", "Keep-Alive").to_bytes());
        let response = connection.read_response();
        assert_eq!(response.text(), "2 POST");
        assert_eq!(response.ending, Ending::Length);
        assert_eq!(response.header("Connection"), Some("Keep-Alive"));
    }
}

#[test]
fn http_1_0_connections_end_otherwise() {
    let server = SERVER.borrow();
    let url = ways(&server);

    let mut connection = server.connect();
    connection.send(&Request::get(&reads(0)).http_1_0().to_bytes());
    assert_eq!(connection.read_response().text(), "0 GET");
    assert!(connection.is_closed());

    let mut connection = server.connect();
    let request = Request::get(&format!("{url}?chunks")).http_1_0();
    connection.send(&request.header("Connection", "Keep-Alive").to_bytes());
    let response = connection.read_response();
    assert_eq!(
        (response.text().as_str(), response.ending),
        ("012345678", Ending::Close)
    );
}

#[test]
fn a_client_that_asks_for_the_end_gets_it() {
    let server = SERVER.borrow();
    let mut connection = server.connect();
    let request = Request::get(&reads(0)).header("Connection", "close");
    connection.send(&request.to_bytes());

    let response = connection.read_response();

    assert_eq!(response.header("Connection"), Some("close"));
    assert!(connection.is_closed());
}

#[test]
fn an_application_may_ask_for_the_end() {
    let server = SERVER.borrow();
    let url = app(
        &server,
        "ends",
        r#"
def application(environ, start_response):
    start_response('200 OK', [('Connection', 'close'), ('Content-Length', '4')])
    return [b'last']
"#,
    );
    let mut connection = server.connect();
    connection.send(&Request::get(&url).to_bytes());

    assert_eq!(connection.read_response().text(), "last");
    assert!(connection.is_closed());
}

#[test]
fn many_connections_at_once_do_not_mix() {
    let server = SERVER.borrow();
    // Fewer than there are threads: event closes idle connections when it runs out of those.
    let mut connections: Vec<_> = (0..10).map(|_| server.connect()).collect();
    for round in 0..5 {
        for (number, connection) in connections.iter_mut().enumerate() {
            let method = format!("M{number}R{round}");
            connection.send(&Request::new(&method, &reads(3)).body("abcdef").to_bytes());
        }
        for (number, connection) in connections.iter_mut().enumerate() {
            assert_answer(connection, &format!("3 M{number}R{round}"));
        }
    }
}
