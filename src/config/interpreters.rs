//! What is said of interpreters: by directives outside of any section, and in
//! `<WSGIInterpreterOptions>` for some of them.
//!
//! A section stands in the main server only, and a directive in it that is not about interpreters
//! is carried out as if it stood outside. The engine decides what applies to an interpreter; here
//! the sections that cannot apply in a process are left out.

use std::ffi::CStr;

use httpd::{Level, Parms, Refusal};
use wsgi_config::interpreter_options::{self, Section, Selector};
use wsgi_config::value;

use crate::config::ServerConfig;
use crate::config::c_string;
use crate::config::groups::Groups;
use crate::config::remarks::remark;
use crate::config::setters::setters;
use crate::log::Id;

/// What is said of interpreters.
#[derive(Clone, Debug, Default)]
pub(crate) struct Interpreters {
    /// Outside of sections: it chooses all. Its directories are for httpd's own processes only.
    outside: Section,
    sections: Vec<Section>,
    /// The sections that the directive being read is in.
    open: Vec<usize>,
}

/// A number of seconds that threads cannot take turns in.
#[derive(Debug, thiserror::Error)]
#[error("\"{0}\" is not a number of seconds greater than 0, such as 0.005")]
struct NoInterval(String);

impl Interpreters {
    /// What is said of all interpreters.
    pub(crate) fn outside(&self) -> &Section {
        &self.outside
    }

    /// The sections that may apply in the processes of a group, empty being httpd's own. A later
    /// one wins over those before it.
    pub(crate) fn in_process_group(&self, name: &[u8]) -> Vec<&Section> {
        interpreter_options::in_process_group(&self.sections, name)
    }

    /// Whether some interpreter in the processes of a group is to have a GIL of its own.
    pub(crate) fn own_gils(&self, process_group: &[u8]) -> bool {
        let sections = self.in_process_group(process_group).into_iter();
        let mut all = sections.chain([&self.outside]);
        all.any(|section| section.per_interpreter_gil == Some(true))
    }

    /// Whether the processes of a group are to run without a GIL.
    pub(crate) fn free_threading(&self, process_group: &[u8]) -> bool {
        let default = self.outside.free_threading.unwrap_or_default();
        interpreter_options::free_threading(&self.sections, default, process_group)
    }

    /// Where the directive being read belongs.
    fn current(&mut self) -> &mut Section {
        let open = self.open.last().copied();
        open.and_then(|index| self.sections.get_mut(index))
            .unwrap_or(&mut self.outside)
    }
}

/// `<WSGIInterpreterOptions>`
pub(crate) static SECTION: httpd::Section<ServerConfig> = httpd::Section {
    open: |config, parms, words| {
        let selector = Selector::parse(words.to_bytes())?;
        if let Some(name) = &selector.process_group {
            Groups::choose(parms, &c_string(name.as_slice()), false);
        }
        let interpreters = config.interpreters_mut();
        interpreters.open.push(interpreters.sections.len());
        interpreters.sections.push(Section {
            selector,
            ..Section::default()
        });
        Ok(())
    },
    close: |config| {
        config.interpreters_mut().open.pop();
    },
};

/// `WSGIPythonPath`.
pub(crate) fn python_path(
    config: &mut ServerConfig,
    _: &Parms<'_>,
    directories: &CStr,
) -> Result<(), Refusal> {
    config.interpreters_mut().current().python_path = Some(directories.to_bytes().to_vec());
    Ok(())
}

/// `WSGIFreeThreading`.
pub(crate) fn free_threading(
    config: &mut ServerConfig,
    parms: &Parms<'_>,
    word: &CStr,
) -> Result<(), Refusal> {
    let section = config.interpreters_mut().current();
    section.free_threading = Some(value::flag(word.to_bytes())?);
    if section.selector.application_group.is_some() {
        let text = "WSGIFreeThreading inside <WSGIInterpreterOptions> with application-group= is \
                    ignored: it is the same for all interpreters of a process";
        remark(parms, Level::WARN, Id(201), text);
    }
    Ok(())
}

setters! {
    |config: &mut ServerConfig| config.interpreters_mut().current();
    /// `WSGISwitchInterval`.
    switch_interval: interval;
    /// `WSGIRestrictStdin`.
    restrict_stdin: value::flag;
    /// `WSGIRestrictStdout`.
    restrict_stdout: value::flag;
    /// `WSGIRestrictSignal`.
    restrict_signal: value::flag;
    /// `WSGIPerInterpreterGIL`.
    per_interpreter_gil: value::flag;
}

fn interval(word: &[u8]) -> Result<f64, NoInterval> {
    value::positive_seconds(word.trim_ascii_start())
        .ok_or_else(|| NoInterval(String::from_utf8_lossy(word).into_owned()))
}
