//! The registries of callbacks: in which order, how often and for whom those in them are called.

use std::thread;

use rstest::rstest;
use testkit::{Httpd, ours, wait_until};

use crate::wsgi_site::{Mode, app, gated_app, open_gate, reached};

/// Answers with what the callbacks noted of all requests before.
const NOTING: &str = r#"
import mod_wsgi

noted = []

def noting(text):
    def callback(name, **payload):
        if name == 'request_started':
            noted.append(text)
    return callback

def application(environ, start_response):
    start_response('200 OK', [])
    return [' '.join(noted).encode()]
"#;

fn answer(server: &Httpd, name: &str, source: &str) -> String {
    let url = app(server, name, &format!("{NOTING}{source}"));
    server.get(&url);
    noted(server, &url)
}

fn noted(server: &Httpd, url: &str) -> String {
    server.get(url).text()
}

#[rstest]
fn they_are_called_in_the_order_and_as_often_as_they_were_registered(
    #[values(Mode::Embedded, Mode::Daemon)] mode: Mode,
) {
    let source = "
first, second = noting('first'), noting('second')
mod_wsgi.subscribe_events(first)
mod_wsgi.subscribe_events(second)
mod_wsgi.subscribe_events(first)
mod_wsgi.event_callbacks.append(noting('appended'))
mod_wsgi.event_callbacks.insert(0, noting('inserted'))
";
    let expected = "inserted first second first appended";
    // The first request loads the script and is told of as well.
    let found = answer(&mode.server(), "order", source);
    assert_eq!(found, format!("{expected} {expected}"));
}

#[rstest]
fn who_is_taken_out_of_the_list_is_not_called(#[values(Mode::Embedded, Mode::Daemon)] mode: Mode) {
    let source = "
kept, taken = noting('kept'), noting('taken')
mod_wsgi.subscribe_events(taken)
mod_wsgi.subscribe_events(kept)
mod_wsgi.event_callbacks.remove(taken)
";
    assert_eq!(answer(&mode.server(), "taken", source), "kept kept");
}

#[rstest]
fn who_is_registered_meanwhile_is_called_the_next_time(
    #[values(Mode::Embedded, Mode::Daemon)] mode: Mode,
) {
    let source = "
late = noting('late')

@mod_wsgi.subscribe_events
def early(name, **payload):
    if name == 'request_started':
        noted.append('early')
        if late not in mod_wsgi.event_callbacks:
            mod_wsgi.subscribe_events(late)
        else:
            mod_wsgi.event_callbacks.remove(late)
";
    // It takes itself out, and is called all the same.
    let found = answer(&mode.server(), "late", source);
    assert_eq!(found, "early early late");
}

#[rstest]
fn those_of_other_interpreters_are_not_called(#[values(Mode::Embedded, Mode::Daemon)] mode: Mode) {
    let server = mode.server();
    let source = "mod_wsgi.subscribe_events(noting('called'))";
    let urls = ["here", "there"].map(|name| app(&server, name, &format!("{NOTING}{source}")));
    for url in &urls {
        server.get(url);
    }
    for url in &urls {
        assert_eq!(noted(&server, url), "called called");
    }
}

/// So are the requests that an interpreter knows of.
#[rstest]
fn requests_are_those_of_the_interpreter(#[values(Mode::Embedded, Mode::Daemon)] mode: Mode) {
    const COUNTING: &str = "
import mod_wsgi

def application(environ, start_response):
    if environ['QUERY_STRING']:
        appeared('inside-' + environ['QUERY_STRING'])
        wait_for('outside-' + environ['QUERY_STRING'])
    start_response('200 OK', [])
    own = environ['mod_wsgi.request_id'] in mod_wsgi.active_requests
    return [f'{len(mod_wsgi.active_requests)} {own}'.encode()]
";
    let server = mode.server();
    let [busy, idle] =
        ["busy", "idle"].map(|name| gated_app(&server, &format!("{name}_interpreter"), COUNTING));
    let waiting = format!("{busy}?{mode:?}");
    thread::scope(|scope| {
        let first = scope.spawn(|| server.get(&waiting).text());
        reached(&server, &format!("inside-{mode:?}"));
        assert_eq!(server.get(&busy).text(), "2 True");
        assert_eq!(server.get(&idle).text(), "1 True");
        open_gate(&server, &format!("outside-{mode:?}"));
        assert_eq!(first.join().expect("an answer"), "1 True");
    });
}

/// Once in each, in embedded mode without a reason.
#[rstest]
fn the_end_of_a_process_is_told_in_every_interpreter(
    #[values(Mode::Embedded, Mode::Daemon)] mode: Mode,
) {
    const ENDING: &str = "
import mod_wsgi, os

ending = os.path.join(os.path.dirname(os.path.dirname(__file__)), 'data', 'ending')

@mod_wsgi.subscribe_shutdown
def note(name, **payload):
    with open(ending, 'a') as file:
        print(mod_wsgi.application_group or 'main', name, sorted(payload), file=file)

def application(environ, start_response):
    start_response('200 OK', [])
    return [b'ran']
";
    let mut server = mode
        .site()
        .config("<Files main.wsgi>\nWSGIApplicationGroup %{GLOBAL}\n</Files>")
        .config("<Files one.wsgi>\nWSGIApplicationGroup one\n</Files>")
        .config("<Files two.wsgi>\nWSGIApplicationGroup two\n</Files>")
        .script("main.wsgi", ENDING)
        .script("one.wsgi", ENDING)
        .script("two.wsgi", ENDING)
        .start();
    for name in ["one", "two", "main"] {
        assert_eq!(server.get(&format!("/{name}.wsgi")).text(), "ran");
    }
    server.stop();
    let told = server.site().read("data/ending");
    let mut told: Vec<_> = told.lines().collect();
    told.sort_unstable();
    // There it may be that of another group (D06).
    if ours("D06") {
        let line = |group: &str| format!("{group} process_stopping ['shutdown_reason']");
        assert_eq!(told, [line("main"), line("one"), line("two")]);
    }
}

#[rstest]
fn the_registries_are_lists_that_one_may_look_at(
    #[values(Mode::Embedded, Mode::Daemon)] mode: Mode,
) {
    let source = "
def none(name, **payload):
    pass

mod_wsgi.subscribe_shutdown(none)
mod_wsgi.subscribe_signals(none)
for callbacks in (mod_wsgi.event_callbacks, mod_wsgi.shutdown_callbacks, mod_wsgi.signal_callbacks):
    noted.append(type(callbacks).__name__ + str(callbacks.count(none)))
";
    // Signals belong to httpd in its own processes.
    let signals = match mode {
        Mode::Embedded => 0,
        Mode::Daemon => 1,
    };
    let expected = format!("list0 list1 list{signals}");
    assert_eq!(answer(&mode.server(), "registries", source), expected);
}

/// What the application tells is what it noted of its last request, when that has ended.
const TELLING: &str = r#"
import mod_wsgi, sys

last = []
noted = []

@mod_wsgi.subscribe_events
def note(name, **payload):
    global last, noted
    if name == 'request_started':
        noted = []
    if name == 'response_started':
        info = payload['exception_info']
        noted.append((payload['response_status'], payload['response_headers'], info and info[0]))
    if name == 'request_finished':
        noted.append(payload['status'])
        last = noted

def application(environ, start_response):
    return globals()[environ['QUERY_STRING']](environ, start_response)

def told(environ, start_response):
    answer = repr(last)
    start_response('200 OK', [])
    return [answer.encode()]

def several(environ, start_response):
    start_response('200 OK', [])
    try:
        1 / 0
    except ZeroDivisionError:
        start_response('418 Teapot', [('A', 'b')], sys.exc_info())
    return [b'']

def invalid(environ, start_response):
    try:
        start_response('20', [('A B', 1)])
    except ValueError:
        start_response('204 Fine', [])
    return []

def ill_formed(environ, start_response):
    try:
        start_response('200 OK', ())
    except TypeError:
        start_response('204 Fine', [])
    return []

def silent(environ, start_response):
    return [b'x']
"#;

#[rstest]
fn each_call_of_start_response_is_an_event_before_its_words_are_checked(
    #[values(Mode::Embedded, Mode::Daemon)] mode: Mode,
) {
    let server = mode.server();
    let url = app(&server, "telling", TELLING);
    for (query, expected) in [
        (
            "several",
            "[('200 OK', [], None), ('418 Teapot', [('A', 'b')], <class 'ZeroDivisionError'>), 418]",
        ),
        (
            "invalid",
            "[('20', [('A B', 1)], None), ('204 Fine', [], None), 204]",
        ),
        ("ill_formed", "[('204 Fine', [], None), 204]"),
        // Of whoever says nothing, what the client gets is told.
        ("silent", "[500]"),
    ] {
        server.get(&format!("{url}?{query}"));
        wait_until(&format!("{query}: {expected}"), || {
            let found = server.get(&format!("{url}?told")).text();
            if found != expected {
                // That request was one, too.
                server.get(&format!("{url}?{query}"));
            }
            (found == expected).then_some(())
        });
    }
}

/// A process that serves no requests has no events.
#[rstest]
fn a_group_that_runs_a_script_has_none(
    #[values("subscribe_events", "subscribe_shutdown", "subscribe_signals")] subscribe: &str,
) {
    let source = format!(
        "
import mod_wsgi, os, signal, time

data = os.path.join(os.path.dirname(os.path.dirname(__file__)), 'data')

def callback(name, **payload):
    open(os.path.join(data, 'called-' + name), 'w').close()

same = mod_wsgi.{subscribe}(callback) is callback
with open(os.path.join(data, 'subscribed'), 'w') as file:
    file.write(str(same))
while True:
    time.sleep(0.05)
"
    );
    let mut server = testkit::Site::new()
        .script("service.py", &source)
        .config(
            "WSGISocketPrefix ${ROOT}/logs/wsgi
             WSGIDaemonProcess service threads=0
             WSGIImportScript ${WSGI}/service.py process-group=service application-group=%{GLOBAL}",
        )
        .start();
    wait_until("the script", || {
        let path = server.site().path("data/subscribed");
        let text = std::fs::read_to_string(path).ok()?;
        (!text.is_empty()).then(|| assert_eq!(text, "True"))
    });
    server.stop();
    let left = std::fs::read_dir(server.site().path("data")).expect("a directory");
    assert_eq!(left.count(), 1);
}
