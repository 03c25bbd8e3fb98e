//! Request headers, before they become CGI variables.
//!
//! httpd makes `HTTP_X_USER` of `X-User`. A header whose name has anything else than letters,
//! digits and hyphens in it could become the same variable (`X_User`, to older servers) and smuggle
//! a value past whoever checked the other. So such headers are dropped.

/// Whether a header's name is one that can become a variable: letters, digits and hyphens.
pub fn is_plain(name: &[u8]) -> bool {
    !name.is_empty()
        && name
            .iter()
            .all(|&byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

/// The length that a `Content-Length` states; `None` if it is no plain number.
pub fn content_length(value: &[u8]) -> Option<u64> {
    let digits = std::str::from_utf8(value).ok()?;
    let is_plain = digits.bytes().all(|byte| byte.is_ascii_digit());
    digits.parse().ok().filter(|_| is_plain)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn plain_names_are_letters_digits_and_hyphens() {
        for name in ["Host", "X-Forwarded-For", "x-1", "-", "7"] {
            assert!(is_plain(name.as_bytes()), "{name}");
        }
        for name in ["", "X_User", "X.User", "X User", "X\0", "Us\u{e9}r", "a:b"] {
            assert!(!is_plain(name.as_bytes()), "{name}");
        }
    }

    #[test]
    fn lengths_are_plain_numbers() {
        let cases = [
            ("0", Some(0)),
            ("007", Some(7)),
            ("18446744073709551615", Some(u64::MAX)),
            ("18446744073709551616", None),
            ("", None),
            ("+1", None),
            ("-1", None),
            ("1 ", None),
            ("1, 1", None),
            ("0x1", None),
        ];
        for (value, length) in cases {
            assert_eq!(content_length(value.as_bytes()), length, "{value:?}");
        }
    }

    /// The variable that a lenient server makes of a header: all that is no letter or digit is an
    /// underscore.
    fn variable(name: &[u8]) -> Vec<u8> {
        let upper = name.iter().map(|byte| match byte {
            byte if byte.is_ascii_alphanumeric() => byte.to_ascii_uppercase(),
            _ => b'_',
        });
        b"HTTP_".iter().copied().chain(upper).collect()
    }

    proptest! {
        #[test]
        fn two_plain_headers_share_a_variable_only_if_they_are_the_same_header(
            one in "[A-Za-z0-9_. -]{1,6}", other in "[A-Za-z0-9_. -]{1,6}",
        ) {
            let (one, other) = (one.as_bytes(), other.as_bytes());
            if is_plain(one) && is_plain(other) {
                prop_assert_eq!(variable(one) == variable(other), one.eq_ignore_ascii_case(other));
            }
        }

        #[test]
        fn every_name_that_could_pass_for_another_header_is_dropped(
            name in "[A-Za-z-]{1,6}", at: prop::sample::Index, byte: u8,
        ) {
            let mut forged = name.clone().into_bytes();
            forged[at.index(name.len())] = byte;
            if variable(&forged) == variable(name.as_bytes()) {
                let same = forged.eq_ignore_ascii_case(name.as_bytes());
                prop_assert_eq!(is_plain(&forged), same);
            }
        }

        #[test]
        fn lengths_read_as_they_are_written(length: u64) {
            prop_assert_eq!(content_length(length.to_string().as_bytes()), Some(length));
        }
    }
}
