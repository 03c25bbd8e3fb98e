//! `mod_wsgi.LogHandler`: records of `logging` in the error log, each with its level.

use rstest::rstest;
use testkit::{Httpd, Mark, Site};

use crate::wsgi_site::{Mode, app};

/// A logger that writes to the error log, under the name of the script; and how often a message was
/// made text of.
const LOGGING: &str = r#"
import logging, mod_wsgi, os, threading

made = 0

class Message:
    def __init__(self, text):
        self.text = text
    def __str__(self):
        global made
        made += 1
        return self.text

handler = mod_wsgi.LogHandler()
log = logging.getLogger('test')
log.propagate = False
log.setLevel(1)
log.addHandler(handler)

def application(environ, start_response):
    start_response('200 OK', [])
    return [repr(run(environ)).encode()]
"#;

/// What `run(environ)` returns, and the lines with `marker` that it leaves in the log.
fn run(server: &Httpd, name: &str, body: &str, marker: &str) -> (String, Vec<String>) {
    let url = app(server, name, &format!("{LOGGING}\n{body}"));
    let mark = server.log().mark();
    let told = server.get(&url).text();
    // What a request logs, a request after it finds in the log.
    server.get(&format!("{url}?done"));
    (told, server.log().matching(mark, marker))
}

/// What follows the client's address.
fn text(line: &str) -> &str {
    let rest = line
        .split_once("[client ")
        .or_else(|| line.split_once("[remote "));
    rest.and_then(|(_, rest)| rest.split_once("] "))
        .map_or(line, |(_, text)| text)
}

fn without_first_request(environ: &str) -> String {
    format!("if environ['QUERY_STRING'] == 'done': return\n        {environ}")
}

#[rstest]
fn levels_are_httpds(#[values(Mode::Embedded, Mode::Daemon)] mode: Mode) {
    let server = mode.server();
    let body = format!(
        "def run(environ):
        {}
        for level in [60, 50, 45, 40, 35, 30, 25, 20, 19, 10, 1]:
            log.log(level, Message(f'level {{level}}.'))
        return made",
        without_first_request("")
    );
    let (made, lines) = run(&server, "levels", &body, "level ");
    let levels: Vec<_> = lines
        .iter()
        .map(|line| {
            (
                level_of(line),
                text(line).rsplit("] ").next().unwrap_or_default(),
            )
        })
        .collect();
    assert_eq!(
        levels,
        [
            ("crit", "level 60."),
            ("crit", "level 50."),
            ("error", "level 45."),
            ("error", "level 40."),
            ("warn", "level 35."),
            ("warn", "level 30."),
            ("info", "level 25."),
            ("info", "level 20."),
        ]
    );
    assert!(
        lines.iter().all(|line| line.contains("[script ")),
        "{lines:#?}"
    );
    for level in ["60", "50"] {
        server.log().expect_alarm(&format!("level {level}."));
    }
    // What is not logged is not formatted either.
    assert_eq!(made, "8");
}

/// The level in a line of the log.
fn level_of(line: &str) -> &str {
    let rest = line.split_once("[wsgi:").map_or("", |(_, rest)| rest);
    rest.split_once(']').map_or("", |(level, _)| level)
}

#[rstest]
fn each_line_of_a_text_is_an_entry(#[values(Mode::Embedded, Mode::Daemon)] mode: Mode) {
    let server = mode.server();
    let body = format!(
        "def run(environ):
        {}
        log.warning('lines: one\\nlines: two\\nlines: h\\xe9\\n')
        try:
            1 / 0
        except ZeroDivisionError:
            log.exception('lines: three')",
        without_first_request("")
    );
    let (_, lines) = run(&server, "lines", &body, "[script ");
    let own = lines.iter().filter(|line| line.contains("/lines.wsgi] "));
    let texts: Vec<_> = own
        .map(|line| {
            (
                level_of(line),
                text(line).rsplit(".wsgi] ").next().unwrap_or_default(),
            )
        })
        .collect();
    assert_eq!(
        texts[..5],
        [
            ("warn", "lines: one"),
            ("warn", "lines: two"),
            ("warn", r"lines: h\xc3\xa9"),
            ("error", "lines: three"),
            ("error", "Traceback (most recent call last):"),
        ]
    );
    let last = texts.last().expect("a line");
    assert_eq!(*last, ("error", "ZeroDivisionError: division by zero"));
}

#[rstest]
fn an_empty_text_has_no_lines(#[values(Mode::Embedded, Mode::Daemon)] mode: Mode) {
    let server = mode.server();
    let body = format!(
        "def run(environ):
        {}
        for text in ['', '\\n', 'a\\n\\nb', '  ']:
            log.warning(text)",
        without_first_request("")
    );
    let (_, lines) = run(&server, "empty", &body, "/empty.wsgi] ");
    let texts: Vec<_> = lines
        .iter()
        .map(|line| line.rsplit(".wsgi] ").next().unwrap_or_default())
        .collect();
    assert_eq!(texts, ["", "a", "", "b", "  "]);
}

#[rstest]
fn beside_a_request_the_server_is_told(#[values(Mode::Embedded, Mode::Daemon)] mode: Mode) {
    let server = mode.server();
    let body = format!(
        "def run(environ):
        {}
        thread = threading.Thread(target=log.error, args=('beside requests',))
        thread.start()
        thread.join()",
        without_first_request("")
    );
    let mark = server.log().mark();
    run(&server, "beside", &body, "");
    let line = server.log().wait_for(mark, "beside requests");
    assert_eq!(level_of(&line), "error", "{line}");
    assert!(!line.contains("[script "), "{line}");
}

#[rstest]
fn a_record_that_cannot_be_formatted_is_the_handlers_to_handle(
    #[values(Mode::Embedded, Mode::Daemon)] mode: Mode,
) {
    let server = mode.server();
    let body = format!(
        "class Handling(mod_wsgi.LogHandler):
        def handleError(self, record):
            handled.append(record.msg)

    handled = []
    log.handlers[:] = [Handling(logging.INFO)]

    def run(environ):
        {}
        log.error('two %s', 1, 2)
        log.debug('two %s', 1, 2)
        return (handled, isinstance(log.handlers[0], logging.Handler), log.handlers[0].level)",
        without_first_request("")
    )
    .replace("\n    ", "\n");
    let (told, _) = run(&server, "failing", &body, "");
    assert_eq!(told, "(['two %s'], True, 20)");
}

#[rstest]
fn a_record_says_where_it_was_made(#[values(Mode::Embedded, Mode::Daemon)] mode: Mode) {
    let server = verbose(mode).start();
    let body = "def run(environ):\n    log.debug('made here')";
    let source = format!("{LOGGING}\n{body}");
    let line = source.lines().count();
    server.get(&app(&server, "place", &source));
    let found = server.log().wait_for(Mark::START, "made here");
    assert!(found.contains(&format!("place.wsgi({line})")), "{found}");
    assert!(found.contains("[wsgi:debug]"), "{found}");
}

#[rstest]
fn it_is_one_class_however_often_it_is_looked_for(
    #[values(Mode::Embedded, Mode::Daemon)] mode: Mode,
) {
    let server = mode.server();
    let body = "import gc
def run(environ):
    gc.disable()
    for _ in range(3):
        hasattr(mod_wsgi, '__all__')
        getattr(mod_wsgi, '__getattr__', id)('LogHandler')
        names = {}
        exec('from mod_wsgi import *', names)
        assert names['LogHandler'] is mod_wsgi.LogHandler
    gc.enable()
    handlers = [one for one in logging.Handler.__subclasses__() if one.__name__ == 'LogHandler']
    return handlers == [mod_wsgi.LogHandler]";
    let (told, _) = run(&server, "one", body, "");
    assert_eq!(told, "True");
}

fn verbose(mode: Mode) -> Site {
    mode.site().config(
        r#"LogLevel info wsgi:debug
        ErrorLogFormat "[%-m:%l] %F [client %a] %M""#,
    )
}
