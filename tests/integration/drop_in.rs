//! The drop-in promise: mod_wsgi's own command-line tool and Django command, as PyPI has them,
//! start and serve with the module under test in the place of theirs.

use std::process::Command;
use std::sync::Arc;

use testkit::{Site, wait_until};

use crate::express::{Express, Package, run, told};

const FLASK: &str = include_str!("drop_in/flask_app.py");
const SETTINGS: &str = include_str!("drop_in/django_settings.py");
const URLS: &str = include_str!("drop_in/django_urls.py");

/// A site with the Flask application.
pub(crate) fn flask() -> Site {
    Site::new()
        .without_subject()
        .file("app.py", FLASK)
        .file("helper.py", "TEXT = 'first'\n")
}

/// A server with the Flask application, started by `mod_wsgi-express start-server`.
pub(crate) fn start(site: Site, package: &Arc<Package>, options: &[&str]) -> Express {
    let mut command = package.express();
    command.args(["start-server", "app.py"]);
    Express::start(site, package.clone(), command, options)
}

/// Has the application tell the text `two` instead of `one`, once it is loaded anew.
fn change(server: &Express) {
    let changed = FLASK.replace("'one'", "'two'");
    server.site().write("app.py", changed);
}

#[test]
fn flask_is_served_by_processes_of_its_own() {
    let Some(package) = Package::find() else {
        return;
    };
    let server = start(flask(), &package, &["--setenv", "SET", "a value"]);
    let seen = told(&server.get("/below/x%20y"));
    assert_eq!(seen["text"], "one");
    assert_eq!(seen["process_group"], server.group());
    assert_eq!(seen["application_group"], "");
    assert_eq!((&*seen["root"], &*seen["path"]), ("", "/below/x y"));
    assert_eq!((&*seen["version"], &*seen["express"]), ("6.1.1", "true"));
    assert_eq!(seen["set"], "a value");
    assert_eq!(server.get("/none").status, 404);
    let body = "x".repeat(200_000);
    server.site().write("body", &body);
    let file = format!("@{}", server.site().text_path("body"));
    let echoed = server.curl("/echo").args(["--data-binary", file.as_str()]);
    assert_eq!(echoed.send().body.len(), body.len());
    assert_eq!(server.get("/fail").status, 500);
    server.wait_for_log("ValueError: on purpose");
}

#[test]
fn flask_is_served_over_https_under_its_name() {
    let Some(package) = Package::find() else {
        return;
    };
    let site = flask().certificate();
    let [certificate, key] =
        ["crt", "key"].map(|end| site.text_path(&format!("conf/server.{end}")));
    let options = [
        "--server-name",
        "localhost",
        "--https-port",
        "HTTPS_PORT",
        "--ssl-certificate-file",
        &certificate,
        "--ssl-certificate-key-file",
        &key,
        "--ssl-environment",
    ];
    let server = start(site, &package, &options);
    let seen = told(&server.curl_https("/").send());
    assert_eq!(seen["scheme"], "https");
    assert!(
        seen["url"].starts_with("https://localhost:"),
        "{}",
        seen["url"]
    );
    assert_eq!(told(&server.get("/"))["scheme"], "http");
    let other = server.curl("/").args(["-H", "Host: other.example"]).send();
    assert_eq!(other.status, 403, "a host of another name");
}

#[test]
fn flask_is_served_in_the_processes_of_httpd() {
    let Some(package) = Package::find() else {
        return;
    };
    let options = ["--embedded-mode", "--processes", "2", "--threads", "4"];
    let server = start(flask(), &package, &options);
    let seen = told(&server.get("/below/x"));
    assert_eq!(
        (&*seen["process_group"], &*seen["application_group"]),
        ("", "")
    );
    assert_eq!((&*seen["text"], &*seen["path"]), ("one", "/below/x"));
}

#[test]
fn flask_is_served_over_https_in_the_processes_of_httpd() {
    let Some(package) = Package::find() else {
        return;
    };
    let site = flask().certificate();
    let certificates = site.text_path("conf/server");
    let options = [
        "--embedded-mode",
        "--server-name",
        "localhost",
        "--https-port",
        "HTTPS_PORT",
        "--ssl-certificate",
        &certificates,
        "--https-only",
    ];
    let server = start(site, &package, &options);
    let seen = told(&server.curl_https("/").send());
    assert_eq!((&*seen["scheme"], &*seen["process_group"]), ("https", ""));
    assert_eq!(server.get("/").status, 302, "--https-only redirects");
}

#[test]
fn a_changed_application_is_loaded_anew_unless_that_is_disabled() {
    let Some(package) = Package::find() else {
        return;
    };
    for (options, text) in [(&[][..], "two"), (&["--disable-reloading"], "one")] {
        let server = start(flask(), &package, options);
        assert_eq!(told(&server.get("/"))["text"], "one");
        change(&server);
        assert_eq!(told(&server.get("/"))["text"], text, "{options:?}");
    }
}

#[test]
fn a_changed_module_restarts_the_process_if_that_is_asked_for() {
    let Some(package) = Package::find() else {
        return;
    };
    let server = start(flask(), &package, &["--reload-on-changes"]);
    assert_eq!(told(&server.get("/"))["helper"], "first");
    server.site().write("helper.py", "TEXT = 'second'\n");
    wait_until("the new module", || {
        (told(&server.get("/"))["helper"] == "second").then_some(())
    });
}

#[test]
fn files_and_places_are_served_beside_the_application() {
    let Some(package) = Package::find() else {
        return;
    };
    let site = flask()
        .file("static/page.txt", "a page")
        .file("static/report.own", "a report")
        .file("media/x.txt", "aliased")
        .file(
            "own.py",
            "def handle_request(environ, start_response):\n    \
             start_response('200 OK', [('Content-Type', 'text/plain')])\n    \
             return [b'made of ' + environ['SCRIPT_NAME'].encode()]\n",
        );
    let options = [
        "--document-root",
        "static",
        "--url-alias",
        "/media",
        "media",
        "--mount-point",
        "/app",
        "--add-handler",
        ".own",
        "own.py",
        "--chunked-request",
        "--enable-sendfile",
        "--compress-responses",
        "--trust-proxy-header",
        "X-Forwarded-Proto",
        "--trust-proxy",
        "127.0.0.1",
        "--error-override",
        "--ignore-activity",
        "/app/below/idle",
    ];
    let server = start(site, &package, &options);
    assert_eq!(server.get("/page.txt").body, "a page");
    assert_eq!(server.get("/media/x.txt").body, "aliased");
    assert_eq!(server.get("/report.own").body, "made of /report.own");
    let seen = told(&server.get("/app/below/x"));
    assert_eq!((&*seen["root"], &*seen["path"]), ("/app", "/below/x"));
    let secure = server
        .curl("/app/")
        .args(["-H", "X-Forwarded-Proto: https"])
        .send();
    assert_eq!(told(&secure)["scheme"], "https");
    let missing = server.get("/app/none").body;
    assert!(
        missing.contains("<title>404 Not Found</title>"),
        "{missing}"
    );
    assert_eq!(told(&server.get("/app/below/idle"))["path"], "/below/idle");
}

#[test]
fn the_control_script_starts_restarts_and_stops() {
    let Some(package) = Package::find() else {
        return;
    };
    let mut command = package.express();
    command.args(["setup-server", "app.py"]);
    let mut server = Express::set_up(flask(), package, command, &["--processes", "2"]);
    server.apachectl(&["configtest"]);
    server.apachectl(&["start"]);
    server.wait_until_it_serves();
    let pid = told(&server.get("/"))["pid"].clone();
    change(&server);
    server.apachectl(&["graceful"]);
    wait_until("other processes", || {
        let seen = told(&server.get("/"));
        (seen["pid"] != pid && seen["text"] == "two").then_some(())
    });
    server.apachectl(&["stop"]);
    server.wait_until_it_is_gone();
}

/// A Django project as `django-admin startproject` lays it out, and its `manage.py`.
fn django(package: &Package) -> (Site, Command) {
    let site = Site::new()
        .without_subject()
        .file(
            "manage.py",
            "import os, sys\n\
             os.environ['DJANGO_SETTINGS_MODULE'] = 'project.settings'\n\
             from django.core.management import execute_from_command_line\n\
             execute_from_command_line(sys.argv)\n",
        )
        .file("project/__init__.py", "")
        .file("project/settings.py", SETTINGS)
        .file("project/urls.py", URLS)
        .file(
            "project/wsgi.py",
            "import os\n\
             os.environ.setdefault('DJANGO_SETTINGS_MODULE', 'project.settings')\n\
             from django.core.wsgi import get_wsgi_application\n\
             application = get_wsgi_application()\n",
        )
        .file("collected/style.css", "a {}");
    let mut command = package.python();
    command.args(["manage.py", "runmodwsgi"]);
    (site, command)
}

fn check_django(server: &Express, group: &str) {
    let seen = told(&server.get("/view/caf%C3%A9"));
    assert_eq!(
        (&*seen["path"], &*seen["name"]),
        ("/view/caf\u{e9}", "caf\u{e9}")
    );
    assert_eq!(seen["process_group"], group);
    assert_eq!(server.get("/static/style.css").body, "a {}");
}

/// Starts a Django project that is asked for over HTTP and HTTPS, with these options besides.
fn django_over_both(options: &[&str]) -> Option<Express> {
    let package = Package::find()?;
    let (site, command) = django(&package);
    let site = site.certificate();
    let certificates = site.text_path("conf/server");
    let https = [
        "--server-name",
        "localhost",
        "--https-port",
        "HTTPS_PORT",
        "--ssl-certificate",
        &certificates,
    ];
    Some(Express::start(
        site,
        package,
        command,
        &[options, &https].concat(),
    ))
}

#[test]
fn django_is_served_by_processes_of_its_own_over_http_and_https() {
    let Some(server) = django_over_both(&[]) else {
        return;
    };
    check_django(&server, &server.group());
    assert_eq!(told(&server.curl_https("/").send())["scheme"], "https");
}

#[test]
fn django_is_served_in_the_processes_of_httpd_over_http_and_https() {
    let Some(server) = django_over_both(&["--embedded-mode"]) else {
        return;
    };
    check_django(&server, "");
    assert_eq!(told(&server.curl_https("/").send())["scheme"], "https");
}

#[test]
fn the_package_tells_what_to_load() {
    let Some(package) = Package::find() else {
        return;
    };
    let output = run(package.express().arg("module-config"));
    let lines = String::from_utf8_lossy(&output.stdout).into_owned();
    let site = Site::new().without_subject().config(&lines);
    let answer = site.configtest();
    assert!(answer.success, "{lines}{}", answer.text);
}
