//! `wsgi.errors`, `sys.stdout` and `sys.stderr`: what an application prints, in httpd's error log.

use testkit::{ErrorLog, Httpd, Mark, SharedHttpd, Site, ours, wait_until};

use crate::apps::TALKATIVE;
use crate::wsgi_site::{
    answers_at_last, app, client_tag, gated_app, open_gate, reached, wsgi_site,
};

static SERVER: SharedHttpd = SharedHttpd::new(wsgi_site);

/// Asks an application `name` that runs `body`, in which `errors` is `wsgi.errors`, and returns
/// the log lines of its script once it has printed `end`.
fn printed(server: &Httpd, name: &str, body: &str) -> Vec<String> {
    let source = format!(
        "import sys\n\ndef application(environ, start_response):\n    \
         errors = environ['wsgi.errors']\n    {}\n    errors.write('end of {name}\\n')\n    \
         start_response('200 OK', [])\n    return [b'']\n",
        body.replace('\n', "\n    ")
    );
    let mark = server.log().mark();
    assert_eq!(
        server.get(&app(server, name, &source)).status,
        200,
        "{name}"
    );
    lines_of(server.log(), mark, name, &format!("end of {name}"))
}

/// The log lines of script `name`'s requests since `mark` before the one that says `end`.
fn lines_of(log: &ErrorLog, mark: Mark, name: &str, end: &str) -> Vec<String> {
    log.wait_for(mark, end);
    let own = format!("/{name}.wsgi] ");
    let lines = log.matching(mark, &own);
    lines
        .into_iter()
        .take_while(|line| !line.ends_with(end))
        .collect()
}

/// The texts after `[script …] ` of log lines.
fn texts(lines: &[String]) -> Vec<&str> {
    let text = |line| str::split_once(line, ".wsgi] ").expect("a script").1;
    lines.iter().map(|line| text(line.as_str())).collect()
}

#[test]
fn what_follows_a_nul_byte_is_logged_too() {
    if !ours("D210") {
        return;
    }
    let server = SERVER.borrow();
    let body = "print('before\\0after')\nprint('of errors\\0too', file=errors)";

    let lines = printed(&server, "nul", body);

    let texts = texts(&lines);
    assert!(texts[0].starts_with("before") && texts[0].ends_with("after"));
    assert!(texts[1].starts_with("of errors") && texts[1].ends_with("too"));
}

#[test]
fn all_three_streams_go_to_the_requests_log_at_level_error() {
    let server = SERVER.borrow();
    let body = "print('to stdout')\nprint('to stderr', file=sys.stderr)\n\
         print('to wsgi.errors', file=errors)";

    let lines = printed(&server, "streams", body);

    assert_eq!(texts(&lines), ["to stdout", "to stderr", "to wsgi.errors"]);
    let script = format!("[script {}] ", server.site().text_path("wsgi/streams.wsgi"));
    for line in &lines {
        assert!(line.contains("[wsgi:error]"), "{line}");
        assert!(
            line.contains(&format!("{}127.0.0.1:", client_tag())),
            "{line}"
        );
        assert!(line.contains(&script), "{line}");
    }
}

#[test]
fn each_line_is_an_entry_of_its_own() {
    let server = SERVER.borrow();
    for (name, body, expected) in [
        (
            "several",
            r"errors.write('one\ntwo\nthree\n')",
            &["one", "two", "three"][..],
        ),
        (
            "blank",
            r"errors.write('one\n\nthree\n')",
            &["one", "", "three"],
        ),
        (
            "pieces",
            r"[errors.write(c) for c in 'spelled\n']",
            &["spelled"],
        ),
        (
            "joined",
            "errors.write('be')\nerrors.write('gun\\nnext\\n')",
            &["begun", "next"],
        ),
        (
            "flushed",
            "errors.write('part')\nerrors.flush()\nerrors.write('rest\\n')",
            &["part", "rest"],
        ),
        (
            "writelines",
            r"errors.writelines(['a', 'b\n', 'c\n'])",
            &["ab", "c"],
        ),
        (
            "printed",
            r"print('x', 'y', sep='\n', file=errors)",
            &["x", "y"],
        ),
        (
            "format",
            r"errors.write('%s %n %% {} %d\n')",
            &["%s %n %% {} %d"],
        ),
        ("blanks", r"errors.write('  kept  \n')", &["  kept  "]),
        ("nothing", r"errors.write('')", &[]),
    ] {
        let lines = printed(&server, name, body);
        assert_eq!(texts(&lines), expected, "{body}");
    }
}

#[test]
fn what_lacks_a_line_end_is_logged_at_the_end_of_the_request() {
    let server = SERVER.borrow();
    let url = app(
        &server,
        "pending",
        r#"
import sys

def application(environ, start_response):
    environ['wsgi.errors'].write('unfinished errors')
    sys.stderr.write('unfinished stderr')
    start_response('200 OK', [])
    return [b'']
"#,
    );
    let mark = server.log().mark();
    server.get(&url);

    for stream in ["errors", "stderr"] {
        let line = server.log().wait_for(mark, &format!("unfinished {stream}"));
        assert!(line.contains("/pending.wsgi] unfinished"), "{line}");
    }
}

#[test]
fn lines_are_logged_while_the_request_runs() {
    let server = SERVER.borrow();
    let url = gated_app(
        &server,
        "runs",
        r#"
def application(environ, start_response):
    print('logged already', file=environ['wsgi.errors'])
    wait_for('log-seen')
    start_response('200 OK', [])
    return [b'']
"#,
    );
    let mark = server.log().mark();
    let mut connection = server.connect();
    connection.send(format!("GET {url} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes());

    server.log().wait_for(mark, "logged already");
    open_gate(&server, "log-seen");
    assert_eq!(connection.read_response().status, 200);
}

#[test]
fn what_cannot_be_shown_is_escaped_and_never_a_line_of_its_own() {
    let server = SERVER.borrow();
    let body = r"errors.write('caf\xe9 \u20ac \ud800\n')
errors.write('a\rb \x1b[31m \x00\x07 \x7f c\n')
sys.stdout.buffer.write(b'raw \xff\n')";

    let lines = printed(&server, "escaped", body);

    assert_eq!(texts(&lines)[0], r"caf\xc3\xa9 \xe2\x82\xac ?");
    let control = texts(&lines)[1];
    assert!(control.starts_with(r"a\rb \x1b[31m "), "{control}");
    assert!(
        lines.iter().any(|line| line.contains(r"raw \xff")),
        "{lines:#?}"
    );
    for line in server.log().since(Mark::START) {
        assert!(
            line.starts_with('['),
            "an entry without httpd's decoration: {line:?}"
        );
        assert!(!line.contains(char::is_control), "{line:?}");
    }
}

#[test]
fn so_it_is_in_lines_that_belong_to_no_request() {
    let server = Site::new()
        .script(
            "job.py",
            r"print('job: caf\xe9 a\rb\tc \x1b[31m \x7f \\ \x22')",
        )
        .config(
            "WSGIDaemonProcess own
             WSGIImportScript ${WSGI}/job.py process-group=own application-group=%{GLOBAL}
             WSGIImportScript ${WSGI}/job.py process-group=%{GLOBAL} application-group=%{GLOBAL}",
        )
        .start();
    let lines = wait_until("both", || {
        let lines = server.log().since(Mark::START);
        let lines: Vec<_> = lines
            .into_iter()
            .filter(|line| line.contains("job: "))
            .collect();
        (lines.len() == 2).then_some(lines)
    });
    for line in lines {
        let text = r#"job: caf\xc3\xa9 a\rb\tc \x1b[31m \x7f \\ ""#;
        assert!(line.ends_with(text), "{line}");
    }
}

#[test]
fn a_long_line_is_logged_as_far_as_httpd_can() {
    let server = SERVER.borrow();
    let body = "print('x' * 7000 + '<', file=errors)\nprint('y' * 100_000, file=errors)";

    let lines = printed(&server, "long", body);

    assert!(lines[0].ends_with("xxx<"), "{}", lines[0]);
    assert!(texts(&lines)[1].starts_with("yyyyyyyy"));
}

#[test]
fn lines_of_requests_at_the_same_time_do_not_mix() {
    let server = SERVER.borrow();
    let source = r#"
import sys

def application(environ, start_response):
    me = environ['QUERY_STRING']
    stream = (sys.stdout, sys.stderr, environ['wsgi.errors'])[int(me) % 3]
    stream.write('begun by ' + me)
    appeared('mix-' + me)
    wait_for('mix-go')
    stream.write(' and ended by ' + me + ';\n')
    start_response('200 OK', [])
    return [b'']
"#;
    let url = gated_app(&server, "mix", source);
    let mark = server.log().mark();
    let mut connections: Vec<_> = (0..6).map(|_| server.connect()).collect();
    for (number, connection) in connections.iter_mut().enumerate() {
        connection.send(format!("GET {url}?{number} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes());
        reached(&server, &format!("mix-{number}"));
    }
    open_gate(&server, "mix-go");
    for connection in &mut connections {
        assert_eq!(connection.read_response().status, 200);
    }

    for number in 0..6 {
        let whole = format!("] begun by {number} and ended by {number};");
        assert_eq!(server.log().matching(mark, &whole).len(), 1, "{number}");
    }
}

#[test]
fn the_log_is_that_of_the_virtual_host() {
    let server = wsgi_site()
        .config(
            "<VirtualHost *:${PORT}>
                ServerName first
            </VirtualHost>
            <VirtualHost *:${PORT}>
                ServerName second
                ErrorLog ${ROOT}/logs/second.log
            </VirtualHost>",
        )
        .start();
    let url = app(
        &server,
        "hosts",
        r#"
import sys

def application(environ, start_response):
    for stream in (sys.stdout, sys.stderr, environ['wsgi.errors']):
        print('host', environ['HTTP_HOST'], file=stream)
    start_response('200 OK', [])
    return [b'']
"#,
    );
    for host in ["first", "second"] {
        let request = testkit::Request::get(&url).header("Host", host);
        assert_eq!(server.send(&request).status, 200);
    }

    server.log().wait_for(Mark::START, "host first");
    let second = server.site().read("logs/second.log");
    assert_eq!(second.matches("host second").count(), 3, "{second}");
    assert!(!second.contains("host first"), "{second}");
    assert_eq!(server.log().matching(Mark::START, "host first").len(), 3);
    assert!(server.log().matching(Mark::START, "host second").is_empty());
}

/// What a process of a group writes beside requests goes where its virtual host logs.
#[test]
fn a_group_of_a_virtual_host_logs_there() {
    let printing = "
import threading

print('loading', flush=True)

def application(environ, start_response):
    thread = threading.Thread(target=print, args=['beside requests'])
    thread.start()
    thread.join()
    start_response('200 OK', [])
    return [b'']
";
    let server = Site::new()
        .script("printing.wsgi", printing)
        .config(
            "WSGISocketPrefix ${ROOT}/logs/wsgi
             WSGIScriptAlias / ${WSGI}/printing.wsgi process-group=%{ENV:GROUP} application-group=a
             <VirtualHost *:*>
                 ServerName first
                 SetEnvIf Request_URI . GROUP=of-main
             </VirtualHost>
             <VirtualHost *:*>
                 ServerName second
                 ErrorLog ${ROOT}/logs/second.log
                 WSGIDaemonProcess of-second
                 WSGIImportScript ${WSGI}/printing.wsgi process-group=of-second application-group=a
                 SetEnvIf Request_URI . GROUP=of-second
             </VirtualHost>
             WSGIDaemonProcess of-main
             WSGIImportScript ${WSGI}/printing.wsgi process-group=of-main application-group=a",
        )
        .module("setenvif")
        .start();
    for host in ["first", "second"] {
        let request = testkit::Request::get("/").header("Host", host);
        assert_eq!(server.send(&request).status, 200, "{host}");
    }
    for text in ["loading", "beside requests"] {
        server.log().wait_for(Mark::START, text);
        wait_until(text, || {
            server
                .site()
                .read("logs/second.log")
                .contains(text)
                .then_some(())
        });
        let main = server.log().matching(Mark::START, text);
        assert_eq!(main.len(), 1, "{main:#?}");
        let second = server.site().read("logs/second.log");
        assert_eq!(second.matches(text).count(), 1, "{second}");
    }
}

#[test]
fn what_is_printed_outside_a_request_goes_to_the_servers_log() {
    let server = SERVER.borrow();
    let url = app(
        &server,
        "outside",
        r#"
import sys, threading

print('at import, to stdout')
print('at import, to stderr', file=sys.stderr)

def application(environ, start_response):
    thread = threading.Thread(target=print, args=('from a thread',))
    thread.start()
    thread.join()
    start_response('200 OK', [])
    return [b'']
"#,
    );
    let mark = server.log().mark();
    server.get(&url);

    let line = server.log().wait_for(mark, "from a thread");
    assert!(line.contains("[wsgi:error]"), "{line}");
    assert!(!line.contains("[client "), "{line}");
    assert!(!line.contains("[script "), "{line}");
    let at_import = ["at import, to stdout", "at import, to stderr"];
    for line in at_import.map(|text| server.log().wait_for(mark, text)) {
        assert!(line.contains("[wsgi:error]"), "{line}");
        if ours("D46") {
            assert!(line.contains(client_tag()), "{line}");
            assert!(line.contains("/outside.wsgi] at import"), "{line}");
        }
    }
}

#[test]
fn pythons_own_ways_of_reporting_end_up_there() {
    let server = SERVER.borrow();
    let body = "import logging, traceback, warnings\n\
         logging.getLogger('own').warning('a warning of %s', 'logging')\n\
         warnings.warn('a warning of warnings')\n\
         try: 1 / 0\nexcept ZeroDivisionError: traceback.print_exc()";

    let lines = printed(&server, "reporting", body);

    for text in [
        "a warning of logging",
        "UserWarning: a warning of warnings",
        "ZeroDivisionError: ",
    ] {
        assert!(
            lines.iter().any(|line| line.contains(text)),
            "{text}: {lines:#?}"
        );
    }
}

#[test]
fn nothing_of_wsgi_errors_is_another_request_s() {
    let server = SERVER.borrow();
    let url = app(
        &server,
        "leftover",
        r#"
import weakref

def attempt(call):
    try:
        return repr(call())
    except (RuntimeError, AttributeError) as error:
        return type(error).__name__

def application(environ, start_response):
    global buffer, reference
    errors = environ['wsgi.errors']
    start_response('200 OK', [])
    if environ['QUERY_STRING'] == 'keep%20buffer':
        buffer = errors.buffer
        return [b'kept']
    if environ['QUERY_STRING'] == 'keep%20reference':
        reference = weakref.ref(errors)
        return [b'kept']
    if environ['QUERY_STRING'] == 'mark':
        errors.mark = 'marked'
        return [b'kept']
    calls = (lambda: buffer.write(b'of another request\n'), lambda: reference(),
             lambda: errors.mark)
    return [', '.join(attempt(call) for call in calls).encode()]
"#,
    );
    let mark = server.log().mark();
    for way in ["keep%20buffer", "keep%20reference", "mark"] {
        assert_eq!(server.get(&format!("{url}?{way}")).text(), "kept");
    }
    for _ in 0..5 {
        answers_at_last(&server, &url, "RuntimeError, None, AttributeError");
    }
    assert!(server.log().matching(mark, "of another").is_empty());
}

#[test]
fn every_line_has_its_place_in_a_format_that_asks_for_files() {
    let server = Site::new()
        .script("talks.wsgi", TALKATIVE)
        .config("ErrorLogFormat \"{%l|%F|%M}\"")
        .config("WSGIScriptAlias / ${WSGI}/talks.wsgi")
        .start();
    assert_eq!(server.get("/").text(), "said");
    let line = server.log().wait_for(Mark::START, "printed for a request");
    assert!(line.starts_with("{error|"), "{line}");
    assert!(line.ends_with("printed for a request}"), "{line}");
}

#[test]
fn lines_of_a_process_group_outside_requests_have_the_default_format() {
    if !ours("D95") {
        return;
    }
    let server = Site::new()
        .script("talks.wsgi", TALKATIVE)
        .config(
            "ErrorLogFormat \"{%l|%M}\"
             WSGIDaemonProcess group
             WSGIScriptAlias / ${WSGI}/talks.wsgi process-group=group application-group=%{GLOBAL}",
        )
        .start();
    let line = server.log().wait_for(Mark::START, "printed at load");
    assert!(line.contains(" [wsgi:error] "), "{line}");
    assert_eq!(server.get("/").text(), "said");
    let line = server.log().wait_for(Mark::START, "printed for a request");
    assert!(line.starts_with("{error|"), "{line}");
}
