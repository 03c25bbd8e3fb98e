//! `wsgi.input` behind a filter that takes more than it gives, and at times gives nothing for what
//! it has taken; and behind one that waits for a client no longer than it is told.

use rstest::rstest;
use testkit::{Httpd, Request, SharedHttpd, Site, ours};

use crate::input::READS;
use crate::wsgi_site::quoted;

static SERVER: SharedHttpd = SharedHttpd::new(|| {
    Site::new()
        .module("deflate")
        .script("reads.wsgi", READS)
        .config(
            "WSGIDaemonProcess one threads=2
             WSGIApplicationGroup %{GLOBAL}
             WSGIScriptAlias /embedded ${WSGI}/reads.wsgi
             WSGIScriptAlias /daemon ${WSGI}/reads.wsgi process-group=one
             WSGIChunkedRequest On
             SetInputFilter DEFLATE",
        )
});

/// `data` as gzip has it: as it is, in blocks of `size` bytes.
fn gzip(data: &[u8], size: usize) -> Vec<u8> {
    let mut out = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3];
    let mut blocks = data.chunks(size).peekable();
    while let Some(block) = blocks.next() {
        let length = u16::try_from(block.len()).expect("a short block");
        out.push(u8::from(blocks.peek().is_none()));
        out.extend(length.to_le_bytes());
        out.extend((!length).to_le_bytes());
        out.extend(block);
    }
    out.extend(crc32(data).to_le_bytes());
    out.extend(
        u32::try_from(data.len())
            .expect("little data")
            .to_le_bytes(),
    );
    out
}

/// The checksum that gzip ends with (RFC 1952, 8).
fn crc32(data: &[u8]) -> u32 {
    !data.iter().fold(u32::MAX, |sum, &byte| {
        (0..8).fold(sum ^ u32::from(byte), |sum, _| match sum & 1 {
            1 => 0xedb8_8320 ^ (sum >> 1),
            _ => sum >> 1,
        })
    })
}

fn read(
    server: &Httpd,
    mode: &str,
    expression: &str,
    request: impl FnOnce(Request) -> Request,
) -> String {
    let target = format!("/{mode}?{}", quoted(expression));
    let asked = Request::new("POST", &target).header("Content-Encoding", "gzip");
    let answer = server.send(&request(asked));
    assert_eq!(answer.status, 200, "{expression}");
    answer.text()
}

/// All of it, in pieces of so many bytes.
const PIECEWISE: &str = "len(b''.join(iter(lambda: i.read(7), b'')))";

#[rstest]
fn all_that_has_come_is_read(#[values("embedded", "daemon")] mode: &str) {
    if mode == "embedded" && !ours("D231") {
        return;
    }
    let server = SERVER.borrow();
    for (length, block) in [(53, 53), (440, 20), (20_000, 3000)] {
        let body = gzip(&vec![b'x'; length], block);
        for size in [5, 1000] {
            let answer = read(&server, mode, "len(i.read())", |request| {
                request.chunked(body.chunks(size))
            });
            assert_eq!(answer, length.to_string(), "chunks of {size}");
        }
        for expression in ["len(i.read())", PIECEWISE] {
            let answer = read(&server, mode, expression, |request| request.body(&body));
            assert_eq!(answer, length.to_string(), "{expression}");
        }
    }
}

#[rstest]
fn what_is_cut_off_is_no_end(#[values("embedded", "daemon")] mode: &str) {
    let server = SERVER.borrow();
    let mut body = gzip(&[b'x'; 2000], 1000);
    body.truncate(1500);
    let target = format!("/{mode}?{}", quoted("len(i.read())"));
    let request = Request::new("POST", &target).header("Content-Encoding", "gzip");
    let answer = server.send(&request.chunked(body.chunks(50)));
    assert!(
        answer.status == 500 || answer.text().contains("Error"),
        "{}: {}",
        answer.status,
        answer.text()
    );
}

/// Says whether the body has come.
const WAITS: &str = "
def application(environ, start_response):
    answer = b'in time'
    try:
        environ['wsgi.input'].read()
    except OSError:
        answer = b'too late'
    start_response('200 OK', [('Content-Type', 'text/plain')])
    return [answer]
";

/// Where clients have three seconds for a body: longer than one of unknown length is waited for
/// before an application is run.
static IMPATIENT: SharedHttpd = SharedHttpd::new(|| {
    Site::new()
        .module("reqtimeout")
        .script("waits.wsgi", WAITS)
        .config(
            "WSGIDaemonProcess one threads=4
             WSGIApplicationGroup %{GLOBAL}
             WSGIScriptAlias /embedded ${WSGI}/waits.wsgi
             WSGIScriptAlias /daemon ${WSGI}/waits.wsgi process-group=one
             WSGIChunkedRequest On
             RequestReadTimeout body=3",
        )
});

#[rstest]
fn a_client_has_no_longer_than_a_filter_gives_it(
    #[values("embedded", "daemon")] mode: &str,
    #[values(
        "Content-Length: 1000",
        "Content-Length: 10000000",
        "Transfer-Encoding: chunked"
    )]
    body: &str,
) {
    let server = IMPATIENT.borrow();
    let mut client = server.connect();
    client.send(format!("POST /{mode} HTTP/1.1\r\nHost: x\r\n{body}\r\n\r\n").as_bytes());
    let answer = client.read_response();
    // In a process group of mod_wsgi it is httpd that answers: D60.
    let is_late = answer.status == 408 || answer.text() == "too late";
    assert!(is_late, "{} {:?}", answer.status, answer.text());
}
