//! The head that every frame starts with, and how a payload is put behind it.
//!
//! ```text
//!  0        4      5       6          8           12
//! +--------+------+-------+----------+-----------+----------- - -
//! | length | kind | flags | reserved | request   | payload
//! +--------+------+-------+----------+-----------+----------- - -
//! ```
//!
//! All numbers are in network order; `length` counts the payload only.

use crate::cursor::Cursor;
use crate::error::{PeerError, TooLong};

/// The version of the protocol, carried by every request's head.
pub const VERSION: u16 = 5;

/// The length of a frame's head, in bytes.
pub const FRAME_HEAD: usize = 12;

/// The number of a request on its connection: the first is 1, each further one is one more.
pub type RequestNumber = u32;

/// A direction of the protocol: the frames that go this way.
pub trait Direction<'a>: Sized {
    /// The longest payload of a frame of this kind, or an error if none has this kind.
    ///
    /// # Errors
    ///
    /// When no frame of this direction has this kind.
    fn limit(kind: u8) -> Result<usize, PeerError>;

    /// The frame of this kind with these flags and this payload.
    ///
    /// # Errors
    ///
    /// When the payload is not what this kind of frame carries.
    fn decode(kind: u8, flags: u8, payload: &'a [u8]) -> Result<Self, PeerError>;
}

/// A frame's head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FrameHead {
    pub(crate) length: u32,
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) request: RequestNumber,
}

impl FrameHead {
    /// The head at the start of `bytes`, or `None` if there are too few.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Option<Self>, PeerError> {
        let Some(bytes) = bytes.get(..FRAME_HEAD) else {
            return Ok(None);
        };
        let mut cursor = Cursor::new(0, bytes);
        let (length, kind, flags) = (cursor.u32()?, cursor.u8()?, cursor.u8()?);
        if cursor.u16()? != 0 {
            return Err(PeerError::Reserved);
        }
        Ok(Some(Self {
            length,
            kind,
            flags,
            request: cursor.u32()?,
        }))
    }

    /// The head as it is sent.
    pub(crate) fn encode(self) -> [u8; FRAME_HEAD] {
        let [l0, l1, l2, l3] = self.length.to_be_bytes();
        let [r0, r1, r2, r3] = self.request.to_be_bytes();
        [l0, l1, l2, l3, self.kind, self.flags, 0, 0, r0, r1, r2, r3]
    }
}

/// Appends a frame to `out` whose payload is what `payload` appends. If that is longer than
/// `limit`, `out` is as before.
pub(crate) fn append(
    out: &mut Vec<u8>,
    (kind, flags): (u8, u8),
    request: RequestNumber,
    limit: usize,
    payload: impl FnOnce(&mut Vec<u8>),
) -> Result<(), TooLong> {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&[kind, flags, 0, 0]);
    out.extend_from_slice(&request.to_be_bytes());
    payload(out);
    let length = out.len() - start - FRAME_HEAD;
    match u32::try_from(length) {
        Ok(field) if length <= limit => {
            if let Some(place) = out.get_mut(start..start + 4) {
                place.copy_from_slice(&field.to_be_bytes());
            }
            Ok(())
        }
        _ => {
            out.truncate(start);
            Err(TooLong { length, limit })
        }
    }
}

/// Appends bytes behind their length. Absent bytes have the length `u32::MAX`.
pub(crate) fn put_bytes(out: &mut Vec<u8>, bytes: Option<&[u8]>) {
    // A length that does not fit makes the payload longer than any limit, which `append` refuses.
    let length = bytes.map_or(u32::MAX, |bytes| {
        u32::try_from(bytes.len()).unwrap_or(u32::MAX)
    });
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(bytes.unwrap_or_default());
}
