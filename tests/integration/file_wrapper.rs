//! `wsgi.file_wrapper`: files that httpd sends itself, and all that is no such file.

use rstest::rstest;
use testkit::{
    Ending, Httpd, Mark, Mpm, Process, Request, Response, SharedHttpd, Site, ours, wait_until,
};

use crate::wsgi_site::{app, gated_app, is_daemon_mode, open_gate, quoted, wsgi_site};

static SERVER: SharedHttpd = SharedHttpd::new(|| wrapping(wsgi_site()));

/// Has applications that use it; below `/wraps.wsgi/sendfile` httpd may send by `sendfile()`.
pub(crate) fn wrapping(site: Site) -> Site {
    site.script("wraps.wsgi", WRAPS)
        .file("data/digits", "0123456789")
        .config("<Location /wraps.wsgi/sendfile>\nWSGIEnableSendfile On\n</Location>")
}

/// Runs the Python code in the query string, which leaves the response in `r`. It sees `wrap`,
/// `digits()`, `start(*headers)`, `log` and classes of file-likes.
const WRAPS: &str = r#"
import io, os
from urllib.parse import unquote

DIGITS = os.path.join(os.path.dirname(os.path.dirname(__file__)), 'data', 'digits')

def digits():
    return open(DIGITS, 'rb')

class Reader:
    'Has nothing but read().'
    def __init__(self, log):
        self.file, self.log = digits(), log
    def read(self, size):
        self.log('read', size)
        return self.file.read(size)

class Closer(Reader):
    def close(self):
        self.log('closed')

class NoTell(Closer):
    def fileno(self):
        return self.file.fileno()

class Tells(NoTell):
    position = 2
    def tell(self):
        if isinstance(self.position, Exception):
            raise self.position
        return self.position

def application(environ, start_response):
    names = dict(globals(), environ=environ, wrap=environ['wsgi.file_wrapper'])
    names['start'] = lambda *headers: start_response('200 OK', list(headers))
    names['log'] = lambda *words: print(*words, file=environ['wsgi.errors'])
    exec(unquote(environ['QUERY_STRING']), names)
    return names['r']
"#;

/// Where that code runs.
pub(crate) fn url(code: &str) -> String {
    format!("/wraps.wsgi?{}", quoted(code))
}

/// The response that the code makes.
pub(crate) fn wraps(server: &Httpd, code: &str) -> Response {
    let response = server.get(&url(code));
    assert_eq!(response.status, 200, "{code}: {}", response.text());
    response
}

#[rstest]
fn a_file_is_sent_from_its_position_with_its_length(
    #[values(Mpm::Event, Mpm::Worker, Mpm::Prefork)] mpm: Mpm,
) {
    let server = wrapping(wsgi_site()).mpm(mpm).start();
    for (code, body) in [
        ("start(); r = wrap(digits())", "0123456789"),
        ("start(); r = wrap(digits(), 3)", "0123456789"),
        ("start(); f = digits(); f.seek(4); r = wrap(f)", "456789"),
        ("start(); f = digits(); f.read(7); r = wrap(f)", "789"),
        ("start(); f = digits(); f.seek(10); r = wrap(f)", ""),
        (
            "start(); w = wrap(digits(), 2); next(iter(w)); r = w",
            "23456789",
        ),
        (
            "start(); r = wrap(open(DIGITS, 'rb', buffering=0))",
            "0123456789",
        ),
        ("start(); r = iter(wrap(digits()))", "0123456789"),
    ] {
        // The position is what tell() says, which knows of buffered data.
        let response = wraps(&server, code);
        assert_eq!(response.text(), body, "{code}");
        let length = body.len().to_string();
        assert_eq!(
            response.header("Content-Length"),
            Some(length.as_str()),
            "{code}"
        );
        assert!(response.is_whole(), "{code}");
    }
}

#[test]
fn the_applications_length_limits_it() {
    let server = SERVER.borrow();
    for (length, body) in [("4", "0123"), ("10", "0123456789"), ("0", ""), ("1", "0")] {
        let code = format!("start(('Content-Length', '{length}')); r = wrap(digits())");
        let response = wraps(&server, &code);
        assert_eq!(response.text(), body, "{length}");
        assert_eq!(response.header("Content-Length"), Some(length));
    }
    let code = "start(('Content-Length', '3')); f = digits(); f.seek(5); r = wrap(f)";
    assert_eq!(wraps(&server, code).text(), "567");
}

#[test]
fn a_length_beyond_the_file_is_a_cut_response() {
    // Not bytes that are not the file's.
    if !ours("D44") {
        return;
    }
    let server = SERVER.borrow();
    let code = "start(('Content-Length', '40')); r = wrap(digits())";

    let response = wraps(&server, code);

    assert_eq!(response.text(), "0123456789");
    assert_eq!(response.ending, Ending::Cut);
}

#[test]
fn a_file_that_stands_beyond_its_end_has_nothing_to_send() {
    if !ours("D44") {
        return;
    }
    let server = SERVER.borrow();
    let code = "f = digits(); f.seek(20); start(); r = wrap(f)";

    let response = wraps(&server, code);

    assert_eq!((response.status, response.text().as_str()), (200, ""));
    assert!(response.is_whole());
}

#[test]
fn a_length_that_is_none_is_refused() {
    let server = SERVER.borrow();
    let mark = server.log().mark();
    let code = "start(('Content-Length', 'x')); r = wrap(digits())";

    assert_eq!(server.get(&url(code)).status, 500);

    server.log().wait_for(mark, "ValueError: ");
}

#[test]
fn what_is_no_regular_file_is_iterated() {
    let server = SERVER.borrow();
    let pipe = "start(); a, b = os.pipe(); os.write(b, b'piped'); os.close(b); \
         r = wrap(os.fdopen(a, 'rb'))";
    for (code, body, pieces) in [
        (
            "start(); r = wrap(io.BytesIO(b'01234567'), 3)",
            "01234567",
            3,
        ),
        ("start(); r = wrap(Reader(log), 4)", "0123456789", 3),
        ("start(); r = wrap(NoTell(log), 5)", "0123456789", 2),
        (pipe, "piped", 1),
    ] {
        let response = wraps(&server, code);
        assert_eq!(response.text(), body, "{code}");
        assert_eq!(response.header("Content-Length"), None, "{code}");
        let received = response.chunks.len();
        // Between a process group and httpd, pieces that follow each other closely may catch up.
        if is_daemon_mode() {
            assert!(received <= pieces, "{code}");
        } else {
            assert_eq!(received, pieces, "{code}");
        }
    }
}

/// The kernel says of its own files that they are empty.
#[test]
fn a_file_that_seems_to_be_empty_is_read() {
    let server = SERVER.borrow();
    let code = "start(('Content-Length', '6')); r = wrap(open('/proc/version', 'rb'))";
    assert_eq!(wraps(&server, code).text(), "Linux ");
    let code = "start(); r = wrap(os.fdopen(os.memfd_create('empty'), 'rb'))";
    let response = wraps(&server, code);
    assert_eq!(response.text(), "");
    assert_eq!(response.header("Content-Length"), Some("0"));
    // Nobody reads it, so nobody minds that it would give text.
    let code = "start(); r = wrap(os.fdopen(os.memfd_create('empty')))";
    assert_eq!(wraps(&server, code).text(), "");
}

#[test]
fn a_file_like_with_a_descriptor_and_a_position_is_not_read() {
    let server = SERVER.borrow();
    let mark = server.log().mark();

    let response = wraps(&server, "start(); r = wrap(Tells(log))");

    assert_eq!(response.text(), "23456789");
    assert_eq!(response.header("Content-Length"), Some("8"));
    server.log().wait_for(mark, "closed");
}

#[test]
fn without_a_usable_position_the_file_is_read() {
    let server = SERVER.borrow();
    for position in ["'text'", "None", "1.0", "ValueError('no position')"] {
        let code = format!("start(); f = Tells(log); f.position = {position}; r = wrap(f, 10)");
        let response = wraps(&server, &code);
        assert_eq!(response.text(), "0123456789", "{position}");
        assert_eq!(response.header("Content-Length"), None, "{position}");
    }
}

#[test]
fn after_write_the_file_follows_what_was_written() {
    let server = SERVER.borrow();
    let response = wraps(&server, "start()(b'before '); r = wrap(digits())");

    assert_eq!(response.text(), "before 0123456789");
}

#[test]
fn a_generator_around_it_is_a_generator() {
    let server = SERVER.borrow();
    let code = "start(); r = (data.replace(b'5', b'V') for data in wrap(digits()))";

    assert_eq!(wraps(&server, code).text(), "01234V6789");
}

#[test]
fn close_closes_the_file_when_the_response_is_sent() {
    let mut server = wrapping(wsgi_site()).start();
    for code in [
        "start(); r = wrap(Closer(log))",
        "start(); r = wrap(Tells(log))",
        "start(('Content-Length', '3')); r = wrap(Tells(log))",
        "start('bad'); r = wrap(Closer(log))",
        "r = wrap(Closer(log))",
    ] {
        server.get(&url(code));
    }
    server.stop();

    // `start('bad')` raises, so there is nothing to close.
    assert_eq!(server.log().matching(Mark::START, "] closed").len(), 4);
}

/// Answers with a file that it keeps, from the position in the query, or tells where that is.
const KEEPS: &str = r#"
import os
kept = open(os.path.join(os.path.dirname(os.path.dirname(__file__)), 'data', 'digits'), 'rb')

class Kept:
    def __getattr__(self, name):
        if name == 'close':
            raise AttributeError(name)
        return getattr(kept, name)

def application(environ, start_response):
    if environ['QUERY_STRING'] == 'position':
        start_response('200 OK', [])
        return [b'%d %d' % (kept.tell(), os.lseek(kept.fileno(), 0, os.SEEK_CUR))]
    kept.seek(int(environ['QUERY_STRING']))
    start_response('200 OK', [])
    return environ['wsgi.file_wrapper'](Kept())
"#;

#[test]
fn the_descriptor_stays_where_it_was() {
    // The file may be one that the application keeps and shares.
    let server = SERVER.borrow();
    assert_stays_where_it_was(&server, &app(&server, "keeps", KEEPS));
}

#[test]
fn the_descriptor_stays_where_it_was_while_httpd_reads_from_the_file() {
    const LENGTH: usize = 16 << 20;
    let server = Site::new()
        .script("keeps.wsgi", KEEPS)
        .file("data/digits", vec![b'x'; LENGTH])
        .config(
            "EnableMMAP Off
             EnableSendfile Off
             WSGIScriptAlias /keeps ${WSGI}/keeps.wsgi",
        )
        .start();
    let mut connection = server.connect();
    for _ in 0..3 {
        connection.send(b"GET /keeps?7 HTTP/1.1\r\nHost: x\r\n\r\n");
        assert_eq!(connection.read_response().body.len(), LENGTH - 7);
        assert_eq!(server.get("/keeps?position").text(), "7 7");
    }
}

fn assert_stays_where_it_was(server: &Httpd, url: &str) {
    for (position, body) in [(3, "3456789"), (0, "0123456789"), (9, "9")] {
        assert_eq!(server.get(&format!("{url}?{position}")).text(), body);
        // It may be put back after the client has got the last byte.
        wait_until("the position to be what it was", || {
            let after = server.get(&format!("{url}?position")).text();
            (after == format!("{position} {position}")).then_some(())
        });
    }
}

#[test]
fn httpd_serves_ranges_of_a_file() {
    if is_daemon_mode() && !ours("D124") {
        return;
    }
    let server = SERVER.borrow();
    let code = "start(('Content-Type', 'text/plain')); r = wrap(digits())";
    let request = Request::get(&url(code)).header("Range", "bytes=2-4");

    let response = server.send(&request);

    assert_eq!((response.status, response.text().as_str()), (206, "234"));
    assert_eq!(response.header("Content-Range"), Some("bytes 2-4/10"));
    assert_eq!(response.header("Content-Length"), Some("3"));
}

/// In a process group it is the end of the request that httpd waits for, to know that the file is
/// all there is.
#[test]
fn a_file_is_there_when_it_is_closed() {
    let server = SERVER.borrow();
    let source = "
def application(environ, start_response):
    class Own(environ['wsgi.file_wrapper']):
        def close(self):
            super().close()
            wait_for('close')
    start_response('200 OK', [])
    return Own(open(os.path.join(DATA, 'digits'), 'rb'))
";
    let url = gated_app(&server, "closes", source);
    let mut connection = server.connect();
    connection.send(&Request::get(&url).to_bytes());
    if !is_daemon_mode() || !ours("D124") {
        assert_eq!(connection.read_response().text(), "0123456789");
    }
    open_gate(&server, "close");
    if is_daemon_mode() && ours("D124") {
        assert_eq!(connection.read_response().text(), "0123456789");
    }
}

#[test]
fn head_and_bodiless_statuses_send_the_length_and_no_file() {
    let server = SERVER.borrow();
    let mut connection = server.connect();
    let target = url("start(); r = wrap(digits())");
    connection.send(&Request::new("HEAD", &target).to_bytes());
    let response = connection.read_response_to("HEAD");
    assert_eq!(response.header("Content-Length"), Some("10"));

    // The length that the application states is that of the body for GET, too.
    let limited = url("start(('Content-Length', '3')); r = wrap(digits())");
    connection.send(&Request::new("HEAD", &limited).to_bytes());
    let response = connection.read_response_to("HEAD");
    assert_eq!(response.header("Content-Length"), Some("3"));

    // Nothing of the file was sent: this response is in its place.
    connection.send(&Request::get(&target).to_bytes());
    assert_eq!(connection.read_response().text(), "0123456789");
}

#[test]
fn a_file_that_was_deleted_while_open_is_sent() {
    let server = SERVER.borrow();
    let code = "import tempfile; f = tempfile.TemporaryFile(); f.write(b'gone'); f.seek(0); \
         start(); r = wrap(f)";

    assert_eq!(wraps(&server, code).text(), "gone");
}

/// What a client has not taken yet, httpd keeps beyond the request.
#[rstest]
fn a_file_for_a_slow_client_is_closed_in_the_end(#[values("/slowly", "/sendfile")] path: &str) {
    let server = SERVER.borrow();
    let name = format!("digits.{}", path.trim_start_matches('/'));
    let code = format!(
        "f = open(os.path.join(os.path.dirname(DIGITS), '{name}'), 'w+b'); f.truncate(20_000_000); start(); r = wrap(f)"
    );
    let target = format!("/wraps.wsgi{path}?{}", quoted(&code));
    let open = || {
        let files = server
            .children()
            .into_iter()
            .flat_map(Process::open_file_names);
        files.filter(|file| file.contains(&name)).count()
    };
    for _ in 0..3 {
        let mut client = server.connect();
        client.send(&Request::get(&target).to_bytes());
        client.read_head().expect("a head");
        wait_until("a file that is kept", || (open() > 0).then_some(()));
        client.read_exactly(20_000_000);
        wait_until("no file that is kept", || (open() == 0).then_some(()));
    }
}

#[test]
fn a_client_that_hangs_up_leaves_the_file_closed() {
    let server = SERVER.borrow();
    let mark = server.log().mark();
    let code = "import tempfile\nclass Own(wrap):\n  def close(self):\n    log('hung up, closed'); \
         super().close()\nf = tempfile.TemporaryFile(); f.truncate(100_000_000); \
         start(); r = Own(f)";
    let mut connection = server.connect();
    connection.send(&Request::get(&url(code)).to_bytes());
    connection.read_head().expect("a head");
    connection.read_exactly(1000);
    drop(connection);

    server.log().wait_for(mark, "hung up, closed");
}
