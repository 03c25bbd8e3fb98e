//! Applies what trusted proxies say about the client to the variables of a request.
//!
//! `wsgi_config::proxies` decides which headers are believed and what they mean. Runs while the
//! environ is built.

use std::ffi::{CStr, CString};

use httpd::{Pool, Request, Table};
use wsgi_config::proxies::{self, Environ, Scheme};

use crate::config::RequestConfig;

/// Applies the headers of trusted proxies. Returns the scheme that they state.
pub(crate) fn apply(request: Request<'_>, config: &RequestConfig<'_>) -> Option<Scheme> {
    if config.trusted_proxy_headers.is_empty() {
        return None;
    }
    let mut variables = Variables {
        pool: request.pool(),
        env: request.subprocess_env(),
    };
    proxies::apply(
        config.trusted_proxy_headers,
        config.trusted_proxies,
        &mut variables,
    )
}

/// The variables of a request.
struct Variables<'r> {
    pool: Pool<'r>,
    env: Table<'r>,
}

impl Environ for Variables<'_> {
    fn variable(&self, name: &str) -> Option<Vec<u8>> {
        let value = self.env.get(&c_name(name))?;
        Some(value.to_bytes().to_vec())
    }

    fn set(&mut self, name: &str, value: &[u8]) {
        self.env
            .set(self.pool.copy(name.as_bytes()), self.pool.copy(value));
    }

    fn remove(&mut self, name: &str) {
        self.env.unset(&c_name(name));
    }
}

fn c_name(name: &str) -> CString {
    CString::new(name).unwrap_or_else(|_| CStr::to_owned(c""))
}
