//! A small safe layer over CPython's C API.
//!
//! It exists because the engine runs several interpreters in one process, which the high-level
//! bindings rule out: nothing here is process-global, nothing attaches behind the caller's back.
//!
//! - [`Attached`] proves that the calling thread is attached to an interpreter; [`Detached`] that
//!   it is not, and so may block.
//! - `&Object` is a borrowed reference, [`Owned`] an owned one, [`Stored`] one that is kept in
//!   Rust data between attachments. The first two carry the lifetime `'py` of an attachment, which
//!   is different for each, so that objects cannot leave their interpreter.
//! - [`Raised`] is a Python exception as an error value. NULL and -1 become one at the call.
//! - [`Class`] makes a heap type, one per interpreter, out of a Rust type.
//!
//! Which thread: any that is attached; several at once where there is no GIL. The layer keeps no
//! state, and takes references of its own wherever another thread could let an object go meanwhile.

mod attached;
mod bytes;
mod call;
mod class;
mod collections;
mod frames;
mod function;
mod object;
mod panic;
mod raised;
mod record;
mod slots;
mod text;
mod traceback;

pub(crate) use attached::{Attached, Detached};
pub(crate) use bytes::{Memory, UnfinishedBytes};
pub(crate) use class::{Class, Definition, Instance, Type, Visit};
pub(crate) use frames::Place;
pub(crate) use object::{Object, Owned, Stored};
pub(crate) use panic::{Panicked, catch, remember_panics};
pub(crate) use raised::{Exception, Raised, Result};
pub(crate) use record::Record;
