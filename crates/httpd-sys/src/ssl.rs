//! The optional functions of `mod_ssl.h`. That header is not always installed, and optional
//! functions have no declaration that bindgen sees.

use std::ffi::{CStr, c_int};

use crate::conn_rec;

/// The name `ssl_is_https` is registered under.
pub const SSL_IS_HTTPS: &CStr = c"ssl_is_https";

/// `APR_DECLARE_OPTIONAL_FN(int, ssl_is_https, (conn_rec *))`: whether a connection, or the one it
/// belongs to, is encrypted.
pub type SslIsHttps = unsafe extern "C" fn(*mut conn_rec) -> c_int;
