//! The head of a response, from `start_response` until it is sent.
//!
//! The application's strings are checked and copied when `start_response` is called, so no Python
//! is needed when the head is sent with the first data, possibly without the GIL.

use engine_abi::{Bytes, Pair, Slice};

use super::validate::{self, Invalid};

/// A checked head. All texts are in one buffer; a header consists of the positions at which its
/// name and value end.
#[derive(Debug)]
pub(super) struct Head {
    status: u16,
    text: Vec<u8>,
    status_end: usize,
    headers: Vec<HeaderEnds>,
    content_length: Option<u64>,
}

#[derive(Clone, Copy, Debug)]
struct HeaderEnds {
    name: usize,
    value: usize,
}

const CONTENT_LENGTH: &[u8] = b"Content-Length";

impl Head {
    /// A head with this status, without headers.
    pub(super) fn new(status_line: &[u8]) -> Result<Self, Invalid> {
        let status = validate::status(status_line)?;
        let mut text = Vec::with_capacity(256);
        text.extend_from_slice(status_line);
        Ok(Self {
            status,
            status_end: text.len(),
            text,
            headers: Vec::with_capacity(8),
            content_length: None,
        })
    }

    /// Adds a header. Duplicates are kept, except for `Content-Length`, of which the last one
    /// counts.
    pub(super) fn push(&mut self, name: &[u8], value: &[u8]) -> Result<(), Invalid> {
        validate::header(name, value)?;
        if name.eq_ignore_ascii_case(CONTENT_LENGTH) {
            self.content_length = Some(validate::content_length(value)?);
            return Ok(());
        }
        self.text.extend_from_slice(name);
        let name = self.text.len();
        self.text.extend_from_slice(value);
        let value = self.text.len();
        self.headers.push(HeaderEnds { name, value });
        Ok(())
    }

    /// The status code.
    pub(super) fn status(&self) -> u16 {
        self.status
    }

    /// The length of the body, if it is stated.
    pub(super) fn content_length(&self) -> Option<u64> {
        self.content_length
    }

    /// States the length of the body.
    pub(super) fn set_content_length(&mut self, length: u64) {
        self.content_length = Some(length);
    }

    /// Whether a response with this status has a body at all.
    pub(super) fn allows_body(&self) -> bool {
        !matches!(self.status, 204 | 304)
    }

    /// Lends the head in the form of the ABI.
    pub(super) fn lend<R>(&self, use_head: impl FnOnce(&engine_abi::Head<'_>) -> R) -> R {
        let length = self.content_length.map(|length| length.to_string());
        let length = length.as_ref().map(|length| Pair {
            name: Bytes::new(CONTENT_LENGTH),
            value: Bytes::new(length.as_bytes()),
        });
        let pairs: Vec<Pair<'_>> = self.pairs().chain(length).collect();
        use_head(&engine_abi::Head {
            status: self.status,
            status_line: Bytes::new(self.slice(0, self.status_end)),
            headers: Slice::new(&pairs),
        })
    }

    fn pairs(&self) -> impl Iterator<Item = Pair<'_>> {
        let mut start = self.status_end;
        self.headers.iter().map(move |ends| {
            let pair = Pair {
                name: Bytes::new(self.slice(start, ends.name)),
                value: Bytes::new(self.slice(ends.name, ends.value)),
            };
            start = ends.value;
            pair
        })
    }

    fn slice(&self, start: usize, end: usize) -> &[u8] {
        self.text.get(start..end).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lent(head: &Head) -> (u16, String, Vec<(String, String)>) {
        let text = |bytes: Bytes<'_>| String::from_utf8_lossy(bytes.or_empty()).into_owned();
        head.lend(|head| {
            let headers = head.headers.get().iter();
            (
                head.status,
                text(head.status_line),
                headers
                    .map(|pair| (text(pair.name), text(pair.value)))
                    .collect(),
            )
        })
    }

    fn pair(name: &str, value: &str) -> (String, String) {
        (name.to_owned(), value.to_owned())
    }

    #[test]
    fn headers_keep_their_order_and_duplicates() {
        let mut head = Head::new(b"201 Created").unwrap();
        head.push(b"Set-Cookie", b"a=1").unwrap();
        head.push(b"X-Empty", b"").unwrap();
        head.push(b"Set-Cookie", b"b=2").unwrap();
        let headers = vec![
            pair("Set-Cookie", "a=1"),
            pair("X-Empty", ""),
            pair("Set-Cookie", "b=2"),
        ];
        assert_eq!(lent(&head), (201, "201 Created".to_owned(), headers));
        assert_eq!(head.content_length(), None);
    }

    #[test]
    fn the_last_content_length_wins() {
        let mut head = Head::new(b"200 OK").unwrap();
        head.push(b"Content-Length", b"5").unwrap();
        head.push(b"content-length", b" 3 ").unwrap();
        assert_eq!(head.content_length(), Some(3));
        assert_eq!(lent(&head).2, [pair("Content-Length", "3")]);
    }

    #[test]
    fn wrong_headers_are_refused() {
        let mut head = Head::new(b"200 OK").unwrap();
        assert!(head.push(b"X-A", b"a\r\nX-B: b").is_err());
        assert!(head.push(b"Content-Length", b"many").is_err());
        assert!(lent(&head).2.is_empty());
    }
}
