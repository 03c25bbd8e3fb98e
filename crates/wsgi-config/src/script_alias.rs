//! The arguments of `WSGIScriptAlias` and `WSGIScriptAliasMatch`.

use crate::script_options::{ScriptOptionError, ScriptOptions, needs_value, next_option};
use crate::words::{OptionWord, Words};

/// The options' names.
pub const OPTIONS: &[&str] = &[
    "process-group",
    "application-group",
    "callable-object",
    "pass-authorization",
];

/// An alias as written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScriptAlias {
    /// What the location is.
    pub kind: Location,
    /// The URL path, or the regular expression.
    pub location: Vec<u8>,
    /// The script, or the directory of scripts, verbatim.
    pub target: Vec<u8>,
    /// What was said about how to run it.
    pub options: AliasOptions,
}

/// The options of an alias; each wins over the directive of the same meaning.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AliasOptions {
    /// Those of every script.
    pub script: ScriptOptions,
    /// `callable-object=`, always literal.
    pub callable_object: Option<Vec<u8>>,
}

/// Why the arguments of an alias were refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ScriptAliasError {
    /// There are fewer than two words, or one of the first two is empty.
    #[error(
        "two arguments are needed, the {0} and the script or directory it maps to, as in \
         \"/blog /srv/blog/app.wsgi\""
    )]
    TooFewArguments(&'static str),
    /// An option is unknown, or has a value it cannot have.
    #[error(transparent)]
    Option(#[from] ScriptOptionError),
}

/// What stands in the place of the URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Location {
    /// `WSGIScriptAlias`: the beginning of a URL path.
    Prefix,
    /// `WSGIScriptAliasMatch`: a regular expression.
    Pattern,
}

impl Location {
    /// What the location is called in messages.
    fn name(self) -> &'static str {
        match self {
            Self::Prefix => "URL path",
            Self::Pattern => "regular expression",
        }
    }
}

impl ScriptAlias {
    /// Reads the arguments of an alias.
    ///
    /// # Errors
    ///
    /// When they are too few, or an option is unknown or has a value it cannot have.
    pub fn parse(kind: Location, arguments: &[u8]) -> Result<Self, ScriptAliasError> {
        let mut words = Words::new(arguments);
        let (location, target) = (words.next_word(), words.next_word());
        if location.is_empty() || target.is_empty() {
            return Err(ScriptAliasError::TooFewArguments(kind.name()));
        }
        Ok(Self {
            kind,
            location,
            target,
            options: AliasOptions::parse(&mut words)?,
        })
    }

    /// The process group and the application group of the script, if it is one script and both
    /// are given and known before any request: then it is loaded when its process starts.
    pub fn preload_groups(&self) -> Option<(&[u8], &[u8])> {
        let is_one_script = self.kind == Location::Prefix || !self.target.contains(&b'$');
        let options = &self.options.script;
        let process = options.process_group.as_ref()?.as_static()?;
        let application = options.application_group.as_ref()?.as_static()?;
        is_one_script.then_some((process, application))
    }
}

impl AliasOptions {
    fn parse(words: &mut Words<'_>) -> Result<Self, ScriptOptionError> {
        let mut options = Self::default();
        while let Some(option) = next_option(words, OPTIONS)? {
            options.set(option)?;
        }
        Ok(options)
    }

    /// A later option of the same name wins.
    fn set(&mut self, option: OptionWord<'_>) -> Result<(), ScriptOptionError> {
        if option.key != b"callable-object" {
            return self.script.set(&option, OPTIONS);
        }
        if option.value.is_empty() {
            return Err(needs_value("callable-object", "\"application\""));
        }
        self.callable_object = Some(option.value);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::group::Group;

    fn parse(arguments: &str) -> Result<ScriptAlias, ScriptAliasError> {
        ScriptAlias::parse(Location::Prefix, arguments.as_bytes())
    }

    fn options(options: &str) -> AliasOptions {
        parse(&format!("/x /w/app.wsgi {options}")).unwrap().options
    }

    fn group(name: &str) -> Option<Group> {
        Group::parse(name.as_bytes())
    }

    #[test]
    fn an_alias_has_a_location_and_a_target() {
        let alias = parse("  \"/x y\" '/tmp/a b' ").unwrap();
        assert_eq!(alias.location, b"/x y");
        assert_eq!(alias.target, b"/tmp/a b");
        assert_eq!(alias.options, AliasOptions::default());
    }

    #[test]
    fn options_are_read_in_any_order_and_the_last_one_wins() {
        let read = options(
            "callable-object=app application-group='a b' pass-authorization=oFF \
             process-group=one process-group=two",
        );
        assert_eq!(read.script.process_group, group("two"));
        assert_eq!(read.script.application_group, group("a b"));
        assert_eq!(read.callable_object.as_deref(), Some(&b"app"[..]));
        assert_eq!(read.script.pass_authorization, Some(false));
    }

    #[test]
    fn a_blank_may_follow_the_equals_sign() {
        assert_eq!(options("process-group= x").script.process_group, group("x"));
    }

    #[test]
    fn mistakes_are_named() {
        let cases = [
            (
                "",
                "two arguments are needed, the URL path and the script or directory it maps to, \
                  as in \"/blog /srv/blog/app.wsgi\"",
            ),
            ("/x", "two arguments are needed, the URL path and"),
            ("/x \"\"", "two arguments are needed"),
            ("/x /w foo", "\"foo\" is not of the form option=value"),
            (
                "/x /w =y",
                "the name of the option is missing before \"=y\"",
            ),
            (
                "/x /w process-group = y",
                "there must be no blank between the option \"process-group\" and its \"=\"",
            ),
            (
                "/x /w Process-Group=y",
                "the option \"Process-Group\" (did you mean \"process-group\"?) is not one of process-group, application-group, \
                 callable-object, pass-authorization",
            ),
            (
                "/x /w user=y",
                "the option \"user\" is not one of process-group, application-group, \
                 callable-object, pass-authorization",
            ),
            (
                "/x /w process-group=",
                "the option process-group= needs a value",
            ),
            (
                "/x /w application-group=\"\"",
                "the option application-group= needs a value",
            ),
            (
                "/x /w callable-object=",
                "the option callable-object= needs a value",
            ),
            (
                "/x /w pass-authorization=",
                "the option pass-authorization= needs a value",
            ),
            (
                "/x /w pass-authorization=yes",
                "pass-authorization=\"yes\" (did you mean \"On\"?) is not one of On, Off",
            ),
        ];
        for (arguments, message) in cases {
            let error = parse(arguments).unwrap_err().to_string();
            assert!(error.starts_with(message), "{arguments}: {error}");
        }
    }

    #[test]
    fn a_script_is_preloaded_if_both_its_groups_are_known() {
        let cases = [
            (
                "process-group=%{GLOBAL} application-group=%{GLOBAL}",
                Some(("", "")),
            ),
            (
                "process-group=%{GLOBAL} application-group=blog",
                Some(("", "blog")),
            ),
            ("process-group=%{ENV:G} application-group=blog", None),
            ("process-group=blog application-group=%{RESOURCE}", None),
            ("process-group=blog application-group=x%{y", None),
            ("process-group=blog", None),
        ];
        for (options, groups) in cases {
            let alias = parse(&format!("/x /w/$1.wsgi {options}")).unwrap();
            let expected = groups.map(|(p, a): (&str, &str)| (p.as_bytes(), a.as_bytes()));
            assert_eq!(alias.preload_groups(), expected, "{options}");
            let pattern = ScriptAlias {
                kind: Location::Pattern,
                ..alias
            };
            assert_eq!(pattern.preload_groups(), None);
        }
    }
}
