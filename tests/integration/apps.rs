//! Small applications that several topics use, how to ask many times at once, and how to read what
//! they answer.

use std::collections::BTreeMap;
use std::env;
use std::process::Command;
use std::thread;

use testkit::{Response, Site};

/// Answers with its whole environ as JSON. Values that are not strings are shown by `repr`. Two
/// keys are added: `__file__` and `__name__`, of the script.
pub(crate) const ENVIRON: &str = r#"
import json

def application(environ, start_response):
    seen = {key: value if isinstance(value, str) else repr(value)
            for key, value in environ.items()}
    seen.update(__file__=__file__, __name__=__name__)
    body = json.dumps(seen).encode()
    start_response('200 OK', [('Content-Type', 'application/json'),
                              ('Content-Length', str(len(body)))])
    return [body]
"#;

/// Answers with where it runs, as JSON: process, user, thread, interpreter, and how often a
/// request was counted in the `sys` module of that interpreter.
pub(crate) const WHERE: &str = r#"
import json, os, sys, threading

try:
    import _interpreters as interpreters
except ImportError:
    import _xxsubinterpreters as interpreters

def number(interpreter):
    return int(interpreter[0] if isinstance(interpreter, tuple) else interpreter)

def application(environ, start_response):
    sys.counted = getattr(sys, 'counted', 0) + 1
    body = json.dumps({
        'pid': str(os.getpid()),
        'uid': str(os.getuid()),
        'thread': str(threading.get_ident()),
        'interpreter': str(number(interpreters.get_current())),
        'main': str(number(interpreters.get_main())),
        'counted': str(sys.counted),
        'process_group': environ['mod_wsgi.process_group'],
        'application_group': environ['mod_wsgi.application_group'],
    }).encode()
    start_response('200 OK', [('Content-Type', 'application/json')])
    return [body]
"#;

/// Prints as it is loaded, and again for each request.
pub(crate) const TALKATIVE: &str = r#"
import logging, mod_wsgi, sys

logger = logging.getLogger('talkative')
logger.addHandler(mod_wsgi.LogHandler())
print('printed at load', file=sys.stderr)
logger.warning('warning at load')
logger.error('error at load')

def application(environ, start_response):
    print('printed for a request', file=sys.stderr)
    start_response('200 OK', [])
    return [b'said']
"#;

/// Answers with the body of the request, in pieces.
pub(crate) const ECHO_IN_PIECES: &str = r#"
def application(environ, start_response):
    body = environ['wsgi.input'].read()
    start_response('200 OK', [('Content-Length', str(len(body)))])
    return [body[n:n + 10_000] for n in range(0, len(body), 10_000)]
"#;

/// Answers with the text in it.
pub(crate) fn answering(text: &str) -> String {
    format!(
        "def application(environ, start_response):\n    \
         start_response('200 OK', [('Content-Type', 'text/plain')])\n    \
         return [{text:?}.encode()]\n"
    )
}

/// What [`ENVIRON`] or [`WHERE`] answered.
pub(crate) fn environ(response: &Response) -> Environ {
    assert_eq!(response.status, 200, "{}", response.text());
    Environ(serde_json::from_slice(&response.body).expect("JSON"))
}

/// What an application told about itself, by name: its environ, for one.
#[derive(Debug)]
pub(crate) struct Environ(BTreeMap<String, String>);

impl Environ {
    /// The value of `key`, or `<absent>`.
    pub(crate) fn value(&self, key: &str) -> &str {
        self.0.get(key).map_or("<absent>", String::as_str)
    }

    /// Whether there is such a key.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.0.contains_key(key)
    }

    /// All keys.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }
}

/// Runs `request` on `count` threads at once and collects what it returns.
pub(crate) fn at_once<T: Send>(count: usize, request: impl Fn(usize) -> T + Sync) -> Vec<T> {
    thread::scope(|scope| {
        let request = &request;
        let clients: Vec<_> = (0..count)
            .map(|number| scope.spawn(move || request(number)))
            .collect();
        clients
            .into_iter()
            .map(|client| client.join().expect("a client that got on"))
            .collect()
    })
}

/// Makes a shared library of C, to be put before the C library by `LD_PRELOAD`; returns its path.
pub(crate) fn shared_library(site: &Site, name: &str, source: &str) -> String {
    let (text, library) = (format!("{name}.c"), site.text_path(&format!("{name}.so")));
    site.write(&text, source);
    let made = Command::new("cc")
        .args(["-shared", "-fPIC", "-o", &library])
        .arg(site.path(&text))
        .status();
    assert!(made.is_ok_and(|status| status.success()), "{name}");
    library
}

/// Makes a module of httpd's of C, to be loaded by `LoadModule`; returns its path.
pub(crate) fn httpd_module(site: &Site, name: &str, source: &str) -> String {
    site.write(&format!("{name}/{name}.c"), source);
    let made = Command::new(env::var_os("APXS").unwrap_or_else(|| "apxs".into()))
        .args(["-c", &format!("{name}.c")])
        .current_dir(site.path(name))
        .output()
        .expect("apxs runs");
    assert!(made.status.success(), "{made:?}");
    site.text_path(&format!("{name}/.libs/{name}.so"))
}
