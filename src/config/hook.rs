//! Hook scripts: those whose functions say who may enter, and where a request goes.
//!
//! A directive can name one anywhere, so those of a configuration are remembered, beside, for the
//! checks; those of a `.htaccess` file are forgotten with the request that it was read for.

use std::ffi::{CStr, CString};
use std::fmt;

use httpd::{Parms, Pool, Refusal, Request};
use wsgi_config::hook_script::HookScript as Words;

use crate::config::c_string;
use crate::config::request;
use crate::config::source::Source;

/// A hook script.
#[derive(Clone, Debug)]
pub(crate) struct HookScript {
    /// The script.
    pub(crate) path: CString,
    /// As written, save that `%{GLOBAL}` is empty.
    application_group: CString,
}

/// A hook script, and where it is named.
#[derive(Debug)]
pub(super) struct Written {
    directive: String,
    source: Source,
    /// The script.
    pub(super) path: CString,
}

/// What a configuration that is being read says of hooks.
#[derive(Debug, Default)]
pub(super) struct Hooks {
    scripts: Vec<Written>,
    /// Where `WSGIGroupAuthoritative` stands first.
    authoritative: Option<Source>,
}

impl HookScript {
    /// Reads the arguments of a directive that names one.
    pub(super) fn parse(parms: &Parms<'_>, arguments: &CStr) -> Result<Self, Refusal> {
        let words = Words::parse(arguments.to_bytes())?;
        let path = c_string(words.script);
        Hooks::with(parms, |hooks| {
            hooks.scripts.push(Written {
                directive: parms.directive().to_string_lossy().into_owned(),
                source: Source::of(parms),
                path: path.clone(),
            });
        });
        Ok(Self {
            path,
            application_group: c_string(words.application_group),
        })
    }

    /// The application group in which it runs for a request; empty for the main interpreter.
    pub(crate) fn group<'r>(&'r self, request: Request<'r>) -> &'r CStr {
        request::hook_group(request, &self.application_group)
    }
}

impl Hooks {
    /// Remembers that `WSGIGroupAuthoritative` is being read.
    pub(super) fn mention_authoritative(parms: &Parms<'_>) {
        Self::with(parms, |hooks| {
            hooks.authoritative.get_or_insert_with(|| Source::of(parms));
        });
    }

    /// What a configuration says that has been read, looked at by `body`.
    pub(super) fn inspect<T>(pool: Pool<'_>, body: impl FnOnce(&Self) -> T) -> T {
        body(&pool.state::<Self>().borrow())
    }

    /// The scripts, in the order in which they were read.
    pub(super) fn scripts(&self) -> &[Written] {
        &self.scripts
    }

    /// Where `WSGIGroupAuthoritative` stands first.
    pub(super) fn authoritative(&self) -> Option<&Source> {
        self.authoritative.as_ref()
    }

    fn with(parms: &Parms<'_>, change: impl FnOnce(&mut Self)) {
        change(&mut parms.pool().state::<Self>().borrow_mut());
    }
}

impl Written {
    /// Whether it is that of a `WSGIAuthUserScript`.
    pub(super) fn is_of_users(&self) -> bool {
        self.directive.eq_ignore_ascii_case("WSGIAuthUserScript")
    }
}

impl fmt::Display for Written {
    /// As messages name it: `WSGIAccessScript /srv/access.py (/etc/httpd/site.conf:12)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (directive, path) = (&self.directive, self.path.to_string_lossy());
        write!(f, "{directive} {path} ({})", self.source)
    }
}
