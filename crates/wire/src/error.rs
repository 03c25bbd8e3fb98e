//! What can go wrong, by whose fault.

/// The peer broke the protocol. The connection cannot be used any further.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PeerError {
    /// A frame of a kind that does not exist, or not in this direction.
    #[error("unknown kind of frame: {0:#04x}")]
    Kind(u8),
    /// A frame longer than its kind may be.
    #[error("a frame of kind {kind:#04x} with {length} bytes, where {limit} are allowed")]
    Length {
        /// The frame's kind.
        kind: u8,
        /// The length it claims.
        length: u32,
        /// The longest it may be.
        limit: usize,
    },
    /// A frame's payload ends before its last field, or goes on behind it.
    #[error("a frame of kind {0:#04x} whose payload does not fit its fields")]
    Payload(u8),
    /// A field has a value that its type does not have.
    #[error("a frame of kind {kind:#04x} with an impossible {field}")]
    Value {
        /// The frame's kind.
        kind: u8,
        /// The field.
        field: &'static str,
    },
    /// The peer speaks another version of the protocol.
    #[error("version {0} of the protocol, where {version} is spoken", version = crate::VERSION)]
    Version(u16),
    /// The reserved bits of a frame's head are not zero.
    #[error("reserved bits are set in a frame's head")]
    Reserved,
}

/// We were asked to send something that no frame can carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{length} bytes are too many for one frame, which carries {limit} at most")]
pub struct TooLong {
    /// How long the payload would be.
    pub length: usize,
    /// The longest it may be.
    pub limit: usize,
}
