//! `WSGIAuthUserScript`: its function `check_password` checks the password of a user, for `AuthType
//! Basic`; its function `get_realm_hash` returns the hash of a user in a realm, for `AuthType
//! Digest`.

use std::ffi::CStr;

use httpd::Request;
use httpd::auth::{Authn, RealmHash};
use httpd::authn_cache::AuthnCache;
use wsgi_config::verdict::{self, Password, Trouble};

use crate::Wsgi;
use crate::config::HookScript;

/// The name of the provider, for `AuthBasicProvider` and `AuthDigestProvider`.
pub(crate) const PROVIDER: &CStr = c"wsgi";

/// httpd's cache of the scripts' answers, if `AuthnCacheProvideFor wsgi` is configured.
static CACHE: AuthnCache = AuthnCache::new(PROVIDER);

/// Checks the password of a user.
pub(crate) fn check_password(request: Request<'_>, user: &CStr, password: &CStr) -> Authn {
    match ask_password(request, user, password) {
        Ok(Password::Right) => {
            CACHE.store_password(request, user, password);
            Authn::Granted
        }
        Ok(Password::RightFor(name)) => {
            // The cache cannot store another name.
            if name.as_bytes() == user.to_bytes() {
                CACHE.store_password(request, user, password);
            }
            request.set_user(request.pool().copy(name.as_bytes()));
            Authn::Granted
        }
        Ok(Password::Wrong) => Authn::Denied,
        Ok(Password::Unknown) => Authn::UserNotFound,
        Err(trouble) => {
            super::report(request, &trouble);
            Authn::Error
        }
    }
}

fn ask_password(request: Request<'_>, user: &CStr, password: &CStr) -> Result<Password, Trouble> {
    let script = script(request).ok_or_else(|| super::no_script(41, "WSGIAuthUserScript"))?;
    let answer = super::ask(request, script, "check_password", &[user, password])?;
    verdict::password(&answer, &super::shown(script))
}

/// The hash of a user in a realm.
pub(crate) fn realm_hash<'r>(request: Request<'r>, user: &CStr, realm: &CStr) -> RealmHash<'r> {
    match ask_realm_hash(request, user, realm) {
        Ok(Some(hash)) => {
            let hash = request.pool().copy(&hash);
            CACHE.store_realm_hash(request, user, realm, hash);
            RealmHash::Found(hash)
        }
        Ok(None) => RealmHash::UserNotFound,
        Err(trouble) => {
            super::report(request, &trouble);
            RealmHash::Error
        }
    }
}

fn ask_realm_hash(
    request: Request<'_>,
    user: &CStr,
    realm: &CStr,
) -> Result<Option<Vec<u8>>, Trouble> {
    let script = script(request).ok_or_else(|| super::no_script(44, "WSGIAuthUserScript"))?;
    let answer = super::ask(request, script, "get_realm_hash", &[user, realm])?;
    verdict::realm_hash(&answer, &super::shown(script))
}

fn script(request: Request<'_>) -> Option<&HookScript> {
    request.config::<Wsgi>().auth_user_script.as_deref()
}
