//! Taking fields from a payload.

use crate::error::PeerError;

/// What is left of the payload of a frame.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cursor<'a> {
    kind: u8,
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    /// The payload of a frame of this kind, which errors name.
    pub(crate) fn new(kind: u8, payload: &'a [u8]) -> Self {
        Self {
            kind,
            rest: payload,
        }
    }

    pub(crate) fn u8(&mut self) -> Result<u8, PeerError> {
        self.array().map(u8::from_be_bytes)
    }

    pub(crate) fn u16(&mut self) -> Result<u16, PeerError> {
        self.array().map(u16::from_be_bytes)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, PeerError> {
        self.array().map(u32::from_be_bytes)
    }

    pub(crate) fn u64(&mut self) -> Result<u64, PeerError> {
        self.array().map(u64::from_be_bytes)
    }

    pub(crate) fn i64(&mut self) -> Result<i64, PeerError> {
        self.array().map(i64::from_be_bytes)
    }

    /// Bytes behind their length, or `None` if they are absent.
    pub(crate) fn optional(&mut self) -> Result<Option<&'a [u8]>, PeerError> {
        let length = self.u32()?;
        if length == u32::MAX {
            return Ok(None);
        }
        let length = usize::try_from(length).map_err(|_| self.misfit())?;
        let (bytes, rest) = self
            .rest
            .split_at_checked(length)
            .ok_or_else(|| self.misfit())?;
        self.rest = rest;
        Ok(Some(bytes))
    }

    /// Bytes behind their length, which may not be absent.
    pub(crate) fn bytes(&mut self, field: &'static str) -> Result<&'a [u8], PeerError> {
        self.optional()?.ok_or(PeerError::Value {
            kind: self.kind,
            field,
        })
    }

    /// All that is left.
    pub(crate) fn rest(self) -> &'a [u8] {
        self.rest
    }

    /// The end of the payload must be here.
    pub(crate) fn end(self) -> Result<(), PeerError> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(self.misfit())
        }
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], PeerError> {
        let (bytes, rest) = self.rest.split_first_chunk().ok_or_else(|| self.misfit())?;
        self.rest = rest;
        Ok(*bytes)
    }

    fn misfit(&self) -> PeerError {
        PeerError::Payload(self.kind)
    }
}
