//! Splitting the arguments of a directive, by httpd's rules.
//!
//! httpd hands the arguments of a raw directive over as the rest of the line. [`Words`] takes
//! words off its front the way `ap_getword_conf` does, and `key=value` options the way this
//! module's directives have always had them.

/// The words of a line that have not been read yet.
#[derive(Clone, Debug)]
pub struct Words<'a> {
    rest: &'a [u8],
}

/// An option as written: `key=value`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OptionWord<'a> {
    /// What stands before the first `=`, verbatim.
    pub key: &'a [u8],
    /// The word after it, unquoted.
    pub value: Vec<u8>,
}

/// A word where an option was expected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OptionSyntaxError {
    /// There is no `=` in it.
    #[error("\"{0}\" is not of the form option=value")]
    NoEquals(String),
    /// Nothing stands before the `=`.
    #[error("the name of the option is missing before \"{0}\"")]
    NoKey(String),
    /// It is a comment.
    #[error("\"{0}\" begins no comment: one has a line of its own")]
    Comment(String),
    /// The quotes are around the name, too.
    #[error("the quotes of {0} belong around the value alone")]
    Quoted(String),
    /// There is a blank before the `=`.
    #[error("there must be no blank between the option \"{0}\" and its \"=\"")]
    BlankBeforeEquals(String),
}

impl<'a> Words<'a> {
    /// The words of `line`.
    pub fn new(line: &'a [u8]) -> Self {
        Self { rest: line }
    }

    /// What has not been read yet, without leading blanks.
    pub fn rest(&self) -> &'a [u8] {
        skip_blanks(self.rest)
    }

    /// Takes the next word, as `ap_getword_conf` does: up to a blank, or enclosed in single or
    /// double quotes. Within quotes a backslash escapes the quote and itself; outside it escapes
    /// itself. A missing closing quote is taken as written at the end of the line. Empty when
    /// nothing is left, and for an empty pair of quotes.
    pub fn next_word(&mut self) -> Vec<u8> {
        let line = skip_blanks(self.rest);
        let (word, rest) = match line.split_first() {
            Some((&quote @ (b'"' | b'\''), quoted)) => quoted_word(quoted, quote),
            _ => bare_word(line),
        };
        self.rest = skip_blanks(rest);
        word
    }

    /// Takes the next option; `None` when nothing is left.
    ///
    /// # Errors
    ///
    /// When the next word is not an option. Nothing is taken then.
    pub fn next_option(&mut self) -> Result<Option<OptionWord<'a>>, OptionSyntaxError> {
        let line = skip_blanks(self.rest);
        if line.is_empty() {
            return Ok(None);
        }
        let (key, value) = split_option(line)?;
        self.rest = value;
        let value = self.next_word();
        Ok(Some(OptionWord { key, value }))
    }
}

impl Iterator for Words<'_> {
    type Item = Vec<u8>;

    /// The next word, until nothing is left.
    fn next(&mut self) -> Option<Vec<u8>> {
        (!self.rest().is_empty()).then(|| self.next_word())
    }
}

/// Splits at the `=` that ends the key.
fn split_option(line: &[u8]) -> Result<(&[u8], &[u8]), OptionSyntaxError> {
    let end = line
        .iter()
        .position(|&byte| byte == b'=' || is_blank(byte))
        .unwrap_or(line.len());
    let (key, rest) = line.split_at(end);
    if let Some(quote @ (b'"' | b'\'')) = key.first()
        && rest.starts_with(b"=")
    {
        let (word, _) = quoted_word(line.get(1..).unwrap_or_default(), *quote);
        let quote = char::from(*quote);
        return Err(OptionSyntaxError::Quoted(format!(
            "{quote}{}{quote}",
            lossy(&word)
        )));
    }
    if key.starts_with(b"#") {
        return Err(OptionSyntaxError::Comment(lossy(first_bare_word(line))));
    }
    match rest.strip_prefix(b"=") {
        Some(_) if key.is_empty() => Err(OptionSyntaxError::NoKey(lossy(first_bare_word(line)))),
        Some(value) => Ok((key, value)),
        None if skip_blanks(rest).starts_with(b"=") => {
            Err(OptionSyntaxError::BlankBeforeEquals(lossy(key)))
        }
        None => Err(OptionSyntaxError::NoEquals(lossy(key))),
    }
}

/// The word up to the closing `quote`, and what follows that quote.
fn quoted_word(line: &[u8], quote: u8) -> (Vec<u8>, &[u8]) {
    let mut word = Vec::new();
    let mut rest = line;
    loop {
        match rest {
            [b'\\', escaped, tail @ ..] if *escaped == quote || *escaped == b'\\' => {
                word.push(*escaped);
                rest = tail;
            }
            [byte, tail @ ..] if *byte == quote => return (word, tail),
            [byte, tail @ ..] => {
                word.push(*byte);
                rest = tail;
            }
            [] => return (word, rest),
        }
    }
}

/// The word up to the next blank, and what follows.
fn bare_word(line: &[u8]) -> (Vec<u8>, &[u8]) {
    let raw = first_bare_word(line);
    let mut word = Vec::with_capacity(raw.len());
    let mut bytes = raw.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        if byte == b'\\' {
            bytes.next_if_eq(&b'\\');
        }
        word.push(byte);
    }
    (word, line.get(raw.len()..).unwrap_or_default())
}

fn first_bare_word(line: &[u8]) -> &[u8] {
    line.split(|&byte| is_blank(byte)).next().unwrap_or(line)
}

fn skip_blanks(line: &[u8]) -> &[u8] {
    let blanks = line.iter().take_while(|&&byte| is_blank(byte)).count();
    line.get(blanks..).unwrap_or_default()
}

/// `isspace` of the C locale.
fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c)
}

/// Bytes as they can be shown in a message.
pub(crate) fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn all(line: &str) -> Vec<String> {
        Words::new(line.as_bytes())
            .map(|word| lossy(&word))
            .collect()
    }

    #[test]
    fn words_are_split_as_httpd_splits_them() {
        let cases: &[(&str, &[&str])] = &[
            ("", &[]),
            (" \t ", &[]),
            ("/x  /y\t/z ", &["/x", "/y", "/z"]),
            ("\"/x y\" '/tmp/a b'", &["/x y", "/tmp/a b"]),
            ("\"it's\" 'say \"hi\"'", &["it's", "say \"hi\""]),
            (
                r#""a\"b" 'c\'d' "e\\f" "g\h""#,
                &["a\"b", "c'd", "e\\f", "g\\h"],
            ),
            (r"a\b c\\d \ e\", &[r"a\b", r"c\d", r"\", r"e\"]),
            ("\"no end", &["no end"]),
            ("\"\" x", &["", "x"]),
            ("\"a\"b c", &["a", "b", "c"]),
            ("a\"b c\"", &["a\"b", "c\""]),
        ];
        for (line, expected) in cases {
            assert_eq!(all(line), *expected, "{line:?}");
        }
    }

    #[test]
    fn options_are_split_at_the_first_equals_sign() {
        let cases: &[(&str, &str, &str)] = &[
            ("a=b", "a", "b"),
            ("  a=b=c ", "a", "b=c"),
            ("a=\"b c\" d=e", "a", "b c"),
            ("a=", "a", ""),
            ("a=\"\"", "a", ""),
            ("a= b", "a", "b"),
        ];
        for (line, key, value) in cases {
            let option = Words::new(line.as_bytes()).next_option().unwrap().unwrap();
            assert_eq!(
                (lossy(option.key).as_str(), lossy(&option.value).as_str()),
                (*key, *value)
            );
        }
        assert_eq!(Words::new(b"  ").next_option(), Ok(None));
    }

    #[test]
    fn what_is_no_option_is_named() {
        let cases = [
            ("foo", OptionSyntaxError::NoEquals("foo".into())),
            ("foo bar=baz", OptionSyntaxError::NoEquals("foo".into())),
            (
                "foo =bar",
                OptionSyntaxError::BlankBeforeEquals("foo".into()),
            ),
            ("=bar baz", OptionSyntaxError::NoKey("=bar".into())),
            ("# two=2", OptionSyntaxError::Comment("#".into())),
            ("#two=2", OptionSyntaxError::Comment("#two=2".into())),
            (
                "\"home=/a b\" c=d",
                OptionSyntaxError::Quoted("\"home=/a b\"".into()),
            ),
        ];
        for (line, error) in cases {
            assert_eq!(Words::new(line.as_bytes()).next_option(), Err(error));
        }
    }

    proptest! {
        #[test]
        fn a_quoted_word_reads_as_what_was_quoted(word: Vec<u8>, quote in prop::sample::select(b"\"'")) {
            let mut line = vec![quote];
            for &byte in &word {
                if byte == quote || byte == b'\\' {
                    line.push(b'\\');
                }
                line.push(byte);
            }
            line.extend([quote, b'x']);
            let mut words = Words::new(&line);
            prop_assert_eq!(words.next_word(), word);
            prop_assert_eq!(words.rest(), b"x");
        }

        #[test]
        fn every_line_comes_to_an_end(line: Vec<u8>) {
            prop_assert!(Words::new(&line).count() <= line.len());
        }
    }
}
