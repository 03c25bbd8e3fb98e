//! httpd in the foreground of a terminal (`httpd -X`, a container with `--tty`): that is httpd's,
//! and what a worker does with it stops no worker.

use rstest::rstest;
use testkit::{Site, Terminal};

/// Answers with what came of an attempt to read from the terminal, and says so in the log.
const READING: &str = r#"
import os, sys

def attempt():
    try:
        with open(os.open('/dev/tty', os.O_RDONLY | os.O_NONBLOCK), 'rb') as terminal:
            return repr(terminal.read(1))
    except OSError as error:
        return type(error).__name__

def application(environ, start_response):
    result = attempt()
    print(f"read: {result} {environ['QUERY_STRING']}", file=sys.stderr, flush=True)
    start_response('200 OK', [])
    return [result.encode()]
"#;

fn site(terminal: &Terminal) -> Site {
    Site::new()
        .script("a.wsgi", READING)
        .terminal(terminal)
        .config(
            "WSGIDaemonProcess one processes=1
             WSGIScriptAlias / ${WSGI}/a.wsgi process-group=one application-group=%{GLOBAL}",
        )
}

#[rstest]
#[case::foreground(&[])]
#[case::one_process(&["-X"])]
fn an_application_that_reads_it_goes_on(#[case] arguments: &[&str]) {
    let terminal = Terminal::open();
    let site = arguments
        .iter()
        .fold(site(&terminal), |site, argument| site.argument(argument));
    let server = site.start();
    for _ in 0..2 {
        let answer = server.get("/").text();
        // There is nothing to read, and mostly not even a terminal.
        assert!(
            ["OSError", "b''", "None"].contains(&answer.as_str()),
            "{answer}"
        );
    }
}

#[test]
fn the_log_may_be_a_terminal_that_nobody_in_the_background_may_write_to() {
    let terminal = Terminal::open();
    terminal.stop_writers_in_the_background();
    let log = format!("ErrorLog {}", terminal.path());
    let server = site(&terminal).config(&log).start();
    for query in ["first", "second"] {
        assert_eq!(server.get(&format!("/?{query}")).status, 200);
        terminal.wait_for(query);
    }
}
