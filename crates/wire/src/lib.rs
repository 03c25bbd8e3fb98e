//! The frames between an httpd child and a daemon worker, as `docs/protocol.md` specifies them.
//!
//! Sans-I/O: nothing here owns a socket. A sender appends frames to a buffer (the `encode_`
//! functions of [`ToWorker`] and [`ToChild`]); a receiver feeds bytes, in whatever pieces they
//! arrive, to a [`Decoder`] and takes frames out. Neither side trusts the other: every length is
//! bounded before anything is allocated for it, and whatever is not exactly a frame of the expected
//! direction is a [`PeerError`], after which the connection must be closed.
//!
//! One request at a time travels over a connection; the connection is then used again. Each frame
//! carries the number of its request, so that a side that lost count is noticed at once.
#![forbid(unsafe_code)]
#![deny(
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_possible_wrap,
    clippy::unwrap_used,
    clippy::expect_used
)]

mod cursor;
mod decoder;
mod error;
mod frame;
mod pairs;
mod to_child;
mod to_worker;

pub use decoder::{Decoder, OwnedFrame};
pub use error::{PeerError, TooLong};
pub use frame::{Direction, FRAME_HEAD, RequestNumber, VERSION};
pub use pairs::Pairs;
pub use to_child::{End, FileRegion, Greeting, LogLine, Place, Rejection, ResponseHead, ToChild};
pub use to_worker::{BodyError, RequestHead, ToWorker};

/// The largest payload of a frame that carries a request's or response's head, in bytes. It
/// leaves room for what httpd's own `LimitRequestFields` times `LimitRequestFieldSize` can be
/// raised to in practice.
pub const MAX_HEAD: usize = 16 << 20;

/// The largest payload of a frame that carries data, in bytes.
pub const MAX_DATA: usize = 64 << 10;

/// The largest payload of a frame that carries a log line, in bytes.
pub const MAX_LOG: usize = 64 << 10;
