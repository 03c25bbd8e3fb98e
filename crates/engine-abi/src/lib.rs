//! The C ABI between a *host* and an *engine*.
//!
//! An engine is a shared library that holds Python and everything an application can observe. A
//! host is the process that loads it: a child of httpd in embedded mode, a worker in daemon mode.
//! The two are built apart, possibly by different compilers, so everything that crosses this
//! boundary is `#[repr(C)]`, every table starts with its version, and nothing is owned by the side
//! that did not make it.
//!
//! The engine exports one symbol, [`ENTRY_SYMBOL`]. The host calls it with the version of the ABI
//! it speaks and gets the engine's table of functions, an [`Engine`]. It starts Python by giving
//! the engine its own table, a [`Host`], and a [`ProcessConfig`]. From then on any thread of the
//! host may call [`Engine::handle`] with a [`Request`]; during that call, and only during it, the
//! engine may call back with the request's [`RequestHandle`]. The same is true of
//! [`Engine::call`], which calls functions that decide about a request before an application has
//! it.
//!
//! # Rules for both sides
//!
//! - Nothing unwinds across the boundary. A panic is caught on the side where it happens.
//! - Borrowed data ([`Bytes`], [`Slice`]) is valid until the function that received it returns.
//! - The engine never calls into the host while it holds a GIL, but for [`Host::try_send`]. So
//!   every other host function may block, and that one must not.
//! - For one request the engine makes at most one call into the host at a time, although not always
//!   from the thread that called [`Engine::handle`]: an application may read its input on a thread
//!   of its own. The engine serialises such calls. Exceptions are [`Host::log_beside`],
//!   [`Host::log_level`] and [`Host::await_body`], which come at any time, and [`Host::read_body`]
//!   of a host that [is duplex](Host::is_duplex), which may come beside the others.
//! - A host that has another request handled while it sends a part of a response, on the same
//!   thread, may be called for the outer request meanwhile: by [`Host::log`], but not to read or to
//!   send.

use std::ffi::{CStr, c_void};

mod borrowed;
mod call;
mod engine;
mod home;
mod host;
mod installed;
mod loader;
mod log;
mod process;
mod request;
mod request_time;
mod response;
mod scoreboard;
mod stack;

pub use borrowed::{Bytes, Pair, Slice};
pub use call::{Call, Called, Returned, ServerCalls};
pub use engine::{Engine, NO_MAIN_INTERPRETER};
pub use host::{Host, ReadError};
pub use installed::{Choice, EngineFile, Engines, EnginesError, PythonVersion};
pub use loader::{LoadError, LoadedEngine};
pub use log::{Level, LogLine};
pub use process::{InterpreterSection, ProcessConfig, ServerInfo, Switch};
pub use request::{Outcome, Request, Script, modification_time};
pub use request_time::RequestTime;
pub use response::{FileRegion, Head, Part, Sent};
pub use scoreboard::{Scoreboard, ScoreboardProcess, ScoreboardWorker, TakeScoreboard};
pub use stack::{USUAL_STACK_SIZE, stack_size};

/// The version of mod_wsgi that this one is compatible with: in httpd's banner, and what Python is
/// told.
pub const COMPATIBLE_VERSION: [u32; 3] = [6, 1, 1];

/// The version of this ABI. It changes whenever a table, a struct or a rule of this crate does.
pub const ABI_VERSION: u32 = 7;

/// The name of the one symbol an engine exports, of type [`EntryFn`].
pub const ENTRY_SYMBOL: &CStr = c"wsgi_engine_entry";

/// The engine's entry point: takes the host's [`ABI_VERSION`], returns the engine's table, which
/// lives as long as the process, or null if the engine does not speak that version.
pub type EntryFn = unsafe extern "C" fn(abi_version: u32) -> *const Engine;

/// What the host calls a request; opaque to the engine. Null stands for "no request".
pub type RequestHandle = *mut c_void;
