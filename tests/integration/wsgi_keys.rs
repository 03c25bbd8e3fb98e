//! The keys of the environ that the gateway adds, `wsgi.*`, `mod_wsgi.*` and `apache.*`: their
//! types and what they say; and that the environ belongs to one request.

use std::collections::BTreeSet;

use rstest::rstest;
use testkit::{Connection, Mpm, Request, SharedHttpd, Site};

use crate::apps::{ENVIRON, environ};
use crate::wsgi_site::{
    CALCULATOR, app, calculate, gated_app, in_embedded_mode, is_daemon_mode, open_gate, reached,
    threaded, wsgi_site,
};

static SERVER: SharedHttpd = SharedHttpd::new(|| {
    wsgi_site()
        .script("environ.wsgi", ENVIRON)
        .script("calculate.wsgi", CALCULATOR)
        .config("ServerName localhost:${PORT}\nUseCanonicalName On")
});

#[test]
fn the_environ_is_a_dict_of_native_strings() {
    let server = SERVER.borrow();
    let code = "r = (type(environ) is dict, \
         {type(key) for key in environ} == {str}, \
         sorted(k for k, v in environ.items() if type(v) is not str))";

    let answer = calculate(&server, "/calculate.wsgi", code);

    let not_strings = "['apache.version', 'mod_wsgi.application_start', 'mod_wsgi.daemon_start', \
         'mod_wsgi.queue_start', 'mod_wsgi.request_start', 'mod_wsgi.thread_id', \
         'mod_wsgi.version', 'wsgi.errors', 'wsgi.file_wrapper', 'wsgi.input', \
         'wsgi.input_terminated', 'wsgi.multiprocess', 'wsgi.multithread', 'wsgi.run_once', \
         'wsgi.version']";
    assert_eq!(answer, format!("(True, True, {not_strings})"));
}

#[test]
fn values_have_the_types_and_contents_of_the_interface() {
    let server = SERVER.borrow();
    let embedded = if is_daemon_mode() { "False" } else { "True" };
    for (code, answer) in [
        ("r = environ['wsgi.version']", "(1, 0)"),
        ("r = environ['wsgi.input_terminated']", "True"),
        ("r = environ['wsgi.run_once']", "False"),
        ("r = environ['wsgi.url_scheme']", "'http'"),
        (
            "import mod_wsgi; r = FileWrapper is mod_wsgi.FileWrapper",
            "True",
        ),
        (
            "r = type(environ['wsgi.errors']) is io.TextIOWrapper",
            "True",
        ),
        ("r = environ['mod_wsgi.version']", "(6, 1, 1)"),
        ("import mod_wsgi; r = mod_wsgi.version", "(6, 1, 1)"),
        (
            "v = environ['apache.version']; r = (type(v), v[:2], len(v))",
            "(<class 'tuple'>, (2, 4), 3)",
        ),
        (
            "import os; r = environ['mod_wsgi.server_pid'] == str(os.getpid())",
            embedded,
        ),
        ("r = type(environ['mod_wsgi.thread_id'])", "<class 'int'>"),
        (
            "r = environ['mod_wsgi.thread_id'] >= environ['wsgi.multithread']",
            "True",
        ),
        ("r = environ['mod_wsgi.callable_object']", "'application'"),
        ("r = environ['mod_wsgi.request_handler']", "'wsgi-script'"),
        ("r = environ['mod_wsgi.handler_script']", "''"),
        ("r = environ['mod_wsgi.listener_host']", "'127.0.0.1'"),
        (
            "r = environ['mod_wsgi.listener_port'] == environ['SERVER_PORT']",
            "True",
        ),
        (
            "r = (environ['mod_wsgi.queue_start'], environ['mod_wsgi.daemon_start']) == (0.0, 0.0)",
            embedded,
        ),
        (
            "r = environ['mod_wsgi.queue_start'] <= environ['mod_wsgi.daemon_start'] \
             <= environ['mod_wsgi.application_start']",
            "True",
        ),
        ("r = 'mod_wsgi.mount_point' in environ", "False"),
        ("r = 'apache.request_rec' in environ", "False"),
        ("import sys; r = sys.argv", "['mod_wsgi']"),
    ] {
        assert_eq!(
            calculate(&server, "/calculate.wsgi", code),
            answer,
            "{code}"
        );
    }
}

#[test]
fn the_times_are_seconds_since_the_epoch_in_their_order() {
    let server = SERVER.borrow();
    let code = "import time; s, a = environ['mod_wsgi.request_start'], \
         environ['mod_wsgi.application_start']; now = time.time(); \
         r = (type(s), type(a), now - 60 < s <= a <= now)";

    let answer = calculate(&server, "/calculate.wsgi", code);

    assert_eq!(answer, "(<class 'float'>, <class 'float'>, True)");
}

#[test]
fn requests_at_the_same_time_run_on_threads_of_different_numbers() {
    let server = wsgi_site().mpm(threaded()).start();
    let url = gated_app(
        &server,
        "threads",
        r#"
def application(environ, start_response):
    appeared('thread-' + environ['QUERY_STRING'])
    wait_for('threads-go')
    start_response('200 OK', [])
    return [str(environ['mod_wsgi.thread_id']).encode()]
"#,
    );
    let mut connections: Vec<_> = (0..4).map(|_| server.connect()).collect();
    for (number, connection) in connections.iter_mut().enumerate() {
        connection.send(&Request::get(&format!("{url}?{number}")).to_bytes());
        reached(&server, &format!("thread-{number}"));
    }
    open_gate(&server, "threads-go");

    let read = |connection: &mut Connection| connection.read_response().text();
    let numbers: BTreeSet<String> = connections.iter_mut().map(read).collect();

    assert_eq!(numbers.len(), 4, "{numbers:?}");
}

#[test]
fn each_request_has_an_id_of_its_own() {
    let server = SERVER.borrow();
    let ids = [(); 2].map(|()| {
        let environ = environ(&server.get("/environ.wsgi"));
        environ.value("mod_wsgi.request_id").to_owned()
    });

    assert!(!ids[0].is_empty());
    assert_ne!(ids[0], ids[1]);
}

#[test]
fn the_request_id_is_the_one_in_httpds_log() {
    let server = wsgi_site()
        .script("environ.wsgi", ENVIRON)
        .config("LogFormat %L id\nCustomLog ${DATA}/access.log id")
        .start();

    let environ = environ(&server.get("/environ.wsgi"));

    let id = environ.value("mod_wsgi.request_id");
    testkit::wait_until("the access log", || {
        (server.site().read("data/access.log").trim() == id).then_some(())
    });
}

#[test]
fn what_an_application_puts_into_its_environ_is_gone_with_the_request() {
    let server = SERVER.borrow();
    let set = "environ['leaked'] = 1; environ['wsgi.version'] = (9, 9)";
    calculate(&server, "/calculate.wsgi", set);

    for _ in 0..32 {
        let code = "r = environ.get('leaked'), environ['wsgi.version']";
        assert_eq!(
            calculate(&server, "/calculate.wsgi", code),
            "(None, (1, 0))"
        );
    }
}

/// It is nobody else's to hold, and the iterable may need it.
#[test]
fn what_an_application_puts_into_its_environ_is_there_as_long_as_the_request() {
    let server = SERVER.borrow();
    let url = app(
        &server,
        "held",
        r#"
import tempfile

def application(environ, start_response):
    file = environ['own.file'] = tempfile.NamedTemporaryFile()
    file.write(b'still there')
    file.flush()
    start_response('200 OK', [])
    return reading(file.name)

def reading(path):
    with open(path, 'rb') as file:
        yield file.read()
"#,
    );

    assert_eq!(server.get(&url).text(), "still there");
}

#[test]
fn an_application_may_do_with_its_environ_what_it_likes() {
    let server = SERVER.borrow();
    let url = app(
        &server,
        "emptied",
        r#"
def application(environ, start_response):
    input, errors = environ['wsgi.input'], environ['wsgi.errors']
    environ.clear()
    environ[None] = environ
    start_response('200 OK', [])
    errors.write('still logged\n')
    yield input.read()
    del input, errors
"#,
    );
    let mark = server.log().mark();

    let response = server.send(&Request::post(&url, "still read"));

    assert_eq!(
        (response.status, response.text().as_str()),
        (200, "still read")
    );
    let line = server.log().wait_for(mark, "still logged");
    assert!(line.contains("/emptied.wsgi] still logged"), "{line}");
}

#[test]
fn file_names_are_decoded_as_python_decodes_them() {
    let server = wsgi_site()
        .script("r\u{e9}pertoire.wsgi", CALCULATOR)
        .env("LC_ALL", "C.UTF-8")
        .start();
    let code = "r = environ['SCRIPT_FILENAME'].rsplit('/')[-1], environ['SCRIPT_NAME']";

    let answer = calculate(&server, "/r%c3%a9pertoire.wsgi", code);

    assert_eq!(answer, r"('r\xe9pertoire.wsgi', '/r\xc3\xa9pertoire.wsgi')");
}

#[rstest]
fn the_concurrency_flags_follow_the_mpm(
    #[values(Mpm::Event, Mpm::Worker, Mpm::Prefork)] mpm: Mpm,
    #[values(true, false)] several_processes: bool,
) {
    let limits = match (mpm, several_processes) {
        (Mpm::Prefork, false) => "MaxRequestWorkers 1\nServerLimit 1",
        (_, false) => "ServerLimit 1\nMaxRequestWorkers 16",
        (_, true) => "",
    };
    let server = Site::new()
        .mpm(mpm)
        .script("calculate.wsgi", CALCULATOR)
        .config("WSGIScriptAlias /calculate ${WSGI}/calculate.wsgi")
        .config("WSGIApplicationGroup %{GLOBAL}")
        .config(limits)
        .start();

    let code = "r = [environ['wsgi.' + k] for k in ('multithread', 'multiprocess', 'run_once')]";
    let answer = calculate(&server, "/calculate", code);

    let python = |flag| if flag { "True" } else { "False" };
    let threads = python(mpm != Mpm::Prefork);
    assert_eq!(
        answer,
        format!("[{threads}, {}, False]", python(several_processes))
    );
}

#[test]
fn the_one_thread_of_a_prefork_child_is_number_zero() {
    if !in_embedded_mode("it is about the threads of httpd's own processes") {
        return;
    }
    let server = wsgi_site()
        .mpm(Mpm::Prefork)
        .script("environ.wsgi", ENVIRON)
        .start();

    assert_eq!(
        environ(&server.get("/environ.wsgi")).value("mod_wsgi.thread_id"),
        "0"
    );
}
