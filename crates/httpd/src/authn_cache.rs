//! The cache of mod_authn_socache, in which providers may have it remember what they found out
//! about users: those that `AuthnCacheProvideFor` names.
//!
//! Runs in children, on the thread that processes the request, but for what is asked of a
//! configuration.

use std::collections::HashSet;
use std::ffi::{CStr, c_char};
use std::ptr;
use std::sync::OnceLock;

use httpd_sys as sys;

use crate::request::Request;
use crate::server::Server;
use crate::written::Written;

/// What mod_authn_socache registers, if it is loaded: stores a value for a request, a provider, a
/// user and, unless it is null, a realm.
type Store = unsafe extern "C" fn(
    *mut sys::request_rec,
    *const c_char,
    *const c_char,
    *const c_char,
    *const c_char,
);

/// The cache, for what one provider finds out.
#[derive(Debug)]
pub struct AuthnCache {
    provider: &'static CStr,
    store: OnceLock<Option<Store>>,
}

impl AuthnCache {
    /// That for the provider of this name.
    pub const fn new(provider: &'static CStr) -> Self {
        Self {
            provider,
            store: OnceLock::new(),
        }
    }

    /// Has it remembered, if that is wanted, that this is the user's password. It is kept as a
    /// hash.
    pub fn store_password(&self, request: Request<'_>, user: &CStr, password: &CStr) {
        if let Some(store) = self.wanted()
            && let Some(hash) = hashed(password)
        {
            let provider = self.provider.as_ptr();
            // SAFETY: the request is valid, and so are the strings; it copies them.
            unsafe {
                store(
                    request.as_ptr(),
                    provider,
                    user.as_ptr(),
                    ptr::null(),
                    hash.as_ptr(),
                )
            }
        }
    }

    /// Has it remembered, if that is wanted, what stands for the user's password in a realm.
    pub fn store_realm_hash(&self, request: Request<'_>, user: &CStr, realm: &CStr, hash: &CStr) {
        if let Some(store) = self.wanted() {
            let provider = self.provider.as_ptr();
            // SAFETY: as in `store_password`.
            unsafe {
                store(
                    request.as_ptr(),
                    provider,
                    user.as_ptr(),
                    realm.as_ptr(),
                    hash.as_ptr(),
                )
            }
        }
    }

    /// The function that stores, if the configuration has something stored for this provider.
    /// Looked up once in a child, in which neither modules nor the configuration change. A
    /// `.htaccess` file is not part of that: hashing passwords for a cache that may not want them
    /// would cost every request.
    fn wanted(&self) -> Option<Store> {
        *self.store.get_or_init(|| {
            // SAFETY: the name is NUL-terminated.
            let found = unsafe { sys::apr_dynamic_fn_retrieve(c"ap_authn_cache_store".as_ptr()) }?;
            // SAFETY: a child does not touch the configuration it was started with.
            let mut directives = unsafe { Written::all() };
            let is_wanted =
                directives.any(|directive| provides_for(directive, self.provider.to_bytes()));
            type Any = unsafe extern "C" fn();
            // SAFETY: a function that is registered with that name has this type (mod_auth.h).
            is_wanted.then(|| unsafe { std::mem::transmute::<Any, Store>(found) })
        })
    }
}

/// Under how many names of its own (`AuthnCacheContext`) the configuration of `base` has something
/// remembered; `None` if nothing of `provider` is.
pub fn own_contexts(base: Server<'_>, provider: &CStr) -> Option<usize> {
    // SAFETY: what a server was made from is left alone once its configuration is complete, and
    // lives as long as it does.
    let directives = |_: Server<'_>| unsafe { Written::all() };
    if !directives(base).any(|directive| provides_for(directive, provider.to_bytes())) {
        return None;
    }
    let contexts: HashSet<&[u8]> = directives(base)
        .filter(|directive| is_called(*directive, b"AuthnCacheContext"))
        .filter_map(|directive| directive.words().next())
        // These stand for the places of requests.
        .filter(|context| !matches!(*context, b"directory" | b"server"))
        .collect();
    Some(contexts.len())
}

fn is_called(directive: Written<'_>, name: &[u8]) -> bool {
    directive.name().to_bytes().eq_ignore_ascii_case(name)
}

fn provides_for(directive: Written<'_>, provider: &[u8]) -> bool {
    is_called(directive, b"AuthnCacheProvideFor") && directive.words().any(|it| it == provider)
}

/// A salted hash of a password in a format that mod_authn_socache can check: that of `htpasswd -m`,
/// which uses the whole password, and can be checked as fast as a script that makes a remote query.
fn hashed(password: &CStr) -> Option<[c_char; 120]> {
    const DIGITS: &[u8; 64] = b"./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let mut salt = [0; 9];
    // SAFETY: the bytes but for the last, which stays NUL, may be written.
    let status = unsafe { sys::apr_generate_random_bytes(salt.as_mut_ptr(), salt.len() - 1) };
    if status != 0 {
        return None;
    }
    for byte in &mut salt[..8] {
        *byte = DIGITS[usize::from(*byte % 64)];
    }
    let mut hash = [0; 120];
    // SAFETY: both strings are NUL-terminated, and the length is that of the buffer.
    let status = unsafe {
        sys::apr_md5_encode(
            password.as_ptr(),
            salt.as_ptr().cast(),
            hash.as_mut_ptr(),
            hash.len(),
        )
    };
    (status == 0).then_some(hash)
}
