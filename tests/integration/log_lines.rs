//! The lines of the error log that people and their scripts look for: their level, their id, and
//! the words in them. All of them are mod_wsgi's, so that a search written for it finds them.

use rstest::rstest;
use testkit::{Httpd, Mark, SharedHttpd, Site, wait_until};

use crate::wsgi_site::Mode;

/// Fails in the way that the query says.
const FAILING: &str = r#"
import sys

def later():
    yield b'begun'
    raise LookupError('while it was iterated over')

def application(environ, start_response):
    what = environ['QUERY_STRING']
    if what == 'exit':
        sys.exit('enough')
    if what == 'late':
        start_response('200 OK', [])
        return later()
    if what:
        raise LookupError('as the query says')
    start_response('200 OK', [])
    return [b'well']
"#;

const GROUPS: [&str; 2] = ["/embedded", "/daemon"];

static SERVER: SharedHttpd = SharedHttpd::new(|| {
    Site::new()
        .script("failing.wsgi", FAILING)
        .script("leaving.wsgi", "import sys\nsys.exit('at import')\n")
        .script("first.wsgi", FAILING)
        .config(
            "WSGISocketPrefix ${ROOT}/logs/wsgi
             WSGIDaemonProcess group threads=4
             WSGIScriptAliasMatch ^/embedded/([a-z]+) ${WSGI}/$1.wsgi
             WSGIScriptAliasMatch ^/daemon/([a-z]+) ${WSGI}/$1.wsgi process-group=group",
        )
});

fn path(server: &Httpd, script: &str) -> String {
    server.site().text_path(&format!("wsgi/{script}.wsgi"))
}

/// Asserts that there is a line of `level` with these words, in this order, after `mark`.
fn check(server: &Httpd, mark: Mark, level: &str, words: &[&str]) {
    let first = words.first().expect("a word");
    server.log().wait_for(mark, first);
    let lines = server.log().matching(mark, first);
    let is_it = |line: &&String| {
        let mut rest = line.as_str();
        rest.contains(&format!(":{level}]"))
            && words.iter().all(|word| match rest.split_once(word) {
                Some((_, after)) => {
                    rest = after;
                    true
                }
                None => false,
            })
    };
    assert!(
        lines.iter().any(|line| is_it(&line)),
        "{level} {words:?} in {lines:#?}"
    );
}

#[test]
fn scripts_and_interpreters_come_into_being() {
    let server = SERVER.borrow();
    for group in GROUPS {
        let mark = server.log().mark();
        assert_eq!(server.get(&format!("{group}/first")).text(), "well");
        let name = format!("localhost|{group}/first");
        let creating = format!("Creating sub-interpreter '{name}'");
        check(&server, mark, "info", &[&creating]);
        let loading = format!("Loading WSGI script '{}'", path(&server, "first"));
        let place = match group {
            "/daemon" => "daemon process 'group'",
            _ => "embedded mode",
        };
        let of = if group == "/daemon" { "of" } else { "in" };
        let interpreter = format!("into sub-interpreter '{name}' {of} {place}.");
        check(&server, mark, "info", &[&loading, &interpreter]);
        check(&server, mark, "info", &[&creating, &format!("in {place}.")]);
    }
    let mark = server.log().mark();
    server.site().write("wsgi/first.wsgi", FAILING);
    assert_eq!(server.get("/embedded/first").text(), "well");
    let reloading = format!("Reloading WSGI script '{}'", path(&server, "first"));
    check(&server, mark, "info", &[&reloading]);
}

#[test]
fn exceptions_of_an_application() {
    let server = SERVER.borrow();
    let script = path(&server, "failing");
    for group in GROUPS {
        for (query, last) in [
            ("raise", "LookupError: as the query says"),
            ("late", "LookupError: while it was iterated over"),
        ] {
            let mark = server.log().mark();
            // The late one has begun by then.
            let mut connection = server.connect();
            let head = format!("GET {group}/failing?{query} HTTP/1.0\r\nHost: localhost\r\n\r\n");
            connection.send(head.as_bytes());
            connection.read_to_end();
            let named = format!("[script {script}]");
            let head = format!("LookupError exception raised processing WSGI script '{script}'");
            server.log().wait_for(mark, last);
            let place = match group {
                "/daemon" => "of daemon process 'group'.",
                _ => "in embedded mode.",
            };
            check(&server, mark, "error", &["WSGI0174: ", &head, place]);
            let heads = server.log().matching(mark, &head);
            assert!(heads.iter().all(|line| line.contains(&named)), "{heads:?}");
            check(&server, mark, "error", &[last]);
        }
    }
}

#[test]
fn an_application_that_exits() {
    let server = SERVER.borrow();
    let script = path(&server, "failing");
    for group in GROUPS {
        let mark = server.log().mark();
        assert_eq!(server.get(&format!("{group}/failing?exit")).status, 500);
        let named = format!("[script {script}]");
        let words = format!("SystemExit exception raised by WSGI script '{script}'");
        check(&server, mark, "error", &["WSGI0175: ", &words]);
        let heads = server.log().matching(mark, &words);
        assert!(heads.iter().all(|line| line.contains(&named)), "{heads:?}");
        check(&server, mark, "error", &["SystemExit: enough"]);
        assert_eq!(server.get(&format!("{group}/failing")).text(), "well");
    }
}

#[test]
fn a_script_that_exits_while_it_is_imported() {
    let server = SERVER.borrow();
    for group in GROUPS {
        let mark = server.log().mark();
        assert_eq!(server.get(&format!("{group}/leaving")).status, 500);
        check(
            &server,
            mark,
            "error",
            &["WSGI0107: ", "SystemExit exception raised"],
        );
    }
}

/// Lines of a request name its client and its script, in this order; behind these comes the id, but
/// for those of exceptions.
#[test]
fn what_lines_of_a_request_begin_with() {
    let server = SERVER.borrow();
    server.site().write("wsgi/raising.wsgi", "1 / 0\n");
    server.site().write("wsgi/lacking.wsgi", "");
    server.site().write("wsgi/broken.wsgi", "def\n");
    for (target, id) in [
        ("/embedded/missing", "WSGI0135: "),
        ("/daemon/missing", "WSGI0135: "),
        ("/embedded/raising", "WSGI0109: "),
        ("/daemon/raising", "WSGI0109: "),
        ("/embedded/broken", "WSGI0105: "),
        ("/daemon/broken", "WSGI0105: "),
        ("/embedded/lacking", "WSGI0089: "),
        ("/daemon/lacking", "WSGI0089: "),
        ("/embedded/leaving", "WSGI0107: "),
        ("/daemon/leaving", "WSGI0107: "),
        ("/embedded/leaving", "WSGI0175: "),
        ("/daemon/leaving", "WSGI0175: "),
        ("/embedded/failing?raise", "WSGI0174: "),
        ("/daemon/failing?raise", "WSGI0174: "),
    ] {
        let mark = server.log().mark();
        server.get(target);
        let line = server.log().wait_for(mark, id);
        let script = target.rsplit('/').next().unwrap_or_default();
        let script = path(&server, script.split('?').next().unwrap_or_default());
        let begin = match id {
            "WSGI0174: " | "WSGI0175: " => format!("{id}[script {script}] "),
            _ => format!("[script {script}] {id}"),
        };
        // What a process of a group tells is told by httpd as of a remote process.
        let client = match target.starts_with("/daemon") && id != "WSGI0135: " {
            true => "[remote 127.0.0.1:",
            false => "[client 127.0.0.1:",
        };
        let (_, rest) = line.split_once(client).expect(client);
        let (_, text) = rest.split_once("] ").unwrap_or_default();
        assert!(text.starts_with(&begin), "{target}: {begin}: {line}");
    }
}

#[test]
fn what_an_application_prints_names_its_client() {
    let server = SERVER.borrow();
    let printing = "
import sys

def application(environ, start_response):
    print('printed', file=environ['wsgi.errors'])
    start_response('200 OK', [])
    return [environ['REMOTE_PORT'].encode()]
";
    server.site().write("wsgi/printing.wsgi", printing);
    for (group, client) in [("/embedded", "[client "), ("/daemon", "[remote ")] {
        let mark = server.log().mark();
        let port = server.get(&format!("{group}/printing")).text();
        let script = path(&server, "printing");
        let line = server.log().wait_for(mark, "printed");
        let end = format!("{client}127.0.0.1:{port}] [script {script}] printed");
        assert!(line.ends_with(&end), "{end}: {line}");
    }
}

#[test]
fn the_script_of_a_handler_that_is_gone() {
    let server = Site::new()
        .script(
            "handler.py",
            &FAILING.replace("def application", "def handle_request"),
        )
        .config(
            "WSGISocketPrefix ${ROOT}/logs/wsgi
             WSGIDaemonProcess group
             WSGIHandlerScript own ${WSGI}/handler.py process-group=group
             SetHandler own",
        )
        .start();
    assert_eq!(server.get("/x").text(), "well");
    server.site().remove("wsgi/handler.py");
    for _ in 0..2 {
        let mark = server.log().mark();
        assert_eq!(server.get("/x").status, 500);
        let script = path(&server, "handler").replace(".wsgi", ".py");
        let text = format!("Unable to stat target handler script '{script}'");
        check(&server, mark, "warn", &["WSGI0082: ", &text]);
        check(&server, mark, "error", &["WSGI0105: ", &script]);
        check_unread(&server, mark, &script, "FileNotFoundError", NOT_FOUND);
    }
}

const NOT_FOUND: &str = "[Errno 2] No such file or directory";

/// Asserts that what Python raises for a script that cannot be read is told after `mark`.
fn check_unread(server: &Httpd, mark: Mark, script: &str, exception: &str, cause: &str) {
    let head = format!("{exception} exception raised processing WSGI script '{script}'");
    check(server, mark, "error", &["WSGI0174: ", &head]);
    check(
        server,
        mark,
        "error",
        &[&format!("{exception}: {cause}: '{script}'")],
    );
}

#[test]
fn a_script_that_cannot_be_read() {
    let site = Site::new()
        .module("auth_basic")
        .module("authn_core")
        .script("locked.wsgi", FAILING)
        .script("well.wsgi", FAILING)
        .config(
            "WSGISocketPrefix ${ROOT}/logs/wsgi
             WSGIDaemonProcess group
             WSGIHandlerScript missing ${WSGI}/handler.wsgi
             WSGIImportScript ${WSGI}/import.wsgi process-group=%{GLOBAL} application-group=a
             WSGIImportScript ${WSGI}/import.wsgi process-group=group application-group=a
             WSGIScriptAlias /locked ${WSGI}/locked.wsgi
             WSGIScriptAlias /group ${WSGI}/locked.wsgi process-group=group
             WSGIScriptAlias /well ${WSGI}/well.wsgi
             <Location /handler>
                 SetHandler missing
             </Location>
             <Location /well/access>
                 WSGIAccessScript ${WSGI}/access.wsgi
             </Location>
             <Location /well/dispatch>
                 WSGIDispatchScript ${WSGI}/dispatch.wsgi
             </Location>",
        );
    site.set_mode("wsgi/locked.wsgi", 0);
    let server = site.start();
    let import = path(&server, "import");
    check(&server, Mark::START, "error", &["WSGI0106: ", &import]);
    check_unread(
        &server,
        Mark::START,
        &import,
        "FileNotFoundError",
        NOT_FOUND,
    );
    for (url, status, script, exception, cause) in [
        ("/handler", 500, "handler", "FileNotFoundError", NOT_FOUND),
        (
            "/well/access",
            403,
            "access",
            "FileNotFoundError",
            NOT_FOUND,
        ),
        (
            "/well/dispatch",
            200,
            "dispatch",
            "FileNotFoundError",
            NOT_FOUND,
        ),
        (
            "/locked",
            500,
            "locked",
            "PermissionError",
            "[Errno 13] Permission denied",
        ),
        (
            "/group",
            500,
            "locked",
            "PermissionError",
            "[Errno 13] Permission denied",
        ),
    ] {
        let mark = server.log().mark();
        assert_eq!(server.get(url).status, status, "{url}");
        let script = path(&server, script);
        check(&server, mark, "error", &["WSGI0105: ", &script]);
        check_unread(&server, mark, &script, exception, cause);
    }
}

#[rstest]
fn what_becomes_of_a_script_is_told_where_its_virtual_host_logs(
    #[values(Mode::Embedded, Mode::Daemon)] mode: Mode,
) {
    let server = mode
        .site()
        .script("first.wsgi", FAILING)
        .config("<VirtualHost *:*>\nServerName x\nErrorLog ${ROOT}/logs/host.log\n</VirtualHost>")
        .start();
    assert_eq!(server.get("/first.wsgi").text(), "well");
    let loading = format!("Loading WSGI script '{}'", path(&server, "first"));
    wait_until(&loading, || {
        let log = server.site().read("logs/host.log");
        log.contains(&loading).then_some(())
    });
    assert!(server.log().matching(Mark::START, &loading).is_empty());
}
