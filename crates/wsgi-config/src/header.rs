//! Which CGI variable a request header becomes, if any.
//!
//! A header that became a variable of the same name as another could be used to smuggle a value
//! past whoever checked the other (`X_User` for `X-User`), and `HTTP_PROXY` is read by HTTP
//! clients as configuration. Such headers become no variable at all.

/// Which credentials of a request its application may see.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Credentials {
    /// `Authorization`: `WSGIPassAuthorization` or `CGIPassAuth`.
    pub authorization: bool,
    /// `Proxy-Authorization`: `CGIPassAuth`.
    pub proxy_authorization: bool,
}

/// Whether a header's name is one that can become a variable: letters, digits and hyphens.
pub fn is_plain(name: &[u8]) -> bool {
    !name.is_empty()
        && name
            .iter()
            .all(|&byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

/// The name of the variable for the header `name`; `None` if it is to have none.
pub fn variable(name: &[u8], credentials: Credentials) -> Option<Vec<u8>> {
    let is = |other: &[u8]| name.eq_ignore_ascii_case(other);
    if is(b"Content-Type") {
        Some(b"CONTENT_TYPE".to_vec())
    } else if is(b"Content-Length") {
        Some(b"CONTENT_LENGTH".to_vec())
    } else if is(b"Proxy")
        || (is(b"Authorization") && !credentials.authorization)
        || (is(b"Proxy-Authorization") && !credentials.proxy_authorization)
        || !is_plain(name)
    {
        None
    } else {
        Some(prefixed(name))
    }
}

/// The length that a `Content-Length` states; `None` if it is no plain number.
pub fn content_length(value: &[u8]) -> Option<u64> {
    let digits = std::str::from_utf8(value).ok()?;
    let is_plain = digits.bytes().all(|byte| byte.is_ascii_digit());
    digits.parse().ok().filter(|_| is_plain)
}

/// `HTTP_` and the name in upper case, with underscores for hyphens.
fn prefixed(name: &[u8]) -> Vec<u8> {
    let upper = name.iter().map(|&byte| match byte {
        b'-' => b'_',
        byte => byte.to_ascii_uppercase(),
    });
    b"HTTP_".iter().copied().chain(upper).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn named(name: &str, credentials: Credentials) -> Option<String> {
        variable(name.as_bytes(), credentials).map(|name| String::from_utf8(name).unwrap())
    }

    #[test]
    fn headers_become_variables() {
        let cases = [
            ("Host", Some("HTTP_HOST")),
            ("X-Forwarded-For", Some("HTTP_X_FORWARDED_FOR")),
            ("x-1", Some("HTTP_X_1")),
            ("content-TYPE", Some("CONTENT_TYPE")),
            ("content-length", Some("CONTENT_LENGTH")),
            ("Content-Encoding", Some("HTTP_CONTENT_ENCODING")),
            ("Proxy", None),
            ("pROXY", None),
            ("Proxy-Connection", Some("HTTP_PROXY_CONNECTION")),
            ("X_User", None),
            ("X.User", None),
            ("X User", None),
            ("Us\u{e9}r", None),
            ("", None),
        ];
        for (name, expected) in cases {
            assert_eq!(
                named(name, Credentials::default()).as_deref(),
                expected,
                "{name}"
            );
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

    #[test]
    fn credentials_are_withheld_unless_asked_for() {
        let names = ["Authorization", "proxy-authorization"];
        let seen = |authorization, proxy_authorization| {
            names.map(|name| {
                named(
                    name,
                    Credentials {
                        authorization,
                        proxy_authorization,
                    },
                )
                .is_some()
            })
        };
        assert_eq!(seen(false, false), [false, false]);
        assert_eq!(seen(true, false), [true, false]);
        assert_eq!(seen(true, true), [true, true]);
    }

    proptest! {
        #[test]
        fn two_headers_share_a_variable_only_if_they_are_the_same_header(
            one in "[A-Za-z0-9_. -]{1,8}", other in "[A-Za-z0-9_. -]{1,8}",
        ) {
            let all = Credentials { authorization: true, proxy_authorization: true };
            if let (Some(a), Some(b)) = (named(&one, all), named(&other, all)) {
                prop_assert_eq!(a == b, one.eq_ignore_ascii_case(&other));
            }
        }

        #[test]
        fn variables_are_names_of_variables(name: Vec<u8>) {
            if let Some(variable) = variable(&name, Credentials::default()) {
                let is_name = |byte: &u8| {
                    byte.is_ascii_uppercase() || byte.is_ascii_digit() || *byte == b'_'
                };
                prop_assert!(variable.iter().all(is_name));
                prop_assert_ne!(variable, b"HTTP_PROXY");
            }
        }
    }
}
