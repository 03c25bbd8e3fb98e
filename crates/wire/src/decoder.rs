//! From bytes, in whatever pieces they arrive, to frames.

use crate::MAX_DATA;
use crate::error::PeerError;
use crate::frame::{Direction, FRAME_HEAD, FrameHead, RequestNumber};

/// How much room a decoder offers for one read, in bytes.
const READ: usize = 32 << 10;

/// How large a buffer is kept between requests: as large as it becomes where frames of data succeed
/// each other.
const KEPT: usize = 128 << 10;

/// A frame that no longer borrows from its decoder, which can go on receiving meanwhile.
#[derive(Clone, Debug)]
pub struct OwnedFrame {
    head: FrameHead,
    payload: Vec<u8>,
}

impl OwnedFrame {
    /// Its payload.
    pub fn into_payload(self) -> Vec<u8> {
        self.payload
    }

    /// The number of the frame's request.
    pub fn request(&self) -> RequestNumber {
        self.head.request
    }

    /// The frame.
    ///
    /// # Errors
    ///
    /// When the payload is not what this kind of frame carries.
    pub fn decode<'a, F: Direction<'a>>(&'a self) -> Result<F, PeerError> {
        F::decode(self.head.kind, self.head.flags, &self.payload)
    }
}

/// Collects bytes and gives out frames.
///
/// It holds at most one frame that is not yet complete, which its direction bounds, and what was
/// read behind it. After an error it must not be used again.
#[derive(Debug, Default)]
pub struct Decoder {
    buffer: Vec<u8>,
    /// Where the bytes that were not yet given out begin.
    start: usize,
    /// Where the bytes that were read end; what is behind is room.
    end: usize,
}

impl Decoder {
    /// A decoder without bytes.
    pub fn new() -> Self {
        Self::default()
    }

    /// Room to read bytes into. Say how many came with [`Decoder::filled`].
    pub fn room(&mut self) -> &mut [u8] {
        if self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        let wanted = self.end + self.missing().max(READ);
        if self.buffer.len() < wanted {
            self.buffer.resize(wanted, 0);
        }
        self.buffer.get_mut(self.end..).unwrap_or_default()
    }

    /// How much of the frame is missing that has begun, as far as its head is here and credible: as
    /// much as the longest frames that are followed by others of their kind.
    fn missing(&self) -> usize {
        let bytes = self.buffer.get(self.start..self.end).unwrap_or_default();
        match FrameHead::decode(bytes) {
            Ok(Some(head)) => {
                let length = usize::try_from(head.length).unwrap_or(usize::MAX);
                (FRAME_HEAD + length.min(MAX_DATA)).saturating_sub(bytes.len())
            }
            _ => 0,
        }
    }

    /// Takes note that `count` bytes of the room were filled.
    pub fn filled(&mut self, count: usize) {
        self.end = self.buffer.len().min(self.end + count);
    }

    /// Copies bytes in: a shorthand for those that have them already.
    pub fn feed(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let room = self.room();
            let count = room.len().min(bytes.len());
            let (now, later) = bytes.split_at(count);
            if let Some(place) = room.get_mut(..count) {
                place.copy_from_slice(now);
            }
            self.filled(count);
            bytes = later;
        }
    }

    /// The next frame and the number of its request, or `None` if more bytes are needed.
    ///
    /// # Errors
    ///
    /// When the bytes are not a frame of this direction.
    pub fn next<'a, F: Direction<'a>>(
        &'a mut self,
    ) -> Result<Option<(RequestNumber, F)>, PeerError> {
        let bytes = self.buffer.get(self.start..self.end).unwrap_or_default();
        let Some(head) = FrameHead::decode(bytes)? else {
            return Ok(None);
        };
        let length = Self::bounded::<F>(head)?;
        let Some(payload) = bytes.get(FRAME_HEAD..FRAME_HEAD + length) else {
            return Ok(None);
        };
        self.start += FRAME_HEAD + length;
        let frame = F::decode(head.kind, head.flags, payload)?;
        Ok(Some((head.request, frame)))
    }

    /// The next frame, taken out with its payload, or `None` if more bytes are needed.
    ///
    /// # Errors
    ///
    /// When its kind or length is none of this direction. The payload is not looked at yet.
    pub fn take<'a, F: Direction<'a>>(&mut self) -> Result<Option<OwnedFrame>, PeerError> {
        let bytes = self.buffer.get(self.start..self.end).unwrap_or_default();
        let Some(head) = FrameHead::decode(bytes)? else {
            return Ok(None);
        };
        let length = Self::bounded::<F>(head)?;
        let Some(payload) = bytes.get(FRAME_HEAD..FRAME_HEAD + length) else {
            return Ok(None);
        };
        let payload = payload.to_vec();
        self.start += FRAME_HEAD + length;
        Ok(Some(OwnedFrame { head, payload }))
    }

    /// Whether bytes are here that no frame was made of: the peer is in the middle of one, or
    /// said more than it should.
    pub fn has_bytes(&self) -> bool {
        self.start < self.end
    }

    /// Gives back memory that a large frame needed and the next will probably not.
    pub fn shrink(&mut self) {
        if !self.has_bytes() && self.buffer.len() > KEPT {
            *self = Self::new();
        }
    }

    /// The length of the payload, which its kind allows.
    fn bounded<'a, F: Direction<'a>>(head: FrameHead) -> Result<usize, PeerError> {
        let limit = F::limit(head.kind)?;
        usize::try_from(head.length)
            .ok()
            .filter(|length| *length <= limit)
            .ok_or(PeerError::Length {
                kind: head.kind,
                length: head.length,
                limit,
            })
    }
}
