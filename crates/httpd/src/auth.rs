//! Who may enter: the check of where a request comes from, the providers that `AuthBasicProvider`,
//! `AuthDigestProvider` and `Require` name, and what they may look at.
//!
//! As with hooks, each is a plain function over the safe types. If it panics, nobody is let in.

use std::ffi::{CStr, c_char, c_void};
use std::ptr;

use httpd_sys as sys;

use crate::hook::{Hooks, Order, request_hook, the_one};
use crate::module::Module;
use crate::panic;
use crate::request::Request;
use crate::status::Status;
use crate::text;

/// What a provider says of a user and a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Authn {
    /// They belong together.
    Granted,
    /// They do not.
    Denied,
    /// There is no such user; the next provider is asked.
    UserNotFound,
    /// Something went wrong: the request is answered with 500.
    Error,
}

/// What a provider says of a user in a realm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RealmHash<'r> {
    /// The MD5 of `user:realm:password`, in hexadecimal digits.
    Found(&'r CStr),
    /// There is no such user; the next provider is asked.
    UserNotFound,
    /// Something went wrong: the request is answered with 500.
    Error,
}

/// What a provider says of a user and the words of a `Require`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Authz {
    /// They are met.
    Granted,
    /// They are not.
    Denied,
    /// That cannot be said before the user is known.
    DeniedNoUser,
    /// Something went wrong: the request is answered with 500.
    Error,
}

/// What follows if the words of a `Require` are met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sense {
    /// It counts for the user.
    Plain,
    /// It counts against the user: `Require not`, or in a `<RequireNone>`.
    Negated,
    /// It may count in any way: in an `<AuthzProviderAlias>`.
    Either,
}

/// What httpd keeps with a `Require` for the provider: the address of one of these, or null.
static SENSES: [Sense; 2] = [Sense::Negated, Sense::Either];

impl<M: Module> Hooks<'_, M> {
    /// Decides by where a request comes from whether it may enter.
    pub fn check_access<F>(&self, _hook: F, order: Order)
    where
        F: Fn(Request<'_>) -> Status + Copy + 'static,
    {
        let (after, before) = self.neighbours(order);
        // That it was let in somewhere else with the same configuration says nothing: the hook may
        // look at the URL.
        let kind = sys::AP_AUTH_INTERNAL_PER_URI;
        // SAFETY: the adapter has the hook's signature; the lists live until the hooks are gone.
        unsafe {
            sys::ap_hook_check_access(
                Some(request_hook::<F>),
                after,
                before,
                order.position(),
                kind,
            )
        }
    }

    /// Adds a provider for `AuthBasicProvider` and `AuthDigestProvider`: a function that checks a
    /// user and a password, and one that knows the hash of a user in a realm.
    pub fn authn_provider<P, H>(&self, name: &'static CStr, _password: P, _hash: H)
    where
        P: Fn(Request<'_>, &CStr, &CStr) -> Authn + Copy + 'static,
        H: for<'r> Fn(Request<'r>, &CStr, &CStr) -> RealmHash<'r> + Copy + 'static,
    {
        let provider = const {
            &sys::authn_provider {
                check_password: Some(check_password::<P>),
                get_realm_hash: Some(get_realm_hash::<H>),
            }
        };
        let version = sys::AUTHN_PROVIDER_VERSION;
        self.provider(
            sys::AUTHN_PROVIDER_GROUP,
            name,
            version,
            ptr::from_ref(provider).cast(),
        );
    }

    /// Adds a provider for `Require`: a function that gets the words after its name, and what
    /// follows if they are met.
    pub fn authz_provider<F>(&self, name: &'static CStr, _check: F)
    where
        F: Fn(Request<'_>, &CStr, Sense) -> Authz + Copy + 'static,
    {
        let provider = const {
            &sys::authz_provider {
                check_authorization: Some(check_authorization::<F>),
                parse_require_line: Some(parse_require_line),
            }
        };
        let version = sys::AUTHZ_PROVIDER_VERSION;
        self.provider(
            sys::AUTHZ_PROVIDER_GROUP,
            name,
            version,
            ptr::from_ref(provider).cast(),
        );
    }

    fn provider(&self, group: &CStr, name: &CStr, version: &CStr, provider: *const c_void) {
        // SAFETY: the strings and the provider, which is one of the group's, are for ever, or until
        // the module is unloaded, which is after the configuration's pool is cleared.
        unsafe {
            sys::ap_register_auth_provider(
                self.pool().as_ptr(),
                group.as_ptr(),
                name.as_ptr(),
                version.as_ptr(),
                provider,
                sys::AP_AUTH_INTERNAL_PER_URI,
            );
        }
    }
}

/// Who sends it, and what is asked of them.
impl<'r> Request<'r> {
    /// The user, once it is known.
    pub fn user(self) -> Option<&'r CStr> {
        // SAFETY: null, or a string in the request's pool.
        unsafe { text::borrow((*self.as_ptr()).user) }
    }

    /// Sets the user.
    pub fn set_user(self, name: &'r CStr) {
        // SAFETY: the request is valid, the name lives as long, and httpd does not change it.
        unsafe { (*self.as_ptr()).user = name.as_ptr().cast_mut() }
    }

    /// Whether a request that may not enter by where it comes from may still do so by who sends it:
    /// `Satisfy Any` applies, and there is a `Require`.
    pub fn may_enter_by_user(self) -> bool {
        // SAFETY: the request is valid.
        unsafe {
            sys::ap_satisfies(self.as_ptr()) == sys::SATISFY_ANY
                && sys::ap_some_auth_required(self.as_ptr()) != 0
        }
    }
}

unsafe extern "C" fn check_password<F>(
    request: *mut sys::request_rec,
    user: *const c_char,
    password: *const c_char,
) -> sys::authn_status
where
    F: Fn(Request<'_>, &CStr, &CStr) -> Authn + Copy + 'static,
{
    panic::guard(sys::authn_status_AUTH_GENERAL_ERROR, || {
        // SAFETY: these are the provider's arguments; httpd keeps them alive until it returns, and
        // processes the request on this thread.
        let (request, user, password) = unsafe {
            (
                Request::from_raw(request),
                text::borrow(user).unwrap_or_default(),
                text::borrow(password).unwrap_or_default(),
            )
        };
        match the_one::<F>()(request, user, password) {
            Authn::Granted => sys::authn_status_AUTH_GRANTED,
            Authn::Denied => sys::authn_status_AUTH_DENIED,
            Authn::UserNotFound => sys::authn_status_AUTH_USER_NOT_FOUND,
            Authn::Error => sys::authn_status_AUTH_GENERAL_ERROR,
        }
    })
}

unsafe extern "C" fn get_realm_hash<F>(
    request: *mut sys::request_rec,
    user: *const c_char,
    realm: *const c_char,
    hash: *mut *mut c_char,
) -> sys::authn_status
where
    F: for<'r> Fn(Request<'r>, &CStr, &CStr) -> RealmHash<'r> + Copy + 'static,
{
    panic::guard(sys::authn_status_AUTH_GENERAL_ERROR, || {
        // SAFETY: as in `check_password`.
        let (request, user, realm) = unsafe {
            (
                Request::from_raw(request),
                text::borrow(user).unwrap_or_default(),
                text::borrow(realm).unwrap_or_default(),
            )
        };
        match the_one::<F>()(request, user, realm) {
            RealmHash::Found(found) => {
                // SAFETY: httpd passes a place for the hash, which lives as long as the request.
                unsafe { *hash = found.as_ptr().cast_mut() };
                sys::authn_status_AUTH_USER_FOUND
            }
            RealmHash::UserNotFound => sys::authn_status_AUTH_USER_NOT_FOUND,
            RealmHash::Error => sys::authn_status_AUTH_GENERAL_ERROR,
        }
    })
}

unsafe extern "C" fn check_authorization<F>(
    request: *mut sys::request_rec,
    words: *const c_char,
    parsed: *const c_void,
) -> sys::authz_status
where
    F: Fn(Request<'_>, &CStr, Sense) -> Authz + Copy + 'static,
{
    panic::guard(sys::authz_status_AUTHZ_GENERAL_ERROR, || {
        // SAFETY: as in `check_password`.
        // What was parsed is what `parse_require_line` left: null, or one of `SENSES`.
        let (request, words, sense) = unsafe {
            (
                Request::from_raw(request),
                text::borrow(words).unwrap_or_default(),
                parsed.cast::<Sense>().as_ref().copied(),
            )
        };
        let sense = sense.unwrap_or(Sense::Plain);
        match the_one::<F>()(request, words, sense) {
            Authz::Granted => sys::authz_status_AUTHZ_GRANTED,
            Authz::Denied => sys::authz_status_AUTHZ_DENIED,
            Authz::DeniedNoUser => sys::authz_status_AUTHZ_DENIED_NO_USER,
            Authz::Error => sys::authz_status_AUTHZ_GENERAL_ERROR,
        }
    })
}

/// Finds out what follows if the words of a `Require` are met. There are no wrong ones.
unsafe extern "C" fn parse_require_line(
    parms: *mut sys::cmd_parms,
    _words: *const c_char,
    parsed: *mut *const c_void,
) -> *const c_char {
    // SAFETY: httpd passes the parameters of the directive, which is part of a tree that does not
    // change, and a place for what is made of its words.
    unsafe {
        let sense = sense((*parms).directive);
        let kept = SENSES.iter().find(|kept| **kept == sense);
        *parsed = kept.map_or(ptr::null(), |kept| ptr::from_ref(kept).cast());
    }
    ptr::null()
}

/// What follows if the words of a directive are met: that depends on its first word and on the
/// sections it is in.
///
/// # Safety
///
/// `directive` must be null, or one in a tree of directives that does not change meanwhile.
unsafe fn sense(directive: *const sys::ap_directive_t) -> Sense {
    // SAFETY: as the caller promises; directives in the tree have names, and parents or none.
    unsafe {
        let Some(require) = directive.as_ref() else {
            return Sense::Either;
        };
        if !is_called(require, b"Require") {
            return Sense::Either;
        }
        let mut is_negated = is_not(text::borrow(require.args).unwrap_or_default());
        let mut section = require.parent.as_ref();
        while let Some(around) = section {
            is_negated |=
                is_called(around, b"<RequireNone") || is_called(around, b"<RequireNotAll");
            section = around.parent.as_ref();
        }
        if is_negated {
            Sense::Negated
        } else {
            Sense::Plain
        }
    }
}

/// Whether the first of these words is `not`, which may be quoted.
fn is_not(words: &CStr) -> bool {
    let words = words.to_bytes().trim_ascii_start();
    let first = words.split(u8::is_ascii_whitespace).next();
    let is_quote = |byte: &&u8| matches!(byte, b'"' | b'\'');
    first
        .unwrap_or_default()
        .iter()
        .filter(|byte| !is_quote(byte))
        .map(u8::to_ascii_lowercase)
        .eq(*b"not")
}

/// # Safety
///
/// The directive's name must be a string, as that of any in a tree of directives is.
unsafe fn is_called(directive: &sys::ap_directive_t, name: &[u8]) -> bool {
    // SAFETY: as the caller promises.
    let found = unsafe { text::borrow(directive.directive) };
    found
        .unwrap_or_default()
        .to_bytes()
        .eq_ignore_ascii_case(name)
}
