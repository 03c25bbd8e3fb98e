//! What is true of a process as a whole: how Python is started, and how it ends.
//!
//! Python is started once in a process, so each test runs in one of its own: this program again,
//! with the test's name.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "memory/mod.rs"]
#[expect(dead_code, unreachable_pub, reason = "shared by test binaries")]
mod memory;

#[path = "process/api.rs"]
mod api;
#[path = "process/end.rs"]
mod end;
#[path = "process/newcomers.rs"]
mod newcomers;
#[path = "process/start.rs"]
mod start;

use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use engine_abi::{Bytes, ProcessConfig};

/// What a test changes in the configuration.
type Configure = fn(&mut ProcessConfig<'_>);

static CONFIGURE: OnceLock<Configure> = OnceLock::new();

/// Names the test whose process this is.
const TEST: &str = "ENGINE_TEST_PROCESS";

fn configure(config: &mut ProcessConfig<'_>) {
    if let Some(configure) = CONFIGURE.get() {
        configure(config);
    }
}

/// Runs a test in a process of its own, with this configuration.
fn in_own_process(name: &str, configure: Configure, test: fn()) {
    if std::env::var(TEST).is_ok_and(|test| test == name) {
        assert!(CONFIGURE.set(configure).is_ok(), "one test in a process");
        return test();
    }
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", name, "--nocapture"])
        .env(TEST, name);
    let mut process = command.stdin(Stdio::null()).spawn().unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    let status = loop {
        if let Some(status) = process.try_wait().unwrap() {
            break status;
        }
        if Instant::now() > deadline {
            process.kill().unwrap();
            panic!("the process of {name} does not end");
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    assert!(status.success(), "{name}: {status}");
}

fn wait_until(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !holds() {
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Stops the engine; what it returns, and how long that took.
fn stop(limit: Duration) -> (i32, Duration) {
    let began = Instant::now();
    let limit = u32::try_from(limit.as_millis()).unwrap();
    // SAFETY: the reason lives until the call returns.
    let status = unsafe { (memory::engine().stop)(Bytes::new(b"test"), limit) };
    (status, began.elapsed())
}
