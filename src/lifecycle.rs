//! The life of a configuration and of a child, as far as it concerns us.
//!
//! httpd reads its configuration twice as it starts, the first time only to see whether it could.
//! Whatever is to be done once per configuration is done in [`post_config`], in the phase that
//! counts. No Python runs in the parent, ever.

use std::ffi::CString;

use engine_abi::COMPATIBLE_VERSION;
use httpd::hook::Configured;
use httpd::process::{self, Phase};
use httpd::{Pool, Server, Status};

use crate::{Wsgi, config, embedded, engines, supervise};

/// When httpd is only to test its configuration (`httpd -t`): looks for mistakes that are no
/// errors. It is also called when httpd only shows its configuration, which asks for no remarks.
pub(crate) fn test_config(pool: Pool<'_>, base: Server<'_>) {
    if process::phase() == Phase::Test {
        config::check(pool, base);
    }
}

/// When httpd has read a configuration that it is going to run with: looks for mistakes that are no
/// errors, and introduces the module in the server's banner.
pub(crate) fn post_config(configured: Configured<'_>) -> Status {
    if process::phase() == Phase::Run {
        config::check(configured.pool, configured.server);
        introduce(configured.pool, configured.server);
    }
    Status::OK
}

/// `mod_wsgi/6.1.1 Python/3.11`: administrators, and their scripts, look for these. That there is
/// no engine, if so, the checks have told.
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
