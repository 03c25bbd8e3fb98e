//! The lines of the error log that people and their scripts look for: their level, their id, and the
//! words in them. All of them are mod_wsgi's, so that a search written for it finds them.

use testkit::{Httpd, Mark, SharedHttpd, Site};

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
        let interpreter = format!("sub-interpreter '{name}'");
        check(&server, mark, "info", &[&loading, &interpreter, place]);
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
            check(&server, mark, "error", &["WSGI0174: ", &head]);
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
