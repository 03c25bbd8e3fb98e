//! What options of mod_wsgi's own command-line tool do, seen from outside: what is served, by which
//! processes, and where files are.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::process::Command;
use std::sync::Arc;

use testkit::{Site, wait_until};

use crate::drop_in::flask;
use crate::express::{Express, Package, run, told};

/// Tells of itself; `/status/404` is answered with that status, and `/long` with a long page.
const TELLING: &str = "
import apache, json, mod_wsgi, os, sys

def application(environ, start_response):
    path = environ['PATH_INFO']
    print('asked for', path, file=sys.stderr)
    if path.startswith('/status/'):
        start_response(path[8:] + ' Own', [('Content-Type', 'text/plain')])
        return [b'own']
    if path == '/long':
        start_response('200 OK', [('Content-Type', 'text/html')])
        return [b'<p>' * 1000]
    start_response('200 OK', [('Content-Type', 'application/json')])
    return [json.dumps({
        'pid': str(os.getpid()),
        'mpm': apache.mpm_name,
        'metrics': str(mod_wsgi.server_metrics() is not None),
        'passed': environ.get('FROM_ENVVARS', ''),
        'exported': os.environ.get('FROM_ENVVARS', ''),
        'scheme': environ['wsgi.url_scheme'],
        'host': environ['HTTP_HOST'],
        'user': environ.get('REMOTE_USER', ''),
    }).encode()]
";

/// The server that `start-server` starts for that application on a site with other files.
pub(crate) fn start(site: Site, package: &Arc<Package>, options: &[&str]) -> Express {
    let mut command = package.express();
    command.args(["start-server", "telling.wsgi"]);
    let site = site.without_subject().file("telling.wsgi", TELLING);
    Express::start(site, package.clone(), command, options)
}

/// The words of a text, such as options.
pub(crate) fn words(text: &str) -> Vec<&str> {
    text.split_whitespace().collect()
}

#[test]
fn files_are_served_as_the_options_say() {
    let Some(package) = Package::find() else {
        return;
    };
    let site = Site::new()
        .file("www/index/index.html", "an index")
        .file("www/listed/one.txt", "one")
        .file(
            "www/overridden/.htaccess",
            "AddType text/x-overridden .own\n",
        )
        .file("www/overridden/page.own", "own")
        .file("www/page.mine", "mine")
        .file("www/sorry.txt", "sorry")
        .file(
            "www/run.cgi",
            "#!/bin/sh\nprintf 'Content-Type: text/plain\\n\\nrun'\n",
        )
        .file("types", "text/x-mine mine\n")
        .file("rules.conf", "RewriteRule ^gone$ - [G]\n")
        .file("included.conf", "Header set X-Included yes\n");
    site.set_mode("www/run.cgi", 0o755);
    let [types, rules, included] =
        ["types", "rules.conf", "included.conf"].map(|path| site.text_path(path));
    let mut options = words(
        "--document-root www --directory-index index.html --directory-listing
         --allow-override FileInfo --with-cgi --error-override --error-document 404 /sorry.txt
         --limit-request-body 1000 --compress-responses --server-status --enable-docs",
    );
    options.extend(["--mime-types", &types, "--rewrite-rules", &rules]);
    options.extend(["--include-file", &included]);
    let server = start(site, &package, &options);
    for (url, status, body, head) in [
        ("/index/", 200, "an index", ""),
        ("/listed/", 200, "one.txt", "text/html"),
        ("/overridden/page.own", 200, "own", "text/x-overridden"),
        ("/page.mine", 200, "mine", "text/x-mine"),
        ("/run.cgi", 200, "run", ""),
        ("/gone", 410, "", ""),
        ("/status/404", 404, "sorry", ""),
        ("/status/403", 403, "<title>403 ", ""),
        ("/app", 200, "pid", "X-Included: yes"),
        ("/server-status?auto", 200, "IdleWorkers", ""),
        ("/__wsgi__/images/snake-whiskey.jpg", 200, "JFIF", ""),
    ] {
        let answer = server.get(url);
        assert_eq!(answer.status, status, "{url}: {answer:?}");
        assert!(answer.body.contains(body), "{url}: {answer:?}");
        assert!(answer.head.contains(head), "{url}: {answer:?}");
    }
    let body = "x".repeat(1001);
    let refused = server.curl("/app").args(["--data-binary", &*body]).send();
    assert_eq!(refused.status, 413);
    let compressed = server
        .curl("/long")
        .args(["-H", "Accept-Encoding: gzip"])
        .send();
    assert!(
        compressed.head.contains("Content-Encoding: gzip"),
        "{}",
        compressed.head
    );
}

#[test]
fn logs_sockets_and_variables_are_where_the_options_say() {
    let Some(package) = Package::find() else {
        return;
    };
    let site = Site::new()
        .file("logs/placeholder", "")
        .file("sockets/placeholder", "")
        .file("vars.sh", "FROM_ENVVARS='a value'\nexport FROM_ENVVARS\n");
    let [logs, sockets, pid_file, vars] =
        ["logs", "sockets", "run.pid", "vars.sh"].map(|path| site.text_path(path));
    let mut options = words(
        "--access-log --access-log-format combined --access-log-name accesses
         --error-log-name errors --startup-log --startup-log-name starts --process-name named
         --passenv FROM_ENVVARS --shell-executable /bin/bash --server-metrics",
    );
    options.extend(["--error-log-format", "own format: %M"]);
    options.extend(["--log-directory", &logs, "--socket-prefix", &sockets]);
    options.extend(["--pid-file", &pid_file, "--envvars-script", &vars]);
    let server = start(site, &package, &options);
    let seen = told(&server.get("/seen"));
    for (name, value) in [
        ("passed", "a value"),
        ("exported", "a value"),
        ("metrics", "True"),
    ] {
        assert_eq!(seen[name], value, "{name}");
    }
    let read = |path: &str| fs::read_to_string(server.site().path(path)).unwrap_or_default();
    wait_until("the log of accesses", || {
        let lines = read("logs/accesses");
        let line = lines.lines().find(|line| line.contains("GET /seen "))?;
        line.contains("\"curl/").then_some(())
    });
    let errors = read("logs/errors");
    let mut lines = errors
        .lines()
        .filter(|line| line.starts_with("own format: "));
    assert!(
        lines.any(|line| line.ends_with("asked for /seen")),
        "{errors}"
    );
    assert!(server.site().path("logs/starts").exists());
    let pid = read("run.pid");
    let command = fs::read(format!("/proc/{}/cmdline", pid.trim())).expect("httpd's parent");
    assert!(
        command.starts_with(b"named "),
        "{}",
        String::from_utf8_lossy(&command)
    );
    let mut names = fs::read_dir(&sockets).expect("a directory").flatten();
    assert!(names.any(|entry| entry.file_name().to_string_lossy().ends_with(".sock")));
}

#[test]
fn httpd_and_its_helpers_may_be_other_programs() {
    let Some(package) = Package::find() else {
        return;
    };
    let known = "from mod_wsgi.express import apxs_config as c; print(c.HTTPD)";
    let httpd = run(package.python().args(["-c", known])).stdout;
    let httpd = String::from_utf8(httpd).expect("a path");
    let site = Site::new();
    let [program, rotating, started, rotated] =
        ["httpd", "rotating", "data/started", "data/rotated"].map(|path| site.text_path(path));
    let site = site
        .file(
            "httpd",
            format!(
                "#!/bin/sh\necho \"$@\" >> {started}\nexec {} \"$@\"\n",
                httpd.trim()
            ),
        )
        .file(
            "rotating",
            format!("#!/bin/sh\necho \"$@\" >> {rotated}\nexec cat >> {rotated}\n"),
        );
    for path in ["httpd", "rotating"] {
        site.set_mode(path, 0o755);
    }
    let mut options = vec![
        "--httpd-executable",
        &program,
        "--rotatelogs-executable",
        &rotating,
    ];
    options.extend(["--rotate-logs", "--max-log-size", "7"]);
    let server = start(site, &package, &options);
    assert_eq!(server.get("/").status, 200);
    assert!(server.site().read("data/started").contains("-k start"));
    wait_until("a log that is passed on", || {
        let log = server.site().read("data/rotated");
        (log.contains(" 7M") && log.contains("resuming normal operations")).then_some(())
    });
}

#[test]
fn a_server_may_be_set_up_and_not_started() {
    let Some(package) = Package::find() else {
        return;
    };
    let mut command = package.express();
    command.args(["start-server", "app.py", "--setup-only"]);
    let mut server = Express::set_up(flask(), package, command, &[]);
    assert!(!server.site().path("express/httpd.pid").exists());
    server.apachectl(&["start"]);
    server.wait_until_it_serves();
    assert_eq!(told(&server.get("/"))["text"], "one");
    server.apachectl(&["stop"]);
    server.wait_until_it_is_gone();
}

/// What needs another package, another Python or another option is told, before anything is
/// started.
#[test]
fn an_option_without_what_it_needs_is_an_error() {
    let Some(package) = Package::find() else {
        return;
    };
    for (options, part) in [
        ("--free-threading", "free-threading"),
        (
            "--enable-telemetry --telemetry-ui-port 8899",
            "mod_wsgi-telemetry",
        ),
        ("--telemetry-service udp:host:1", "unix:"),
        ("--slow-requests 2", "--telemetry-service"),
        ("--switch-interval 0", "positive"),
        ("--ssl-certificate conf/server", "--https-port"),
        ("--debugger-startup", "--enable-debugger"),
    ] {
        let site = flask();
        let output = package
            .express()
            .current_dir(site.path(""))
            .args(["setup-server", "app.py", "--server-root", "express"])
            .args(words(options))
            .output()
            .expect("the command runs");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{options}: {errors}");
        assert!(errors.contains(part), "{options}: {errors}");
    }
}

/// PHP 5 is on no system any more; the option asks httpd for it all the same.
#[test]
fn php_is_looked_for_where_it_is_asked_for() {
    let Some(package) = Package::find() else {
        return;
    };
    let mut command = package.express();
    command.args(["setup-server", "app.py"]);
    let server = Express::set_up(flask(), package, command, &["--with-php5"]);
    let mut configtest = Command::new(server.site().path("express/apachectl"));
    let output = configtest.arg("configtest").output().expect("it runs");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() || errors.contains("libphp5.so"),
        "{errors}"
    );
}

#[test]
fn processes_are_replaced_after_the_requests_that_the_options_say() {
    let Some(package) = Package::find() else {
        return;
    };
    let server = start(Site::new(), &package, &["--maximum-requests", "2"]);
    let first = told(&server.get("/"))["pid"].clone();
    wait_until("another process", || {
        (told(&server.get("/"))["pid"] != first).then_some(())
    });
}

/// Leaves a file in `data/` when its interpreter ends in order.
const LEAVING: &str = "
import atexit, os
LEFT = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'data', 'left')
atexit.register(lambda: open(LEFT, 'w').close())

def application(environ, start_response):
    start_response('200 OK', [])
    return [b'here']
";

#[test]
fn an_interpreter_may_be_left_alone_at_the_end() {
    let Some(package) = Package::find() else {
        return;
    };
    for (options, is_left) in [(&[][..], true), (&["--orphan-interpreter"], false)] {
        let site = Site::new().without_subject().file("leaving.wsgi", LEAVING);
        let mut command = package.express();
        command.args(["setup-server", "leaving.wsgi"]);
        let mut server = Express::set_up(site, package.clone(), command, options);
        server.apachectl(&["start"]);
        server.wait_until_it_serves();
        assert_eq!(server.get("/").body, "here");
        let httpd = server.httpd();
        server.apachectl(&["stop"]);
        // It waits for its workers.
        wait_until("httpd to end", || (!httpd.is_running()).then_some(()));
        assert_eq!(
            server.site().path("data/left").exists(),
            is_left,
            "{options:?}"
        );
    }
}

/// Makes an application of what a configuration of Paste says.
const FACTORY: &str = "
def make(global_conf, word):
    def application(environ, start_response):
        start_response('200 OK', [])
        return [f'made of {word}'.encode()]
    return application
";

#[test]
fn an_application_may_be_a_module_a_directory_or_what_paste_makes() {
    let Some(package) = Package::find() else {
        return;
    };
    let site = || Site::new().without_subject().file("www/page.txt", "a page");
    let mut command = package.express();
    command.args([
        "start-server",
        "--application-type",
        "module",
        "--entry-point",
        "own.app",
    ]);
    let with_module = site()
        .file("own/__init__.py", "")
        .file("own/app.py", TELLING);
    let server = Express::start(with_module, package.clone(), command, &[]);
    assert_eq!(told(&server.get("/"))["scheme"], "http");
    let mut command = package.express();
    command.args(["start-server", "--application-type", "static", "www"]);
    let server = Express::start(site(), package.clone(), command, &[]);
    assert_eq!(server.get("/page.txt").body, "a page");
    let mut command = package.express();
    command.args(["start-server", "--application-type", "paste", "own.ini"]);
    let with_factory = site()
        .file(
            "own.ini",
            "[app:main]\npaste.app_factory = factory:make\nword = eggs\n",
        )
        .file("factory.py", FACTORY);
    let server = Express::start(with_factory, package, command, &[]);
    assert_eq!(server.get("/").body, "made of eggs");
}

#[test]
fn a_service_has_a_user_and_a_log_of_its_own() {
    let Some(package) = Package::find() else {
        return;
    };
    let service = "\
import os, sys, time
print('a service of', os.geteuid(), file=sys.stderr)
while True:
    time.sleep(0.1)
";
    let site = Site::new().file("service.py", service);
    let owner = fs::metadata(site.path(""))
        .expect("the root of the site")
        .uid();
    let mut options = words("--service-script work service.py");
    if owner == 0 {
        options.extend(words(
            "--service-user work nobody --service-group work nogroup",
        ));
    }
    options.extend(["--service-log-file", "work", "service_log"]);
    let server = start(site, &package, &options);
    let nobody = nix::unistd::User::from_name("nobody").ok().flatten();
    let uid = match (owner, nobody) {
        (0, Some(nobody)) => nobody.uid.as_raw(),
        _ => owner,
    };
    let said = format!("a service of {uid}");
    wait_until(&said, || {
        let log = fs::read_to_string(server.site().path("express/service_log"));
        log.is_ok_and(|log| log.contains(&said)).then_some(())
    });
}
