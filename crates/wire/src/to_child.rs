//! What a worker says to a child: responses, and what is to be logged meanwhile.

use crate::cursor::Cursor;
use crate::error::{PeerError, TooLong};
use crate::frame::{Direction, FRAME_HEAD, FrameHead, RequestNumber, append, put_bytes};
use crate::pairs::{Pairs, put_pairs};
use crate::{MAX_DATA, MAX_HEAD, MAX_LOG};

const HELLO: u8 = 0x80;
const REJECTED: u8 = 0x81;
const WANT_BODY: u8 = 0x82;
const HEAD: u8 = 0x83;
const DATA: u8 = 0x84;
const FILE: u8 = 0x85;
const LOG: u8 = 0x86;
const END: u8 = 0x87;
const WINDOW: u8 = 0x88;
const PLACED: u8 = 0x89;

const FLUSH: u8 = 0b01;
const NAMES_SCRIPT: u8 = 0b01;

/// A frame from a worker to a child.
#[derive(Clone, Copy, Debug)]
pub enum ToChild<'a> {
    /// The connection was accepted, by this worker. The first frame on every connection, with the
    /// request number 0. A child that never saw it knows that no worker read anything it sent.
    Hello(Greeting),
    /// The request was not run. It may be sent to another worker, or to this one's successor.
    Rejected(Rejection),
    /// The application wants the body that was kept back.
    WantBody,
    /// The head of the response.
    Head(ResponseHead<'a>),
    /// Data of the response.
    Data {
        /// The data; may be empty where only the flush matters.
        data: &'a [u8],
        /// Whether the client must see it now.
        flush: bool,
    },
    /// The memory whose descriptor came with this frame is the connection's window.
    Window,
    /// Data of the response, in the window.
    Placed(Place),
    /// A region of the file whose descriptor came with this frame.
    File(FileRegion),
    /// A line for the request's log.
    Log(LogLine<'a>),
    /// The request is over; nothing follows until the next one.
    End(End),
}

/// Who accepted a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Greeting {
    /// The worker's process id.
    pub pid: u32,
    /// Its slot in the table of its group.
    pub slot: u32,
    /// Which worker of that slot it is.
    pub incarnation: u32,
    /// What the child stamps in the table when it reserves a place for a request on this
    /// connection.
    pub ticket: u32,
}

/// Why a request was not run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rejection {
    /// The worker takes no more requests; its successor will.
    Draining,
    /// The script changed, so this worker is being replaced.
    ScriptChanged,
    /// The request waited longer than `queue-timeout`.
    QueueTimeout,
    /// The worker's threads are busy for longer than was to be expected.
    Busy,
    /// The worker has no thread for a client that asks before it sends the body: that is to be read
    /// first.
    BodyFirst,
}

/// The head of a response.
#[derive(Clone, Copy, Debug)]
pub struct ResponseHead<'a> {
    /// The status code, 100..=999.
    pub status: u16,
    /// Code and reason as the application gave them.
    pub status_line: &'a [u8],
    /// The headers. Ignored when encoding.
    pub headers: Option<Pairs<'a>>,
}

/// A place in a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The offset of its first byte.
    pub offset: u32,
    /// Its length.
    pub length: u32,
}

/// A region of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileRegion {
    /// The offset of its first byte.
    pub offset: u64,
    /// Its length.
    pub length: u64,
}

/// A line for the error log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogLine<'a> {
    /// httpd's number of its level, 0 (emerg) to 15 (trace8).
    pub level: u8,
    /// Its id, as in `WSGI0174`, or 0.
    pub id: u16,
    /// Whether the line names the script.
    pub names_script: bool,
    /// The source file it comes from, perhaps empty.
    pub file: &'a [u8],
    /// The line in that file.
    pub line: u32,
    /// The text.
    pub text: &'a [u8],
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The response is complete.
    Complete,
    /// Nothing was sent; the child answers with this status, 400..=599.
    Refused(u16),
    /// The response was cut short, and must look so.
    Truncated,
}

impl ToChild<'_> {
    /// Appends a greeting to `out`.
    pub fn encode_hello(out: &mut Vec<u8>, greeting: Greeting) {
        let Greeting {
            pid,
            slot,
            incarnation,
            ticket,
        } = greeting;
        // Sixteen bytes are never too long.
        let _ = append(out, (HELLO, 0), 0, 16, |out| {
            for number in [pid, slot, incarnation, ticket] {
                out.extend_from_slice(&number.to_be_bytes());
            }
        });
    }

    /// Appends a rejection to `out`.
    pub fn encode_rejected(out: &mut Vec<u8>, request: RequestNumber, why: Rejection) {
        // One byte is never too long.
        let _ = append(out, (REJECTED, 0), request, 1, |out| out.push(why.code()));
    }

    /// Appends the wish for the body to `out`.
    pub fn encode_want_body(out: &mut Vec<u8>, request: RequestNumber) {
        // Nothing is never too long.
        let _ = append(out, (WANT_BODY, 0), request, 0, |_| ());
    }

    /// Appends a response's head to `out`.
    ///
    /// # Errors
    ///
    /// When it is longer than [`MAX_HEAD`]; `out` is then as before.
    pub fn encode_head<'e>(
        out: &mut Vec<u8>,
        request: RequestNumber,
        head: &ResponseHead<'_>,
        headers: impl Iterator<Item = (&'e [u8], Option<&'e [u8]>)>,
    ) -> Result<(), TooLong> {
        append(out, (HEAD, 0), request, MAX_HEAD, |out| {
            out.extend_from_slice(&head.status.to_be_bytes());
            put_bytes(out, Some(head.status_line));
            put_pairs(out, headers);
        })
    }

    /// Appends data to `out`, in as many frames as it takes. Only the last one flushes; empty
    /// data makes a frame only if it shall.
    pub fn encode_data(out: &mut Vec<u8>, request: RequestNumber, data: &[u8], flush: bool) {
        let mut pieces = data.chunks(MAX_DATA).peekable();
        if pieces.peek().is_none() && flush {
            Self::encode_piece(out, request, &[], FLUSH);
        }
        while let Some(piece) = pieces.next() {
            let last = pieces.peek().is_none();
            Self::encode_piece(out, request, piece, if last && flush { FLUSH } else { 0 });
        }
    }

    /// The head of a frame with `length` bytes of data, at most [`MAX_DATA`], for a sender that
    /// has them elsewhere.
    pub fn data_head(request: RequestNumber, length: usize) -> [u8; FRAME_HEAD] {
        let head = FrameHead {
            length: u32::try_from(length.min(MAX_DATA)).unwrap_or(0),
            kind: DATA,
            flags: 0,
            request,
        };
        head.encode()
    }

    fn encode_piece(out: &mut Vec<u8>, request: RequestNumber, piece: &[u8], flags: u8) {
        // A piece is never longer than the limit.
        let _ = append(out, (DATA, flags), request, MAX_DATA, |out| {
            out.extend_from_slice(piece)
        });
    }

    /// Appends the announcement of a window to `out`. Its descriptor must be sent with these bytes.
    pub fn encode_window(out: &mut Vec<u8>, request: RequestNumber) {
        // Nothing is never too long.
        let _ = append(out, (WINDOW, 0), request, 0, |_| ());
    }

    /// Appends a place in the window to `out`.
    pub fn encode_placed(out: &mut Vec<u8>, request: RequestNumber, place: Place) {
        // Eight bytes are never too long.
        let _ = append(out, (PLACED, 0), request, 8, |out| {
            out.extend_from_slice(&place.offset.to_be_bytes());
            out.extend_from_slice(&place.length.to_be_bytes());
        });
    }

    /// Appends a region of a file to `out`. Its descriptor must be sent with these bytes.
    pub fn encode_file(out: &mut Vec<u8>, request: RequestNumber, region: FileRegion) {
        // Sixteen bytes are never too long.
        let _ = append(out, (FILE, 0), request, 16, |out| {
            out.extend_from_slice(&region.offset.to_be_bytes());
            out.extend_from_slice(&region.length.to_be_bytes());
        });
    }

    /// Appends a line for the log to `out`; a text too long for a frame is cut.
    pub fn encode_log(out: &mut Vec<u8>, request: RequestNumber, line: &LogLine<'_>) {
        const ROOM: usize = MAX_LOG / 2;
        let cut = |bytes: &'_ [u8]| bytes.len().min(ROOM - 16);
        let file = line.file.get(..cut(line.file)).unwrap_or_default();
        let text = line.text.get(..cut(line.text)).unwrap_or_default();
        let flags = if line.names_script { NAMES_SCRIPT } else { 0 };
        // Both texts were cut to fit.
        let _ = append(out, (LOG, flags), request, MAX_LOG, |out| {
            out.push(line.level);
            out.extend_from_slice(&line.id.to_be_bytes());
            out.extend_from_slice(&line.line.to_be_bytes());
            put_bytes(out, Some(file));
            put_bytes(out, Some(text));
        });
    }

    /// Appends the end of a request to `out`.
    pub fn encode_end(out: &mut Vec<u8>, request: RequestNumber, end: End) {
        let (code, status): (u8, u16) = match end {
            End::Complete => (0, 0),
            End::Refused(status) => (1, status),
            End::Truncated => (2, 0),
        };
        // Three bytes are never too long.
        let _ = append(out, (END, 0), request, 3, |out| {
            out.push(code);
            out.extend_from_slice(&status.to_be_bytes());
        });
    }
}

impl<'a> Direction<'a> for ToChild<'a> {
    fn limit(kind: u8) -> Result<usize, PeerError> {
        match kind {
            HELLO => Ok(16),
            REJECTED => Ok(1),
            WANT_BODY => Ok(0),
            HEAD => Ok(MAX_HEAD),
            DATA => Ok(MAX_DATA),
            WINDOW => Ok(0),
            PLACED => Ok(8),
            FILE => Ok(16),
            LOG => Ok(MAX_LOG),
            END => Ok(3),
            _ => Err(PeerError::Kind(kind)),
        }
    }

    fn decode(kind: u8, flags: u8, payload: &'a [u8]) -> Result<Self, PeerError> {
        let known = match kind {
            DATA => FLUSH,
            LOG => NAMES_SCRIPT,
            _ => 0,
        };
        if flags & !known != 0 {
            return Err(PeerError::Value {
                kind,
                field: "flags",
            });
        }
        let mut cursor = Cursor::new(kind, payload);
        match kind {
            HELLO => {
                let greeting = Greeting {
                    pid: cursor.u32()?,
                    slot: cursor.u32()?,
                    incarnation: cursor.u32()?,
                    ticket: cursor.u32()?,
                };
                cursor.end()?;
                Ok(Self::Hello(greeting))
            }
            REJECTED => Rejection::decode(cursor).map(Self::Rejected),
            WANT_BODY => cursor.end().map(|()| Self::WantBody),
            HEAD => ResponseHead::decode(cursor).map(Self::Head),
            DATA => Ok(Self::Data {
                data: cursor.rest(),
                flush: flags & FLUSH != 0,
            }),
            WINDOW => cursor.end().map(|()| Self::Window),
            PLACED => Place::decode(cursor).map(Self::Placed),
            FILE => FileRegion::decode(cursor).map(Self::File),
            LOG => LogLine::decode(flags, cursor).map(Self::Log),
            END => End::decode(cursor).map(Self::End),
            _ => Err(PeerError::Kind(kind)),
        }
    }
}

impl Rejection {
    const ALL: [(u8, Self); 5] = [
        (1, Self::Draining),
        (2, Self::ScriptChanged),
        (3, Self::QueueTimeout),
        (4, Self::Busy),
        (5, Self::BodyFirst),
    ];

    fn code(self) -> u8 {
        Self::ALL
            .iter()
            .find(|(_, why)| *why == self)
            .map_or(0, |(code, _)| *code)
    }

    fn decode(mut cursor: Cursor<'_>) -> Result<Self, PeerError> {
        let code = cursor.u8()?;
        cursor.end()?;
        let why = Self::ALL
            .iter()
            .find(|(known, _)| *known == code)
            .map(|(_, why)| *why);
        why.ok_or(PeerError::Value {
            kind: REJECTED,
            field: "cause",
        })
    }
}

impl<'a> ResponseHead<'a> {
    fn decode(mut cursor: Cursor<'a>) -> Result<Self, PeerError> {
        let status = cursor.u16()?;
        if !(100..=999).contains(&status) {
            return Err(PeerError::Value {
                kind: HEAD,
                field: "status",
            });
        }
        let status_line = cursor.bytes("status line")?;
        Ok(Self {
            status,
            status_line,
            headers: Some(Pairs::decode(cursor)?),
        })
    }
}

impl Place {
    fn decode(mut cursor: Cursor<'_>) -> Result<Self, PeerError> {
        let place = Self {
            offset: cursor.u32()?,
            length: cursor.u32()?,
        };
        cursor.end()?;
        Ok(place)
    }
}

impl FileRegion {
    /// A region whose end is not a file offset (`off_t` is signed) is refused here, so that no
    /// later sum of the two overflows.
    fn decode(mut cursor: Cursor<'_>) -> Result<Self, PeerError> {
        let region = Self {
            offset: cursor.u64()?,
            length: cursor.u64()?,
        };
        cursor.end()?;
        let end = region.offset.checked_add(region.length);
        match end.map(i64::try_from) {
            Some(Ok(_)) => Ok(region),
            _ => Err(PeerError::Value {
                kind: FILE,
                field: "region",
            }),
        }
    }
}

impl<'a> LogLine<'a> {
    fn decode(flags: u8, mut cursor: Cursor<'a>) -> Result<Self, PeerError> {
        let level = cursor.u8()?;
        if level > 15 {
            return Err(PeerError::Value {
                kind: LOG,
                field: "level",
            });
        }
        let line = Self {
            level,
            id: cursor.u16()?,
            names_script: flags & NAMES_SCRIPT != 0,
            line: cursor.u32()?,
            file: cursor.bytes("file")?,
            text: cursor.bytes("text")?,
        };
        cursor.end()?;
        Ok(line)
    }
}

impl End {
    fn decode(mut cursor: Cursor<'_>) -> Result<Self, PeerError> {
        let (code, status) = (cursor.u8()?, cursor.u16()?);
        cursor.end()?;
        match (code, status) {
            (0, 0) => Ok(Self::Complete),
            (1, 400..=599) => Ok(Self::Refused(status)),
            (2, 0) => Ok(Self::Truncated),
            _ => Err(PeerError::Value {
                kind: END,
                field: "outcome",
            }),
        }
    }
}
