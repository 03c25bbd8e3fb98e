//! The commands of `apxs/`, run as a person runs them.
//!
//! They build and serve what is in this repository, whatever `MOD_WSGI_SO` names.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Output, Stdio};
use std::thread;

use rstest::rstest;
use tempfile::{NamedTempFile, TempDir};
use testkit::{Connection, Mpm, Process, Request, Response, Site, wait_until};

use crate::daemon_program;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// A command of `apxs/`; see [`command_of`].
pub(crate) fn command(name: &str) -> Command {
    command_of(&Path::new(ROOT).join("apxs").join(name))
}

/// A command with the environment of a login, not that of `cargo test`.
pub(crate) fn command_of(program: &Path) -> Command {
    let mut command = Command::new(program);
    command.stdin(Stdio::null());
    for (variable, _) in std::env::vars_os() {
        let text = variable.to_string_lossy();
        if text.starts_with("CARGO") || text.starts_with("RUST") {
            command.env_remove(&variable);
        }
    }
    for variable in ["LD_LIBRARY_PATH", "VIRTUAL_ENV"] {
        command.env_remove(variable);
    }
    for variable in ["CARGO_HOME", "RUSTUP_HOME"] {
        if let Some(value) = std::env::var_os(variable) {
            command.env(variable, value);
        }
    }
    command
}

/// A directory that the user httpd runs as may read.
fn directory() -> TempDir {
    let directory = tempfile::tempdir().expect("a temporary directory");
    set_mode(directory.path(), 0o755);
    directory
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("chmod");
}

fn write(path: &Path, text: &str) {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).expect("a directory");
    }
    fs::write(path, text).expect("a file");
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Runs `command`, which must fail with exactly one line that contains `cause` and `remedy`.
#[track_caller]
fn fails_in_one_line(command: &mut Command, cause: &str, remedy: &str) {
    let output = command.output().expect("the command runs");
    let text = stderr(&output);
    assert!(!output.status.success(), "it must fail:\n{text}");
    assert_eq!(text.lines().count(), 1, "one line, not:\n{text}");
    assert!(text.contains(cause), "{cause:?} in {text}");
    assert!(text.contains(remedy), "{remedy:?} in {text}");
    assert!(output.stdout.is_empty(), "{:?}", output.stdout);
}

#[track_caller]
fn succeeds(command: &mut Command) -> String {
    let output = command.output().expect("the command runs");
    let text = stderr(&output);
    assert!(output.status.success(), "{text}");
    text
}

// --- what cannot work says why, at once -------------------------------------------------------

#[rstest]
#[case::unknown_option(&["--mpn", "event"], "--mpn", "--help")]
#[case::option_without_value(&["--port"], "--port", "--help")]
#[case::no_number(&["--port", "http"], "http", "1 to 65535")]
#[case::no_port(&["--port", "65536"], "65536", "1 to 65535")]
#[case::no_mpm(&["--mpm", "threads"], "threads", "event, worker or prefork")]
#[case::missing_script(&["/nowhere/site.wsgi"], "/nowhere/site.wsgi does not exist", "name the file")]
#[case::directory(&["/tmp"], "/tmp is not a file", "name the file")]
#[case::no_python(&["--python", "/nowhere/python"], "/nowhere/python", "--python")]
#[case::another_program(&["--python", "/bin/ls"], "/bin/ls", "--python")]
fn serve_refuses(#[case] arguments: &[&str], #[case] cause: &str, #[case] remedy: &str) {
    let port = free_port().to_string();
    let mut serve = command("serve");
    // The last one counts.
    serve.args(["--port", &port]).args(arguments);
    fails_in_one_line(&mut serve, cause, remedy);
}

#[test]
fn serve_refuses_a_script_that_httpd_cannot_read() {
    let directory = directory();
    let script = directory.path().join("secret.wsgi");
    write(&script, "application = None\n");
    // For root it is another user who must read it; for others a mode for nobody will do.
    set_mode(&script, 0o000);
    fails_in_one_line(
        command("serve").arg(&script),
        "cannot read",
        script.to_str().expect("UTF-8"),
    );
}

#[test]
fn serve_refuses_a_port_in_use() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    fails_in_one_line(
        command("serve").args(["--port", &port.to_string()]),
        &format!("port {port} is in use"),
        "--port",
    );
}

/// A `PATH` with what the commands need before they look for Rust, and no more.
fn path_without_rust() -> TempDir {
    let directory = directory();
    for tool in ["basename", "dirname", "id", "sed", "realpath", "cat"] {
        let real = ["/usr/bin", "/bin"].map(|place| Path::new(place).join(tool));
        let real = real
            .iter()
            .find(|path| path.exists())
            .expect("a basic tool");
        symlink(real, directory.path().join(tool)).expect("a link");
    }
    directory
}

#[rstest]
fn without_rust_it_says_where_to_find_it(#[values("build", "serve", "test")] name: &str) {
    let path = path_without_rust();
    let mut command = command(name);
    command
        .env_remove("CARGO_HOME")
        .env("HOME", path.path())
        .env("PATH", path.path());
    fails_in_one_line(&mut command, "no Rust toolchain", "https://rustup.rs");
}

/// Whether all of Python is in its program.
#[derive(Clone, Copy)]
enum Program {
    Whole,
    /// It loads a library.
    Thin,
}

/// A Python that says of itself that its build value `name` is `value`.
fn python_with(directory: &Path, program: Program, name: &str, value: &str) -> PathBuf {
    let wrapper = directory.join("python");
    let loaded = match program {
        Program::Whole => "None",
        Program::Thin => "sysconfig.get_config_var('INSTSONAME')",
    };
    let program = format!(
        "import ctypes, runpy, sys, sysconfig\n\
         loaded = ctypes.CDLL({loaded})\n\
         real = sysconfig.get_config_var\n\
         sysconfig.get_config_var = lambda name: {value} if name == {name:?} else real(name)\n\
         runpy.run_path(sys.argv[1])\n"
    );
    write(&directory.join("wrapper.py"), &program);
    let script = format!(
        "#!/bin/sh\nexec /usr/bin/python3 -I {}/wrapper.py \"$2\"\n",
        directory.display()
    );
    write(&wrapper, &script);
    set_mode(&wrapper, 0o755);
    wrapper
}

#[rstest]
#[case::static_python("Py_ENABLE_SHARED", "0", "has no shared libpython")]
#[case::no_library("LDLIBRARY", "'libpython-gone.so'", "has no shared libpython")]
#[case::no_headers("INCLUDEPY", "'/nowhere'", "has no headers (/nowhere/Python.h)")]
fn an_unsuitable_python_is_named_with_its_remedy(
    #[case] name: &str,
    #[case] value: &str,
    #[case] complaint: &str,
    #[values("build", "serve")] tool: &str,
) {
    let directory = directory();
    let python = python_with(directory.path(), Program::Thin, name, value);
    let mut command = command(tool);
    if tool == "serve" {
        command.args(["--port", &free_port().to_string()]);
    }
    fails_in_one_line(command.arg("--python").arg(python), complaint, "install");
}

#[test]
fn a_python_without_a_shared_library_is_for_daemon_mode() {
    let directory = directory();
    let python = python_with(directory.path(), Program::Whole, "Py_ENABLE_SHARED", "0");
    let mut command = command("serve");
    command.args(["--port", &free_port().to_string(), "--python"]);
    fails_in_one_line(command.arg(python), "no shared library", "--processes");
}

#[test]
fn two_engines_for_one_version_are_refused() {
    fails_in_one_line(
        command("build").args([
            "--python",
            "/usr/bin/python3",
            "--python",
            "/usr/bin/python3",
        ]),
        "two Pythons",
        "one engine",
    );
}

#[rstest]
fn help_is_the_comment_at_the_top(
    #[values("build", "install", "serve", "test", "uninstall")] name: &str,
) {
    let output = command(name).arg("--help").output().expect("it runs");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    assert!(output.status.success());
    assert!(text.starts_with(&format!("Usage: apxs/{name}")), "{text}");
    assert!(!text.contains("set -euo"), "{text}");
}

// --- serving ----------------------------------------------------------------------------------

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address").port()
}

/// A running `apxs/serve`, its private server root in a directory of its own.
struct Served {
    child: Child,
    stdout: BufReader<ChildStdout>,
    port: u16,
    temporary: TempDir,
    log: NamedTempFile,
}

impl Served {
    /// Starts it and waits until it has printed its URL.
    fn start(prepare: impl FnOnce(&mut Command)) -> Self {
        let port = free_port();
        let temporary = directory();
        let log = NamedTempFile::new().expect("a log");
        let mut command = command("serve");
        command.args(["--port", &port.to_string()]);
        command.env("TMPDIR", temporary.path());
        command.stdout(Stdio::piped());
        command.stderr(log.reopen().expect("the log"));
        prepare(&mut command);
        let mut child = command.spawn().expect("it runs");
        let stdout = BufReader::new(child.stdout.take().expect("it is piped"));
        let mut served = Self {
            child,
            stdout,
            port,
            temporary,
            log,
        };
        let url = format!("http://localhost:{port}/");
        while served.line().expect("it prints its URL").trim() != url {}
        served
    }

    /// What it and httpd wrote to standard error.
    fn log(&self) -> String {
        fs::read_to_string(self.log.path()).expect("the log")
    }

    /// The next line it prints, if there is one.
    fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        let length = self.stdout.read_line(&mut line).expect("UTF-8");
        (length > 0).then_some(line)
    }

    fn answer(&self, target: &str) -> Response {
        let mut connection = Connection::open(([127, 0, 0, 1], self.port).into());
        connection.send(
            &Request::get(target)
                .header("Connection", "close")
                .to_bytes(),
        );
        connection.read_response()
    }

    fn signal(&mut self, signal: &str) -> ExitStatus {
        // By the shell, which knows how to; the program `kill` is not on every machine.
        let kill = format!("kill {signal} {}", self.child.id());
        let sent = Command::new("sh").args(["-c", &kill]).status();
        assert!(sent.expect("sh").success(), "{kill}");
        wait_until("apxs/serve to end", || {
            self.child.try_wait().expect("it is ours")
        })
    }

    fn leftovers(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.temporary.path()).expect("the directory");
        entries
            .map(|entry| entry.expect("an entry").path())
            .collect()
    }
}

impl Drop for Served {
    #[expect(
        clippy::print_stdout,
        reason = "a failed test shows what the command wrote"
    )]
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            self.signal("-TERM");
        }
        if thread::panicking() {
            println!("apxs/serve wrote:\n{}", self.log());
        }
    }
}

#[rstest]
fn the_sample_is_served_under_each_mpm(#[values(Mpm::Event, Mpm::Worker, Mpm::Prefork)] mpm: Mpm) {
    let mut served = Served::start(|serve| {
        serve.args(["--mpm", mpm.name()]);
    });
    let response = served.answer("/some/path?a=b");
    assert_eq!(response.status, 200);
    assert!(
        response.text().contains("<h1>Python answers</h1>"),
        "{}",
        response.text()
    );
    assert!(
        response.text().contains("/some/path"),
        "{}",
        response.text()
    );
    assert_eq!(
        served.leftovers().len(),
        1,
        "its server root: {:?}",
        served.leftovers()
    );

    let status = served.signal("-INT");
    assert!(status.success(), "Ctrl-C is a clean end: {status}");
    assert_eq!(served.leftovers(), Vec::<PathBuf>::new());
    TcpListener::bind(("127.0.0.1", served.port)).expect("nobody listens any more");
}

/// A script in a package, named relative to the working directory, in a place whose name needs
/// quoting; it imports as Django's `wsgi.py` does.
#[test]
fn a_script_imports_from_beside_its_package() {
    let directory = directory();
    let project = directory.path().join("a \"site\"");
    write(&project.join("site/__init__.py"), "");
    write(
        &project.join("site_settings.py"),
        "NAME = 'beside the package'\n",
    );
    write(
        &project.join("site/wsgi.py"),
        "import site_settings\n\
         def app(environ, start_response):\n\
         \x20   start_response('200 OK', [('Content-Type', 'text/plain')])\n\
         \x20   return [site_settings.NAME.encode()]\n",
    );
    let served = Served::start(|serve| {
        serve.current_dir(&project);
        serve.args(["site/wsgi.py", "--callable", "app"]);
    });
    assert_eq!(served.answer("/").text(), "beside the package");
}

/// Says as JSON where it runs.
const WHERE: &str = "
import json, mod_wsgi, os

def application(environ, start_response):
    start_response('200 OK', [('Content-Type', 'application/json')])
    return [json.dumps({
        'group': mod_wsgi.process_group,
        'processes': mod_wsgi.maximum_processes,
        'threads': mod_wsgi.threads_per_process,
        'pid': os.getpid(),
    }).encode()]
";

#[test]
fn a_script_is_served_in_daemon_mode() {
    let directory = directory();
    let script = directory.path().join("where.wsgi");
    write(&script, WHERE);
    let mut served = Served::start(|serve| {
        serve.arg(&script);
        serve.args(["--processes", "2", "--threads", "3"]);
    });
    let response = served.answer("/");
    assert_eq!(response.status, 200);
    let answer: serde_json::Value = serde_json::from_slice(&response.body).expect("JSON");
    assert_eq!(answer["group"], "serve", "{answer}");
    assert_eq!(answer["processes"], 2, "{answer}");
    assert_eq!(answer["threads"], 3, "{answer}");
    let pid = answer["pid"].as_i64().and_then(|pid| pid.try_into().ok());
    let serve = Process {
        pid: served.child.id().try_into().expect("a process id"),
    };
    let processes = serve.descendants();
    assert!(processes.iter().any(|process| Some(process.pid) == pid));

    assert!(served.signal("-INT").success(), "Ctrl-C is a clean end");
    assert_eq!(served.leftovers(), Vec::<PathBuf>::new());
    // What passed its output on ends behind it.
    wait_until("no process to be left", || {
        (!processes.iter().any(|process| process.is_running())).then_some(())
    });
    TcpListener::bind(("127.0.0.1", served.port)).expect("nobody listens any more");
}

#[test]
fn a_script_that_fails_shows_its_traceback() {
    let directory = directory();
    let script = directory.path().join("broken.wsgi");
    write(&script, "raise LookupError('nothing here')\n");
    let served = Served::start(|serve| {
        serve.arg(&script);
    });
    assert_eq!(served.answer("/").status, 500);
    wait_until("the traceback", || {
        served
            .log()
            .contains("LookupError: nothing here")
            .then_some(())
    });
}

// --- installing -------------------------------------------------------------------------------

/// The files below `directory`, relative to it.
fn files(directory: &Path) -> Vec<String> {
    let output = Command::new("find")
        .args([".", "!", "-type", "d"])
        .current_dir(directory)
        .output()
        .expect("find");
    let mut names: Vec<String> = String::from_utf8(output.stdout)
        .expect("UTF-8")
        .lines()
        .map(str::to_owned)
        .collect();
    names.sort();
    names
}

fn run_below(name: &str, directory: &Path) -> String {
    succeeds(command(name).arg("--destdir").arg(directory))
}

fn apxs_value(name: &str) -> String {
    let output = Command::new("apxs")
        .args(["-q", name])
        .output()
        .expect("apxs");
    String::from_utf8(output.stdout)
        .expect("UTF-8")
        .trim()
        .to_owned()
}

#[test]
fn what_is_installed_is_taken_away_again() {
    succeeds(&mut command("build"));
    let directory = directory();
    let modules = apxs_value("LIBEXECDIR");
    let beside = directory.path().join(&modules[1..]).join("mod_wsgi");
    let built = Path::new(ROOT).join("target/dist/mod_wsgi.so");
    let tag = daemon_program::tag(&built);
    let links = [format!("libpython-{tag}.so"), format!("python-{tag}")];
    fs::create_dir_all(&beside).expect("a place");
    for link in &links {
        symlink("/what/there/was", beside.join(link)).expect("a link");
    }
    run_below("install", directory.path());
    for link in links {
        let built = built.with_file_name("mod_wsgi").join(&link);
        let (installed, built) = (fs::read_link(beside.join(&link)), fs::read_link(built));
        assert_eq!(installed.ok(), built.ok(), "{link}");
    }

    let installed = files(directory.path());
    assert!(
        installed.contains(&format!(".{modules}/mod_wsgi.so")),
        "{installed:?}"
    );
    let engine = directory
        .path()
        .join(&modules[1..])
        .join("mod_wsgi/wsgi-engine.so");
    assert!(
        engine.exists(),
        "the default engine is there: {installed:?}"
    );

    run_below("uninstall", directory.path());
    assert_eq!(files(directory.path()), Vec::<String>::new());
    fails_in_one_line(
        command("uninstall").arg("--destdir").arg(directory.path()),
        "is not there",
        "nothing to take away",
    );
}

#[test]
fn a_changed_configuration_outlives_both() {
    if !Path::new("/etc/debian_version").exists() {
        return;
    }
    succeeds(&mut command("build"));
    let directory = directory();
    run_below("install", directory.path());
    let available = directory.path().join("etc/apache2/mods-available");
    let load = fs::read_to_string(available.join("wsgi.load")).expect("wsgi.load");
    assert_eq!(
        load,
        format!(
            "LoadModule wsgi_module {}/mod_wsgi.so\n",
            apxs_value("LIBEXECDIR")
        )
    );

    write(&available.join("wsgi.conf"), "WSGIPythonOptimize 1\n");
    run_below("install", directory.path());
    run_below("uninstall", directory.path());
    assert_eq!(
        files(directory.path()),
        ["./etc/apache2/mods-available/wsgi.conf"]
    );
    let kept = fs::read_to_string(available.join("wsgi.conf")).expect("wsgi.conf");
    assert_eq!(kept, "WSGIPythonOptimize 1\n");
}

/// The shipped `wsgi.conf` is all comments; each directive in it must be right when its mark is
/// taken away.
#[test]
fn the_shipped_configuration_may_be_uncommented() {
    let shipped = fs::read_to_string(Path::new(ROOT).join("apxs/wsgi.conf")).expect("wsgi.conf");
    let directives = shipped.matches("    #WSGI").count();
    assert!(directives > 10, "{directives}");
    let uncommented = shipped.replace("    #WSGI", "    WSGI");
    for configuration in [shipped, uncommented] {
        let answer = Site::new().config(&configuration).configtest();
        assert!(answer.success, "{}", answer.text);
    }
}
