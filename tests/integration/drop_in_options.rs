//! The options of mod_wsgi's own command-line tool: what each of them makes of the configuration is
//! accepted, and has its effect.

use std::collections::BTreeSet;
use std::process::Command;

use testkit::{Site, wait_until};

use crate::drop_in::flask;
use crate::express::{Express, Package, run, told};

/// What every server below is given.
const COMMON: &str = "
    --server-name localhost --server-alias other.test --allow-localhost --host 127.0.0.1
    --https-port HTTPS_PORT --ssl-certificate conf/server --ssl-environment
    --ssl-ca-certificate-file conf/server.crt --ssl-verify-client /private
    --ssl-certificate-chain-file conf/server.crt --https-only --hsts-policy max-age=1 --http2
    --threads 3 --max-clients 30 --initial-workers 0.1 --minimum-spare-workers 0.1
    --maximum-spare-workers 0.5 --server-mpm worker --server-backlog 100
    --limit-request-body 1000 --maximum-requests 1000 --header-timeout 10 --header-max-timeout 20
    --header-min-rate 100 --body-timeout 10 --body-max-timeout 20 --body-min-rate 100
    --keep-alive-timeout 5 --proxy-timeout 5
    --host-access-script hook.py --auth-user-script hook.py --auth-group-script hook.py
    --auth-group wsgi --auth-type Basic
    --service-script work service.py --service-user work www-data --service-group work www-data
    --service-log-file work work_log
    --application-group own --callable-object application --working-directory .
    --python-path lib --python-eggs lib --python-warnings default --lang C.UTF-8
    --setenv NAME value --passenv PATH --map-head-to-get Off --chunked-request --error-override
    --switch-interval 0.01 --trust-proxy 10.0.0.0/8 --trust-proxy-header X-Forwarded-For
    --ignore-activity /health --enable-sendfile --compress-responses
    --document-root www --directory-index index.html --directory-listing --allow-override All
    --mount-point /sub --url-alias /files www --error-document 404 /missing
    --proxy-mount-point /proxied http://127.0.0.1:1/ --proxy-virtual-host virtual.test http://127.0.0.1:1/
    --add-handler .own app.py --with-cgi --enable-docs
    --include-file empty.conf --rewrite-rules empty.conf --envvars-script empty.conf
    --mime-types /dev/null --pid-file pid --socket-prefix sockets --process-name named
    --modules-directory MODULES --shell-executable /bin/sh
    --log-directory logs --access-log --startup-log --access-log-format combined
    --error-log-format %M --error-log-name errors --access-log-name accesses --startup-log-name starts
    --rotate-logs --max-log-size 1 --verbose-debugging
    --server-metrics --server-status --telemetry-service unix:/tmp/nobody-listens.sock
    --telemetry-interval 2 --telemetry-options CaptureUserAgent --slow-requests 2";

/// What only some are, each on top of that.
const KINDS: [&str; 6] = [
    "--processes 2 --process-group named --startup-timeout 5 --shutdown-timeout 5 --restart-interval 5000
     --cpu-time-limit 500 --graceful-timeout 5 --eviction-timeout 5 --deadlock-timeout 50
     --inactivity-timeout 500 --request-timeout 50 --interrupt-timeout 5 --connect-timeout 5
     --socket-timeout 5 --queue-timeout 5 --daemon-backlog 50 --send-buffer-size 8192
     --receive-buffer-size 8192 --header-buffer-size 8192 --response-buffer-size 65536
     --response-socket-timeout 5 --response-flush-delay 0 --disable-reloading",
    "--embedded-mode --orphan-interpreter --log-to-terminal",
    "--reload-on-changes --proxy-url-alias /more http://127.0.0.1:1/
     --ssl-certificate-file conf/server.crt --ssl-certificate-key-file conf/server.key",
    "--debug-mode --enable-debugger --debugger-startup --enable-coverage --coverage-directory data",
    "--enable-profiler --profiler-directory data --enable-recorder --recorder-directory data",
    "--enable-gdb --gdb-executable gdb --application-type module --entry-point app",
];

/// What is tried in `drop_in_effects.rs` only, since it needs more than mod_wsgi and httpd, or is
/// no part of the configuration; and what is said of every server that a test sets up.
const OTHERS: &str = "
    --enable-telemetry --telemetry-ui-port --free-threading --with-php5
    --ssl-port --httpd-executable --rotatelogs-executable --setup-only
    --port --log-level --locale --server-root --user --group";

fn options(text: &str) -> impl Iterator<Item = &str> {
    text.split_whitespace()
        .filter(|word| word.starts_with("--"))
}

/// A command that prints the names of all options.
const NAMES: &str = "
from mod_wsgi.express.options import option_list
print(*sorted(name for option in option_list for name in option._long_opts))";

#[test]
fn no_option_of_the_package_is_left_out_here() {
    let Some(package) = Package::find() else {
        return;
    };
    let known = run(package.python().args(["-c", NAMES])).stdout;
    let known = String::from_utf8(known).expect("names");
    let known: BTreeSet<&str> = known.split_whitespace().collect();
    let here = options(COMMON)
        .chain(options(OTHERS))
        .chain(KINDS.into_iter().flat_map(options));
    assert_eq!(here.collect::<BTreeSet<_>>(), known);
}

#[test]
fn everything_the_package_generates_is_accepted() {
    let Some(package) = Package::find() else {
        return;
    };
    let modules = run(Command::new("apxs").args(["-q", "LIBEXECDIR"])).stdout;
    let modules = String::from_utf8(modules).expect("a directory");
    let common = COMMON.replace("MODULES", modules.trim());
    for kind in KINDS {
        let site = flask()
            .certificate()
            .file("hook.py", "")
            .file("service.py", "")
            .file("empty.conf", "")
            .file("sockets/placeholder", "")
            .file("lib/placeholder", "");
        let mut command = package.express();
        command.arg("setup-server");
        if !kind.contains("--entry-point") {
            command.arg("app.py");
        }
        let words: Vec<_> = common
            .split_whitespace()
            .chain(kind.split_whitespace())
            .collect();
        let server = Express::set_up(site, package.clone(), command, &words);
        server.apachectl(&["configtest"]);
    }
}

/// Tells of itself what options have a say in.
const TELLING: &str = r#"
import json, os, sys

def chosen(environ, start_response):
    told = {name: environ.get(name, '') for name in (
        'SCRIPT_NAME', 'PATH_INFO', 'REQUEST_METHOD', 'REMOTE_ADDR', 'HTTP_HOST', 'NAME',
        'mod_wsgi.process_group', 'mod_wsgi.application_group', 'mod_wsgi.callable_object')}
    told.update(
        lib=str(any(path.endswith('/lib') for path in sys.path)),
        eggs=os.path.basename(os.environ.get('PYTHON_EGG_CACHE', '')),
        lang=os.environ.get('LANG', ''),
        warnings=' '.join(sys.warnoptions),
        interval='%.2f' % sys.getswitchinterval(),
        prefix=str(os.path.exists(sys.executable)),
        cwd=os.path.basename(os.getcwd()),
        threads=str(environ['wsgi.multithread']),
        processes=str(environ['wsgi.multiprocess']),
        authorization=environ.get('HTTP_AUTHORIZATION', ''),
        body=environ['wsgi.input'].read().decode())
    start_response('200 OK', [])
    return [json.dumps(told).encode()]
"#;

#[test]
fn options_have_their_effect() {
    let Some(package) = Package::find() else {
        return;
    };
    let options = "--mount-point /sub --callable-object chosen --application-group own
         --python-path lib --python-warnings error --setenv NAME value --chunked-request
         --switch-interval 0.02 --trust-proxy-header X-Forwarded-For --map-head-to-get Off
         --working-directory lib --lang C.UTF-8";
    let daemon = "--process-group named --processes 2 --threads 2 --python-eggs lib";
    for (mode, group) in [(daemon, "named"), ("--embedded-mode --threads 2", "")] {
        let site = Site::new()
            .without_subject()
            .file("telling.wsgi", TELLING)
            .file("lib/placeholder", "");
        let words: Vec<_> = options
            .split_whitespace()
            .chain(mode.split_whitespace())
            .collect();
        let mut command = package.express();
        command.args(["start-server", "telling.wsgi"]);
        let server = Express::start(site, package.clone(), command, &words);
        let ask = || {
            let curl = server.curl("/sub/path").args(["-u", "user:password"]);
            curl.args([
                "-H",
                "X-Forwarded-For: 192.0.2.7",
                "-H",
                "Transfer-Encoding: chunked",
            ])
            .args(["-d", "body"])
        };
        wait_until("the application", || {
            (ask().send().status == 200).then_some(())
        });
        let seen = told(&ask().send());
        for (name, value) in [
            ("SCRIPT_NAME", "/sub"),
            ("PATH_INFO", "/path"),
            ("REQUEST_METHOD", "POST"),
            ("REMOTE_ADDR", "192.0.2.7"),
            ("NAME", "value"),
            ("mod_wsgi.process_group", group),
            ("mod_wsgi.application_group", "own"),
            ("mod_wsgi.callable_object", "handle_request"),
            ("warnings", "error"),
            ("interval", "0.02"),
            ("prefix", "True"),
            ("threads", "True"),
            ("authorization", "Basic dXNlcjpwYXNzd29yZA=="),
            ("body", "body"),
        ] {
            assert_eq!(seen[name], value, "{mode}: {name}");
        }
        if group == "named" {
            for (name, value) in [
                ("lib", "True"),
                ("eggs", "lib"),
                ("lang", "C.UTF-8"),
                ("cwd", "lib"),
                ("processes", "True"),
            ] {
                assert_eq!(seen[name], value, "{name}");
            }
        }
        assert_eq!(
            server.get("/other").status,
            404,
            "{mode}: beside the mount point"
        );
    }
}
