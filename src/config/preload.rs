//! Scripts that are loaded when a process starts, rather than by their first request.
//!
//! `WSGIImportScript` asks for that, and so does an alias of one script for which both groups are
//! known before any request.

use std::ffi::{CStr, CString};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use httpd::{Parms, Refusal};
use wsgi_config::import_script::ImportScript;

use crate::config::c_string;
use crate::config::groups::{Groups, PreloadError};
use crate::config::source::Source;

/// A script that is loaded when a process starts.
#[derive(Debug)]
pub(crate) struct Preload {
    /// The script.
    pub(crate) script: CString,
    /// In whose processes; empty for those of httpd itself.
    pub(crate) process_group: CString,
    /// In which interpreter; empty for the main one.
    pub(crate) application_group: CString,
    /// Those of a configuration are loaded in the order in which they stand there.
    pub(super) order: u64,
    directive: Directive,
}

/// What asks for it.
#[derive(Debug)]
enum Directive {
    ScriptAlias,
    ImportScript(Source),
}

impl Preload {
    /// What is loaded where: script, process group and application group.
    pub(super) fn what(&self) -> (&CStr, &CStr, &CStr) {
        (&self.script, &self.process_group, &self.application_group)
    }

    /// Reads the arguments of `WSGIImportScript`.
    pub(super) fn parse(parms: &Parms<'_>, arguments: &CStr) -> Result<Self, Refusal> {
        let words = ImportScript::parse(arguments.to_bytes())?;
        let import = Self {
            script: c_string(words.script),
            process_group: c_string(words.process_group),
            application_group: c_string(words.application_group),
            order: next(),
            directive: Directive::ImportScript(Source::of(parms)),
        };
        Ok(import.checked(parms)?)
    }

    /// For the script of an alias.
    pub(super) fn of_alias(
        parms: &Parms<'_>,
        script: &CStr,
        (process_group, application_group): (&[u8], &[u8]),
    ) -> Result<Self, PreloadError> {
        let preload = Self {
            script: script.to_owned(),
            process_group: c_string(process_group),
            application_group: c_string(application_group),
            order: next(),
            directive: Directive::ScriptAlias,
        };
        preload.checked(parms)
    }

    /// A script can only be loaded if there is a process to load it.
    fn checked(self, parms: &Parms<'_>) -> Result<Self, PreloadError> {
        if !self.process_group.is_empty() {
            Groups::check_preload(parms, &self.process_group)?;
            Groups::mention(parms, &self.process_group);
        }
        Ok(self)
    }

    /// Whether `WSGIImportScript` asks for it.
    pub(crate) fn is_import(&self) -> bool {
        matches!(self.directive, Directive::ImportScript(_))
    }
}

/// A number behind those of all that were read before.
fn next() -> u64 {
    static READ: AtomicU64 = AtomicU64::new(0);
    READ.fetch_add(1, Ordering::Relaxed)
}

impl fmt::Display for Preload {
    /// As messages name it: `WSGIImportScript /srv/jobs.py (/etc/httpd/jobs.conf:12)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let script = self.script.to_string_lossy();
        match &self.directive {
            Directive::ScriptAlias => write!(f, "the script {script}"),
            Directive::ImportScript(source) => write!(f, "WSGIImportScript {script} ({source})"),
        }
    }
}
