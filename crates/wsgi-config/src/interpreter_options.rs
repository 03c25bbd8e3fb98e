//! `<WSGIInterpreterOptions>`: options for some interpreters, and which of them apply to one.
//!
//! A section chooses interpreters by the process group and the application group they belong to.
//! What it says of them wins over what is said outside, and over sections that choose by fewer
//! names; of two that choose by as many, the later one wins. Directories for `sys.path` add up.

use crate::nearest::UnknownWord;
use crate::words::{Words, lossy};

/// The names that a section can choose by.
const SELECTORS: [&str; 2] = ["process-group", "application-group"];

/// Which interpreters a section is for. A name that is absent is any; an empty one is that of
/// httpd's own processes, or of the main interpreter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector {
    /// `process-group=`
    pub process_group: Option<Vec<u8>>,
    /// `application-group=`
    pub application_group: Option<Vec<u8>>,
}

/// Why the head of a section was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SelectorError {
    /// The `>` is missing.
    #[error("the \">\" at the end is missing")]
    NotClosed,
    /// A word is no selector.
    #[error("\"{0}\" is not of the form selector=name")]
    NoEquals(String),
    /// A selector is given twice.
    #[error("{0}= is given more than once")]
    Repeated(&'static str),
    /// There is no such selector.
    #[error("the selector {0}")]
    Unknown(UnknownWord),
}

impl Selector {
    /// Reads the arguments of the section as httpd hands them over, with the `>` at the end.
    ///
    /// # Errors
    ///
    /// When there is no `>`, and for a word that is no selector, or one that was there before.
    pub fn parse(arguments: &[u8]) -> Result<Self, SelectorError> {
        let mut selector = Self::default();
        if arguments.trim_ascii().is_empty() {
            return Ok(selector);
        }
        let end = arguments.iter().rposition(|&byte| byte == b'>');
        let words = end.and_then(|end| arguments.get(..end));
        for word in Words::new(words.ok_or(SelectorError::NotClosed)?) {
            selector.add(&word)?;
        }
        Ok(selector)
    }

    fn add(&mut self, word: &[u8]) -> Result<(), SelectorError> {
        let equals = word.iter().position(|&byte| byte == b'=');
        let (key, value) = equals
            .and_then(|at| Some((word.get(..at)?, word.get(at + 1..)?)))
            .ok_or_else(|| SelectorError::NoEquals(lossy(word)))?;
        let [process_group, application_group] = SELECTORS;
        let (slot, name) = if key.eq_ignore_ascii_case(process_group.as_bytes()) {
            (&mut self.process_group, process_group)
        } else if key.eq_ignore_ascii_case(application_group.as_bytes()) {
            (&mut self.application_group, application_group)
        } else {
            let unknown = UnknownWord::new(key, &SELECTORS);
            return Err(SelectorError::Unknown(unknown));
        };
        let value = if value == b"%{GLOBAL}" { b"" } else { value };
        match slot.replace(value.to_vec()) {
            None => Ok(()),
            Some(_) => Err(SelectorError::Repeated(name)),
        }
    }

    /// By how many names it chooses.
    fn specificity(&self) -> usize {
        [&self.process_group, &self.application_group]
            .into_iter()
            .flatten()
            .count()
    }

    fn takes_process_group(&self, name: &[u8]) -> bool {
        self.process_group.as_ref().is_none_or(|own| own == name)
    }
}

/// A section: whom it is for, and what it says. What it does not say is `None`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Section {
    /// Whom it is for.
    pub selector: Selector,
    /// `WSGIPythonPath`: directories joined by colons.
    pub python_path: Option<Vec<u8>>,
    /// `WSGIRestrictStdin`.
    pub restrict_stdin: Option<bool>,
    /// `WSGIRestrictStdout`.
    pub restrict_stdout: Option<bool>,
    /// `WSGIRestrictSignal`.
    pub restrict_signal: Option<bool>,
    /// `WSGISwitchInterval`, in seconds.
    pub switch_interval: Option<f64>,
    /// `WSGIPerInterpreterGIL`.
    pub per_interpreter_gil: Option<bool>,
    /// `WSGIFreeThreading`, which is the same for all interpreters of a process.
    pub free_threading: Option<bool>,
}

/// The sections that may apply to interpreters in the processes of a group, those that win behind
/// those they win over.
pub fn in_process_group<'s>(sections: &'s [Section], name: &[u8]) -> Vec<&'s Section> {
    let mut chosen: Vec<_> = sections
        .iter()
        .filter(|section| section.selector.takes_process_group(name))
        .collect();
    chosen.sort_by_key(|section| section.selector.specificity());
    chosen
}

/// Whether a process of this group is to run without a GIL.
pub fn free_threading(sections: &[Section], default: bool, process_group: &[u8]) -> bool {
    in_process_group(sections, process_group)
        .into_iter()
        .filter(|section| section.selector.application_group.is_none())
        .filter_map(|section| section.free_threading)
        .next_back()
        .unwrap_or(default)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selector(process_group: Option<&str>, application_group: Option<&str>) -> Selector {
        let owned = |name: &str| name.as_bytes().to_vec();
        Selector {
            process_group: process_group.map(owned),
            application_group: application_group.map(owned),
        }
    }

    #[test]
    fn selectors_are_read() {
        for (head, expected) in [
            (">", selector(None, None)),
            ("", selector(None, None)),
            (" >", selector(None, None)),
            (" process-group=a>", selector(Some("a"), None)),
            (
                " APPLICATION-GROUP=b Process-Group=a >",
                selector(Some("a"), Some("b")),
            ),
            (" process-group=>", selector(Some(""), None)),
            (" process-group=%{GLOBAL}>", selector(Some(""), None)),
            (
                " process-group=%{SERVER}>",
                selector(Some("%{SERVER}"), None),
            ),
            (" \"application-group=b c\">", selector(None, Some("b c"))),
            (" process-group=a=b> x", selector(Some("a=b"), None)),
        ] {
            assert_eq!(Selector::parse(head.as_bytes()), Ok(expected), "{head}");
        }
    }

    #[test]
    fn what_is_no_selector_is_named() {
        for (head, message) in [
            (" process-group=a", "the \">\" at the end is missing"),
            (" word>", "\"word\" is not of the form selector=name"),
            (
                " application-group=\"b c\">",
                "\"c\"\" is not of the form selector=name",
            ),
            (
                " process-group=a process-group=a>",
                "process-group= is given more than once",
            ),
            (
                " proces-group=a>",
                "the selector \"proces-group\" (did you mean \"process-group\"?) is not one of process-group, application-group",
            ),
            (
                " =a>",
                "the selector \"\" is not one of process-group, application-group",
            ),
        ] {
            let error = Selector::parse(head.as_bytes()).unwrap_err();
            assert_eq!(error.to_string(), message, "{head}");
        }
    }

    fn section(name: &str, selector: Selector, free_threading: Option<bool>) -> Section {
        Section {
            selector,
            python_path: Some(name.as_bytes().to_vec()),
            free_threading,
            ..Section::default()
        }
    }

    #[test]
    fn sections_that_choose_by_more_names_win_and_of_equals_the_later() {
        let sections = [
            section("both", selector(Some("a"), Some("x")), None),
            section("group", selector(None, Some("x")), None),
            section("other", selector(Some("b"), None), None),
            section("process", selector(Some("a"), None), None),
            section("all", selector(None, None), None),
            section("all too", selector(None, None), None),
        ];
        let names: Vec<_> = in_process_group(&sections, b"a")
            .into_iter()
            .filter_map(|section| section.python_path.as_deref())
            .map(lossy)
            .collect();
        assert_eq!(names, ["all", "all too", "group", "process", "both"]);
    }

    #[test]
    fn free_threading_is_that_of_a_process() {
        let sections = [
            section("group", selector(Some("a"), Some("x")), Some(true)),
            section("process", selector(Some("b"), None), Some(true)),
            section("all", selector(None, None), Some(false)),
        ];
        for (group, expected) in [("a", false), ("b", true), ("", false)] {
            let resolved = free_threading(&sections, true, group.as_bytes());
            assert_eq!(resolved, expected, "{group}");
        }
        assert!(free_threading(&[], true, b""));
    }
}
