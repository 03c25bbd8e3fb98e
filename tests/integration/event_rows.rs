//! Which events tell of a request, in each way that it can go: one row for each.

use rstest::rstest;
use testkit::{Httpd, Request, wait_until};

use crate::wsgi_site::{Mode, app, quoted};

/// Runs the code in the query string, which may set `result`, as the application, and keeps what
/// was told of it. `?told` answers that, a line for each event: its name, and the values of
/// `shown`.
const TELLING: &str = r#"
import io, mod_wsgi, os, sys
from urllib.parse import unquote

told = []

def text(key, value):
    if key == 'exception_info' and value is not None:
        kind, error, traceback = value
        assert isinstance(error, kind), value
        return f'{kind.__name__}: {error}'
    return str(value)

def note(name, **payload):
    data = mod_wsgi.request_data()
    assert payload['request_data'] is data, name
    assert mod_wsgi.active_requests[payload['request_id']] is data, name
    if 'request_environ' in payload:
        data['watched'] = payload['request_environ']['QUERY_STRING'] != 'told'
    if data['watched']:
        shown = [key for key in SHOWN if key in payload]
        told.append(' '.join([name] + [text(key, payload[key]) for key in shown]))

SHOWN = ['response_status', 'exception_info', 'status', 'output_writes', 'output_length',
         'input_length']
mod_wsgi.subscribe_events(note)

class Closing(list):
    def __init__(self, items, error=None):
        super().__init__(items)
        self.error = error
    def __iter__(self):
        return list.__iter__(self)
    def close(self):
        told.append('closed')
        if self.error:
            raise self.error

def pieces(*items):
    for item in items:
        if isinstance(item, BaseException):
            raise item
        yield item

def application(environ, start_response):
    if environ['QUERY_STRING'] == 'told':
        start_response('200 OK', [])
        answer = '\n'.join(told).encode()
        told.clear()
        return [answer]
    code = unquote(environ['QUERY_STRING'])
    names = dict(globals(), environ=environ, start_response=start_response,
                 start=lambda status='200 OK', headers=[]: start_response(status, headers))
    exec(code, names)
    return names.get('result', [b'body'])
"#;

/// A server with that application, which is loaded and told of from now on.
fn telling(server: &Httpd, name: &str) -> String {
    let url = app(server, name, TELLING);
    server.get(&format!("{url}?told"));
    url
}

/// What was told of a request whose application is `code`, once it has ended.
fn told(server: &Httpd, url: &str, code: &str) -> Vec<String> {
    let target = format!("{url}?{}", quoted(code));
    server.send(&Request::post(&target, "a body\nof lines\n"));
    let mut told: Vec<String> = Vec::new();
    wait_until("the end of the request", || {
        let answer = server.get(&format!("{url}?told")).text();
        told.extend(answer.lines().map(str::to_owned));
        let is_end = |line: &String| line.starts_with("request_finished");
        told.iter().any(is_end).then_some(())
    });
    told
}

/// Asserts what was told between the start of the request and its end, and how that ended: status,
/// writes, bytes of output, bytes of input.
fn check(mode: Mode, name: &str, rows: &[(&str, &[&str], &str)]) {
    let server = mode.server();
    let url = telling(&server, name);
    for (code, between, end) in rows {
        let told = told(&server, &url, code);
        let (first, rest) = told.split_first().expect("an event");
        let (last, middle) = rest.split_last().expect("two events");
        assert_eq!(first, "request_started", "{code}: {told:#?}");
        assert_eq!(middle.len(), between.len(), "{code}: {told:#?}");
        for (line, expected) in middle.iter().zip(*between) {
            // Behind a star each has words of its own.
            let is_same = match expected.strip_suffix('*') {
                Some(start) => line.starts_with(start),
                None => line == expected,
            };
            assert!(is_same, "{code}: {told:#?}");
        }
        assert_eq!(*last, format!("request_finished {end}"), "{code}");
    }
}

#[rstest]
fn of_a_response_its_start_is_told(#[values(Mode::Embedded, Mode::Daemon)] mode: Mode) {
    check(
        mode,
        "responses",
        &[
            ("start()", &["response_started 200 OK None"], "200 1 4 0"),
            (
                "start('204 No Content'); result = []",
                &["response_started 204 No Content None"],
                "204 0 0 0",
            ),
            (
                "start(); start('201 Made')",
                &[
                    "response_started 200 OK None",
                    "response_started 201 Made None",
                ],
                "201 1 4 0",
            ),
            // What is refused was told before it was looked at, but for the wrong kind of
            // arguments.
            (
                "try: start('bad')\nexcept ValueError: start()",
                &["response_started bad None", "response_started 200 OK None"],
                "200 1 4 0",
            ),
            (
                "try: start(1)\nexcept TypeError: start()",
                &["response_started 1 None", "response_started 200 OK None"],
                "200 1 4 0",
            ),
            (
                "try: start('200 OK', ())\nexcept TypeError: start()",
                &["response_started 200 OK None"],
                "200 1 4 0",
            ),
            (
                "start()\ntry: 1 / 0\nexcept Exception: start_response('500 No', [], sys.exc_info())",
                &[
                    "response_started 200 OK None",
                    "response_started 500 No ZeroDivisionError: division by zero",
                ],
                "500 1 4 0",
            ),
        ],
    );
}

#[rstest]
fn of_a_failure_each_exception_is_told(#[values(Mode::Embedded, Mode::Daemon)] mode: Mode) {
    let started = "response_started 200 OK None";
    check(
        mode,
        "failures",
        &[
            (
                "raise KeyError('call')",
                &["request_exception KeyError: 'call'"],
                "500 0 0 0",
            ),
            (
                "sys.exit(2)",
                &["request_exception SystemExit: 2"],
                "500 0 0 0",
            ),
            // No failure: it is the answer that the time is over.
            ("raise mod_wsgi.RequestTimeout('own')", &[], "504 0 0 0"),
            (
                "start(); result = None",
                &[
                    started,
                    "request_exception TypeError: 'NoneType' object is not iterable",
                ],
                "200 0 0 0",
            ),
            (
                "start(); result = pieces(b'a', KeyError('late'))",
                &[started, "request_exception KeyError: 'late'"],
                "200 1 1 0",
            ),
            (
                "start(); result = Closing([b'a'])",
                &[started, "closed"],
                "200 1 1 0",
            ),
            (
                "start(); result = Closing([b'a'], KeyError('close'))",
                &[started, "closed", "request_exception KeyError: 'close'"],
                "200 1 1 0",
            ),
            (
                "start(); result = Closing([b'a', 5], KeyError('close'))",
                &[
                    started,
                    "request_exception TypeError: *",
                    "closed",
                    "request_exception KeyError: 'close'",
                ],
                "200 1 1 0",
            ),
        ],
    );
}

#[rstest]
fn what_a_request_has_come_to_is_told(#[values(Mode::Embedded, Mode::Daemon)] mode: Mode) {
    let started = "response_started 200 OK None";
    check(
        mode,
        "counts",
        &[
            (
                "start(); environ['wsgi.input'].read()",
                &[started],
                "200 1 4 16",
            ),
            (
                "start(); environ['wsgi.input'].readline()",
                &[started],
                "200 1 4 7",
            ),
            (
                "start(); environ['wsgi.input'].read(3)",
                &[started],
                "200 1 4 3",
            ),
            (
                "start(); list(environ['wsgi.input'])",
                &[started],
                "200 1 4 16",
            ),
            (
                "write = start(); write(b'abc'); write(b''); result = [b'd']",
                &[started],
                "200 3 4 0",
            ),
            (
                "start(); result = pieces(b'ab', b'', b'c')",
                &[started],
                "200 2 3 0",
            ),
            (
                "start(headers=[('Content-Length', '2')]); result = pieces(b'a', b'bcd', b'e')",
                &[started],
                "200 3 5 0",
            ),
            (
                "start(); result = mod_wsgi.FileWrapper(io.BytesIO(b'x' * 20), 8)",
                &[started],
                "200 3 20 0",
            ),
        ],
    );
}

/// The kinds of the values, and that they are those of the environ.
#[rstest]
fn what_is_told_agrees_with_the_environ(#[values(Mode::Embedded, Mode::Daemon)] mode: Mode) {
    const AGREEING: &str = r#"
import mod_wsgi
answers = []

def note(name, **payload):
    kinds = ' '.join(f'{key}:{type(payload[key]).__name__}' for key in sorted(payload)
                     if key not in ('request_data', 'request_environ', 'application_object'))
    if name == 'request_started':
        environ = payload['request_environ']
        mod_wsgi.request_data()['environ'] = environ
        assert payload['application_object'] is application
        assert payload['application_start'] == environ['mod_wsgi.application_start']
        assert payload['callable_object'] == environ['mod_wsgi.callable_object']
    environ = mod_wsgi.request_data()['environ']
    agree = [payload['request_id'] == environ['mod_wsgi.request_id']]
    if name != 'response_started':
        agree += [str(payload['server_pid']) == environ['mod_wsgi.server_pid']]
        agree += [payload[key] == environ['mod_wsgi.' + key] for key in
                  ('thread_id', 'request_start', 'queue_start', 'daemon_start')]
    if name == 'request_finished':
        finish, start = payload['application_finish'], environ['mod_wsgi.application_start']
        agree += [abs(finish - start - payload['application_time']) < 0.001]
    answers.append(f'{name} {all(agree)} {kinds}')

def application(environ, start_response):
    start_response('200 OK', [])
    told = '\n'.join(answers)
    answers.clear()
    return [told.encode()]

mod_wsgi.subscribe_events(note)
"#;
    let server = mode.server();
    let url = app(&server, "agreeing", AGREEING);
    server.get(&url);
    let mut told = String::new();
    wait_until("the end of a request", || {
        told += &server.get(&url).text();
        told += "\n";
        told.contains("request_finished").then_some(())
    });
    for line in [
        "request_started True application_start:float callable_object:str daemon_connects:int \
         daemon_restarts:int daemon_start:float queue_start:float request_id:str \
         request_start:float server_pid:int thread_id:int",
        "response_started True exception_info:NoneType request_id:str response_headers:list \
         response_status:str",
        "request_finished True application_finish:float application_time:float \
         cpu_system_time:float cpu_time:float cpu_user_time:float daemon_start:float \
         gil_wait_count:int gil_wait_time:float input_length:int input_reads:int input_time:float \
         output_length:int output_time:float output_writes:int queue_start:float request_id:str \
         request_start:float server_pid:int status:int thread_id:int",
    ] {
        assert!(told.lines().any(|it| it == line), "{line}\n{told}");
    }
}

/// The end of a short body is known with its last byte in httpd; in a process group it has to be
/// looked for. Of longer ones the figures are those of the ways they take.
#[rstest]
#[case(Mode::Embedded, 1, 3)]
#[case(Mode::Daemon, 2, 4)]
fn reads_of_a_short_body_are_counted(
    #[case] mode: Mode,
    #[case] whole: u64,
    #[case] in_pieces: u64,
) {
    let server = mode.server();
    let source = TELLING.replace("'output_length',", "'input_reads',");
    let url = app(&server, "reads", &source);
    server.get(&format!("{url}?told"));
    // The body has 16 bytes in two lines.
    for (code, count) in [
        ("", 0),
        ("environ['wsgi.input'].read(0)", 1),
        ("environ['wsgi.input'].read(16)", 1),
        (
            "environ['wsgi.input'].read(8); environ['wsgi.input'].read(8)",
            2,
        ),
        ("environ['wsgi.input'].read()", whole),
        ("environ['wsgi.input'].read(100)", whole),
        ("while environ['wsgi.input'].read(100): pass", whole),
        ("while environ['wsgi.input'].read(6): pass", in_pieces),
        ("list(environ['wsgi.input'])", whole),
    ] {
        let told = told(&server, &url, &format!("start()\n{code}"));
        let last = told.last().expect("an event");
        let bytes = if count == 0 || code.contains("(0)") {
            0
        } else {
            16
        };
        assert_eq!(
            *last,
            format!("request_finished 200 1 {count} {bytes}"),
            "{code}"
        );
    }
}
