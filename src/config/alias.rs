//! One `WSGIScriptAlias` or `WSGIScriptAliasMatch`: reading it, and mapping a URL with it.
//!
//! Read while httpd reads its configuration, then shared, unchanged, by all threads.

use std::ffi::{CStr, CString};
use std::fmt;

use httpd::{Parms, Pool, Refusal, Regex};
use wsgi_config::script_alias::{AliasOptions, Location, ScriptAlias as Words};
use wsgi_config::url;

use crate::config::c_string;

/// An alias: which URLs are its, which script they are for, and how that is to be run.
#[derive(Debug)]
pub(crate) struct ScriptAlias {
    urls: Urls,
    target: CString,
    options: Options,
    is_preloaded: bool,
    source: Source,
}

/// The URLs of an alias.
#[derive(Debug)]
enum Urls {
    Below(CString),
    Matching { written: CString, regex: Regex },
}

/// The options of an alias: names as written, save that `%{GLOBAL}` is empty.
#[derive(Debug)]
pub(crate) struct Options {
    pub(crate) process_group: Option<CString>,
    pub(crate) application_group: Option<CString>,
    pub(crate) callable_object: Option<CString>,
    pub(crate) pass_authorization: Option<bool>,
}

/// Where in the configuration an alias stands.
#[derive(Debug)]
pub(crate) struct Source {
    file: String,
    line: u32,
}

/// The process group of an alias whose script is to be loaded at start does not exist.
#[derive(Debug, thiserror::Error)]
#[error(
    "the process group {0:?} is not yet configured; process-group=%{{GLOBAL}} runs the application \
     in the processes of httpd itself"
)]
struct UnknownProcessGroup(String);

impl UnknownProcessGroup {
    fn new(name: &[u8]) -> Self {
        Self(String::from_utf8_lossy(name).into_owned())
    }
}

impl ScriptAlias {
    /// Reads the arguments of an alias.
    pub(super) fn parse(
        kind: Location,
        parms: &Parms<'_>,
        arguments: &CStr,
    ) -> Result<Self, Refusal> {
        let words = Words::parse(kind, arguments.to_bytes())?;
        let is_preloaded = match words.preload_groups() {
            None => false,
            Some((b"", _)) => true,
            Some((name, _)) => return Err(UnknownProcessGroup::new(name).into()),
        };
        let location = c_string(words.location);
        let urls = match kind {
            Location::Prefix => Urls::Below(location),
            Location::Pattern => Urls::Matching {
                regex: Regex::compile(&location)?,
                written: location,
            },
        };
        Ok(Self {
            urls,
            target: c_string(words.target),
            options: Options::new(words.options),
            is_preloaded,
            source: Source::of(parms),
        })
    }

    /// The file that a URL path is mapped to, if it is one of this alias's.
    pub(crate) fn map<'r>(&self, pool: Pool<'r>, uri: &CStr) -> Option<&'r CStr> {
        let path = uri.to_bytes();
        if !path.is_empty() && !path.starts_with(b"/") {
            return None;
        }
        match &self.urls {
            Urls::Below(location) => {
                let rest = url::rest_below(location.to_bytes(), path)?;
                Some(pool.join(&[self.target.to_bytes(), rest]))
            }
            Urls::Matching { regex, .. } => {
                let captures = regex.find(uri)?;
                let rest = url::rest_after(path, captures.end())?;
                let target = Regex::substitute(pool, &self.target, uri, &captures)?;
                Some(pool.join(&[target.to_bytes(), rest]))
            }
        }
    }

    /// What was said about how to run the script.
    pub(crate) fn options(&self) -> &Options {
        &self.options
    }

    /// Whether the script is loaded when a process starts: it is one script, and both its groups
    /// are known before any request.
    pub(crate) fn is_preloaded(&self) -> bool {
        self.is_preloaded
    }

    /// The script or directory, as written.
    pub(crate) fn target(&self) -> &CStr {
        &self.target
    }

    /// The URL path, unless it is a pattern.
    pub(super) fn location(&self) -> Option<&CStr> {
        match &self.urls {
            Urls::Below(location) => Some(location),
            Urls::Matching { .. } => None,
        }
    }

    /// Whether the URLs are described by a regular expression.
    pub(super) fn is_pattern(&self) -> bool {
        matches!(self.urls, Urls::Matching { .. })
    }
}

impl fmt::Display for ScriptAlias {
    /// The alias as messages name it: `WSGIScriptAlias /blog (/etc/httpd/blog.conf:12)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (directive, location) = match &self.urls {
            Urls::Below(location) => ("WSGIScriptAlias", location),
            Urls::Matching { written, .. } => ("WSGIScriptAliasMatch", written),
        };
        let Source { file, line } = &self.source;
        write!(
            f,
            "{directive} {} ({file}:{line})",
            location.to_string_lossy()
        )
    }
}

impl Options {
    fn new(options: AliasOptions) -> Self {
        let group = |group: wsgi_config::group::Group| c_string(group.as_bytes());
        Self {
            process_group: options.process_group.map(group),
            application_group: options.application_group.map(group),
            callable_object: options.callable_object.map(c_string),
            pass_authorization: options.pass_authorization,
        }
    }
}

impl Source {
    fn of(parms: &Parms<'_>) -> Self {
        Self {
            file: parms
                .file()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned(),
            line: parms.line(),
        }
    }
}
