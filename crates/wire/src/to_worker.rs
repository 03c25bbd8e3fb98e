//! What a child says to a worker: requests and their bodies.

use crate::cursor::Cursor;
use crate::error::{PeerError, TooLong};
use crate::frame::{Direction, RequestNumber, VERSION, append, put_bytes};
use crate::pairs::{Pairs, put_pairs};
use crate::{MAX_DATA, MAX_HEAD};

const REQUEST: u8 = 0x01;
const BODY: u8 = 0x02;
const BODY_END: u8 = 0x03;
const BODY_ERROR: u8 = 0x04;
const BODY_PLACED: u8 = 0x05;

const HTTPS: u8 = 1 << 0;
const RELOAD: u8 = 1 << 1;
const ON_DEMAND: u8 = 1 << 2;
const WHOLE: u8 = 1 << 3;
const IGNORE: u8 = 1 << 4;
const HAS_PLACE: u8 = 1 << 5;
const HAS_WINDOW: u8 = 1 << 6;
const ASKS_FIRST: u8 = 1 << 7;

/// A frame from a child to a worker.
#[derive(Clone, Copy, Debug)]
pub enum ToWorker<'a> {
    /// A request begins. Its body follows, which may be empty.
    Request(RequestHead<'a>),
    /// The body is so long and lies in the window.
    BodyPlaced(u32),
    /// A piece of the body, not empty.
    Body(&'a [u8]),
    /// The body is complete.
    BodyEnd,
    /// The body cannot be completed.
    BodyError(BodyError),
}

/// All of a request but its body and its environ, which [`ToWorker::encode_request`] takes as an
/// iterator and [`RequestHead::environ`] gives back.
#[derive(Clone, Copy, Debug)]
pub struct RequestHead<'a> {
    /// Whether the request's scheme is `https`.
    pub https: bool,
    /// Whether the script is loaded anew if it changed.
    pub reload: bool,
    /// Whether the body is sent only when the worker asks for it, because the client waits to be
    /// told to continue.
    pub body_on_demand: bool,
    /// Whether the client asks before it sends the body, which the child would read before it sends
    /// the request if the worker has no thread for that.
    pub asks_first: bool,
    /// Whether all of the body is sent along, so that it is read before the application runs. If
    /// the connection is reset then, the child knows that it did not run.
    pub body_is_whole: bool,
    /// Whether the request does not count as activity of the worker.
    pub ignore_activity: bool,
    /// Whether the child has reserved a place for it in the table of the group.
    pub has_place: bool,
    /// The child has the window of the connection, so large data may lie there.
    pub has_window: bool,
    /// The length of the body as the client stated it.
    pub content_length: Option<u64>,
    /// When httpd began to read the request, in microseconds since the epoch.
    pub request_start: i64,
    /// When the child sent the request on its way, likewise.
    pub queue_start: i64,
    /// The modification time of the script as httpd has just seen it, likewise, or
    /// [`UNSEEN`](Self::UNSEEN).
    pub script_mtime: i64,
    /// How often a worker was asked to take the request, this time included.
    pub connects: u32,
    /// How often it was turned away because a worker was being replaced.
    pub restarts: u32,
    /// The most verbose level that is logged for the request, in httpd's numbers.
    pub log_level: u8,
    /// What only httpd's children and the workers of the group know.
    pub secret: &'a [u8],
    /// The path of the script.
    pub script: &'a [u8],
    /// The application group; empty is the main interpreter.
    pub application_group: &'a [u8],
    /// The name of the callable.
    pub callable: &'a [u8],
    /// What was asked for, as `reload_required` is told.
    pub resource: &'a [u8],
    /// The environ as far as it is made of strings. Ignored when encoding.
    pub environ: Option<Pairs<'a>>,
}

/// Why a body cannot be completed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyError {
    /// The client went away.
    Disconnected,
    /// The client was silent for too long.
    TimedOut,
    /// The body is larger than the server allows.
    TooLarge,
    /// The body's framing is broken, or an input filter refused it.
    Malformed,
}

impl BodyError {
    const ALL: [(u8, Self); 4] = [
        (1, Self::Disconnected),
        (2, Self::TimedOut),
        (3, Self::TooLarge),
        (4, Self::Malformed),
    ];
}

impl ToWorker<'_> {
    /// Appends a request's head to `out`.
    ///
    /// # Errors
    ///
    /// When it is longer than [`MAX_HEAD`]; `out` is then as before.
    pub fn encode_request<'e>(
        out: &mut Vec<u8>,
        request: RequestNumber,
        head: &RequestHead<'_>,
        environ: impl Iterator<Item = (&'e [u8], Option<&'e [u8]>)>,
    ) -> Result<(), TooLong> {
        append(out, (REQUEST, head.flags()), request, MAX_HEAD, |out| {
            out.extend_from_slice(&VERSION.to_be_bytes());
            out.extend_from_slice(&head.content_length.unwrap_or(u64::MAX).to_be_bytes());
            out.extend_from_slice(&head.request_start.to_be_bytes());
            out.extend_from_slice(&head.queue_start.to_be_bytes());
            out.extend_from_slice(&head.script_mtime.to_be_bytes());
            out.extend_from_slice(&head.connects.to_be_bytes());
            out.extend_from_slice(&head.restarts.to_be_bytes());
            out.push(head.log_level);
            for text in [
                head.secret,
                head.script,
                head.application_group,
                head.callable,
                head.resource,
            ] {
                put_bytes(out, Some(text));
            }
            put_pairs(out, environ);
        })
    }

    /// Appends a piece of a body to `out`: as many frames as it takes, none if it is empty.
    pub fn encode_body(out: &mut Vec<u8>, request: RequestNumber, data: &[u8]) {
        for piece in data.chunks(MAX_DATA) {
            // A piece is never longer than the limit.
            let _ = append(out, (BODY, 0), request, MAX_DATA, |out| {
                out.extend_from_slice(piece)
            });
        }
    }

    /// Appends the length of a body that lies in the window to `out`.
    pub fn encode_body_placed(out: &mut Vec<u8>, request: RequestNumber, length: u32) {
        // Four bytes are never too long.
        let _ = append(out, (BODY_PLACED, 0), request, 4, |out| {
            out.extend_from_slice(&length.to_be_bytes());
        });
    }

    /// Appends the end of a body to `out`: good, or with the reason why it is not complete.
    pub fn encode_body_end(
        out: &mut Vec<u8>,
        request: RequestNumber,
        result: Result<(), BodyError>,
    ) {
        // Neither payload is longer than its limit.
        let _ = match result {
            Ok(()) => append(out, (BODY_END, 0), request, 0, |_| ()),
            Err(error) => append(out, (BODY_ERROR, 0), request, 1, |out| {
                out.push(error.code())
            }),
        };
    }
}

impl<'a> Direction<'a> for ToWorker<'a> {
    fn limit(kind: u8) -> Result<usize, PeerError> {
        match kind {
            REQUEST => Ok(MAX_HEAD),
            BODY => Ok(MAX_DATA),
            BODY_END => Ok(0),
            BODY_ERROR => Ok(1),
            BODY_PLACED => Ok(4),
            _ => Err(PeerError::Kind(kind)),
        }
    }

    fn decode(kind: u8, flags: u8, payload: &'a [u8]) -> Result<Self, PeerError> {
        let mut cursor = Cursor::new(kind, payload);
        if kind != REQUEST && flags != 0 {
            return Err(PeerError::Value {
                kind,
                field: "flags",
            });
        }
        match kind {
            REQUEST => RequestHead::decode(flags, cursor).map(Self::Request),
            BODY if payload.is_empty() => Err(PeerError::Payload(kind)),
            BODY => Ok(Self::Body(payload)),
            BODY_PLACED => {
                let length = cursor.u32()?;
                cursor.end()?;
                Ok(Self::BodyPlaced(length))
            }
            BODY_END => cursor.end().map(|()| Self::BodyEnd),
            BODY_ERROR => {
                let error = BodyError::from_code(cursor.u8()?)?;
                cursor.end()?;
                Ok(Self::BodyError(error))
            }
            _ => Err(PeerError::Kind(kind)),
        }
    }
}

impl<'a> RequestHead<'a> {
    /// The modification time of a script that httpd has not looked at.
    pub const UNSEEN: i64 = 0;

    fn flags(&self) -> u8 {
        [
            (self.https, HTTPS),
            (self.reload, RELOAD),
            (self.body_on_demand, ON_DEMAND),
            (self.body_is_whole, WHOLE),
            (self.ignore_activity, IGNORE),
            (self.has_place, HAS_PLACE),
            (self.has_window, HAS_WINDOW),
            (self.asks_first, ASKS_FIRST),
        ]
        .into_iter()
        .filter_map(|(set, flag)| set.then_some(flag))
        .sum()
    }

    fn decode(flags: u8, mut cursor: Cursor<'a>) -> Result<Self, PeerError> {
        let version = cursor.u16()?;
        if version != VERSION {
            return Err(PeerError::Version(version));
        }
        Ok(Self {
            https: flags & HTTPS != 0,
            reload: flags & RELOAD != 0,
            body_on_demand: flags & ON_DEMAND != 0,
            body_is_whole: flags & WHOLE != 0,
            ignore_activity: flags & IGNORE != 0,
            has_place: flags & HAS_PLACE != 0,
            has_window: flags & HAS_WINDOW != 0,
            asks_first: flags & ASKS_FIRST != 0,
            content_length: Some(cursor.u64()?).filter(|length| *length != u64::MAX),
            request_start: cursor.i64()?,
            queue_start: cursor.i64()?,
            script_mtime: cursor.i64()?,
            connects: cursor.u32()?,
            restarts: cursor.u32()?,
            log_level: cursor.u8()?,
            secret: cursor.bytes("secret")?,
            script: cursor.bytes("script")?,
            application_group: cursor.bytes("application group")?,
            callable: cursor.bytes("callable")?,
            resource: cursor.bytes("resource")?,
            environ: Some(Pairs::decode(cursor)?),
        })
    }
}

impl BodyError {
    fn code(self) -> u8 {
        Self::ALL
            .iter()
            .find(|(_, error)| *error == self)
            .map_or(0, |(code, _)| *code)
    }

    fn from_code(code: u8) -> Result<Self, PeerError> {
        let error = Self::ALL
            .iter()
            .find(|(known, _)| *known == code)
            .map(|(_, error)| *error);
        error.ok_or(PeerError::Value {
            kind: BODY_ERROR,
            field: "cause",
        })
    }
}
