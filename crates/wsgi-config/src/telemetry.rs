//! The directives of telemetry: where samples go, what is in them, which requests are slow.
//!
//! No samples are sent; the words are read so that a configuration with a mistake in them is
//! refused wherever it is used.

use std::time::Duration;

use crate::nearest::UnknownWord;
use crate::value::{NumberWarning, leading_number};
use crate::words::{Words, lossy};

/// Why the arguments of `WSGITelemetryService` were refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ServiceError {
    /// The target is missing.
    #[error("takes a target, as in \"unix:/run/telemetry.sock\", and interval=seconds")]
    NoTarget,
    /// The target is no unix socket.
    #[error("the target \"{0}\" is not of the form unix:/path; there are no others")]
    Target(String),
    /// The second word is no interval.
    #[error("\"{0}\" is not of the form interval=seconds")]
    NotAnInterval(String),
    /// The interval is too short.
    #[error("the interval \"{0}\" is not a number of seconds of at least 0.5")]
    Interval(String),
    /// There is a third word.
    #[error("\"{0}\" is one word too many: there are a target and an interval")]
    TooMany(String),
}

/// Checks the arguments of `WSGITelemetryService`: `unix:/path`, then perhaps `interval=N`.
///
/// # Errors
///
/// When the target is missing or no unix socket, when the interval is shorter than half a second,
/// and for every other word.
pub fn service(arguments: &[u8]) -> Result<(), ServiceError> {
    let mut words = Words::new(arguments);
    let target = words.next_word();
    if target.is_empty() {
        return Err(ServiceError::NoTarget);
    }
    if !target.starts_with(b"unix:") {
        return Err(ServiceError::Target(lossy(&target)));
    }
    let interval = words.next_word();
    if let Some(more) = words.next() {
        return Err(ServiceError::TooMany(lossy(&more)));
    }
    if interval.is_empty() {
        return Ok(());
    }
    let seconds = interval
        .strip_prefix(b"interval=")
        .ok_or_else(|| ServiceError::NotAnInterval(lossy(&interval)))?;
    if leading_number(seconds).0 < 0.5 {
        return Err(ServiceError::Interval(lossy(seconds)));
    }
    Ok(())
}

/// Why the words of `WSGITelemetryOptions` were refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OptionsError {
    /// There is no word at all.
    #[error("takes at least one of {}", FLAGS.join(", "))]
    Empty,
    /// A sign with nothing behind it.
    #[error("the sign \"{0}\" must stand before a flag, as in +CaptureUserAgent")]
    BareSign(String),
    /// `None` and `All` replace what was said before, so they cannot add or take away.
    #[error("\"{0}\" must stand without a sign")]
    SignedSet(String),
    /// Words with and without a sign.
    #[error("either all flags have a sign or none has")]
    Mixed,
    /// There is no such flag.
    #[error("the flag {0}")]
    Unknown(UnknownWord),
}

const FLAGS: [&str; 3] = ["CaptureUserAgent", "None", "All"];

/// Checks the words of `WSGITelemetryOptions`: flags in any case, all with a sign or none.
///
/// # Errors
///
/// When there is no word, one that is no flag, or signs are not used as they must be.
pub fn options(arguments: &[u8]) -> Result<(), OptionsError> {
    let mut words = Words::new(arguments).peekable();
    if words.peek().is_none() {
        return Err(OptionsError::Empty);
    }
    let mut all_signed = None;
    // An empty pair of quotes ends the words, as it always has.
    for word in words.take_while(|word| !word.is_empty()) {
        let signed = option_flag(&word)?;
        if *all_signed.get_or_insert(signed) != signed {
            return Err(OptionsError::Mixed);
        }
    }
    Ok(())
}

/// Whether a flag has a sign.
fn option_flag(word: &[u8]) -> Result<bool, OptionsError> {
    let name = word.strip_prefix(b"+").or(word.strip_prefix(b"-"));
    let (is_signed, name) = (name.is_some(), name.unwrap_or(word));
    let is = |flag: &str| name.eq_ignore_ascii_case(flag.as_bytes());
    match FLAGS.iter().position(|flag| is(flag)) {
        _ if name.is_empty() => Err(OptionsError::BareSign(lossy(word))),
        None => Err(OptionsError::Unknown(UnknownWord::new(name, &FLAGS))),
        Some(1..) if is_signed => Err(OptionsError::SignedSet(lossy(name))),
        Some(_) => Ok(is_signed),
    }
}

/// Why the value of `WSGISlowRequests` was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is less than 0 seconds; 0 switches the reports off")]
pub struct NegativeThreshold(String);

/// Reads the value of `WSGISlowRequests`, seconds; 0 is off. A word that is no number counts as the
/// number it begins with, or 0; the second value says so.
///
/// # Errors
///
/// For a number less than 0.
pub fn slow_requests(
    word: &[u8],
) -> Result<(Option<Duration>, Option<NumberWarning>), NegativeThreshold> {
    let (seconds, warning) = leading_number(word);
    if seconds < 0.0 {
        return Err(NegativeThreshold(lossy(word)));
    }
    // A time that no clock will reach is never reached.
    let threshold = Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX);
    Ok(((!threshold.is_zero()).then_some(threshold), warning))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_unix_sockets() {
        for good in [
            "unix:/run/t.sock",
            "unix:relative",
            "\"unix:/a b\"",
            "unix:/t interval=0.5",
            "unix:/t interval=1e1",
            "unix:/t interval=2x",
            "unix:/t interval=inf",
            "unix:/t \"\"",
        ] {
            assert_eq!(service(good.as_bytes()), Ok(()), "{good}");
        }
        for (bad, message) in [
            ("", "takes a target"),
            ("\"\"", "takes a target"),
            ("udp:host:1", "the target \"udp:host:1\" is not"),
            ("UNIX:/t", "the target \"UNIX:/t\" is not"),
            ("unix:/t 2", "\"2\" is not of the form interval=seconds"),
            ("unix:/t Interval=2", "\"Interval=2\" is not of the form"),
            ("unix:/t interval=0.4", "the interval \"0.4\" is not"),
            ("unix:/t interval=abc", "the interval \"abc\" is not"),
            ("unix:/t interval=", "the interval \"\" is not"),
            ("unix:/t interval=-1", "the interval \"-1\" is not"),
            ("unix:/t interval=1 more", "\"more\" is one word too many"),
        ] {
            let error = service(bad.as_bytes()).unwrap_err().to_string();
            assert!(error.starts_with(message), "{bad}: {error}");
        }
    }

    #[test]
    fn flags_have_signs_all_or_none() {
        for good in [
            "CaptureUserAgent",
            "captureuseragent",
            "+CaptureUserAgent -CaptureUserAgent",
            "None CaptureUserAgent",
            "all",
            "\"\"",
        ] {
            assert_eq!(options(good.as_bytes()), Ok(()), "{good}");
        }
        for (bad, message) in [
            ("", "takes at least one of"),
            ("+", "the sign \"+\" must"),
            ("+All", "\"All\" must stand without"),
            ("-none", "\"none\" must stand without"),
            ("+CaptureUserAgent All", "either all"),
            ("None -CaptureUserAgent", "either all"),
            ("CaptureAgent", "the flag \"CaptureAgent\""),
            ("++CaptureUserAgent", "the flag \"+CaptureUserAgent\""),
        ] {
            let error = options(bad.as_bytes()).unwrap_err().to_string();
            assert!(error.starts_with(message), "{bad}: {error}");
        }
    }

    #[test]
    fn thresholds_are_seconds() {
        let read = |word: &str| slow_requests(word.as_bytes());
        assert_eq!(read("0"), Ok((None, None)));
        assert_eq!(read("1.5"), Ok((Some(Duration::from_millis(1500)), None)));
        assert_eq!(read("text").unwrap().0, None);
        assert!(read("text").unwrap().1.is_some());
        assert_eq!(read("2s").unwrap().0, Some(Duration::from_secs(2)));
        assert!(read("2s").unwrap().1.is_some());
        assert_eq!(read("inf").unwrap().0, Some(Duration::MAX));
        assert!(read("-1").is_err());
        assert!(read("-0.1").is_err());
    }
}
