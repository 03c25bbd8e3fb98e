//! Events: who is told what, when, and that nobody suffers from a callback that fails.

use rstest::rstest;
use serde_json::Value;
use testkit::{Httpd, Request, wait_until};

use crate::wsgi_site::{Mode, app, quoted};

/// Notes all events but those of requests for `?events`, which answers with them as JSON: a list of
/// the name and the payload, in which each value is text, of numbers, `None` and dicts as it is.
const WATCHED: &str = r#"
import json, mod_wsgi, os, sys, threading, time

events = []
LITERAL = (int, float, str, type(None))

def shown(value):
    if isinstance(value, LITERAL):
        return value
    if isinstance(value, dict) and all(isinstance(item, LITERAL) for item in value.values()):
        return value
    return [type(value).__name__, repr(value)]

@mod_wsgi.subscribe_events
def note(name, **payload):
    environ = payload.get('request_environ', {})
    data = payload.get('request_data', {})
    if environ.get('QUERY_STRING') == 'events':
        data['unwatched'] = True
    if 'unwatched' not in data:
        note = {key: shown(value) for key, value in payload.items()}
        events.append([name, note])

class Closing(list):
    def __iter__(self):
        return list.__iter__(self)
    def close(self):
        raise ValueError('closing')

def application(environ, start_response):
    if environ['QUERY_STRING'] == 'events':
        start_response('200 OK', [])
        return [json.dumps(events).encode()]
    return watched(environ, start_response)
"#;

/// An application whose events are noted; in an interpreter of its own, as every test has one.
fn watched(server: &Httpd, name: &str, body: &str) -> String {
    app(server, name, &format!("{WATCHED}\n{body}"))
}

/// The events of all requests so far, once the last one has finished.
fn events(server: &Httpd, url: &str, finished: usize) -> Vec<(String, Value)> {
    wait_until(&format!("{finished} finished requests of {url}"), || {
        let body = server.get(&format!("{url}?events")).body;
        let events: Vec<(String, Value)> = serde_json::from_slice(&body).expect("JSON");
        let is_end = |(name, _): &&(String, Value)| name == "request_finished";
        (events.iter().filter(is_end).count() == finished).then_some(events)
    })
}

fn names(events: &[(String, Value)]) -> Vec<&str> {
    events.iter().map(|(name, _)| name.as_str()).collect()
}

/// The payload of the first event of that name.
fn payload<'a>(events: &'a [(String, Value)], name: &str) -> &'a Value {
    let found = events.iter().find(|(event, _)| event == name);
    &found
        .unwrap_or_else(|| panic!("no {name} in {events:#?}"))
        .1
}

fn keys(payload: &Value) -> Vec<&str> {
    let mut keys: Vec<_> = payload.as_object().expect("a dict").keys().collect();
    keys.sort();
    keys.into_iter().map(String::as_str).collect()
}

fn number(payload: &Value, key: &str) -> f64 {
    let number = payload[key].as_f64();
    number.unwrap_or_else(|| panic!("{key} is no number: {payload:#?}"))
}

#[rstest]
fn a_request_is_told_of_from_start_to_finish(#[values(Mode::Embedded, Mode::Daemon)] mode: Mode) {
    let server = mode.server();
    let url = watched(
        &server,
        "finish",
        "def watched(environ, start_response):
            mod_wsgi.request_data()['mine'] = 1
            environ['wsgi.input'].read()
            start_response('201 Made', [('X-A', 'b')])
            return [b'hello', b'', b'world']",
    );
    let response = server.send(&Request::post(&format!("{url}?x"), vec![b'x'; 100_000]));
    assert_eq!(
        (response.status, response.text().as_str()),
        (201, "helloworld")
    );
    // Who is there when the request starts is not there when it is loaded.
    server.get(&url);
    let events = events(&server, &url, 2);
    assert_eq!(
        names(&events),
        ["request_started", "response_started", "request_finished"].repeat(2)
    );
    check_started(payload(&events, "request_started"), mode);
    let answered = payload(&events, "response_started");
    assert_eq!(
        keys(answered),
        [
            "exception_info",
            "request_data",
            "request_id",
            "response_headers",
            "response_status"
        ]
    );
    assert_eq!(answered["response_status"], "201 Made");
    assert_eq!(answered["response_headers"][1], "[('X-A', 'b')]");
    assert_eq!(answered["exception_info"], Value::Null);
    check_finished(payload(&events, "request_finished"), mode);
    let ids: Vec<_> = events[..3]
        .iter()
        .map(|(_, payload)| &payload["request_id"])
        .collect();
    assert!(ids[0].as_str().is_some_and(|id| !id.is_empty()), "{ids:?}");
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    assert_ne!(&events[3].1["request_id"], ids[0]);
}

fn check_started(started: &Value, mode: Mode) {
    assert_eq!(
        keys(started),
        [
            "application_object",
            "application_start",
            "callable_object",
            "daemon_connects",
            "daemon_restarts",
            "daemon_start",
            "queue_start",
            "request_data",
            "request_environ",
            "request_id",
            "request_start",
            "server_pid",
            "thread_id",
        ]
    );
    assert_eq!(started["application_object"][0], "function");
    assert_eq!(started["callable_object"], "application");
    assert_eq!(started["request_environ"][0], "dict");
    assert_eq!(started["daemon_restarts"], 0);
    assert!(number(started, "thread_id") >= 1.0);
    let [request, queue, daemon, application] = [
        "request_start",
        "queue_start",
        "daemon_start",
        "application_start",
    ]
    .map(|key| number(started, key));
    assert!(request > 1.6e9 && application >= request, "{started:#?}");
    match mode {
        Mode::Embedded => {
            assert_eq!((queue, daemon), (0.0, 0.0));
            assert_eq!(started["daemon_connects"], 0);
        }
        Mode::Daemon => {
            assert!(
                request <= queue && queue <= daemon && daemon <= application,
                "{started:#?}"
            );
            assert_eq!(started["daemon_connects"], 1);
        }
    }
}

fn check_finished(finished: &Value, mode: Mode) {
    assert_eq!(
        keys(finished),
        [
            "application_finish",
            "application_time",
            "cpu_system_time",
            "cpu_time",
            "cpu_user_time",
            "daemon_start",
            "gil_wait_count",
            "gil_wait_time",
            "input_length",
            "input_reads",
            "input_time",
            "output_length",
            "output_time",
            "output_writes",
            "queue_start",
            "request_data",
            "request_id",
            "request_start",
            "server_pid",
            "status",
            "thread_id",
        ]
    );
    for (key, value) in [
        ("input_length", 100_000.0),
        ("output_length", 10.0),
        ("output_writes", 2.0),
        ("status", 201.0),
    ] {
        assert_eq!(number(finished, key), value, "{key}: {finished:#?}");
    }
    assert_eq!(finished["request_data"], serde_json::json!({"mine": 1}));
    for key in [
        "input_reads",
        "gil_wait_count",
        "input_time",
        "output_time",
        "application_time",
    ] {
        assert!(number(finished, key) > 0.0, "{key}: {finished:#?}");
    }
    let cpu = number(finished, "cpu_user_time") + number(finished, "cpu_system_time");
    assert!(
        (number(finished, "cpu_time") - cpu).abs() < 1e-6,
        "{finished:#?}"
    );
    assert_eq!(number(finished, "daemon_start") > 0.0, mode == Mode::Daemon);
}

#[rstest]
fn an_exception_is_an_event_wherever_it_is_raised(
    #[values(Mode::Embedded, Mode::Daemon)] mode: Mode,
) {
    let server = mode.server();
    let url = watched(
        &server,
        "exception",
        "def watched(environ, start_response):
            query = environ['QUERY_STRING']
            if query == 'call':
                raise KeyError('call')
            if query == 'exit':
                sys.exit('exit')
            start_response('200 OK', [])
            if query == 'close':
                return Closing([b'a'])
            return (1 / 0 for _ in [1])",
    );
    let cases = [
        ("call", 500, "<class 'KeyError'>", 500),
        ("exit", 500, "<class 'SystemExit'>", 500),
        ("iterate", 500, "<class 'ZeroDivisionError'>", 200),
        ("close", 200, "<class 'ValueError'>", 200),
    ];
    for (number, (query, status, kind, told)) in cases.into_iter().enumerate() {
        assert_eq!(
            server.get(&format!("{url}?{query}")).status,
            status,
            "{query}"
        );
        // The first request is not told of from its start: it loads the script.
        let events = events(&server, &url, number + 1);
        let mut last = events.iter().rev();
        let (name, finished) = last.next().expect("an event");
        assert_eq!(
            (name.as_str(), &finished["status"]),
            ("request_finished", &told.into())
        );
        let (name, exception) = last.next().expect("an event");
        assert_eq!(name, "request_exception", "{query}");
        assert_eq!(
            keys(exception),
            ["exception_info", "request_data", "request_id"]
        );
        let info = exception["exception_info"][1].as_str().expect("a tuple");
        assert!(info.starts_with(&format!("({kind}, ")), "{query}: {info}");
        assert!(info.contains("<traceback object"), "{query}: {info}");
    }
}

#[rstest]
fn what_an_application_offers_is_counted(#[values(Mode::Embedded, Mode::Daemon)] mode: Mode) {
    let server = mode.server();
    let url = watched(
        &server,
        "offers",
        "import io, tempfile

def watched(environ, start_response):
            query = environ['QUERY_STRING']
            length = [('Content-Length', '3')] if query == 'stated' else []
            write = start_response('200 OK', length)
            if query == 'write':
                write(b'abc')
                write(b'')
                write(b'defg')
                return [b'h']
            if query == 'file':
                file = tempfile.TemporaryFile()
                file.write(b'x' * 1000)
                file.seek(100)
                return environ['wsgi.file_wrapper'](file)
            if query == 'blocks':
                return environ['wsgi.file_wrapper'](io.BytesIO(b'x' * 10000), 4096)
            return (item for item in [b'ab', b'', b'cdef', b'ghi'])",
    );
    let cases = [
        ("write", 8, 4),
        ("file", 900, 0),
        ("blocks", 10_000, 3),
        // What goes beyond the length that was stated is not sent, but it is offered.
        ("stated", 9, 3),
    ];
    for (number, (query, length, writes)) in cases.into_iter().enumerate() {
        assert_eq!(server.get(&format!("{url}?{query}")).status, 200);
        let events = events(&server, &url, number + 1);
        let (_, finished) = events.last().expect("an event");
        assert_eq!(finished["output_length"], length, "{query}: {finished:#}");
        assert_eq!(finished["output_writes"], writes, "{query}: {finished:#}");
    }
}

#[rstest]
fn what_an_application_takes_of_a_body_is_counted(
    #[values(Mode::Embedded, Mode::Daemon)] mode: Mode,
) {
    let server = mode.server();
    let url = watched(
        &server,
        "takes",
        "from urllib.parse import unquote

def watched(environ, start_response):
            i = environ['wsgi.input']
            exec(unquote(environ['QUERY_STRING']))
            start_response('200 OK', [])
            return []",
    );
    for (number, (code, length)) in [
        ("i.read(4)", 4),
        ("i.readline()", 6),
        ("i.readline(3);i.readline(3);i.readline(3)", 9),
        ("i.readline();i.read(5)", 11),
        ("i.readlines(1)", 6),
        ("list(i)", 16),
        ("i.read()", 16),
        ("i.read(0)", 0),
    ]
    .into_iter()
    .enumerate()
    {
        let request = Request::post(&format!("{url}?{}", quoted(code)), "first\nsecond\nrst");
        assert_eq!(server.send(&request).status, 200, "{code}");
        let events = events(&server, &url, number + 1);
        let (_, finished) = events.last().expect("an event");
        assert_eq!(finished["input_length"], length, "{code}: {finished:#}");
    }
}

#[rstest]
fn a_request_that_timed_out_is_no_exception(#[values(Mode::Embedded, Mode::Daemon)] mode: Mode) {
    let server = mode.server();
    let url = watched(
        &server,
        "timeout",
        "def watched(environ, start_response):
            raise mod_wsgi.RequestTimeout",
    );
    assert_eq!(server.get(&url).status, 504);
    let events = events(&server, &url, 1);
    assert!(
        !names(&events).contains(&"request_exception"),
        "{events:#?}"
    );
}

#[rstest]
fn an_application_can_be_replaced_and_its_environ_changed(
    #[values(Mode::Embedded, Mode::Daemon)] mode: Mode,
) {
    let server = mode.server();
    let source = r#"
import mod_wsgi

def other(environ, start_response):
    start_response('200 OK', [])
    return [environ['told'].encode()]

@mod_wsgi.subscribe_events
def first(name, **payload):
    if name == 'request_started':
        payload['request_environ']['told'] = 'first'
        return {'application_object': other, 'told': 'by first'}

@mod_wsgi.subscribe_events
def second(name, **payload):
    if name == 'request_started':
        seen = payload['application_object'] is other
        payload['request_environ']['told'] += f", {payload['told']}, {seen}"
        return [('application_object', None)]

def application(environ, start_response):
    raise RuntimeError
"#;
    let url = app(&server, "replaced", source);
    assert_eq!(server.get(&url).text(), "first, by first, True");
}

#[rstest]
fn a_callback_that_fails_harms_nobody(#[values(Mode::Embedded, Mode::Daemon)] mode: Mode) {
    let server = mode.server();
    let source = r#"
import mod_wsgi

called = []

@mod_wsgi.subscribe_events
def failing(name, **payload):
    raise ValueError('failing ' + name)

@mod_wsgi.subscribe_events
def exiting(name, **payload):
    raise SystemExit('exiting ' + name)

mod_wsgi.subscribe_events(17)
mod_wsgi.subscribe_events(lambda name, **payload: called.append(name))

def application(environ, start_response):
    start_response('200 OK', [])
    return [repr(called).encode()]
"#;
    let url = app(&server, "failing", source);
    let mark = server.log().mark();
    let text = server.get(&url).text();
    assert_eq!(text, "['request_started', 'response_started']");
    let log = server.log();
    for part in ["failing response_started", "exiting response_started"] {
        log.wait_for(mark, part);
    }
    let line = log.wait_for(mark, "WSGI0112");
    assert!(line.contains("ValueError exception raised"), "{line}");
    assert!(line.contains("request_started"), "{line}");
    log.wait_for(mark, "WSGI0190");
    log.wait_for(mark, "'int' object is not callable");
}

#[rstest]
fn subscribing_gives_the_callback_back(#[values(Mode::Embedded, Mode::Daemon)] mode: Mode) {
    let server = mode.server();
    let source = r#"
import mod_wsgi

def attempt(function, *arguments):
    try:
        return function(*arguments) in arguments
    except TypeError:
        return 'TypeError'

def application(environ, start_response):
    told = []
    for kind in ['event', 'shutdown', 'signal']:
        subscribe = getattr(mod_wsgi, f'subscribe_{kind}s' if kind != 'shutdown' else 'subscribe_shutdown')
        callbacks = getattr(mod_wsgi, kind + '_callbacks')
        told.append(attempt(subscribe, 1))
        told.append(attempt(subscribe, 1))
        told.append(attempt(subscribe))
        told.append(attempt(subscribe, 1, 2))
        told.append(list(callbacks))
        callbacks.clear()
    start_response('200 OK', [])
    return [repr(told).encode()]
"#;
    let url = app(&server, "subscribing", source);
    let kept = "True, True, 'TypeError', 'TypeError', [1, 1]";
    // Signals belong to httpd in its own processes.
    let signals = match mode {
        Mode::Embedded => "True, True, 'TypeError', 'TypeError', []",
        Mode::Daemon => kept,
    };
    assert_eq!(
        server.get(&url).text(),
        format!("[{kept}, {kept}, {signals}]")
    );
}

/// What is left in `data/stopping` when a server with this script has stopped.
fn stopping(mode: Mode) -> String {
    let source = r#"
import mod_wsgi, os
stopping = os.path.join(os.path.dirname(os.path.dirname(__file__)), 'data', 'stopping')

def note(kind):
    def callback(name, **payload):
        if name.startswith('process'):
            with open(stopping, 'a') as file:
                print(kind, name, payload, file=file)
    return callback

mod_wsgi.subscribe_shutdown(note('shutdown'))
mod_wsgi.subscribe_events(note('event'))

def application(environ, start_response):
    start_response('200 OK', [])
    return [b'ran']
"#;
    let mut server = mode.site().script("stopping.wsgi", source).start();
    assert_eq!(server.get("/stopping.wsgi").text(), "ran");
    server.stop();
    server.site().read("data/stopping")
}

#[rstest]
fn the_end_of_a_process_is_an_event_for_all_and_then_for_shutdown(
    #[values(Mode::Embedded, Mode::Daemon)] mode: Mode,
) {
    let reason = match mode {
        Mode::Embedded => "",
        Mode::Daemon => "shutdown_signal",
    };
    let line = |kind: &str| format!("{kind} process_stopping {{'shutdown_reason': '{reason}'}}\n");
    assert_eq!(stopping(mode), line("event") + &line("shutdown"));
}

#[rstest]
fn a_request_has_data_of_its_own_on_its_own_thread(
    #[values(Mode::Embedded, Mode::Daemon)] mode: Mode,
) {
    let server = mode.server();
    let source = r#"
import mod_wsgi, threading

def attempt(results):
    try:
        results.append(mod_wsgi.request_data())
    except RuntimeError:
        results.append('RuntimeError')

loading = dict(mod_wsgi.request_data())

def application(environ, start_response):
    data = mod_wsgi.request_data()
    results = [loading, data == {}]
    data['before'] = True
    results.append(mod_wsgi.request_data() is data)
    thread = threading.Thread(target=attempt, args=[results])
    thread.start()
    thread.join()
    results.append(mod_wsgi.active_requests[environ['mod_wsgi.request_id']] is data)
    start_response('200 OK', [])
    return [repr(results).encode()]
"#;
    let url = app(&server, "data", source);
    for _ in 0..2 {
        let text = server.get(&url).text();
        assert_eq!(text, "[{}, True, True, 'RuntimeError', True]");
    }
}
