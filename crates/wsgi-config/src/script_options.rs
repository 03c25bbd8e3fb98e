//! The options that say how a script is to be run, wherever a directive names one.

use crate::group::Group;
use crate::nearest::UnknownWord;
use crate::value::flag;
use crate::words::{OptionSyntaxError, OptionWord, Words};

/// How a script is to be run; each option wins over the directive of the same meaning.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScriptOptions {
    /// `process-group=`.
    pub process_group: Option<Group>,
    /// `application-group=`.
    pub application_group: Option<Group>,
    /// `pass-authorization=`.
    pub pass_authorization: Option<bool>,
}

/// Why an option was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ScriptOptionError {
    /// A word is no option at all.
    #[error("{source}; options are written option=value, with one of {}", names.join(", "))]
    NotAnOption {
        /// What is wrong with it.
        source: OptionSyntaxError,
        /// The options that there are.
        names: &'static [&'static str],
    },
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

/// Takes the next of the options, whose names are `names`; `None` when nothing is left.
pub(crate) fn next_option<'w>(
    words: &mut Words<'w>,
    names: &'static [&'static str],
) -> Result<Option<OptionWord<'w>>, ScriptOptionError> {
    words
        .next_option()
        .map_err(|source| ScriptOptionError::NotAnOption { source, names })
}

impl ScriptOptions {
    /// Takes note of an option of a directive that has those called `names`. A later option of the
    /// same name wins.
    pub(crate) fn set(
        &mut self,
        option: &OptionWord<'_>,
        names: &'static [&'static str],
    ) -> Result<(), ScriptOptionError> {
        let OptionWord { key, value } = option;
        match *key {
            b"process-group" => {
                let group = Group::parse(value);
                let error = || needs_value("process-group", "%{GLOBAL} or a group's name");
                self.process_group = Some(group.ok_or_else(error)?);
            }
            b"application-group" => {
                let group = Group::parse(value);
                let error = || needs_value("application-group", "%{GLOBAL} or a name");
                self.application_group = Some(group.ok_or_else(error)?);
            }
            b"pass-authorization" if value.is_empty() => {
                return Err(needs_value("pass-authorization", "On or Off"));
            }
            b"pass-authorization" => {
                let pass = flag(value).map_err(ScriptOptionError::NotAFlag)?;
                self.pass_authorization = Some(pass);
            }
            unknown => {
                let unknown = UnknownWord::new(unknown, names);
                return Err(ScriptOptionError::UnknownOption(unknown));
            }
        }
        Ok(())
    }
}

/// The error of an option without a value.
pub(crate) fn needs_value(option: &'static str, example: &'static str) -> ScriptOptionError {
    ScriptOptionError::EmptyValue { option, example }
}
