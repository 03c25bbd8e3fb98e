//! One `WSGIScriptAlias` or `WSGIScriptAliasMatch`: reading it, and mapping a URL with it.
//!
//! Read while httpd reads its configuration, then shared, unchanged, by all threads.

use std::ffi::{CStr, CString};
use std::fmt;

use httpd::{Parms, Pool, Refusal, Regex};
use wsgi_config::nearest::UnknownWord;
use wsgi_config::script_alias::{AliasOptions, Location, ScriptAlias as Words};
use wsgi_config::url;

use crate::config::{c_string, daemon};

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

/// Why a script cannot be loaded when the processes of a group start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(super) enum PreloadError {
    /// There is no such group yet.
    #[error(
        "the process group {0} is not yet configured; a WSGIDaemonProcess must stand before what \
         is to be loaded in it, and process-group=%{{GLOBAL}} means the processes of httpd itself"
    )]
    Unknown(UnknownWord),
    /// It belongs to another virtual host.
    #[error(
        "the process group {0:?} is not accessible here: it was configured in a virtual host of \
         another ServerName"
    )]
    Foreign(String),
    /// Only one of the two hosts has a name so far.
    #[error(
        "the process group {0:?} is not matchable: ServerName must stand before the directives \
         that define and use it"
    )]
    Nameless(String),
}

/// Whether the processes of a group can load a script of the server that is being read.
pub(super) fn check_preload(parms: &Parms<'_>, group: &[u8]) -> Result<(), PreloadError> {
    let name = || String::from_utf8_lossy(group).into_owned();
    let Some(host) = daemon::known(parms.pool(), group) else {
        let known = daemon::known_names(parms.pool());
        return Err(PreloadError::Unknown(UnknownWord::among_names(
            group, &known,
        )));
    };
    let hostname = parms.hostname().map(|name| name.to_bytes().to_vec());
    match host {
        None => Ok(()),
        Some(host) if host == hostname => Ok(()),
        Some(host) if host.is_some() != hostname.is_some() => Err(PreloadError::Nameless(name())),
        Some(_) => Err(PreloadError::Foreign(name())),
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
            Some((name, _)) => {
                check_preload(parms, name)?;
                true
            }
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
