//! How script modules are loaded, kept, and loaded anew.

use std::collections::BTreeSet;
use std::fs::File;
use std::thread;
use std::time::{Duration, SystemTime};

use rstest::rstest;
use testkit::{Mark, Mpm, Site, wait_until};

use crate::apps::{answering, at_once};
use crate::wsgi_site::Mode;

/// Counts how often it is loaded, in a file, and how often it is called.
fn counting(version: &str, loading: &str) -> String {
    format!(
        "import time
from pathlib import Path
with open(Path(__file__).resolve().parents[1] / 'data' / 'loads', 'a') as loads:
    print({version:?}, file=loads)
{loading}
calls = 0

def application(environ, start_response):
    global calls
    calls += 1
    start_response('200 OK', [('Content-Type', 'text/plain')])
    return [f'{version} {{calls}}'.encode()]
"
    )
}

fn counting_site(source: &str) -> Site {
    Site::new()
        .mpm(Mpm::Event)
        .script("counting.wsgi", source)
        .config("WSGIScriptAlias / ${WSGI}/counting.wsgi application-group=%{GLOBAL}")
}

#[test]
fn a_script_is_loaded_once_in_an_interpreter() {
    let server = counting_site(&counting("v1", "time.sleep(0.3)")).start();
    let answers = at_once(8, |_| server.get("/").text());
    let distinct: BTreeSet<_> = answers.into_iter().collect();
    assert_eq!(distinct.len(), 8, "{distinct:?}");
    assert_eq!(server.site().read("data/loads"), "v1\n");
}

#[test]
fn a_changed_script_is_loaded_once_while_others_wait() {
    let server = counting_site(&counting("v1", "")).start();
    assert_eq!(server.get("/").text(), "v1 1");
    server
        .site()
        .write("wsgi/counting.wsgi", counting("v2", "time.sleep(0.3)"));
    for answer in at_once(8, |_| server.get("/").text()) {
        assert!(answer.starts_with("v2 "), "{answer}");
    }
    assert_eq!(server.site().read("data/loads"), "v1\nv2\n");
}

#[test]
fn a_reload_is_logged() {
    let server = counting_site(&counting("v1", "")).start();
    server.get("/");
    let script = server.site().text_path("wsgi/counting.wsgi");
    server
        .log()
        .wait_for(Mark::START, &format!("Loading WSGI script '{script}'"));
    server
        .site()
        .write("wsgi/counting.wsgi", counting("v2", ""));
    let mark = server.log().mark();
    server.get("/");
    server
        .log()
        .wait_for(mark, &format!("Reloading WSGI script '{script}'"));
}

#[test]
fn a_script_set_back_to_an_older_time_is_loaded_again() {
    let server = counting_site(&counting("v1", "")).start();
    assert_eq!(server.get("/").text(), "v1 1");
    let file = File::options()
        .append(true)
        .open(server.site().path("wsgi/counting.wsgi"));
    let yesterday = SystemTime::now() - Duration::from_secs(86_400);
    file.and_then(|file| file.set_modified(yesterday))
        .expect("a modification time");
    assert_eq!(server.get("/").text(), "v1 1");
    assert_eq!(server.get("/").text(), "v1 2");
    assert_eq!(server.site().read("data/loads"), "v1\nv1\n");
}

#[test]
fn a_request_in_flight_keeps_the_code_it_began_with() {
    let waits = "
import time
from pathlib import Path
data = Path(__file__).resolve().parents[1] / 'data'

def application(environ, start_response):
    start_response('200 OK', [('Content-Type', 'text/plain')])
    (data / 'arrived').touch()
    while not (data / 'go').exists():
        time.sleep(0.01)
    yield b'old to the end'
";
    let server = Site::new()
        .mpm(Mpm::Event)
        .script("slow.wsgi", waits)
        .config("WSGIScriptAlias / ${WSGI}/slow.wsgi application-group=%{GLOBAL}")
        .start();
    thread::scope(|scope| {
        let slow = scope.spawn(|| server.get("/").text());
        let arrived = server.site().path("data/arrived");
        wait_until("the request to arrive", || arrived.exists().then_some(()));
        server.site().write("wsgi/slow.wsgi", answering("new"));
        assert_eq!(server.get("/").text(), "new");
        server.site().write("data/go", "");
        assert_eq!(slow.join().expect("a response"), "old to the end");
    });
}

#[test]
fn only_the_script_is_loaded_anew_not_what_it_imports() {
    let script = |text: &str| format!("import helper\n{}", answering(text));
    let helper = "from pathlib import Path\n\
                  with open(Path(__file__).resolve().parents[1] / 'data' / 'imports', 'a') as f:\n    \
                  print('imported', file=f)\n";
    let server = Site::new()
        .mpm(Mpm::Event)
        .script("main.wsgi", &script("v1"))
        .file("libs/helper.py", helper)
        .config(
            "WSGIPythonPath ${ROOT}/libs
             WSGIScriptAlias / ${WSGI}/main.wsgi application-group=%{GLOBAL}",
        )
        .start();
    assert_eq!(server.get("/").text(), "v1");
    server.site().write("wsgi/main.wsgi", script("v2"));
    assert_eq!(server.get("/").text(), "v2");
    assert_eq!(server.site().read("data/imports"), "imported\n");
}

#[test]
fn a_script_can_ask_to_be_loaded_again() {
    let source = "
from pathlib import Path
data = Path(__file__).resolve().parents[1] / 'data'

def reload_required(resource):
    (data / 'resource').write_text(resource)
    return (data / 'stale').exists()
";
    let server = counting_site(&format!("{}{source}", counting("v1", ""))).start();
    assert_eq!(server.get("/path").text(), "v1 1");
    assert_eq!(server.get("/path").text(), "v1 2");
    let script = server.site().text_path("wsgi/counting.wsgi");
    assert_eq!(server.site().read("data/resource"), script);
    server.site().write("data/stale", "");
    assert_eq!(server.get("/").text(), "v1 1");
}

#[test]
fn an_exception_in_that_question_is_logged_and_means_no() {
    let source = "\ndef reload_required(resource):\n    raise ValueError('no idea')\n";
    let server = counting_site(&format!("{}{source}", counting("v1", ""))).start();
    assert_eq!(server.get("/").text(), "v1 1");
    assert_eq!(server.get("/").text(), "v1 2");
    server.log().wait_for(Mark::START, "ValueError: no idea");
}

#[test]
fn a_script_that_breaks_and_is_mended_serves_again() {
    let server = counting_site(&counting("v1", "")).start();
    assert_eq!(server.get("/").text(), "v1 1");
    server.site().write(
        "wsgi/counting.wsgi",
        counting("v2", "raise ValueError('broken')"),
    );
    for _ in 0..2 {
        assert_eq!(server.get("/").status, 500);
    }
    server.log().wait_for(Mark::START, "ValueError: broken");
    server
        .site()
        .write("wsgi/counting.wsgi", counting("v3", ""));
    assert_eq!(server.get("/").text(), "v3 1");
    assert_eq!(server.site().read("data/loads"), "v1\nv2\nv2\nv3\n");
}

#[test]
fn a_script_that_is_removed_and_put_back_is_found_again() {
    let server = counting_site(&counting("v1", "")).start();
    assert_eq!(server.get("/").text(), "v1 1");
    server.site().remove("wsgi/counting.wsgi");
    assert_eq!(server.get("/").status, 404);
    server
        .site()
        .write("wsgi/counting.wsgi", counting("v2", ""));
    assert_eq!(server.get("/").text(), "v2 1");
}

#[test]
fn a_script_that_does_not_load_is_no_module() {
    let source = "
import sys

def application(environ, start_response):
    start_response('200 OK', [('Content-Type', 'text/plain')])
    return [' '.join(name for name in sys.modules if name.startswith('_mod_wsgi_')).encode()]
";
    let server = Site::new()
        .mpm(Mpm::Event)
        .script("modules.wsgi", source)
        .script("broken.wsgi", "raise ValueError('broken')\n")
        .config(
            "WSGIApplicationGroup %{GLOBAL}
             WSGIScriptAlias / ${WSGI}/",
        )
        .start();
    assert_eq!(server.get("/broken.wsgi").status, 500);
    let names = server.get("/modules.wsgi").text();
    assert_eq!(names.split(' ').count(), 1, "{names}");
}

#[rstest]
fn a_script_is_a_module_with_a_name_a_file_and_a_time(
    #[values(Mode::Embedded, Mode::Daemon)] mode: Mode,
) {
    const MODULE: &str = "
import os, sys

name = __name__

def application(environ, start_response):
    times = os.stat(__file__)
    start_response('200 OK', [])
    return [repr([name, sys.modules[name].__dict__ is globals(), __file__, type(__mtime__).__name__,
                  __mtime__ == times.st_mtime_ns // 1000,
                  os.path.exists(os.path.join(os.path.dirname(__file__), '__pycache__'))]).encode()]
";
    let server = mode.site().script("module.wsgi", MODULE).start();
    let path = server.site().text_path("wsgi/module.wsgi");
    let answer = server.get("/module.wsgi").text();
    let (name, rest) = answer.split_once(", ").expect("a list");
    let digits = name.strip_prefix("['_mod_wsgi_").unwrap_or(name);
    let digits = digits.trim_end_matches('\'');
    assert_eq!(digits.len(), 32, "{name}");
    assert!(
        digits.bytes().all(|byte| byte.is_ascii_hexdigit()),
        "{name}"
    );
    assert_eq!(rest, format!("True, '{path}', 'int', True, False]"));
}

#[rstest]
fn a_source_is_read_as_python_reads_it_up_to_a_nul(
    #[values(Mode::Embedded, Mode::Daemon)] mode: Mode,
) {
    let answering = |literal: &[u8]| {
        let source: &[&[u8]] = &[
            b"def application(environ, start_response):\n    start_response('200 OK', [])\n    \
              return [repr('",
            literal,
            b"').encode()]\n",
        ];
        source.concat()
    };
    let with =
        |before: &[u8], after: &[u8], literal: &[u8]| [before, &answering(literal), after].concat();
    let sources = [
        ("utf-8", with(b"", b"", b"\xc3\xa9"), "'\u{e9}'"),
        ("bom", with(b"\xef\xbb\xbf", b"", b"\xc3\xa9"), "'\u{e9}'"),
        (
            "cookie",
            with(b"# -*- coding: latin-1 -*-\n", b"", b"\xe9"),
            "'\u{e9}'",
        ),
        ("nul", with(b"", b"\0 this is no Python", b"x"), "'x'"),
        ("lines", with(b"\r\n\r\n", b"#", b"y"), "'y'"),
        ("wrong", with(b"", b"", b"\xe9"), ""),
    ];
    let site = sources.iter().fold(mode.site(), |site, (name, source, _)| {
        site.file(&format!("wsgi/{name}.wsgi"), source)
    });
    let server = site.start();
    for (name, _, expected) in &sources {
        let response = server.get(&format!("/{name}.wsgi"));
        if expected.is_empty() {
            assert_eq!(response.status, 500, "{name}");
            let line = server.log().wait_for(Mark::START, "WSGI0105");
            assert!(line.contains("wrong.wsgi"), "{line}");
        } else {
            assert_eq!(&response.text(), expected, "{name}");
        }
    }
}

/// Counts how often it is loaded, and loses the time that its module has, if it is asked to.
const LOSING: &str = "
import os, sys
sys.loaded = getattr(sys, 'loaded', 0) + 1

def application(environ, start_response):
    global __mtime__
    if environ['QUERY_STRING'] == 'lose':
        del __mtime__
    if environ['QUERY_STRING'] == 'spoil':
        __mtime__ = 'spoilt'
    start_response('200 OK', [])
    if environ['QUERY_STRING'] == 'process':
        return [str(os.getpid()).encode()]
    return [str(sys.loaded).encode()]
";

#[test]
fn a_module_that_lost_its_time_is_loaded_again() {
    let server = Mode::Embedded.site().script("losing.wsgi", LOSING).start();
    for (query, expected) in [
        ("", "1"),
        ("lose", "1"),
        ("", "2"),
        ("", "2"),
        ("spoil", "2"),
        ("", "3"),
    ] {
        let answer = server.get(&format!("/losing.wsgi?{query}")).text();
        assert_eq!(answer, expected, "{query}");
    }
}

#[test]
fn a_process_of_a_group_is_replaced_for_a_module_that_lost_its_time() {
    let server = Mode::Daemon.site().script("losing.wsgi", LOSING).start();
    let ask = |query: &str| server.get(&format!("/losing.wsgi?{query}")).text();
    let process = ask("process");
    assert_eq!(ask("lose"), "1");
    assert_eq!(ask(""), "1");
    assert_ne!(ask("process"), process);
}

#[rstest]
fn a_module_that_lost_its_time_is_kept_where_none_is_loaded_again(
    #[values(Mode::Embedded, Mode::Daemon)] mode: Mode,
) {
    let site = mode.site().script("losing.wsgi", LOSING);
    let server = site.config("WSGIScriptReloading Off").start();
    let ask = |query: &str| server.get(&format!("/losing.wsgi?{query}")).text();
    let process = ask("process");
    for query in ["lose", "", "spoil", ""] {
        assert_eq!(ask(query), "1", "{query}");
    }
    assert_eq!(ask("process"), process);
}
