//! The stage of the WSGI tests: a site on which every script is an application, and the means to
//! put one there, to hold it at a point of its run, and to ask Python a question.

use std::io::{Write, stderr};
use std::sync::Arc;

use testkit::{Httpd, Mpm, SharedHttpd, Site};

/// A site on which `wsgi/NAME.wsgi` answers at `/NAME.wsgi`, all in the main interpreter, so that
/// a test does not pay for an interpreter of its own. With `MOD_WSGI_TEST_MODE=daemon` they run in
/// a process group.
pub(crate) fn wsgi_site() -> Site {
    let site = Site::new().config("WSGIScriptAlias / ${WSGI}/\nWSGIApplicationGroup %{GLOBAL}");
    if is_daemon_mode() {
        site.config(
            "WSGIDaemonProcess wsgi threads=15
             WSGIProcessGroup wsgi",
        )
    } else {
        site
    }
}

/// Whether the WSGI tests run in daemon mode.
pub(crate) fn is_daemon_mode() -> bool {
    std::env::var("MOD_WSGI_TEST_MODE").is_ok_and(|mode| mode == "daemon")
}

/// What stands in a line of the log before the address of the client whose request it is of.
pub(crate) fn client_tag() -> &'static str {
    if is_daemon_mode() {
        "[remote "
    } else {
        "[client "
    }
}

/// Whether a test that is about embedded mode alone is to run. If not, that and the reason are
/// said past the capture of the test runner.
pub(crate) fn in_embedded_mode(reason: &str) -> bool {
    if is_daemon_mode() {
        let test = std::thread::current().name().unwrap_or("?").to_owned();
        // If standard error is closed there is nobody to tell.
        let _ = writeln!(stderr(), "skipped in daemon mode: {test}: {reason}");
    }
    !is_daemon_mode()
}

/// The MPM the tests run under, or event where that has no threads: for what prefork cannot do,
/// such as HTTP/2.
pub(crate) fn threaded() -> Mpm {
    match Mpm::from_environment() {
        Mpm::Prefork => Mpm::Event,
        threaded => threaded,
    }
}

/// Puts an application on the [`wsgi_site`] and returns its URL path. `name` must be this test's
/// own: the tests of a file share a server.
pub(crate) fn app(server: &Httpd, name: &str, source: &str) -> String {
    server.site().write(&format!("wsgi/{name}.wsgi"), source);
    format!("/{name}.wsgi")
}

/// Like [`app`], for a source that calls `wait_for(name)`: it stays there until the test calls
/// [`open_gate`] with that name. `appeared(name)` tells the test, through [`reached`], that the
/// application got there.
pub(crate) fn gated_app(server: &Httpd, name: &str, source: &str) -> String {
    app(server, name, &format!("{GATES}{source}"))
}

/// Lets an application go on that waits for `gate`.
pub(crate) fn open_gate(server: &Httpd, gate: &str) {
    server.site().write(&format!("data/{gate}"), "");
}

/// Waits until an application has called `appeared(gate)`.
pub(crate) fn reached(server: &Httpd, gate: &str) {
    let file = server.site().path(&format!("data/{gate}"));
    testkit::wait_until(gate, || file.exists().then_some(()));
}

const GATES: &str = r#"
import os, time

DATA = os.path.join(os.path.dirname(os.path.dirname(__file__)), 'data')

def wait_for(gate):
    deadline = time.monotonic() + 30
    while not os.path.exists(os.path.join(DATA, gate)):
        if time.monotonic() > deadline:
            raise TimeoutError(gate)
        time.sleep(0.002)

def appeared(gate):
    open(os.path.join(DATA, gate), 'w').close()
"#;

/// Answers what the Python code in the query string leaves in `r`, as `ascii()` shows it, or the
/// exception it raises, as `TYPE: text`. The code sees `environ`, `start_response` and
/// `FileWrapper`.
pub(crate) const CALCULATOR: &str = r#"
import io
from urllib.parse import unquote

def application(environ, start_response):
    names = dict(environ=environ, start_response=start_response, io=io,
                 FileWrapper=environ['wsgi.file_wrapper'], r=None)
    try:
        exec(unquote(environ['QUERY_STRING']), names)
        answer = ascii(names['r'])
    except BaseException as error:
        answer = type(error).__name__ + ': ' + str(error)
    start_response('200 OK', [('Content-Type', 'text/plain')])
    return [answer.encode('ascii', 'backslashreplace')]
"#;

/// What the [`CALCULATOR`] at `url` answers to `code`.
pub(crate) fn calculate(server: &Httpd, url: &str, code: &str) -> String {
    let response = server.get(&format!("{url}?{}", quoted(code)));
    assert_eq!(response.status, 200, "{code}: {}", response.text());
    response.text()
}

/// `text` with every byte that could mean something in a URL written as `%xx`.
pub(crate) fn quoted(text: &str) -> String {
    let quote = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => char::from(byte).to_string(),
        _ => format!("%{byte:02x}"),
    };
    text.bytes().map(quote).collect()
}

/// Asks `url` until it answers `text`. For what changes when a request has ended: its client may
/// have the whole response before that.
pub(crate) fn answers_at_last(server: &Httpd, url: &str, text: &str) {
    testkit::wait_until(&format!("`{text}` from {url}"), || {
        (server.get(url).text() == text).then_some(())
    });
}

/// Where the applications of a test run: for what each mode must do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// In httpd's own processes.
    Embedded,
    /// In a process group.
    Daemon,
}

static EMBEDDED: SharedHttpd = SharedHttpd::new(|| Mode::Embedded.site());
static DAEMON: SharedHttpd = SharedHttpd::new(|| Mode::Daemon.site());

impl Mode {
    /// A site on which `wsgi/NAME.wsgi` answers at `/NAME.wsgi`, each script in an interpreter of
    /// its own.
    pub(crate) fn site(self) -> Site {
        // What they count they count in one process.
        let site = Site::new()
            .mpm(threaded())
            .config("WSGIScriptAlias / ${WSGI}/");
        match self {
            Self::Embedded => site,
            Self::Daemon => site.config(
                "WSGISocketPrefix ${ROOT}/logs/wsgi
                 WSGIDaemonProcess wsgi threads=15
                 WSGIProcessGroup wsgi",
            ),
        }
    }

    /// A server on such a site, which tests share.
    pub(crate) fn server(self) -> Arc<Httpd> {
        match self {
            Self::Embedded => EMBEDDED.borrow(),
            Self::Daemon => DAEMON.borrow(),
        }
    }
}
