//! One `WSGIScriptAlias` or `WSGIScriptAliasMatch`: reading it, and mapping a URL with it.
//!
//! Read while httpd reads its configuration, then shared, unchanged, by all threads.

use std::ffi::{CStr, CString};
use std::fmt;

use httpd::{Parms, Pool, Refusal, Regex};
use wsgi_config::script_alias::{AliasOptions, Location, ScriptAlias as Words};
use wsgi_config::url;

use crate::config::c_string;
use crate::config::checks::check_forms;
use crate::config::groups::Groups;
use crate::config::preload::Preload;
use crate::config::source::Source;

/// An alias: which URLs are its, which script they are for, and how that is to be run.
#[derive(Debug)]
pub(crate) struct ScriptAlias {
    urls: Urls,
    target: CString,
    options: Options,
    source: Source,
}

/// The URLs of an alias.
#[derive(Debug)]
enum Urls {
    Below(CString),
    Matching { written: CString, regex: Regex },
}

/// Where a URL path is mapped to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mapped<'r> {
    /// The script, a directory, or the beginning of a name.
    pub(crate) target: &'r CStr,
    /// What of the URL path goes behind that.
    pub(crate) rest: &'r [u8],
}

/// The options of an alias: names as written, save that `%{GLOBAL}` is empty.
#[derive(Debug)]
pub(crate) struct Options {
    pub(crate) process_group: Option<CString>,
    pub(crate) application_group: Option<CString>,
    pub(crate) callable_object: Option<CString>,
    pub(crate) pass_authorization: Option<bool>,
}

impl ScriptAlias {
    /// Reads the arguments of an alias. The second is its script, if that is to be loaded when a
    /// process starts.
    pub(super) fn parse(
        kind: Location,
        parms: &Parms<'_>,
        arguments: &CStr,
    ) -> Result<(Self, Option<Preload>), Refusal> {
        let words = Words::parse(kind, arguments.to_bytes())?;
        let target = c_string(words.target.as_slice());
        let preload = words
            .preload_groups()
            .map(|groups| Preload::of_alias(parms, &target, groups))
            .transpose()?;
        let location = c_string(words.location);
        let urls = match kind {
            Location::Prefix => Urls::Below(location),
            Location::Pattern => Urls::Matching {
                regex: Regex::compile(&location)?,
                written: location,
            },
        };
        let alias = Self {
            urls,
            target,
            options: Options::new(words.options),
            source: Source::of(parms),
        };
        let Options {
            process_group,
            application_group,
            ..
        } = &alias.options;
        let groups = [process_group, application_group].into_iter().flatten();
        check_forms(parms, groups.map(|group| &**group));
        if let Some(group) = process_group {
            Groups::mention(parms, group);
        }
        Ok((alias, preload))
    }

    /// Where a URL path is mapped to, if it is one of this alias's.
    pub(crate) fn map<'r>(&'r self, pool: Pool<'r>, uri: &'r CStr) -> Option<Mapped<'r>> {
        let path = uri.to_bytes();
        if !path.is_empty() && !path.starts_with(b"/") {
            return None;
        }
        match &self.urls {
            Urls::Below(location) => {
                let rest = url::rest_below(location.to_bytes(), path)?;
                let target = &self.target;
                Some(Mapped { target, rest })
            }
            Urls::Matching { regex, .. } => {
                let captures = regex.find(uri)?;
                let rest = url::rest_after(path, captures.end())?;
                let target = Regex::substitute(pool, &self.target, uri, &captures)?;
                Some(Mapped { target, rest })
            }
        }
    }

    /// What was said about how to run the script.
    pub(crate) fn options(&self) -> &Options {
        &self.options
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

    /// The regular expression that describes the URLs, if one does.
    pub(super) fn pattern(&self) -> Option<&CStr> {
        match &self.urls {
            Urls::Below(_) => None,
            Urls::Matching { written, .. } => Some(written),
        }
    }
}

impl fmt::Display for ScriptAlias {
    /// The alias as messages name it: `WSGIScriptAlias /blog (/etc/httpd/blog.conf:12)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (directive, location) = match &self.urls {
            Urls::Below(location) => ("WSGIScriptAlias", location),
            Urls::Matching { written, .. } => ("WSGIScriptAliasMatch", written),
        };
        write!(
            f,
            "{directive} {} ({})",
            location.to_string_lossy(),
            self.source
        )
    }
}

impl Options {
    fn new(options: AliasOptions) -> Self {
        let group = |group: wsgi_config::group::Group| c_string(group.as_bytes());
        Self {
            process_group: options.script.process_group.map(group),
            application_group: options.script.application_group.map(group),
            callable_object: options.callable_object.map(c_string),
            pass_authorization: options.script.pass_authorization,
        }
    }
}
