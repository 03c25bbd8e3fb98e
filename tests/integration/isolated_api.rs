//! The module `mod_wsgi` in interpreters that have a GIL of their own. As all of
//! `WSGIPerInterpreterGIL` it takes the second Python.

use rstest::rstest;
use testkit::{Httpd, Mark, wait_until};

use crate::second_python::SecondPython;
use crate::signals::noted;
use crate::wsgi_site::{CALCULATOR, Mode, calculate};

/// What is told of an interpreter goes to a file in `data/`, of events by their name.
const SUBSCRIBED: &str = r#"
import logging, mod_wsgi, os, sys

DATA = os.path.join(os.path.dirname(os.path.dirname(__file__)), 'data')
group = mod_wsgi.application_group

def note(kind, text):
    with open(os.path.join(DATA, kind + '-' + group), 'a') as file:
        print(text, file=file)

@mod_wsgi.subscribe_events
def told(name, **payload):
    if name == 'request_started':
        payload['request_data']['seen'] = group
        payload['request_environ']['own'] = mod_wsgi.request_data() is payload['request_data']
    note('events', name)

@mod_wsgi.subscribe_shutdown
def stopping(name, **payload):
    note('shutdown', name)

mod_wsgi.subscribe_signals(lambda name, **payload: note('signals', payload['signame']))

logger = logging.getLogger('isolated')
logger.addHandler(mod_wsgi.LogHandler())
logger.propagate = False
"#;

/// Two interpreters with a GIL of their own.
fn server(mode: Mode, options: &str) -> Option<Httpd> {
    let second = SecondPython::with_own_gils()?;
    let mut site = second
        .alone()
        .script("asked.wsgi", &format!("{SUBSCRIBED}{CALCULATOR}"))
        .config(
            "WSGISocketPrefix ${ROOT}/logs/wsgi
             WSGIPerInterpreterGIL On
             WSGIScriptAlias /one ${WSGI}/asked.wsgi application-group=one
             WSGIScriptAlias /two ${WSGI}/asked.wsgi application-group=two",
        );
    if mode == Mode::Daemon {
        site = site
            .config(&format!("{} {options}", second.group("group")))
            .config("WSGIProcessGroup group");
    }
    Some(site.start())
}

/// Whether a request for `url` is answered `text`, of what the code leaves in `r`.
fn check(server: &Httpd, url: &str, code: &str, text: &str) {
    assert_eq!(calculate(server, url, code), text, "{url}: {code}");
}

#[rstest]
fn each_interpreter_has_names_of_its_own(#[values(Mode::Embedded, Mode::Daemon)] mode: Mode) {
    let Some(server) = server(mode, "") else {
        return;
    };
    let group = if mode == Mode::Daemon { "group" } else { "" };
    for (url, name) in [("/one", "one"), ("/two", "two")] {
        for (code, text) in [
            (
                "import mod_wsgi; r = mod_wsgi.version",
                "(6, 1, 1)".to_owned(),
            ),
            (
                "import mod_wsgi; r = (mod_wsgi.process_group, mod_wsgi.application_group)",
                format!("('{group}', '{name}')"),
            ),
            (
                "import mod_wsgi; r = issubclass(mod_wsgi.FileWrapper, object), environ['wsgi.file_wrapper'] is mod_wsgi.FileWrapper",
                "(True, True)".to_owned(),
            ),
            ("import apache; r = apache.version[:2]", "(2, 4)".to_owned()),
            // Nothing of this sort was set by the other one.
            (
                "import mod_wsgi; r = hasattr(mod_wsgi.RequestTimeout, 'own'); mod_wsgi.RequestTimeout.own = 1",
                "False".to_owned(),
            ),
            (
                "import mod_wsgi; r = len(mod_wsgi.event_callbacks), len(mod_wsgi.shutdown_callbacks)",
                "(1, 1)".to_owned(),
            ),
            (
                "import mod_wsgi; r = mod_wsgi.active_requests[environ['mod_wsgi.request_id']] is mod_wsgi.request_data()",
                "True".to_owned(),
            ),
            (
                "import mod_wsgi; r = len(mod_wsgi.active_requests)",
                "1".to_owned(),
            ),
            (
                "import threading, mod_wsgi; r = []
def ask():
    try: mod_wsgi.request_data()
    except RuntimeError: r.append('none')
thread = threading.Thread(target=ask); thread.start(); thread.join()",
                "['none']".to_owned(),
            ),
        ] {
            check(&server, url, code, &text);
        }
    }
}

#[rstest]
fn events_are_told_where_they_happen(#[values(Mode::Embedded, Mode::Daemon)] mode: Mode) {
    let Some(server) = server(mode, "") else {
        return;
    };
    // The first request finds nobody who wants to know of its start.
    for url in ["/one", "/two"] {
        calculate(&server, url, "r = 1");
    }
    for (url, name) in [("/one", "one"), ("/two", "two")] {
        let code = "import mod_wsgi; r = environ['own'], mod_wsgi.request_data()['seen']";
        check(&server, url, code, &format!("(True, '{name}')"));
        let note = server.site().path(&format!("data/events-{name}"));
        wait_until("the end of the request", || {
            let text = std::fs::read_to_string(&note).unwrap_or_default();
            text.ends_with("request_started\nresponse_started\nrequest_finished\n")
                .then_some(())
        });
    }
}

#[rstest]
fn records_are_logged_at_their_level_with_their_request(
    #[values(Mode::Embedded, Mode::Daemon)] mode: Mode,
) {
    let Some(server) = server(mode, "") else {
        return;
    };
    for url in ["/one", "/two"] {
        let mark = server.log().mark();
        let code =
            "import logging; logging.getLogger('isolated').warning('a warning of %s', 'theirs')";
        check(&server, url, code, "None");
        let line = server.log().wait_for(mark, "a warning of theirs");
        for part in ["wsgi:warn", "asked.wsgi"] {
            assert!(line.contains(part), "{part}: {line}");
        }
    }
}

#[rstest]
fn figures_are_those_of_the_process(#[values(Mode::Embedded, Mode::Daemon)] mode: Mode) {
    let Some(server) = server(mode, "") else {
        return;
    };
    check(
        &server,
        "/one",
        "import mod_wsgi; r = mod_wsgi.request_metrics()",
        "None",
    );
    check(
        &server,
        "/one",
        "import mod_wsgi; mod_wsgi.start_recording_metrics()",
        "None",
    );
    for _ in 0..3 {
        check(&server, "/two", "r = 1", "1");
    }
    // When their clients have the responses, the last one may still be counted.
    wait_until("three requests", || {
        let code = "import mod_wsgi; r = mod_wsgi.process_metrics()['request_count'] >= 5";
        (calculate(&server, "/two", code) == "True").then_some(())
    });
    let code = "import mod_wsgi; r = mod_wsgi.request_metrics()['request_count'] >= 3";
    check(&server, "/one", code, "True");
    check(
        &server,
        "/two",
        "import mod_wsgi; r = mod_wsgi.server_metrics()",
        "None",
    );
}

#[rstest]
fn what_is_restricted_is_so_in_each(#[values(Mode::Embedded, Mode::Daemon)] mode: Mode) {
    let Some(second) = SecondPython::with_own_gils() else {
        return;
    };
    let mut site = second
        .alone()
        .script("asked.wsgi", CALCULATOR)
        .file("libs/lent.py", "value = 'lent'\n")
        .config(
            "WSGISocketPrefix ${ROOT}/logs/wsgi
             WSGIPerInterpreterGIL On
             WSGIScriptAlias /one ${WSGI}/asked.wsgi application-group=one
             WSGIScriptAlias /two ${WSGI}/asked.wsgi application-group=two
             <WSGIInterpreterOptions application-group=one>
                 WSGIRestrictStdin On
                 WSGIRestrictStdout On
                 WSGIPythonPath ${ROOT}/libs
             </WSGIInterpreterOptions>",
        );
    if mode == Mode::Daemon {
        site = site
            .config(&second.group("group"))
            .config("WSGIProcessGroup group");
    }
    let server = site.start();
    for stream in ["stdin", "stdout"] {
        let code = format!("import sys; sys.{stream}.closed");
        let refused = calculate(&server, "/one", &code);
        assert!(refused.starts_with("OSError: "), "{stream}: {refused}");
        check(&server, "/two", &code, "None");
    }
    check(&server, "/one", "import lent; r = lent.value", "'lent'");
    let missing = calculate(&server, "/two", "import lent");
    assert!(missing.starts_with("ModuleNotFoundError"), "{missing}");
    let signal = "import signal; r = signal.signal(signal.SIGUSR2, print) is print";
    for url in ["/one", "/two"] {
        check(&server, url, signal, "True");
    }
}

#[rstest]
fn each_is_told_when_the_process_stops(#[values(Mode::Embedded, Mode::Daemon)] mode: Mode) {
    let Some(mut server) = server(mode, "") else {
        return;
    };
    for url in ["/one", "/two"] {
        calculate(&server, url, "r = 1");
    }
    server.stop();
    for name in ["one", "two"] {
        let lines = noted(&server, &format!("shutdown-{name}"));
        assert_eq!(lines, ["process_stopping"], "{name}");
    }
}

#[test]
fn each_is_told_of_signals() {
    let Some(server) = server(Mode::Daemon, "") else {
        return;
    };
    calculate(&server, "/two", "r = 1");
    let code = "import os, signal; os.kill(os.getpid(), signal.SIGUSR2)";
    check(&server, "/one", code, "None");
    for name in ["one", "two"] {
        wait_until(name, || {
            (noted(&server, &format!("signals-{name}")) == ["SIGUSR2"]).then_some(())
        });
    }
}

#[test]
fn a_request_that_takes_too_long_is_interrupted() {
    let Some(server) = server(Mode::Daemon, "request-timeout=1 interrupt-timeout=20") else {
        return;
    };
    calculate(&server, "/one", "r = 1");
    let code = "import mod_wsgi, time
try:
    while True: time.sleep(0.01)
except mod_wsgi.RequestTimeout as timeout:
    r = type(timeout) is mod_wsgi.RequestTimeout";
    check(&server, "/one", code, "True");
    server
        .log()
        .wait_for(Mark::START, "Injected RequestTimeout into thread");
    check(&server, "/one", "r = 1", "1");
}

#[rstest]
fn scripts_that_decide_may_run_in_one(#[values("one", "%{GLOBAL}")] group: &str) {
    let Some(second) = SecondPython::with_own_gils() else {
        return;
    };
    let server = second
        .alone()
        .script("asked.wsgi", CALCULATOR)
        .script(
            "decides.py",
            "import threading
def allow_access(environ, host):
    if 'refuse' in environ['QUERY_STRING']: return False
    print('asked in', repr(environ['mod_wsgi.application_group']), file=environ['wsgi.errors'])
    return True
def application_group(environ):
    return 'chosen'
",
        )
        .config(&format!(
            "WSGIPerInterpreterGIL On
             WSGIScriptAlias / ${{WSGI}}/asked.wsgi
             WSGIDispatchScript ${{WSGI}}/decides.py application-group={group}
             <Location />
                 WSGIAccessScript ${{WSGI}}/decides.py application-group={group}
             </Location>"
        ))
        .start();
    check(
        &server,
        "/",
        "r = environ['mod_wsgi.application_group']",
        "'chosen'",
    );
    let name = group.replace("%{GLOBAL}", "");
    server
        .log()
        .wait_for(Mark::START, &format!("asked in '{name}'"));
    assert_eq!(server.get("/?refuse").status, 403);
}

#[rstest]
fn scripts_are_loaded_at_start_and_when_they_change(
    #[values(Mode::Embedded, Mode::Daemon)] mode: Mode,
) {
    let Some(second) = SecondPython::with_own_gils() else {
        return;
    };
    let mut site = second
        .alone()
        .script("first.wsgi", &crate::apps::answering("first"))
        .config("WSGISocketPrefix ${ROOT}/logs/wsgi\nWSGIPerInterpreterGIL On");
    let process = if mode == Mode::Daemon {
        site = site.config(&second.group("group"));
        "group"
    } else {
        "%{GLOBAL}"
    };
    let server = site
        .config(&format!(
            "WSGIScriptAlias / ${{WSGI}}/first.wsgi process-group={process} application-group=own"
        ))
        .start();
    server
        .log()
        .wait_for(Mark::START, "Creating sub-interpreter 'own'");
    server.log().wait_for(Mark::START, "Loading WSGI script");
    assert_eq!(server.get("/").text(), "first");
    server
        .site()
        .write("wsgi/first.wsgi", crate::apps::answering("second"));
    wait_until("the changed script", || {
        (server.get("/").text() == "second").then_some(())
    });
}
