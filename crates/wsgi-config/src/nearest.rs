//! Finding the word that was meant.

use std::borrow::Cow;
use std::fmt;

use crate::words::lossy;

/// A word that is not among the ones allowed in its place. Its text names the word, the nearest
/// right one, and all the right ones.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct UnknownWord {
    word: String,
    nearest: Option<Cow<'static, str>>,
    allowed: String,
}

impl UnknownWord {
    /// Says that `word` is none of `allowed`.
    pub fn new(word: &[u8], allowed: &[&'static str]) -> Self {
        let word = lossy(word);
        Self {
            nearest: nearest(&word, allowed).map(Cow::Borrowed),
            word,
            allowed: allowed.join(", "),
        }
    }

    /// The same, where the allowed words are names that a configuration gave.
    pub fn among_names(word: &[u8], allowed: &[String]) -> Self {
        let word = lossy(word);
        let names: Vec<&str> = allowed.iter().map(String::as_str).collect();
        Self {
            nearest: nearest(&word, &names).map(|name| name.to_owned().into()),
            word,
            allowed: names.join(", "),
        }
    }

    /// The same, where something better than spelling tells which word was meant.
    pub(crate) fn meant(
        word: &[u8],
        allowed: &[&'static str],
        meant: Option<&'static str>,
    ) -> Self {
        Self {
            nearest: meant.map(Cow::Borrowed),
            ..Self::new(word, allowed)
        }
    }
}

impl fmt::Display for UnknownWord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.allowed.is_empty() {
            return write!(f, "\"{}\" does not exist, nor does any other", self.word);
        }
        write!(f, "\"{}\"", self.word)?;
        // First, for there may be many of the others.
        if let Some(nearest) = &self.nearest {
            write!(f, " (did you mean \"{nearest}\"?)")?;
        }
        write!(f, " is not one of {}", self.allowed)
    }
}

/// The candidate nearest to `word`, whatever its case, if one is near enough to be what was meant.
pub fn nearest<'a>(word: &str, candidates: &[&'a str]) -> Option<&'a str> {
    let word = word.to_ascii_lowercase();
    candidates
        .iter()
        .map(|candidate| {
            (
                strsim::jaro_winkler(&word, &candidate.to_ascii_lowercase()),
                candidate,
            )
        })
        .filter(|(likeness, _)| *likeness >= LIKE_ENOUGH)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, candidate)| *candidate)
}

/// Below this a guess surprises more than it helps.
const LIKE_ENOUGH: f64 = 0.75;

#[cfg(test)]
mod tests {
    use super::*;

    const OPTIONS: &[&str] = &[
        "process-group",
        "application-group",
        "callable-object",
        "pass-authorization",
    ];

    #[test]
    fn a_slip_is_recognised_and_nonsense_is_not() {
        let cases = [
            ("proces-group", Some("process-group")),
            ("process_group", Some("process-group")),
            ("Process-Group", Some("process-group")),
            ("group", None),
            ("app-group", None),
            ("callable", Some("callable-object")),
            ("callabel-object", Some("callable-object")),
            ("pass-auth", Some("pass-authorization")),
            ("user", None),
            ("", None),
        ];
        for (word, expected) in cases {
            assert_eq!(nearest(word, OPTIONS), expected, "{word}");
        }
    }

    #[test]
    fn the_message_names_the_word_the_nearest_and_all() {
        assert_eq!(
            UnknownWord::new(b"Of", &["On", "Off"]).to_string(),
            "\"Of\" (did you mean \"Off\"?) is not one of On, Off"
        );
        assert_eq!(
            UnknownWord::new(b"\xff", &["On", "Off"]).to_string(),
            "\"\u{fffd}\" is not one of On, Off"
        );
        assert_eq!(
            UnknownWord::among_names(b"blgo", &["shop".to_owned(), "blog".to_owned()]).to_string(),
            "\"blgo\" (did you mean \"blog\"?) is not one of shop, blog"
        );
        assert_eq!(
            UnknownWord::among_names(b"blog", &[]).to_string(),
            "\"blog\" does not exist, nor does any other"
        );
    }
}
