//! PEP 3333 as an application sees it, over a host in memory: environ, input, the response.
//!
//! One Python runs for all tests, which the test runner's threads share as httpd's would.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "memory/mod.rs"]
#[expect(dead_code, unreachable_pub, reason = "shared by test binaries")]
mod memory;

#[path = "wsgi/delivery.rs"]
mod delivery;
#[path = "wsgi/environ.rs"]
mod environ;
#[path = "wsgi/file_wrapper.rs"]
mod file_wrapper;
#[path = "wsgi/input.rs"]
mod input;
#[path = "wsgi/late.rs"]
mod late;
#[path = "wsgi/start_response.rs"]
mod start_response;

/// The process is configured as the host in memory does it.
fn configure(_: &mut engine_abi::ProcessConfig<'_>) {}
