//! The optional functions of `mod_ssl.h`. That header is not always installed, and optional
//! functions have no declaration that bindgen sees.

use std::ffi::{CStr, c_char, c_int};

use crate::{apr_pool_t, conn_rec, request_rec, server_rec};

/// The name `ssl_is_https` is registered under.
pub const SSL_IS_HTTPS: &CStr = c"ssl_is_https";

/// `APR_DECLARE_OPTIONAL_FN(int, ssl_is_https, (conn_rec *))`: whether a connection, or the one it
/// belongs to, is encrypted.
pub type SslIsHttps = unsafe extern "C" fn(*mut conn_rec) -> c_int;

/// The name `ssl_var_lookup` is registered under.
pub const SSL_VAR_LOOKUP: &CStr = c"ssl_var_lookup";

/// `APR_DECLARE_OPTIONAL_FN(char *, ssl_var_lookup, (apr_pool_t *, server_rec *, conn_rec *,
/// request_rec *, char *))`: a variable of mod_ssl; null if there is none of that name.
pub type SslVarLookup = unsafe extern "C" fn(
    *mut apr_pool_t,
    *mut server_rec,
    *mut conn_rec,
    *mut request_rec,
    *mut c_char,
) -> *mut c_char;
