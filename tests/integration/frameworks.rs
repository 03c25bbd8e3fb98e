//! Real frameworks, installed from PyPI: Flask and Django do what their users do with them.
//!
//! They are imported from the virtual environment that `apxs/test` makes, `target/test-venv`, or
//! the one `MOD_WSGI_TEST_VENV` names.

use std::collections::BTreeMap;
use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use testkit::{Httpd, Mark, Request, Response, SharedHttpd, Site};

const FLASK: &str = include_str!("frameworks/flask_site.py");
const DJANGO: &str = include_str!("frameworks/django_site.py");

/// The virtual environment with the frameworks.
fn virtual_environment() -> PathBuf {
    let path = env::var_os("MOD_WSGI_TEST_VENV").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("target/test-venv"),
        PathBuf::from,
    );
    assert!(
        path.join("bin/python").exists(),
        "no virtual environment at {}: run apxs/test, which makes it of tests/requirements.txt, \
         or set MOD_WSGI_TEST_VENV",
        path.display()
    );
    path
}

/// Both frameworks on one server, each in an interpreter of its own.
static SERVER: SharedHttpd = SharedHttpd::new(|| {
    let home = virtual_environment();
    let site = Site::new()
        .file("flask_site.py", FLASK)
        .file("django_site.py", DJANGO)
        .script("flask.wsgi", "from flask_site import app as application\n")
        .script("django.wsgi", "from django_site import application\n")
        .config(&format!(
            "WSGIPythonHome {}\nWSGIPythonPath ${{ROOT}}",
            home.display()
        ))
        .config("WSGIScriptAlias /flask ${WSGI}/flask.wsgi")
        .config("WSGIScriptAlias /django ${WSGI}/django.wsgi");
    prepare_database(&site, &home.join("bin/python"));
    site
});

fn prepare_database(site: &Site, python: &Path) {
    let output = Command::new(python)
        .args(["-c", "import django_site; django_site.prepare()"])
        .current_dir(site.path(""))
        .output()
        .expect("Python runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    site.set_mode("data/db.sqlite3", 0o666);
}

/// A client that keeps cookies.
struct Browser<'a> {
    server: &'a Httpd,
    cookies: BTreeMap<String, String>,
}

impl<'a> Browser<'a> {
    fn new(server: &'a Httpd) -> Self {
        Self {
            server,
            cookies: BTreeMap::new(),
        }
    }

    fn get(&mut self, target: &str) -> Response {
        self.send(Request::get(target))
    }

    /// Posts the fields of a form.
    fn post(&mut self, target: &str, fields: &[(&str, &str)]) -> Response {
        let fields: Vec<String> = fields
            .iter()
            .map(|(name, value)| format!("{name}={}", crate::wsgi_site::quoted(value)))
            .collect();
        let request = Request::post(target, fields.join("&"));
        self.send(request.header("Content-Type", "application/x-www-form-urlencoded"))
    }

    fn send(&mut self, request: Request) -> Response {
        let cookies: Vec<String> = self
            .cookies
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        let response = self
            .server
            .send(&request.header("Cookie", cookies.join("; ")));
        for cookie in response.head.header_all("Set-Cookie") {
            let pair = cookie.split(';').next().unwrap_or_default();
            let (name, value) = pair.split_once('=').expect("a cookie");
            self.cookies.insert(name.to_owned(), value.to_owned());
        }
        response
    }
}

#[test]
fn flask_answers() {
    let server = SERVER.borrow();

    let response = server.get("/flask/");
    assert_eq!(
        (response.status, response.text().as_str()),
        (200, "<h1>Hello from Flask</h1>")
    );
    assert_eq!(
        response.header("Content-Type"),
        Some("text/html; charset=utf-8")
    );

    let response = server.get("/flask/greet/J%C3%BCrgen");
    assert_eq!(response.text(), "Hello, J\u{fc}rgen!");
    assert_eq!(response.header("X-Greeted"), Some("yes"));

    assert_eq!(server.get("/flask/nowhere").status, 404);
    assert_eq!(server.get("/flask/teapot").status, 418);
    assert_eq!(server.send(&Request::post("/flask/", "")).status, 405);
}

#[test]
fn flask_knows_where_it_is_mounted() {
    let server = SERVER.borrow();

    let response = server.get("/flask/away");
    assert_eq!(
        (response.status, response.header("Location")),
        (302, Some("/flask/greet/you"))
    );

    let response = server.get("/flask");
    assert_eq!(
        (response.status, response.header("Location")),
        (308, Some("http://localhost/flask/"))
    );
}

#[test]
fn flask_reads_forms_json_and_uploads() {
    let server = SERVER.borrow();

    let fields = [
        ("name", "J\u{fc}rgen & Co"),
        ("empty", ""),
        ("also", "1 + 1"),
    ];
    let response = Browser::new(&server).post("/flask/form", &fields);
    assert_eq!(response.text(), "also=1 + 1&empty=&name=J\u{fc}rgen & Co");

    let request = Request::post("/flask/json?q=1", r#"{"key": ["value", null]}"#);
    let response = server.send(&request.header("Content-Type", "application/json"));
    let json: serde_json::Value = serde_json::from_slice(&response.body).expect("JSON");
    assert_eq!(json["received"]["key"][0], "value");
    assert_eq!(json["query"]["q"], "1");
    assert_eq!(json["url"], "http://localhost/flask/json?q=1");

    let body = "--limit\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.bin\"\r\n\
         Content-Type: application/x-test\r\n\r\ncontent of the file\r\n--limit--\r\n";
    let request = Request::post("/flask/upload", body);
    let response =
        server.send(&request.header("Content-Type", "multipart/form-data; boundary=limit"));
    let digest = "0fc74468e6a9a829f103d069aeb2bb4f8646bad58bf146bb0e3379b759ec4a00";
    assert_eq!(
        response.text(),
        format!("a.bin application/x-test {digest}")
    );
}

#[test]
fn flask_keeps_sessions() {
    let server = SERVER.borrow();
    let mut browser = Browser::new(&server);

    for count in ["1", "2", "3"] {
        assert_eq!(browser.get("/flask/count").text(), count);
    }
    assert_eq!(Browser::new(&server).get("/flask/count").text(), "1");
}

#[test]
fn flask_streams_and_sends_files() {
    let server = SERVER.borrow();

    let lines: String = (0..5).map(|number| format!("{number} /stream\n")).collect();
    assert_eq!(server.get("/flask/stream").text(), lines);
    assert_eq!(
        server.get("/flask/bytes").body,
        (0..=255).collect::<Vec<u8>>()
    );

    let whole = server.get("/flask/file");
    assert_eq!(whole.text(), FLASK);
    assert_eq!(
        whole.header("Content-Length"),
        Some(FLASK.len().to_string().as_str())
    );

    let etag = whole.header("ETag").expect("an ETag");
    let again = server.send(&Request::get("/flask/file").header("If-None-Match", etag));
    assert_eq!((again.status, again.body.len()), (304, 0));

    let part = server.send(&Request::get("/flask/file").header("Range", "bytes=3-9"));
    assert_eq!((part.status, part.text().as_str()), (206, &FLASK[3..10]));
}

#[test]
fn flask_logs_what_breaks() {
    let server = SERVER.borrow();
    let mark = server.log().mark();

    assert_eq!(server.get("/flask/broken").status, 500);

    server.log().wait_for(mark, "Exception on /broken [GET]");
    let line = server.log().wait_for(mark, "RuntimeError: Flask logs this");
    assert!(line.contains("[client 127.0.0.1:"), "{line}");
}

#[test]
fn django_lets_the_administrator_in_and_nobody_else() {
    let server = SERVER.borrow();
    let mut browser = Browser::new(&server);

    let response = browser.get("/django/admin/");
    let login = "/django/admin/login/?next=/django/admin/";
    assert_eq!(
        (response.status, response.header("Location")),
        (302, Some(login))
    );

    assert_eq!(log_in(&mut browser, "wrong").status, 200, "the form again");
    assert_eq!(browser.get("/django/admin/").status, 302);

    let response = log_in(&mut browser, "secret");
    assert_eq!(
        (response.status, response.header("Location")),
        (302, Some("/django/admin/"))
    );
    let response = browser.get("/django/admin/");
    assert_eq!(response.status, 200);
    assert!(
        response.text().contains("Site administration"),
        "{}",
        response.text()
    );
}

/// Fills in the form of the admin's login page.
fn log_in(browser: &mut Browser<'_>, password: &str) -> Response {
    let page = browser.get("/django/admin/login/");
    assert_eq!(page.status, 200);
    let token = token_in(&page);
    let fields = [
        ("csrfmiddlewaretoken", token.as_str()),
        ("username", "admin"),
        ("password", password),
        ("next", "/django/admin/"),
    ];
    browser.post("/django/admin/login/", &fields)
}

/// The token against forged requests in the form of a page.
fn token_in(page: &Response) -> String {
    let text = page.text();
    let (_, rest) = text
        .split_once("name=\"csrfmiddlewaretoken\" value=\"")
        .unwrap_or_else(|| panic!("no token in {text}"));
    rest.split('"').next().expect("a quoted value").to_owned()
}

#[test]
fn django_saves_what_the_administrator_enters() {
    let server = SERVER.borrow();
    let mut browser = Browser::new(&server);
    log_in(&mut browser, "secret");

    let page = browser.get("/django/admin/auth/group/add/");
    let token = token_in(&page);
    let name = "Gr\u{fc}ppe";
    let fields = [
        ("csrfmiddlewaretoken", token.as_str()),
        ("name", name),
        ("_save", "Save"),
    ];
    let response = browser.post("/django/admin/auth/group/add/", &fields);

    assert_eq!(response.status, 302, "{}", response.text());
    let list = browser.get("/django/admin/auth/group/");
    assert!(list.text().contains(name), "{}", list.text());
}

#[test]
fn django_takes_a_form_only_with_its_token() {
    let server = SERVER.borrow();
    let mut browser = Browser::new(&server);
    let token = token_in(&browser.get("/django/form/"));

    let response = browser.post("/django/form/", &[("text", "forged")]);
    assert_eq!(response.status, 403);

    let fields = [
        ("csrfmiddlewaretoken", token.as_str()),
        ("text", "h\u{e9}llo"),
    ];
    let response = browser.post("/django/form/", &fields);
    assert_eq!(
        (response.status, response.text().as_str()),
        (200, "got h\u{e9}llo")
    );
}

#[test]
fn django_sends_files_and_streams() {
    let server = SERVER.borrow();

    let response = server.get("/django/source/");
    assert_eq!(response.text(), DJANGO);
    assert_eq!(
        response.header("Content-Length"),
        Some(DJANGO.len().to_string().as_str())
    );

    let style = server.get("/django/static/admin/css/base.css");
    assert_eq!(
        (style.status, style.header("Content-Type")),
        (200, Some("text/css"))
    );
    assert!(
        style.text().contains("DJANGO Admin styles"),
        "{}",
        style.text()
    );

    assert_eq!(server.get("/django/stream/").text(), "0\n1\n2\n3\n4\n");
}

#[test]
fn django_logs_what_breaks() {
    let server = SERVER.borrow();
    let mark = server.log().mark();

    let response = server.get("/django/broken/");

    assert_eq!(response.status, 500);
    assert!(
        response.text().contains("Server Error (500)"),
        "{}",
        response.text()
    );
    assert_eq!(server.log().matching(mark, "WSGI0174"), [""; 0]);
}

#[test]
fn both_serve_at_the_same_time() {
    let server = SERVER.borrow();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for number in 0..10 {
                    let target = format!("/flask/greet/{number}");
                    assert_eq!(server.get(&target).text(), format!("Hello, {number}!"));
                    assert_eq!(server.get("/django/form/").status, 200);
                }
            });
        }
    });
    assert_eq!(server.log().matching(Mark::START, "exit signal"), [""; 0]);
}
