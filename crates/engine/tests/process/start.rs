//! The start of Python, and what the configuration changes in it.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use engine_abi::{Bytes, Outcome, Slice};

use crate::in_own_process;
use crate::memory::{App, server_log, start};

const WARNINGS: &[Bytes<'_>] = &[Bytes::new(b"ignore"), Bytes::new(b"error::UserWarning")];

/// The value of an expression.
fn told(group: &str, expression: &str) -> String {
    let app = App::new(&format!(
        "
import sys, os, warnings, mod_wsgi

def application(environ, start_response):
    start_response('200 OK', [])
    return [str({expression}).encode()]
"
    ));
    app.ask().group(group).answer().text()
}

#[test]
fn the_directives_reach_python() {
    in_own_process(
        "start::the_directives_reach_python",
        |config| {
            config.python_optimize = 2;
            config.python_hash_seed = 1;
            config.python_warnings = Slice::new(WARNINGS);
        },
        || {
            assert_eq!(told("", "sys.flags.optimize"), "2");
            assert_eq!(
                told("", "sys.warnoptions"),
                "['ignore', 'error::UserWarning']"
            );
            let python = std::process::Command::new(env!("ENGINE_PYTHON"))
                .args(["-c", "print(hash('seed'), end='')"])
                .env("PYTHONHASHSEED", "1")
                .output()
                .unwrap();
            assert_eq!(
                told("", "hash('seed')"),
                String::from_utf8(python.stdout).unwrap()
            );
        },
    );
}

#[test]
fn a_restricted_stdout_says_so() {
    in_own_process(
        "start::a_restricted_stdout_says_so",
        |config| config.restrict_stdout = true,
        || {
            let app = App::new("print('no')\n");
            let answer = app.ask().group("blog").answer();
            answer.assert_refused("OSError: sys.stdout access is restricted");
        },
    );
}

#[test]
fn signals_can_be_left_to_the_application() {
    in_own_process(
        "start::signals_can_be_left_to_the_application",
        |config| config.restrict_signal = false,
        || {
            let told = told("", "type(__import__('signal').signal).__name__");
            assert_eq!(told, "function");
        },
    );
}

#[test]
fn a_forked_process_may_handle_signals() {
    in_own_process(
        "start::a_forked_process_may_handle_signals",
        |_| {},
        || {
            // After a fork the thread that forked is the main thread.
            let app = App::new(
                "
import os, signal

def handler(*arguments): pass

def application(environ, start_response):
    start_response('200 OK', [])
    pid = os.fork()
    if pid == 0:
        signal.signal(signal.SIGUSR1, handler)
        os._exit(42 if signal.getsignal(signal.SIGUSR1) is handler else 1)
    return [str(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])).encode()]
",
            );
            assert_eq!(app.ask().answer().text(), "42");
        },
    );
}

#[test]
fn script_names_can_be_without_case() {
    in_own_process(
        "start::script_names_can_be_without_case",
        |config| config.case_sensitive = false,
        || {
            let told = told(
                "",
                "__name__ == '_mod_wsgi_' + \
                 __import__('hashlib').md5(__file__.lower().encode()).hexdigest()",
            );
            assert_eq!(told, "True");
        },
    );
}

/// A directory whose `.pth` file breaks interpreters that are made while `BREAK` is set.
fn breaking_directory() -> &'static str {
    static DIRECTORY: OnceLock<(tempfile::TempDir, String)> = OnceLock::new();
    let (_, path) = DIRECTORY.get_or_init(|| {
        let directory = tempfile::tempdir().unwrap();
        let code = "import sys, os; os.environ.get('BREAK') and vars(sys).pop('modules')\n";
        std::fs::write(directory.path().join("break.pth"), code).unwrap();
        let path = directory.path().to_str().unwrap().to_owned();
        (directory, path)
    });
    path
}

#[test]
fn an_interpreter_that_cannot_be_set_up_is_explained_and_tried_again() {
    in_own_process(
        "start::an_interpreter_that_cannot_be_set_up_is_explained_and_tried_again",
        |config| config.python_path = Bytes::from(breaking_directory()),
        || {
            told("", "os.environ.update(BREAK='1')");
            let answer = App::new("").ask().group("blog").answer();
            answer.assert_refused("WSGI0087: Unable to acquire sub-interpreter 'blog'");
            let log = server_log();
            let said = log.iter().find(|line| line.starts_with("WSGI0103: "));
            assert!(
                said.is_some_and(|line| line.contains("AttributeError")),
                "{log:#?}"
            );
            // The next request is refused without another attempt, and the log says why.
            let answer = App::new("").ask().group("blog").answer();
            answer.assert_refused("it is tried again in 1 s");
            let log = server_log();
            let attempts = log.iter().filter(|line| line.starts_with("WSGI0103: "));
            assert_eq!(attempts.count(), 1, "{log:#?}");
            told("", "os.environ.pop('BREAK')");
            let began = Instant::now();
            let app = App::new(
                "def application(e, start_response): start_response('200 OK', []); return []",
            );
            while app.ask().group("blog").answer().parts.is_empty() {
                assert!(began.elapsed() < Duration::from_secs(20));
                std::thread::sleep(Duration::from_millis(10));
            }
            assert_eq!(told("blog", "mod_wsgi.application_group"), "blog");
            assert_eq!(crate::stop(Duration::from_secs(20)).0, 0);
        },
    );
}

/// A virtual environment, as far as Python looks at it: its `pyvenv.cfg` and its interpreter.
fn virtual_environment() -> &'static str {
    static HOME: OnceLock<(tempfile::TempDir, String)> = OnceLock::new();
    let (_, path) = HOME.get_or_init(|| {
        let directory = tempfile::tempdir().unwrap();
        let python = PathBuf::from(env!("ENGINE_PYTHON"));
        let home = python.parent().unwrap().display();
        std::fs::write(
            directory.path().join("pyvenv.cfg"),
            format!("home = {home}\n"),
        )
        .unwrap();
        std::fs::create_dir(directory.path().join("bin")).unwrap();
        symlink(&python, directory.path().join("bin/python")).unwrap();
        let path = directory.path().to_str().unwrap().to_owned();
        (directory, path)
    });
    path
}

#[test]
fn the_home_can_be_a_virtual_environment() {
    in_own_process(
        "start::the_home_can_be_a_virtual_environment",
        |config| config.python_home = Bytes::from(virtual_environment()),
        || {
            let home = virtual_environment();
            assert_eq!(told("", "sys.prefix"), home);
            assert_eq!(told("blog", "sys.prefix != sys.base_prefix"), "True");
            assert_eq!(told("", "sys.executable"), format!("{home}/bin/python"));
        },
    );
}

/// `multiprocessing`, for one, starts it.
#[test]
fn the_interpreter_of_a_home_is_the_one_that_is_there() {
    in_own_process(
        "start::the_interpreter_of_a_home_is_the_one_that_is_there",
        |config| config.python_home = Bytes::from(installation()),
        || {
            let home = installation();
            assert_eq!(told("", "sys.prefix"), home);
            let program = format!("{home}/bin/{}", env!("ENGINE_PROGRAM"));
            assert_eq!(told("", "sys.executable"), program);
        },
    );
}

/// Where the Python is installed that the engine is for.
fn installation() -> &'static str {
    let python = Path::new(env!("ENGINE_PYTHON"));
    let home = python.parent().and_then(Path::parent).unwrap();
    home.to_str().unwrap()
}

#[test]
fn a_home_without_python_is_explained() {
    in_own_process(
        "start::a_home_without_python_is_explained",
        |config| config.python_home = Bytes::new(b"/nowhere/at/all"),
        || {
            assert_ne!(start().1, 0);
            let log = server_log();
            let line = |id: &str| log.iter().any(|line| line.starts_with(id));
            assert!(line("WSGI0100: ") && line("WSGI0036: "), "{log:#?}");
            let answer = App::new("").ask().answer();
            assert_eq!(
                (answer.outcome.kind, answer.outcome.status),
                (Outcome::REFUSED, 500)
            );
            assert!(answer.log_text().starts_with("WSGI0087: "), "{answer:#?}");
        },
    );
}
