//! `wsgi.input`: every method and every size.

use testkit::{Request, SharedHttpd, ours};

use crate::wsgi_site::{answers_at_last, app, quoted, wsgi_site};

static SERVER: SharedHttpd = SharedHttpd::new(|| {
    wsgi_site()
        .script("reads.wsgi", READS)
        .script("digest.wsgi", DIGEST)
        .config(
            "<LocationMatch /chunked>
                WSGIChunkedRequest On
            </LocationMatch>",
        )
});

/// Answers what each of the expressions in the query string, separated by `;`, gives, in which
/// `i` is the input. The log has it too, for clients that cannot be answered any more.
pub(crate) const READS: &str = r#"
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

pub(crate) fn reads(path: &str, expressions: &str) -> String {
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
fn none_is_as_good_as_no_size() {
    let expressions = "i.readline(None);i.readlines(None);i.read(None)";
    let expected = match ours("D101") {
        true => "b'a\\n'; [b'b\\n', b'c']; b''",
        false => "TypeError; TypeError; TypeError",
    };
    assert_eq!(read(expressions, "a\nb\nc"), expected);
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

/// Calls a method of its input with so many MiB of memory to spare, and again without that limit,
/// and answers how long the results are.
const SHORT_OF_MEMORY: &str = r#"
import resource

def attempt(call):
    try:
        return str(len(call()))
    except Exception as error:
        return type(error).__name__

def application(environ, start_response):
    method, spare = environ['QUERY_STRING'].split('=')
    call = getattr(environ['wsgi.input'], method)
    with open('/proc/self/statm') as statm:
        used = int(statm.read().split()[0]) * resource.getpagesize()
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (used + (int(spare) << 20), before[1]))
    first = attempt(call)
    resource.setrlimit(resource.RLIMIT_AS, before)
    start_response('200 OK', [])
    return [f'{first}, {attempt(call)}'.encode()]
"#;

/// 40 MiB without the end of a line, for that application.
fn send_much(query: &str, is_chunked: bool) -> String {
    let site = wsgi_site();
    // Memory is not set aside by the C library, and so counts when it is asked for.
    let server = site
        .env("MALLOC_ARENA_MAX", "1")
        .env("MALLOC_MMAP_THRESHOLD_", "131072")
        .config("WSGIChunkedRequest On")
        .script("short.wsgi", SHORT_OF_MEMORY)
        .start();
    let (url, body) = (format!("/short.wsgi?{query}"), vec![b'x'; 40 << 20]);
    let request = if is_chunked {
        Request::new("POST", &url).chunked(body.chunks(1 << 20))
    } else {
        Request::post(&url, &body)
    };
    server.send(&request).text()
}

#[test]
fn what_there_was_no_memory_for_is_no_hole_in_the_body() {
    for query in ["read=36", "readline=36"] {
        let told = send_much(query, true);
        assert_eq!(told, "MemoryError, OSError", "{query}");
    }
}

#[test]
fn a_body_takes_little_more_memory_than_it_is_long() {
    let length = 40 << 20;
    assert_eq!(send_much("read=56", false), format!("{length}, 0"));
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
    answers_at_last(&server, &url, &["RuntimeError"; 7].join(", "));
}
