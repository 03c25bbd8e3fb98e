//! What mod_ssl tells other modules, where it is loaded.

use std::ffi::CStr;
use std::sync::OnceLock;

use httpd_sys as sys;
use httpd_sys::ssl::{SSL_IS_HTTPS, SSL_VAR_LOOKUP, SslIsHttps, SslVarLookup};

use crate::connection::Connection;
use crate::request::Request;
use crate::text;

/// Whether a connection is encrypted.
pub(crate) fn is_https(connection: Connection<'_>) -> bool {
    let Some(ssl_is_https) = functions().is_https else {
        return false;
    };
    // SAFETY: the function is mod_ssl's and takes any connection.
    unsafe { ssl_is_https(connection.as_ptr()) != 0 }
}

impl<'r> Request<'r> {
    /// A variable of mod_ssl's, such as `SSL_CLIENT_S_DN`.
    pub fn ssl_variable(self, name: &CStr) -> Option<&'r CStr> {
        let ssl_var_lookup = functions().var_lookup?;
        let name = self.pool().copy(name.to_bytes());
        // SAFETY: the function is mod_ssl's. The request is valid, and so is what it leads to; the
        // name is our own copy. The value is in the request's pool, or lives longer.
        unsafe {
            text::borrow(ssl_var_lookup(
                self.pool().as_ptr(),
                self.server().as_ptr(),
                self.connection().as_ptr(),
                self.as_ptr(),
                name.as_ptr().cast_mut(),
            ))
        }
    }
}

/// The functions that mod_ssl has registered.
#[derive(Clone, Copy)]
struct Functions {
    is_https: Option<SslIsHttps>,
    var_lookup: Option<SslVarLookup>,
}

/// Looked up once in a child: modules neither come nor go while it runs.
fn functions() -> Functions {
    static FUNCTIONS: OnceLock<Functions> = OnceLock::new();
    *FUNCTIONS.get_or_init(|| {
        type Any = unsafe extern "C" fn();
        // SAFETY: the names are NUL-terminated, and functions registered with them have these
        // types.
        unsafe {
            let is_https = sys::apr_dynamic_fn_retrieve(SSL_IS_HTTPS.as_ptr());
            let var_lookup = sys::apr_dynamic_fn_retrieve(SSL_VAR_LOOKUP.as_ptr());
            Functions {
                is_https: is_https.map(|found| std::mem::transmute::<Any, SslIsHttps>(found)),
                var_lookup: var_lookup.map(|found| std::mem::transmute::<Any, SslVarLookup>(found)),
            }
        }
    })
}
