//! Python as an application finds it, over a host in memory: interpreters and threads, script
//! loading, log streams, the modules `mod_wsgi` and `apache`.
//!
//! One Python runs for all tests, which the test runner's threads share as httpd's would.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "memory/mod.rs"]
#[expect(dead_code, unreachable_pub, reason = "shared by test binaries")]
mod memory;

#[path = "python/hook.rs"]
mod hook;
#[path = "python/interpreters.rs"]
mod interpreters;
#[path = "python/modules.rs"]
mod modules;
#[path = "python/scripts.rs"]
mod scripts;
#[path = "python/simplified_gil.rs"]
mod simplified_gil;
#[path = "python/streams.rs"]
mod streams;

use std::sync::OnceLock;

use engine_abi::Bytes;

/// A directory on `WSGIPythonPath`.
fn site_directory() -> &'static str {
    static DIRECTORY: OnceLock<(tempfile::TempDir, String)> = OnceLock::new();
    let (_, path) = DIRECTORY.get_or_init(|| {
        let directory = tempfile::tempdir().unwrap();
        let package = directory.path().join("mod_wsgi");
        std::fs::create_dir(&package).unwrap();
        std::fs::write(package.join("__init__.py"), "raise AssertionError('run')").unwrap();
        std::fs::write(package.join("extra.py"), "answer = 42").unwrap();
        std::fs::write(directory.path().join("here.py"), "answer = 43").unwrap();
        let path = directory.path().to_str().unwrap().to_owned();
        (directory, path)
    });
    path
}

fn configure(config: &mut engine_abi::ProcessConfig<'_>) {
    config.python_path = Bytes::from(site_directory());
    config.python_eggs = Bytes::new(b"/var/cache/eggs");
    config.restrict_stdin = true;
}

/// A script whose application answers with the value of an expression.
fn telling(expression: &str) -> String {
    format!(
        "def application(environ, start_response):
    start_response('200 OK', [])
    return [str({expression}).encode()]
"
    )
}
