//! The arguments of `WSGIHandlerScript`.

use crate::group::Group;
use crate::nearest::UnknownWord;
use crate::value::flag;
use crate::words::{OptionSyntaxError, OptionWord, Words};

/// The options' names.
pub const OPTIONS: &[&str] = &["process-group", "application-group", "pass-authorization"];

/// A handler that a script implements, as written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HandlerScript {
    /// The name, for `SetHandler` and its relatives.
    pub name: Vec<u8>,
    /// The script, verbatim.
    pub script: Vec<u8>,
    /// `process-group=`.
    pub process_group: Option<Group>,
    /// `application-group=`.
    pub application_group: Option<Group>,
    /// `pass-authorization=`.
    pub pass_authorization: Option<bool>,
}

/// Why the arguments of `WSGIHandlerScript` were refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HandlerScriptError {
    /// There are fewer than two words, or one of the first two is empty.
    #[error(
        "two arguments are needed, the name of the handler and the script that implements it, as \
         in \"report-handler /srv/report/handler.py\""
    )]
    TooFewArguments,
    /// A word is no option at all.
    #[error("{0}; options are written option=value, with one of {names}", names = OPTIONS.join(", "))]
    NotAnOption(#[from] OptionSyntaxError),
    /// The option is none of ours.
    #[error("the option {0}")]
    UnknownOption(UnknownWord),
    /// The option needs a value.
    #[error("the option {option}= needs a value, such as {example}")]
    EmptyValue {
        /// The option.
        option: &'static str,
        /// A value it could have.
        example: &'static str,
    },
    /// The option is a switch and the value is not one of its positions.
    #[error("pass-authorization={0}")]
    NotAFlag(UnknownWord),
}

impl HandlerScript {
    /// Reads the arguments of `WSGIHandlerScript`. A later option of the same name wins.
    ///
    /// # Errors
    ///
    /// When they are too few, or an option is unknown or has a value it cannot have.
    pub fn parse(arguments: &[u8]) -> Result<Self, HandlerScriptError> {
        let mut words = Words::new(arguments);
        let (name, script) = (words.next_word(), words.next_word());
        if name.is_empty() || script.is_empty() {
            return Err(HandlerScriptError::TooFewArguments);
        }
        let mut handler = Self {
            name,
            script,
            process_group: None,
            application_group: None,
            pass_authorization: None,
        };
        while let Some(option) = words.next_option()? {
            handler.set(&option)?;
        }
        Ok(handler)
    }

    fn set(&mut self, option: &OptionWord<'_>) -> Result<(), HandlerScriptError> {
        let needs_value = |option, example| HandlerScriptError::EmptyValue { option, example };
        match option.key {
            b"process-group" => {
                let group = Group::parse(&option.value);
                let error = || needs_value("process-group", "%{GLOBAL} or a group's name");
                self.process_group = Some(group.ok_or_else(error)?);
            }
            b"application-group" => {
                let group = Group::parse(&option.value);
                let error = || needs_value("application-group", "%{GLOBAL} or a name");
                self.application_group = Some(group.ok_or_else(error)?);
            }
            b"pass-authorization" if option.value.is_empty() => {
                return Err(needs_value("pass-authorization", "On or Off"));
            }
            b"pass-authorization" => {
                let pass = flag(&option.value).map_err(HandlerScriptError::NotAFlag)?;
                self.pass_authorization = Some(pass);
            }
            unknown => {
                let unknown = UnknownWord::new(unknown, OPTIONS);
                return Err(HandlerScriptError::UnknownOption(unknown));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &str) -> Result<HandlerScript, HandlerScriptError> {
        HandlerScript::parse(arguments.as_bytes())
    }

    #[test]
    fn a_handler_has_a_name_and_a_script() {
        let read = parse(" 'my handler' \"/w/a b.py\" ").unwrap();
        assert_eq!(read.name, b"my handler");
        assert_eq!(read.script, b"/w/a b.py");
        assert_eq!(read.process_group, None);
        assert_eq!(read.application_group, None);
        assert_eq!(read.pass_authorization, None);
    }

    #[test]
    fn options_are_read_in_any_order_and_the_last_one_wins() {
        let read = parse(
            "h /w/h.py pass-authorization=oN application-group='%{ENV:A}' process-group=one \
             process-group=%{GLOBAL}",
        )
        .unwrap();
        assert_eq!(read.process_group, Some(Group::global()));
        assert_eq!(read.application_group, Group::parse(b"%{ENV:A}"));
        assert_eq!(read.pass_authorization, Some(true));
    }

    #[test]
    fn mistakes_are_named() {
        let cases = [
            ("", "two arguments are needed"),
            ("h", "two arguments are needed"),
            ("'' /w/h.py", "two arguments are needed"),
            (
                "h /w/h.py process-group=",
                "the option process-group= needs a value",
            ),
            (
                "h /w/h.py application-group=''",
                "the option application-group= needs a value",
            ),
            (
                "h /w/h.py pass-authorization=",
                "the option pass-authorization= needs a value",
            ),
            ("h /w/h.py pass-authorization=yes", "pass-authorization="),
            (
                "h /w/h.py word",
                "\"word\" is not of the form option=value; options are written",
            ),
            (
                "h /w/h.py callable-object=x",
                "the option \"callable-object\" is not one of process-group, application-group, \
                 pass-authorization",
            ),
        ];
        for (arguments, message) in cases {
            let error = parse(arguments).unwrap_err().to_string();
            assert!(error.starts_with(message), "{arguments}: {error}");
        }
    }
}
