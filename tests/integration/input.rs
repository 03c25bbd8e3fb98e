//! `wsgi.input`: every method, every size, and what happens when the body does not come whole.

use testkit::{Connection, Httpd, Request, SharedHttpd};

use crate::wsgi_site::{app, gated_app, quoted, reached, wsgi_site};

static SERVER: SharedHttpd = SharedHttpd::new(|| {
    wsgi_site()
        .script("reads.wsgi", READS)
        .script("digest.wsgi", DIGEST)
        .config(
            "<LocationMatch /chunked>
                WSGIChunkedRequest On
            </LocationMatch>
            <LocationMatch /limited>
                LimitRequestBody 10
            </LocationMatch>",
        )
});

/// Answers what each of the expressions in the query string, separated by `;`, gives, in which
/// `i` is the input. The log has it too, for clients that cannot be answered any more.
const READS: &str = r#"
from urllib.parse import unquote

def attempt(expression, input):
    try:
        return ascii(eval(expression, {'i': input}))
    except OSError as error:
        return 'OSError(mod_wsgi)' if str(error).startswith('mod_wsgi') else ascii(error)
    except Exception as error:
        return type(error).__name__

def application(environ, start_response):
    expressions = unquote(environ['QUERY_STRING']).split(';')
    answer = '; '.join(attempt(e, environ['wsgi.input']) for e in expressions)
    print('read', answer, file=environ['wsgi.errors'])
    start_response('200 OK', [('Content-Type', 'text/plain')])
    return [answer.encode()]
"#;

fn reads(path: &str, expressions: &str) -> String {
    format!("/reads.wsgi{path}?{}", quoted(expressions))
}

/// What the `expressions` give on an input of `body`.
fn read(expressions: &str, body: &str) -> String {
    let server = SERVER.borrow();
    let response = server.send(&Request::post(&reads("", expressions), body));
    assert_eq!(response.status, 200, "{expressions}");
    response.text()
}

const LINES: &str = "one\ntwolong\nthree\nfour\nfiv";

#[test]
fn read_takes_everything_or_as_much_as_is_asked_for() {
    for (expressions, answer) in [
        ("i.read()", "b'abcdef'"),
        (
            "i.read();i.read();i.read(1);i.readline()",
            "b'abcdef'; b''; b''; b''",
        ),
        ("i.read(-1);i.read(-1)", "b'abcdef'; b''"),
        ("i.read(-7)", "b'abcdef'"),
        (
            "i.read(2);i.read(3);i.read(4);i.read(5)",
            "b'ab'; b'cde'; b'f'; b''",
        ),
        ("i.read(6);i.read(1)", "b'abcdef'; b''"),
        ("i.read(1000000)", "b'abcdef'"),
        ("i.read(2);i.read()", "b'ab'; b'cdef'"),
        ("i.read(0);i.read(0);i.read()", "b''; b''; b'abcdef'"),
        ("i.read();i.read(0)", "b'abcdef'; b''"),
        ("i.read(True)", "b'a'"),
        ("i.read(2**28)", "b'abcdef'"),
    ] {
        assert_eq!(read(expressions, "abcdef"), answer, "{expressions}");
    }
}

#[test]
fn readline_takes_up_to_a_line_end_or_a_number_of_bytes() {
    for (expressions, answer) in [
        ("i.readline();i.readline()", r"b'one\n'; b'twolong\n'"),
        (
            "i.readline(2);i.readline(2);i.readline(2)",
            r"b'on'; b'e\n'; b'tw'",
        ),
        ("i.readline(4);i.readline(100)", r"b'one\n'; b'twolong\n'"),
        ("i.readline(0);i.readline()", r"b''; b'one\n'"),
        ("i.readline(-1);i.readline(-1)", r"b'one\n'; b'twolong\n'"),
        ("i.readline(3);i.readline()", r"b'one'; b'\n'"),
    ] {
        assert_eq!(read(expressions, LINES), answer, "{expressions}");
    }
    assert_eq!(
        read("[i.readline() for n in range(4)]", "a\n\nb"),
        r"[b'a\n', b'\n', b'b', b'']"
    );
    assert_eq!(
        read("[i.readline() for n in range(2)]", "a\r\nb\r"),
        r"[b'a\r\n', b'b\r']"
    );
}

#[test]
fn readlines_takes_whole_lines_until_the_hint_is_met() {
    for (expressions, answer) in [
        ("i.readlines()", r"[b'one\n', b'two\n', b'three']"),
        ("i.readlines(0)", r"[b'one\n', b'two\n', b'three']"),
        ("i.readlines(-1)", r"[b'one\n', b'two\n', b'three']"),
        (
            "i.readlines(1);i.readlines()",
            r"[b'one\n']; [b'two\n', b'three']",
        ),
        (
            "i.readlines(4);i.readlines()",
            r"[b'one\n']; [b'two\n', b'three']",
        ),
        (
            "i.readlines(5);i.readlines(1000)",
            r"[b'one\n', b'two\n']; [b'three']",
        ),
        (
            "i.readlines();i.readlines()",
            r"[b'one\n', b'two\n', b'three']; []",
        ),
    ] {
        assert_eq!(
            read(expressions, "one\ntwo\nthree"),
            answer,
            "{expressions}"
        );
    }
}

#[test]
fn iteration_yields_lines() {
    for (expressions, answer) in [
        ("list(i)", r"[b'one\n', b'two\n', b'three']"),
        (
            "next(i);next(i);next(i);next(i)",
            r"b'one\n'; b'two\n'; b'three'; StopIteration",
        ),
        ("iter(i) is i", "True"),
        ("[len(line) for line in i];list(i)", "[4, 4, 5]; []"),
    ] {
        assert_eq!(
            read(expressions, "one\ntwo\nthree"),
            answer,
            "{expressions}"
        );
    }
}

#[test]
fn the_ways_of_reading_mix() {
    let expressions =
        "i.readline();i.read(3);next(i);i.readline(2);i.readlines(1);i.read();i.read()";
    let answer = r"b'one\n'; b'two'; b'long\n'; b'th'; [b'ree\n']; b'four\nfiv'; b''";

    assert_eq!(read(expressions, LINES), answer);
}

#[test]
fn it_is_no_seekable_file() {
    for (expressions, answer) in [
        ("i.close();i.read()", "None; b'abc'"),
        ("i.seek(0)", "AttributeError"),
        ("i.tell()", "AttributeError"),
        ("i.readinto(bytearray(2))", "AttributeError"),
        ("i.read(size=1)", "TypeError"),
        ("i.read('1')", "TypeError"),
        ("i.read(1.5)", "TypeError"),
        ("i.read(1, 2)", "TypeError"),
        ("i.readline(1, 2)", "TypeError"),
        ("i.readlines('1')", "TypeError"),
    ] {
        assert_eq!(read(expressions, "abc"), answer, "{expressions}");
    }
}

#[test]
fn without_a_body_there_is_an_end() {
    let server = SERVER.borrow();
    let expressions = "i.read();i.read(1);i.readline();i.readlines();list(i)";
    let answer = "b''; b''; b''; []; []";

    let response = server.get(&reads("", expressions));

    assert_eq!(response.text(), answer);
    assert_eq!(read(expressions, ""), answer);
}

#[test]
fn it_ends_with_the_body_and_not_with_the_connection() {
    let server = SERVER.borrow();
    let mut connection = server.connect();
    // The connection stays open, and has more to say: the next request.
    connection.send(&Request::post(&reads("", "i.read(100)"), "abc").to_bytes());
    connection.send(&Request::post(&reads("", "i.readline()"), "def").to_bytes());

    assert_eq!(connection.read_response().text(), "b'abc'");
    assert_eq!(connection.read_response().text(), "b'def'");
}

#[test]
fn a_chunked_body_is_read_to_its_end() {
    let server = SERVER.borrow();
    for (expressions, answer) in [
        ("i.read();i.read()", r"b'abc\ndefgh\n\ni'; b''"),
        (
            "i.read(2);i.read(4);i.read()",
            r"b'ab'; b'c\nde'; b'fgh\n\ni'",
        ),
        ("i.readlines()", r"[b'abc\n', b'defgh\n', b'\n', b'i']"),
    ] {
        let request = Request::new("POST", &reads("/chunked", expressions));
        let response = server.send(&request.chunked(["ab", "c\nd", "efgh\n", "\n", "i"]));
        assert_eq!(response.text(), answer, "{expressions}");
    }
}

#[test]
fn a_chunked_body_has_no_content_length() {
    let server = SERVER.borrow();
    let url = app(
        &server,
        "chunked",
        r#"
def application(environ, start_response):
    start_response('200 OK', [])
    keys = ('CONTENT_LENGTH', 'HTTP_TRANSFER_ENCODING', 'wsgi.input_terminated')
    return [ascii([environ.get(key) for key in keys]).encode()]
"#,
    );
    let request = Request::new("POST", &format!("{url}/chunked"));

    let response = server.send(&request.chunked(["abc"]));

    assert_eq!(response.text(), "[None, 'chunked', True]");
}

#[test]
fn chunked_bodies_are_refused_unless_allowed() {
    let server = SERVER.borrow();
    let mark = server.log().mark();
    let request = Request::new("POST", &reads("", "i.read()"));

    assert_eq!(server.send(&request.chunked(["abc"])).status, 411);

    server.log().wait_for(mark, "WSGI0139");
}

#[test]
fn other_transfer_codings_are_not_implemented() {
    let server = SERVER.borrow();
    let mark = server.log().mark();
    let request = Request::new("POST", &reads("/chunked", "i.read()"))
        .header("Transfer-Encoding", "gzip, chunked");

    assert_eq!(server.send(&request).status, 501);

    server.log().wait_for(mark, "WSGI0138");
}

#[test]
fn a_client_that_hangs_up_in_mid_body_is_an_os_error() {
    let server = SERVER.borrow();
    for (name, expressions, answer) in [
        (
            "all",
            "i.read();i.read();1",
            "OSError(mod_wsgi); OSError(mod_wsgi); 1",
        ),
        (
            "part",
            "i.read(3);i.read(3);2",
            "b'abc'; OSError(mod_wsgi); 2",
        ),
        (
            "line",
            "i.readline();i.readline();3",
            "OSError(mod_wsgi); OSError(mod_wsgi); 3",
        ),
        ("lines", "i.readlines();4", "OSError(mod_wsgi); 4"),
        ("iterated", "list(i);5", "OSError(mod_wsgi); 5"),
    ] {
        let mark = server.log().mark();
        let mut connection = half_a_body(&server, &reads("", expressions));
        connection.half_close();
        server.log().wait_for(mark, &format!("read {answer}"));
        drop(connection);
        assert_eq!(
            read("i.read()", name),
            format!("b'{name}'"),
            "others are served"
        );
    }
}

#[test]
fn a_client_that_vanishes_in_mid_body_is_an_os_error_too() {
    let server = SERVER.borrow();
    let url = gated_app(
        &server,
        "vanishes",
        r#"
def application(environ, start_response):
    environ['wsgi.input'].read(3)
    appeared('vanishes-waits')
    try:
        environ['wsgi.input'].read()
    except OSError as error:
        print('vanished:', error, file=environ['wsgi.errors'])
    start_response('200 OK', [])
    return [b'nobody reads this']
"#,
    );
    let mark = server.log().mark();
    let connection = half_a_body(&server, &url);
    reached(&server, "vanishes-waits");
    drop(connection);

    let line = server.log().wait_for(mark, "vanished: ");
    assert!(line.contains("vanished: mod_wsgi"), "{line}");
}

/// A connection on which a request for `url` has been sent with a third of its body.
fn half_a_body(server: &Httpd, url: &str) -> Connection {
    let mut connection = server.connect();
    let request = Request::new("POST", url).header("Content-Length", "9");
    connection.send(&request.head_bytes());
    connection.send(b"abc");
    connection
}

#[test]
fn a_broken_chunk_is_an_os_error_and_ends_the_connection() {
    let server = SERVER.borrow();
    let mark = server.log().mark();
    let request = Request::new(
        "POST",
        &reads("/chunked", "i.read(3);i.read();i.readline();6"),
    )
    .header("Transfer-Encoding", "chunked");
    let mut connection = server.connect();
    connection.send(&request.head_bytes());
    connection.send(b"3\r\nabc\r\nnot a size\r\n");

    server
        .log()
        .wait_for(mark, "read b'abc'; OSError(mod_wsgi); OSError(mod_wsgi); 6");
    connection.read_to_end();
    assert!(connection.is_closed());
}

#[test]
fn a_body_beyond_the_limit_never_reaches_the_application() {
    let server = SERVER.borrow();
    let mark = server.log().mark();
    let url = reads("/limited", "i.read();7");

    assert_eq!(server.send(&Request::post(&url, "12345678901")).status, 413);
    assert_eq!(
        server.send(&Request::post(&url, "1234567890")).text(),
        "b'1234567890'; 7"
    );

    assert_eq!(server.log().matching(mark, "; 7").len(), 1);
}

#[test]
fn a_chunked_body_beyond_the_limit_is_an_os_error() {
    let server = SERVER.borrow();
    let mark = server.log().mark();
    let request = Request::new("POST", &reads("/chunked/limited", "i.read();i.read();8"));

    let mut connection = server.connect();
    connection.send(&request.chunked(["123456", "789012"]).to_bytes());

    server
        .log()
        .wait_for(mark, "read OSError(mod_wsgi); OSError(mod_wsgi); 8");
    assert_eq!(connection.read_response().status, 413);
}

#[test]
fn reading_returns_as_soon_as_enough_is_there() {
    let server = SERVER.borrow();
    let url = gated_app(
        &server,
        "enough",
        r#"
def application(environ, start_response):
    input = environ['wsgi.input']
    start_response('200 OK', [])
    for name in ('bytes', 'line'):
        yield input.read(3) if name == 'bytes' else input.readline()
    yield input.read()
"#,
    );
    let mut connection = server.connect();
    let request = Request::new("POST", &url).header("Content-Length", "12");
    connection.send(&request.head_bytes());
    connection.send(b"abc");
    connection.read_head().expect("a head");
    assert_eq!(connection.read_chunk().as_deref(), Some(&b"abc"[..]));
    connection.send(b"de\nf");
    assert_eq!(connection.read_chunk().as_deref(), Some(&b"de\n"[..]));
    connection.send(b"ghijk");
    assert_eq!(connection.read_chunk().as_deref(), Some(&b"fghijk"[..]));
}

#[test]
fn an_application_that_does_not_read_is_not_kept_waiting_for_the_body() {
    let server = SERVER.borrow();
    let url = app(
        &server,
        "does_not_read",
        r#"
def application(environ, start_response):
    start_response('403 Forbidden', [('Content-Length', '2')])
    return [b'no']
"#,
    );
    let mut connection = half_a_body(&server, &url);

    let response = connection.read_response();

    assert_eq!((response.status, response.text().as_str()), (403, "no"));
}

#[test]
fn input_and_output_alternate() {
    let server = SERVER.borrow();
    let url = app(
        &server,
        "echo",
        r#"
def application(environ, start_response):
    start_response('200 OK', [])
    for line in environ['wsgi.input']:
        yield b'echo ' + line
"#,
    );
    let mut connection = server.connect();
    let request =
        Request::new("POST", &format!("{url}/chunked")).header("Transfer-Encoding", "chunked");
    connection.send(&request.head_bytes());
    for number in 0..5 {
        connection.send(format!("7\r\nline {number}\n\r\n").as_bytes());
        if number == 0 {
            connection.read_head().expect("a head");
        }
        let chunk = connection.read_chunk().expect("a chunk");
        assert_eq!(chunk, format!("echo line {number}\n").into_bytes());
    }
    connection.send(b"0\r\n\r\n");
    assert_eq!(connection.read_chunk().as_deref(), Some(&b""[..]));
}

/// Reads its input in pieces of the query string's size and answers the length and a digest.
const DIGEST: &str = r#"
import hashlib

def application(environ, start_response):
    size = int(environ['QUERY_STRING'])
    digest, length = hashlib.md5(), 0
    while True:
        data = environ['wsgi.input'].read(size)
        assert size < 0 or len(data) <= size
        digest.update(data)
        length += len(data)
        if not data or size < 0:
            break
    start_response('200 OK', [])
    return [b'%d %s' % (length, digest.hexdigest().encode())]
"#;

/// `length` bytes without a short period.
fn body(length: usize) -> Vec<u8> {
    let mut state: u32 = 1;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    };
    (0..length).map(|_| next()).collect()
}

#[test]
fn bodies_and_reads_of_every_size_fit_together() {
    let server = SERVER.borrow();
    // Around the sizes of buffers on the way: 8 KiB of httpd's, 64 KiB, and what sockets hold.
    for length in [1, 8191, 8192, 8193, 65_535, 65_537, 1_000_003] {
        let body = body(length);
        let whole = server.send(&Request::post("/digest.wsgi?-1", &body)).text();
        assert!(whole.starts_with(&format!("{length} ")), "{whole}");
        for size in [1000, 8192, 8193, 1 << 20] {
            let url = format!("/digest.wsgi?{size}");
            let pieces = server.send(&Request::post(&url, &body));
            assert_eq!(pieces.text(), whole, "{length} by {size}");

            let request = Request::new("POST", &format!("/digest.wsgi/chunked?{size}"));
            let chunks = server.send(&request.chunked(body.chunks(7001)));
            assert_eq!(chunks.text(), whole, "{length} by {size}, chunked");
        }
    }
}

#[test]
fn a_long_line_is_one_line() {
    let server = SERVER.borrow();
    let url = app(
        &server,
        "long_line",
        r#"
def application(environ, start_response):
    start_response('200 OK', [])
    return [ascii([len(line) for line in environ['wsgi.input']]).encode()]
"#,
    );
    let body = ["x".repeat(500_000), "y".repeat(8191), "z".repeat(8192)].join("\n");

    assert_eq!(
        server.send(&Request::post(&url, body)).text(),
        "[500001, 8192, 8192]"
    );
}

#[test]
fn a_body_that_comes_byte_by_byte_is_read_whole() {
    let server = SERVER.borrow();
    let mut connection = server.connect();
    let url = reads("", "i.readline();i.read()");
    let request = Request::new("POST", &url).header("Content-Length", "8");
    connection.send(&request.head_bytes());
    for byte in b"abc\ndefg" {
        connection.send(&[*byte]);
    }

    assert_eq!(connection.read_response().text(), r"b'abc\n'; b'defg'");
}

#[test]
fn after_the_request_every_method_is_refused() {
    let server = SERVER.borrow();
    let url = app(
        &server,
        "kept",
        r#"
kept = None

def attempt(call):
    try:
        return repr(call())
    except RuntimeError:
        return 'RuntimeError'

def application(environ, start_response):
    global kept
    input, kept = kept, environ['wsgi.input']
    start_response('200 OK', [('Content-Type', 'text/plain')])
    if input is None:
        return [b'kept']
    calls = (input.read, lambda: input.read(0), input.readline, input.readlines, input.close,
             lambda: next(input), lambda: list(input))
    return [', '.join(attempt(call) for call in calls).encode()]
"#,
    );

    assert_eq!(server.send(&Request::post(&url, "unread")).text(), "kept");
    assert_eq!(server.get(&url).text(), ["RuntimeError"; 7].join(", "));
}

#[test]
fn other_python_threads_run_while_one_waits_for_input() {
    let server = SERVER.borrow();
    let url = gated_app(
        &server,
        "waits",
        r#"
def application(environ, start_response):
    appeared('input-waits')
    data = environ['wsgi.input'].read()
    start_response('200 OK', [])
    return [data]
"#,
    );
    let mut waiting = half_a_body(&server, &url);
    reached(&server, "input-waits");

    assert_eq!(read("i.read()", "meanwhile"), "b'meanwhile'");

    waiting.send(b"defghi");
    assert_eq!(waiting.read_response().text(), "abcdefghi");
}
