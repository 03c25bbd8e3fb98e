//! Directives that take one value: switches, a seed, a level, a number.

use crate::nearest::UnknownWord;
use crate::words::lossy;

/// Reads `On` or `Off`, in any case.
///
/// # Errors
///
/// For every other word, naming the nearer of the two.
pub fn flag(word: &[u8]) -> Result<bool, UnknownWord> {
    if word.eq_ignore_ascii_case(b"on") {
        Ok(true)
    } else if word.eq_ignore_ascii_case(b"off") {
        Ok(false)
    } else {
        Err(unknown_flag(word, &["On", "Off"]))
    }
}

/// What `REQUEST_METHOD` says of a `HEAD` request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MapHead {
    /// `GET` where an output filter may need the body to compute its headers, else `HEAD`.
    #[default]
    Auto,
    /// Always `GET`.
    On,
    /// Always `HEAD`.
    Off,
}

/// Reads the value of `WSGIMapHEADToGET`: `On`, `Off` or `Auto`, in any case.
///
/// # Errors
///
/// For every other word, naming the nearest of the three.
pub fn map_head(word: &[u8]) -> Result<MapHead, UnknownWord> {
    if word.eq_ignore_ascii_case(b"auto") {
        return Ok(MapHead::Auto);
    }
    match flag(word) {
        Ok(true) => Ok(MapHead::On),
        Ok(false) => Ok(MapHead::Off),
        Err(_) => Err(unknown_flag(word, &["On", "Off", "Auto"])),
    }
}

/// People who do not write `On` write one of these, and spelling alone would not tell.
fn unknown_flag(word: &[u8], allowed: &[&'static str]) -> UnknownWord {
    const ON: &[&[u8]] = &[b"yes", b"y", b"true", b"1", b"enable", b"enabled"];
    const OFF: &[&[u8]] = &[b"no", b"n", b"false", b"0", b"disable", b"disabled"];
    let is_in = |words: &[&[u8]]| words.iter().any(|w| w.eq_ignore_ascii_case(word));
    if is_in(ON) {
        UnknownWord::meant(word, allowed, Some("On"))
    } else if is_in(OFF) {
        UnknownWord::meant(word, allowed, Some("Off"))
    } else {
        UnknownWord::new(word, allowed)
    }
}

/// Where Python's string hashes start from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HashSeed {
    /// Each process chooses its own.
    Random,
    /// The same in every process; zero switches randomisation off.
    Fixed(u32),
}

/// A word that is no hash seed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is neither \"random\" nor an integer from 0 to 4294967295")]
pub struct HashSeedError(String);

/// Reads the value of `WSGIPythonHashSeed`: `random`, in lower case, or an integer.
///
/// # Errors
///
/// For a word that is neither, or an integer of more than 32 bits.
pub fn hash_seed(word: &[u8]) -> Result<HashSeed, HashSeedError> {
    if word == b"random" {
        return Ok(HashSeed::Random);
    }
    let digits = word.trim_ascii_start();
    std::str::from_utf8(digits)
        .ok()
        .filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))
        .and_then(|digits| digits.parse().ok())
        .map(HashSeed::Fixed)
        .ok_or_else(|| HashSeedError(lossy(word)))
}

/// An optimisation level that is no number. The directive takes it all the same, as zero.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is not an optimisation level (0, 1 or 2) and counts as {1}")]
pub struct OptimizeWarning(String, i32);

/// Reads the value of `WSGIPythonOptimize` as C's `atoi` does: the number at its start, or 0;
/// less than zero is zero. The second value says what is wrong with it, if anything is.
pub fn optimize(word: &[u8]) -> (i32, Option<OptimizeWarning>) {
    let level = leading_integer(word).clamp(0, i64::from(i32::MAX));
    let level = i32::try_from(level).unwrap_or(i32::MAX);
    let warning =
        (!matches!(word, b"0" | b"1" | b"2")).then(|| OptimizeWarning(lossy(word), level));
    (level, warning)
}

fn leading_integer(word: &[u8]) -> i64 {
    let word = word.trim_ascii_start();
    let (sign, digits) = match word {
        [b'-', digits @ ..] => (-1, digits),
        [b'+', digits @ ..] => (1, digits),
        digits => (1, digits),
    };
    digits
        .iter()
        .take_while(|byte| byte.is_ascii_digit())
        .fold(0_i64, |n, &digit| {
            n.saturating_mul(10).saturating_add(i64::from(digit - b'0'))
        })
        * sign
}

/// Reads the kind of an accept mutex, in any case. No lock is made of it.
///
/// # Errors
///
/// For every word that names no kind of lock.
pub fn accept_mutex(word: &[u8]) -> Result<(), UnknownWord> {
    const KINDS: &[&str] = &[
        "default", "flock", "fcntl", "sysvsem", "posixsem", "pthread",
    ];
    let known = KINDS
        .iter()
        .any(|kind| word.eq_ignore_ascii_case(kind.as_bytes()));
    if known {
        Ok(())
    } else {
        Err(UnknownWord::new(word, KINDS))
    }
}

/// A word where a number belongs. It is taken all the same, as the number it begins with, or 0.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("\"{word}\" is not a number and counts as {number}")]
pub struct NumberWarning {
    word: String,
    number: f64,
}

/// Reads a number as C's `atof` does: the longest one that the word begins with, or 0. The second
/// value says what is wrong with the word, if anything is.
pub(crate) fn leading_number(word: &[u8]) -> (f64, Option<NumberWarning>) {
    let digits = word.trim_ascii_start();
    let text = digits
        .utf8_chunks()
        .next()
        .map_or("", |chunk| chunk.valid());
    let ends = text.char_indices().map(|(at, c)| at + c.len_utf8());
    let mut numbers = ends.filter_map(|end| Some((end, text.get(..end)?.parse().ok()?)));
    let (end, number) = numbers.next_back().unwrap_or((0, 0.0_f64));
    let warning = (end != digits.len()).then(|| NumberWarning {
        word: lossy(word),
        number,
    });
    (number, warning)
}

/// Reads a number of seconds greater than 0, such as `0.005`.
pub fn positive_seconds(word: &[u8]) -> Option<f64> {
    let seconds: f64 = std::str::from_utf8(word).ok()?.parse().ok()?;
    (seconds.is_finite() && seconds > 0.0).then_some(seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_on_and_off_in_any_case() {
        for (word, value) in [("On", true), ("oN", true), ("Off", false), ("OFF", false)] {
            assert_eq!(flag(word.as_bytes()), Ok(value));
        }
    }

    #[test]
    fn other_words_are_answered_with_the_right_one() {
        let cases = [
            (
                "yes",
                "\"yes\" (did you mean \"On\"?) is not one of On, Off",
            ),
            ("0", "\"0\" (did you mean \"Off\"?) is not one of On, Off"),
            (
                "ofF ",
                "\"ofF \" (did you mean \"Off\"?) is not one of On, Off",
            ),
            ("maybe", "\"maybe\" is not one of On, Off"),
        ];
        for (word, message) in cases {
            assert_eq!(flag(word.as_bytes()).unwrap_err().to_string(), message);
        }
    }

    #[test]
    fn heads_map_three_ways() {
        for (word, value) in [
            ("AUTO", MapHead::Auto),
            ("on", MapHead::On),
            ("off", MapHead::Off),
        ] {
            assert_eq!(map_head(word.as_bytes()), Ok(value));
        }
        assert_eq!(
            map_head(b"automatic").unwrap_err().to_string(),
            "\"automatic\" (did you mean \"Auto\"?) is not one of On, Off, Auto"
        );
    }

    #[test]
    fn seeds_have_32_bits() {
        let good = [
            ("random", HashSeed::Random),
            ("0", HashSeed::Fixed(0)),
            (" 1", HashSeed::Fixed(1)),
            ("4294967295", HashSeed::Fixed(u32::MAX)),
        ];
        for (word, seed) in good {
            assert_eq!(hash_seed(word.as_bytes()), Ok(seed), "{word}");
        }
        for word in ["RANDOM", "", "-1", "+1", "1x", "0x10", "4294967296", "1 "] {
            assert!(hash_seed(word.as_bytes()).is_err(), "{word}");
        }
    }

    #[test]
    fn levels_are_read_as_atoi_reads_them() {
        let cases = [
            ("0", 0),
            ("2", 2),
            ("7", 7),
            ("-1", 0),
            ("x", 0),
            ("2x", 2),
            (" +1", 1),
        ];
        for (word, level) in cases {
            let (read, warning) = optimize(word.as_bytes());
            assert_eq!(read, level, "{word}");
            assert_eq!(warning.is_none(), ["0", "2"].contains(&word), "{word}");
        }
        assert_eq!(optimize(b"99999999999999999999").0, i32::MAX);
    }

    #[test]
    fn numbers_are_read_as_atof_reads_them() {
        let cases = [
            ("0", 0.0, true),
            ("1.5", 1.5, true),
            (" -2.", -2.0, true),
            ("+1e1", 10.0, true),
            ("1x", 1.0, false),
            ("1e", 1.0, false),
            ("text", 0.0, false),
            ("", 0.0, true),
            ("1\u{fc}", 1.0, false),
        ];
        for (word, number, is_number) in cases {
            let (read, warning) = leading_number(word.as_bytes());
            assert_eq!(read, number, "{word}");
            assert_eq!(warning.is_none(), is_number, "{word}");
        }
    }
}
