//! Hooks for the life of a configuration and of a child.
//!
//! httpd reads its configuration twice when it starts, the first time only as a test. Everything
//! that must be done once per configuration is done in [`post_config`], in the run phase. No Python
//! ever runs in the parent.

use std::ffi::CString;

use engine_abi::COMPATIBLE_VERSION;
use httpd::hook::Configured;
use httpd::process::{self, Phase};
use httpd::{Pool, Server, Status};

use crate::{Wsgi, config, embedded, engines, supervise};

/// Warns of mistakes when httpd only tests its configuration (`httpd -t`). The hook is also called
/// when httpd only prints its configuration, without warnings then.
pub(crate) fn test_config(pool: Pool<'_>, base: Server<'_>) {
    if process::phase() == Phase::Test {
        config::check(pool, base);
    }
}

/// Warns of mistakes when httpd has read a configuration that it will run with, and adds the module
/// to the server's banner.
pub(crate) fn post_config(configured: Configured<'_>) -> Status {
    if process::phase() == Phase::Run {
        config::check(configured.pool, configured.server);
        introduce(configured.pool, configured.server);
    }
    Status::OK
}

/// Adds `mod_wsgi/6.1.1 Python/3.11` to the banner, which administrators and their scripts look
/// for. A missing engine has been reported by the checks.
fn introduce(pool: Pool<'_>, base: Server<'_>) {
    let [major, minor, patch] = COMPATIBLE_VERSION;
    add_component(pool, &format!("mod_wsgi/{major}.{minor}.{patch}"));
    if let Ok(engine) = engines::of(base.config::<Wsgi>().process()) {
        add_component(pool, &format!("Python/{}", engine.python.number()));
    }
}

fn add_component(pool: Pool<'_>, component: &str) {
    process::add_version_component(pool, &CString::new(component).unwrap_or_default());
}

/// When a child starts.
pub(crate) fn child_init(pool: Pool<'_>, base: Server<'_>) {
    config::environment::keep();
    supervise::child_init(base);
    embedded::child_init(pool, base);
}
