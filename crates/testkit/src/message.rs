//! HTTP/1.x messages as they are on the wire: requests to send, responses as they came.

use std::time::Duration;

/// A request to be sent as it is written, right or wrong.
#[derive(Clone, Debug)]
pub struct Request {
    method: String,
    target: String,
    version: &'static str,
    headers: Vec<(String, Vec<u8>)>,
    body: Vec<u8>,
}

impl Request {
    /// A request with `method` for `target`, HTTP/1.1, `Host: localhost`.
    pub fn new(method: &str, target: &str) -> Self {
        Self {
            method: method.to_owned(),
            target: target.to_owned(),
            version: "HTTP/1.1",
            headers: Vec::new(),
            body: Vec::new(),
        }
    }

    /// A `GET` request.
    pub fn get(target: &str) -> Self {
        Self::new("GET", target)
    }

    /// A `POST` request with `body` and its `Content-Length`.
    pub fn post(target: &str, body: impl AsRef<[u8]>) -> Self {
        Self::new("POST", target).body(body)
    }

    /// Makes it HTTP/1.0.
    pub fn http_1_0(mut self) -> Self {
        self.version = "HTTP/1.0";
        self
    }

    /// Adds a header. A `Host` given here replaces the default one.
    pub fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.headers
            .push((name.to_owned(), value.as_ref().to_vec()));
        self
    }

    /// Gives it a body and the `Content-Length` of that.
    pub fn body(mut self, body: impl AsRef<[u8]>) -> Self {
        self.body = body.as_ref().to_vec();
        let length = self.body.len().to_string();
        self.header("Content-Length", length)
    }

    /// Gives it a body sent in chunks.
    pub fn chunked<C: AsRef<[u8]>>(mut self, chunks: impl IntoIterator<Item = C>) -> Self {
        self.body = chunks
            .into_iter()
            .flat_map(|c| encode_chunk(c.as_ref()))
            .collect();
        self.body.extend(encode_chunk(b""));
        self.header("Transfer-Encoding", "chunked")
    }

    /// The method.
    pub fn method(&self) -> &str {
        &self.method
    }

    /// The bytes of the request, head and body.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = self.head_bytes();
        bytes.extend(&self.body);
        bytes
    }

    /// The bytes of the head alone, with the empty line that ends it.
    pub fn head_bytes(&self) -> Vec<u8> {
        let mut bytes =
            format!("{} {} {}\r\n", self.method, self.target, self.version).into_bytes();
        if !self
            .headers
            .iter()
            .any(|(name, _)| name.eq_ignore_ascii_case("host"))
        {
            bytes.extend(b"Host: localhost\r\n");
        }
        for (name, value) in &self.headers {
            bytes.extend(name.as_bytes());
            bytes.extend(b": ");
            bytes.extend(value);
            bytes.extend(b"\r\n");
        }
        bytes.extend(b"\r\n");
        bytes
    }
}

/// A chunk as it is on the wire; the empty one ends a body.
fn encode_chunk(data: &[u8]) -> Vec<u8> {
    let mut bytes = format!("{:x}\r\n", data.len()).into_bytes();
    bytes.extend(data);
    bytes.extend(b"\r\n");
    bytes
}

/// The head of a response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// The minor version of HTTP/1.
    pub minor_version: u8,
    /// The status code.
    pub status: u16,
    /// The text after it.
    pub reason: String,
    /// The headers in their order, duplicates kept, values as latin-1.
    pub headers: Vec<(String, String)>,
}

impl Head {
    /// The value of the only header `name`, or `None`; panics if there are several.
    pub fn header(&self, name: &str) -> Option<&str> {
        let all = self.header_all(name);
        assert!(all.len() <= 1, "several {name} headers: {all:?}");
        all.first().copied()
    }

    /// The values of all headers `name`, in their order.
    pub fn header_all(&self, name: &str) -> Vec<&str> {
        let named = |(key, _): &&(String, String)| key.eq_ignore_ascii_case(name);
        self.headers
            .iter()
            .filter(named)
            .map(|(_, value)| value.as_str())
            .collect()
    }

    /// How the body of this response to a `method` request ends.
    pub(crate) fn framing(&self, method: &str) -> Framing {
        if method == "HEAD" || self.status < 200 || matches!(self.status, 204 | 304) {
            return Framing::NoBody;
        }
        if self
            .header("Transfer-Encoding")
            .is_some_and(|te| te.ends_with("chunked"))
        {
            return Framing::Chunked;
        }
        match self.header("Content-Length") {
            Some(text) => Framing::Length(text.parse().expect("a Content-Length is a number")),
            None => Framing::UntilClose,
        }
    }
}

/// How the end of a body is to be known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    NoBody,
    Length(usize),
    Chunked,
    UntilClose,
}

/// How a response ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// There can be no body.
    NoBody,
    /// As many bytes came as `Content-Length` says.
    Length,
    /// The final chunk came.
    FinalChunk,
    /// The connection was closed, which is the only end such a response has.
    Close,
    /// The connection ended before the response did.
    Cut,
}

/// A piece of a body as it arrived: a chunk of the chunked coding, or what one read brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// The bytes.
    pub data: Vec<u8>,
    /// When it had arrived, since the reading of the response began.
    pub arrived: Duration,
}

/// A response, whole or cut.
#[derive(Clone, Debug)]
pub struct Response {
    /// The interim responses before it, such as `100 Continue`.
    pub interim: Vec<Head>,
    /// Its head.
    pub head: Head,
    /// Its status code.
    pub status: u16,
    /// Its body, without the chunked coding.
    pub body: Vec<u8>,
    /// The body in the pieces in which it arrived.
    pub chunks: Vec<Chunk>,
    /// How it ended.
    pub ending: Ending,
}

impl Response {
    /// The body as text; bytes that are not UTF-8 are replaced.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The value of the only header `name`; panics if there are several.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.header(name)
    }

    /// Whether all of it came.
    pub fn is_whole(&self) -> bool {
        self.ending != Ending::Cut
    }
}
