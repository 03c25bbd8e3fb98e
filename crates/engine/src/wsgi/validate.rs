//! The rules for status lines and headers, which are checked before anything is sent to a client.
//!
//! Pure functions over the Latin-1 bytes of the arguments of `start_response`; no Python, any
//! thread. They are as strict as httpd is when it writes the head, so that the application gets an
//! exception at the wrong call, instead of a response that httpd aborts. What passes cannot end a
//! header line early, and so cannot split a response.

use std::fmt;

/// What is wrong with a status or a header.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub(super) enum Invalid {
    /// The status has no code.
    #[error(
        "the status {0} does not begin with a three-digit code: PEP 3333 asks for a code, a space \
         and a reason, like '200 OK'"
    )]
    StatusCode(Quoted),
    /// Something else than a space follows the code.
    #[error(
        "the status {0} has no space after its three-digit code: PEP 3333 asks for a code, a \
         space and a reason, like '200 OK'"
    )]
    StatusSpace(Quoted),
    /// The code cannot be that of a response.
    #[error(
        "the status {0} cannot be the status of a response: codes below 200 only announce one, \
         and the server sends those itself"
    )]
    StatusNotFinal(Quoted),
    /// The reason contains a control character.
    #[error(
        "the status {status} contains the control character {character}: PEP 3333 allows none in \
         a status"
    )]
    StatusControl {
        /// The status.
        status: Quoted,
        /// The first such character.
        character: Quoted,
    },
    /// The header has no name.
    #[error("a header has an empty name: PEP 3333 asks for an HTTP field name")]
    NameEmpty,
    /// The name contains a character that is not allowed in field names.
    #[error(
        "the header name {name} contains {character}: PEP 3333 asks for an HTTP field name, made \
         of letters, digits and !#$%&'*+-.^_`|~ only, without the colon"
    )]
    NameCharacter {
        /// The name.
        name: Quoted,
        /// The first such character.
        character: Quoted,
    },
    /// The header determines how the response is framed, which the application must not do.
    #[error(
        "the header {0} is not for an application to set: PEP 3333 forbids hop-by-hop headers, \
         and the server frames the response itself"
    )]
    Framing(Quoted),
    /// The value contains a line break or another control character.
    #[error(
        "the value {value} of the header {name} contains the control character {character}: PEP \
         3333 allows none in a header value"
    )]
    ValueControl {
        /// The header's name.
        name: Quoted,
        /// The value.
        value: Quoted,
        /// The first such character.
        character: Quoted,
    },
    /// The value is not a length.
    #[error(
        "invalid Content-Length header value: {0} is not the number of bytes of a body, written \
         in decimal digits"
    )]
    ContentLength(Quoted),
}

/// Checks a status line and returns its code.
pub(super) fn status(line: &[u8]) -> Result<u16, Invalid> {
    let (code, rest) = line
        .split_first_chunk::<3>()
        .filter(|(code, _)| code.iter().all(u8::is_ascii_digit))
        .ok_or_else(|| Invalid::StatusCode(Quoted::new(line)))?;
    match rest.first() {
        None | Some(b' ') => {}
        Some(b'0'..=b'9') => return Err(Invalid::StatusCode(Quoted::new(line))),
        Some(_) => return Err(Invalid::StatusSpace(Quoted::new(line))),
    }
    if let Some(control) = rest.iter().find(|byte| byte.is_ascii_control()) {
        return Err(Invalid::StatusControl {
            status: Quoted::new(line),
            character: Quoted::byte(*control),
        });
    }
    let code = code
        .iter()
        .fold(0, |code, digit| code * 10 + u16::from(digit - b'0'));
    if code < 200 {
        return Err(Invalid::StatusNotFinal(Quoted::new(line)));
    }
    Ok(code)
}

/// Checks a header's name and value.
pub(super) fn header(name: &[u8], value: &[u8]) -> Result<(), Invalid> {
    header_name(name)?;
    let control = |byte: &&u8| byte.is_ascii_control() && **byte != b'\t';
    if let Some(&character) = value.iter().find(control) {
        return Err(Invalid::ValueControl {
            name: Quoted::new(name),
            value: Quoted::new(value),
            character: Quoted::byte(character),
        });
    }
    Ok(())
}

/// Checks a header's name.
pub(super) fn header_name(name: &[u8]) -> Result<(), Invalid> {
    if name.is_empty() {
        return Err(Invalid::NameEmpty);
    }
    if let Some(&character) = name.iter().find(|&&byte| !is_token(byte)) {
        return Err(Invalid::NameCharacter {
            name: Quoted::new(name),
            character: Quoted::byte(character),
        });
    }
    // httpd would send this header as it is, and the body would not be framed accordingly.
    if name.eq_ignore_ascii_case(b"Transfer-Encoding") {
        return Err(Invalid::Framing(Quoted::new(name)));
    }
    Ok(())
}

/// The number in a `Content-Length` header; whitespace around it is ignored.
pub(super) fn content_length(value: &[u8]) -> Result<u64, Invalid> {
    let digits = value.trim_ascii();
    parse_length(digits).ok_or_else(|| Invalid::ContentLength(Quoted::new(value)))
}

/// Parses a number of digits only, which must fit into httpd's signed file offsets.
fn parse_length(digits: &[u8]) -> Option<u64> {
    if !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let length: i64 = str::from_utf8(digits).ok()?.parse().ok()?;
    u64::try_from(length).ok()
}

/// A `tchar` of RFC 9110, section 5.6.2.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// A text of the application for an error message: quoted, escaped, and cut if it is long.
#[derive(PartialEq, Eq)]
pub(super) struct Quoted {
    start: Vec<u8>,
    cut: bool,
}

impl Quoted {
    const LIMIT: usize = 80;

    fn new(text: &[u8]) -> Self {
        Self {
            start: text.iter().copied().take(Self::LIMIT).collect(),
            cut: text.len() > Self::LIMIT,
        }
    }

    fn byte(byte: u8) -> Self {
        Self::new(&[byte])
    }
}

impl fmt::Display for Quoted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("'")?;
        for &byte in &self.start {
            match char::from(byte) {
                '\'' => f.write_str("\\'")?,
                '"' => f.write_str("\"")?,
                c if c.is_control() => write!(f, "\\x{byte:02x}")?,
                '\\' => f.write_str("\\\\")?,
                c => write!(f, "{c}")?,
            }
        }
        f.write_str(if self.cut { "…'" } else { "'" })
    }
}

impl fmt::Debug for Quoted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn statuses() {
        let cases: &[(&[u8], Result<u16, &str>)] = &[
            (b"200 OK", Ok(200)),
            (b"200", Ok(200)),
            (b"200 ", Ok(200)),
            (b"299 Odd  reason", Ok(299)),
            (b"404 Pas trouv\xe9", Ok(404)),
            (b"999 x", Ok(999)),
            (b"", Err("'' does not begin with a three-digit code")),
            (b"20", Err("'20' does not begin")),
            (b"2000", Err("'2000' does not begin")),
            (b"20x OK", Err("'20x OK' does not begin")),
            (b" 200 OK", Err("' 200 OK' does not begin")),
            (b"200OK", Err("'200OK' has no space")),
            (b"200\tOK", Err("'200\\x09OK' has no space")),
            (b"200 O\nK", Err("control character '\\x0a'")),
            (b"200 O\x7fK", Err("control character '\\x7f'")),
            (b"200 OK\0", Err("control character '\\x00'")),
            (b"100 Continue", Err("'100 Continue' cannot be the status")),
            (b"000 x", Err("'000 x' cannot be")),
        ];
        for (line, expected) in cases {
            match (status(line), expected) {
                (Ok(code), Ok(expected)) => assert_eq!(code, *expected),
                (Err(error), Err(part)) => {
                    assert!(error.to_string().contains(part), "{error}");
                }
                (found, _) => panic!("{:?}: {found:?}", String::from_utf8_lossy(line)),
            }
        }
    }

    #[test]
    fn headers() {
        let cases: &[(&[u8], &[u8], Option<&str>)] = &[
            (b"X-A", b"b", None),
            (b"X-A", b"", None),
            (b"X-A", b" b\t\xe9", None),
            (b"!#$%&'*+-.^_`|~", b"b", None),
            (b"", b"b", Some("an empty name:")),
            (b"a b", b"c", Some("'a b' contains ' '")),
            (b"a:b", b"c", Some("'a:b' contains ':'")),
            (b"a\0b", b"c", Some("'a\\x00b' contains '\\x00'")),
            (b"\xe9", b"c", Some("'\u{e9}' contains '\u{e9}'")),
            (
                b"transfer-encoding",
                b"chunked",
                Some("'transfer-encoding' is not for"),
            ),
            (b"a", b"b\nc", Some("'b\\x0ac' of the header 'a' contains")),
            (b"a", b"b\rc", Some("character '\\x0d'")),
            (b"a", b"b\0c", Some("character '\\x00'")),
            (b"a", b"b\x7f", Some("character '\\x7f'")),
        ];
        for (name, value, expected) in cases {
            match (header(name, value), expected) {
                (Ok(()), None) => {}
                (Err(error), Some(part)) => {
                    assert!(error.to_string().contains(part), "{error}");
                }
                (found, _) => panic!("{:?}: {found:?}", String::from_utf8_lossy(name)),
            }
        }
    }

    #[test]
    fn lengths() {
        assert_eq!(content_length(b"0"), Ok(0));
        assert_eq!(content_length(b" 12\t"), Ok(12));
        assert_eq!(content_length(b"9223372036854775807"), Ok(i64::MAX as u64));
        for wrong in [
            "",
            " ",
            "-1",
            "+5",
            "1 2",
            "1e3",
            "0x10",
            "9223372036854775808",
        ] {
            let error = content_length(wrong.as_bytes()).unwrap_err();
            assert!(error.to_string().contains(&format!("'{wrong}'")), "{error}");
        }
    }

    #[test]
    fn long_values_are_cut_in_messages() {
        let error = status(&[b'x'; 10_000]).unwrap_err().to_string();
        assert!(error.len() < 300, "{error}");
        assert!(error.contains("…"), "{error}");
    }

    proptest! {
        #[test]
        fn nothing_that_passes_can_end_a_line(
            line in proptest::collection::vec(any::<u8>(), 0..40),
            name in proptest::collection::vec(any::<u8>(), 0..20),
            value in proptest::collection::vec(any::<u8>(), 0..40),
        ) {
            let ends_line = |text: &[u8]| text.iter().any(|byte| b"\r\n\0".contains(byte));
            if status(&line).is_ok() {
                prop_assert!(!ends_line(&line));
            }
            if header(&name, &value).is_ok() {
                prop_assert!(!ends_line(&name) && !ends_line(&value));
                prop_assert!(!name.contains(&b':') && !name.is_empty());
            }
        }

        #[test]
        fn ordinary_statuses_pass(code in 200u16..1000, reason in "[ -~]{0,40}") {
            prop_assert_eq!(status(format!("{code} {reason}").as_bytes()), Ok(code));
        }

        #[test]
        fn ordinary_headers_pass(name in "X-[A-Za-z0-9-]{0,20}", value in "[ -~]{0,40}") {
            prop_assert_eq!(header(name.as_bytes(), value.as_bytes()), Ok(()));
        }

        #[test]
        fn messages_are_one_printable_line(
            name in proptest::collection::vec(any::<u8>(), 0..20),
            value in proptest::collection::vec(any::<u8>(), 0..40),
        ) {
            if let Err(error) = header(&name, &value) {
                prop_assert!(!error.to_string().chars().any(char::is_control));
            }
        }
    }
}
