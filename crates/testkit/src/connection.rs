//! A TCP connection to httpd that sends bytes as given and shows responses as they come.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Instant;

use crate::message::{Chunk, Ending, Framing, Head, Response};
use crate::wait::DEADLINE;

const MOST_HEADERS: usize = 256;

/// A connection. Requests may be sent in parts, several at once, or half; what was received
/// beyond a response is kept for the next one.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    received: Vec<u8>,
}

impl Connection {
    /// Connects to `address`.
    pub fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).expect("httpd accepts connections");
        stream.set_nodelay(true).expect("a socket option");
        let patience = Some(DEADLINE);
        stream.set_read_timeout(patience).expect("a socket option");
        stream.set_write_timeout(patience).expect("a socket option");
        Self {
            stream,
            received: Vec::new(),
        }
    }

    /// Sends `bytes`. That the server has closed meanwhile is no failure: its answer tells.
    pub fn send(&mut self, bytes: &[u8]) {
        match self.stream.write_all(bytes) {
            Err(error) if is_hang_up(error.kind()) => {}
            result => result.expect("httpd takes what is sent"),
        }
    }

    /// Sends as much of `bytes` as the server takes; says whether that was all.
    pub fn try_send(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).is_ok()
    }

    /// Ends our direction, as a client that has nothing more to send.
    pub fn half_close(&mut self) {
        // Fails if the other side is gone, which its answer tells.
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// Reads a response, interim ones before it included. `method` is that of the request: the
    /// response to `HEAD` has no body.
    pub fn read_response_to(&mut self, method: &str) -> Response {
        let begin = Instant::now();
        let mut interim = Vec::new();
        let head = loop {
            let head = self
                .read_head()
                .expect("a response before the connection ends");
            if head.status >= 200 || head.status == 101 {
                break head;
            }
            interim.push(head);
        };
        let mut body = BodyReader::new(head.framing(method));
        let mut chunks = Vec::new();
        while let Some(data) = body.next(self) {
            let arrived = begin.elapsed();
            chunks.push(Chunk { data, arrived });
        }
        Response {
            interim,
            status: head.status,
            head,
            body: chunks
                .iter()
                .flat_map(|chunk| &chunk.data)
                .copied()
                .collect(),
            chunks,
            ending: body.ending(),
        }
    }

    /// Reads a response to anything but `HEAD`.
    pub fn read_response(&mut self) -> Response {
        self.read_response_to("GET")
    }

    /// Reads the head of a response, final or interim; `None` if the connection ended before it.
    pub fn read_head(&mut self) -> Option<Head> {
        loop {
            if let Some((head, length)) = parse_head(&self.received) {
                self.received.drain(..length);
                return Some(head);
            }
            if self.receive() == 0 {
                assert!(self.received.is_empty(), "half a head: {:?}", self.rest());
                return None;
            }
        }
    }

    /// Reads the next chunk of a body in the chunked coding; empty is the final one. `None` if
    /// the connection ended before it was complete.
    pub fn read_chunk(&mut self) -> Option<Vec<u8>> {
        loop {
            if let Some((start, end)) = complete_chunk(&self.received) {
                let chunk = self.received.get(start..end)?.to_vec();
                self.received.drain(..end + 2);
                return Some(chunk);
            }
            if self.receive() == 0 {
                return None;
            }
        }
    }

    /// Reads `count` bytes of a body as they are on the wire, or fewer if the connection ended.
    pub fn read_exactly(&mut self, count: usize) -> Vec<u8> {
        while self.received.len() < count && self.receive() > 0 {}
        let count = count.min(self.received.len());
        self.received.drain(..count).collect()
    }

    /// Reads all that comes until the server closes the connection.
    pub fn read_to_end(&mut self) -> Vec<u8> {
        while self.receive() > 0 {}
        std::mem::take(&mut self.received)
    }

    /// Reads all that comes; whether the server breaks the connection off rather than close it.
    pub fn is_reset(&mut self) -> bool {
        let end = self.stream.read_to_end(&mut self.received);
        matches!(end, Err(error) if is_hang_up(error.kind()))
    }

    /// Whether the server closes the connection without sending anything more.
    pub fn is_closed(&mut self) -> bool {
        self.received.is_empty() && self.receive() == 0
    }

    /// What has arrived and was not read yet, without waiting for more.
    pub fn pending(&mut self) -> &[u8] {
        self.stream.set_nonblocking(true).expect("a socket option");
        let mut buffer = [0; 1024];
        while let Ok(count @ 1..) = self.stream.read(&mut buffer) {
            self.received
                .extend_from_slice(buffer.get(..count).unwrap_or_default());
        }
        self.stream.set_nonblocking(false).expect("a socket option");
        &self.received
    }

    /// What has been received but not read, for messages.
    fn rest(&self) -> String {
        String::from_utf8_lossy(&self.received).into_owned()
    }

    /// Receives some bytes; 0 if the connection has ended, in whatever way.
    fn receive(&mut self) -> usize {
        let mut buffer = [0; 16 * 1024];
        let count = loop {
            match self.stream.read(&mut buffer) {
                Ok(count) => break count,
                Err(error) if is_hang_up(error.kind()) => break 0,
                // What happens when somebody stops the test for a while.
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => panic!("no answer ({error}); received so far: {:?}", self.rest()),
            }
        };
        self.received
            .extend_from_slice(buffer.get(..count).unwrap_or_default());
        count
    }

    /// Takes up to `most` of the received bytes, waiting for some; `None` at the end.
    fn take(&mut self, most: usize) -> Option<Vec<u8>> {
        if self.received.is_empty() && self.receive() == 0 {
            return None;
        }
        let count = self.received.len().min(most);
        Some(self.received.drain(..count).collect())
    }
}

fn is_hang_up(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::ConnectionReset | ErrorKind::BrokenPipe)
}

fn parse_head(bytes: &[u8]) -> Option<(Head, usize)> {
    let mut headers = [httparse::EMPTY_HEADER; MOST_HEADERS];
    let mut response = httparse::Response::new(&mut headers);
    let status = response
        .parse(bytes)
        .unwrap_or_else(|error| panic!("no HTTP ({error}): {:?}", String::from_utf8_lossy(bytes)));
    let httparse::Status::Complete(length) = status else {
        return None;
    };
    let head = Head {
        minor_version: response.version?,
        status: response.code?,
        reason: response.reason?.to_owned(),
        headers: response
            .headers
            .iter()
            .map(|header| (header.name.to_owned(), latin_1(header.value)))
            .collect(),
    };
    Some((head, length))
}

fn latin_1(bytes: &[u8]) -> String {
    bytes.iter().map(|&byte| char::from(byte)).collect()
}

/// Where the data of the first chunk in `bytes` begins and ends, if all of it is there.
fn complete_chunk(bytes: &[u8]) -> Option<(usize, usize)> {
    let status = httparse::parse_chunk_size(bytes).expect("a chunk size");
    let httparse::Status::Complete((start, size)) = status else {
        return None;
    };
    let end = start + usize::try_from(size).expect("a chunk that fits into memory");
    let terminator = bytes.get(end..end + 2)?;
    assert_eq!(terminator, b"\r\n", "a chunk ends with an empty line");
    Some((start, end))
}

/// Reads a body piece by piece to its end.
struct BodyReader {
    framing: Framing,
    length: usize,
    ending: Option<Ending>,
}

impl BodyReader {
    fn new(framing: Framing) -> Self {
        Self {
            framing,
            length: 0,
            ending: None,
        }
    }

    /// The next piece, or `None` when there is no more.
    fn next(&mut self, connection: &mut Connection) -> Option<Vec<u8>> {
        let (piece, otherwise) = match self.framing {
            Framing::NoBody => (None, Ending::NoBody),
            Framing::Length(length) if length == self.length => (None, Ending::Length),
            Framing::Length(length) => (connection.take(length - self.length), Ending::Cut),
            Framing::UntilClose => (connection.take(usize::MAX), Ending::Close),
            Framing::Chunked => match connection.read_chunk() {
                Some(chunk) if chunk.is_empty() => (None, Ending::FinalChunk),
                chunk => (chunk, Ending::Cut),
            },
        };
        match &piece {
            Some(data) => self.length += data.len(),
            None => self.ending = Some(otherwise),
        }
        piece
    }

    fn ending(&self) -> Ending {
        self.ending.unwrap_or(Ending::Cut)
    }
}
