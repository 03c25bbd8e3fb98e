//! The Python engine: everything of mod_wsgi that an application can observe.
//!
//! A host, which is a child of httpd or a worker of the daemon, loads this library and talks to it
//! through the C ABI of the `engine-abi` crate. The engine knows Python and WSGI and no httpd.
//!
//! Where to look, from the outside in:
//!
//! - `entry`: the table of functions that the host calls
//! - `host`: the functions of the host, as the engine calls them; a request as `host::Exchange`
//! - `process`: how Python is to be run in this process
//! - `runtime`: starting and ending Python, on a thread of its own
//! - `gate`, `turn`, `bell`: letting threads in until the end, one at a time, and waking those who
//!   wait
//! - `handoff`: who waits for a GIL, and seeing to it that they get it
//! - `activity`: who is inside Python at the moment
//! - `interpreter`: the interpreters, and how a thread attaches to one
//! - `script`: loading the application's file, and loading it again when it has changed
//! - `wsgi`: PEP 3333, from the environ to the end of the response
//! - `hook`: functions of scripts that decide about a request before an application has it
//! - `interrupt`: requests that take too long
//! - `meter`, `traffic`: what a request uses up, and what it moves
//! - `metrics`: what all requests of the process come to
//! - `log`: the log streams, and how exceptions are reported
//! - `modules`: the modules `mod_wsgi` and `apache`
//! - `python`: the safe layer over CPython's C API on which all of this stands

mod activity;
mod bell;
mod entry;
mod gate;
mod handoff;
mod hook;
mod host;
mod interpreter;
mod interrupt;
mod lock;
mod log;
mod meter;
mod metrics;
mod modules;
mod process;
mod python;
mod runtime;
mod script;
mod traffic;
mod turn;
mod wsgi;

pub use entry::wsgi_engine_entry;
