//! The environment of this process, for names that are made of it for each request.
//!
//! As it was when the child started, before any Python: an application in the same process changes
//! it by `os.environ` at any time, and C's `getenv` may not be called beside `setenv`.

use std::collections::HashMap;
use std::env;
use std::os::unix::ffi::OsStringExt as _;
use std::sync::OnceLock;

type Environment = HashMap<Vec<u8>, Vec<u8>>;

static ENVIRONMENT: OnceLock<Environment> = OnceLock::new();

/// When a child starts, while it has one thread.
pub(crate) fn keep() {
    kept();
}

/// A variable of the environment.
pub(super) fn variable(name: &[u8]) -> Option<&'static [u8]> {
    kept().get(name).map(Vec::as_slice)
}

fn kept() -> &'static Environment {
    ENVIRONMENT.get_or_init(|| {
        let mut environment = Environment::new();
        for (name, value) in env::vars_os() {
            // Of two of one name C has the first.
            let place = environment.entry(name.into_vec());
            place.or_insert_with(|| value.into_vec());
        }
        environment
    })
}
