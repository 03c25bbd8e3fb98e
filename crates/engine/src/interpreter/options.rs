//! The options of an interpreter: those of the process, overridden by the
//! `<WSGIInterpreterOptions>` sections that apply to it.

use crate::process::Process;

/// The options of an interpreter.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Options<'p> {
    /// Colon-separated lists of directories. Later lists come first in `sys.path`.
    pub(super) path: Vec<&'p [u8]>,
    pub(super) restrict_stdin: bool,
    pub(super) restrict_stdout: bool,
    pub(super) restrict_signal: bool,
    pub(super) own_gil: bool,
    pub(super) switch_interval: Option<SwitchInterval>,
}

/// How often threads take turns.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct SwitchInterval {
    pub(super) seconds: f64,
    /// Whether it was set for this application group alone, rather than for the process.
    pub(super) is_for_group: bool,
}

/// Whether this Python can have interpreters with a GIL of their own.
const HAS_OWN_GILS: bool = cfg!(Py_3_12);

impl<'p> Options<'p> {
    /// The options of an application group's interpreter.
    pub(super) fn of(process: &'p Process, group: &[u8]) -> Self {
        let mut options = Self {
            path: vec![&process.python_path],
            restrict_stdin: process.restrict_stdin,
            restrict_stdout: process.restrict_stdout,
            restrict_signal: process.restrict_signal,
            own_gil: process.per_interpreter_gil,
            switch_interval: process.switch_interval.map(|seconds| SwitchInterval {
                seconds,
                is_for_group: false,
            }),
        };
        let is_meant = |chosen: &Option<Vec<u8>>| chosen.as_deref().is_none_or(|own| own == group);
        for section in &process.sections {
            if !is_meant(&section.application_group) {
                continue;
            }
            options.path.extend(section.python_path.as_deref());
            set(&mut options.restrict_stdin, section.restrict_stdin);
            set(&mut options.restrict_stdout, section.restrict_stdout);
            set(&mut options.restrict_signal, section.restrict_signal);
            set(&mut options.own_gil, section.per_interpreter_gil);
            let interval = section.switch_interval.map(|seconds| SwitchInterval {
                seconds,
                is_for_group: section.application_group.is_some(),
            });
            options.switch_interval = interval.or(options.switch_interval);
        }
        // The main interpreter always uses the GIL of the process.
        options.own_gil &= HAS_OWN_GILS && !group.is_empty();
        options
    }
}

fn set(option: &mut bool, said: Option<bool>) {
    *option = said.unwrap_or(*option);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::Section;

    fn process() -> Process {
        Process {
            python_path: b"/base".to_vec(),
            switch_interval: Some(0.1),
            sections: vec![
                Section {
                    python_path: Some(b"/all".to_vec()),
                    restrict_stdin: Some(true),
                    per_interpreter_gil: Some(true),
                    ..Section::default()
                },
                Section {
                    application_group: Some(b"blog".to_vec()),
                    python_path: Some(b"/blog".to_vec()),
                    restrict_stdin: Some(false),
                    switch_interval: Some(0.2),
                    ..Section::default()
                },
                Section {
                    application_group: Some(Vec::new()),
                    restrict_signal: Some(false),
                    ..Section::default()
                },
            ],
            ..Process::new()
        }
    }

    fn interval(seconds: f64, is_for_group: bool) -> Option<SwitchInterval> {
        Some(SwitchInterval {
            seconds,
            is_for_group,
        })
    }

    #[test]
    fn later_sections_win_and_directories_add_up() {
        let process = process();
        let blog = Options::of(&process, b"blog");
        assert_eq!(blog.path, [&b"/base"[..], b"/all", b"/blog"]);
        assert!(!blog.restrict_stdin);
        assert!(blog.restrict_signal);
        assert_eq!(blog.own_gil, HAS_OWN_GILS);
        assert_eq!(blog.switch_interval, interval(0.2, true));
    }

    #[test]
    fn a_section_for_another_group_says_nothing() {
        let process = process();
        let shop = Options::of(&process, b"shop");
        assert_eq!(shop.path, [&b"/base"[..], b"/all"]);
        assert!(shop.restrict_stdin);
        assert_eq!(shop.switch_interval, interval(0.1, false));
    }

    #[test]
    fn the_main_interpreter_has_no_gil_of_its_own() {
        let process = process();
        let main = Options::of(&process, b"");
        assert!(!main.own_gil);
        assert!(!main.restrict_signal);
    }
}
