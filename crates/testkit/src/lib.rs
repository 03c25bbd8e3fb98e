//! Boots a private httpd with the module under test, and a client that hides nothing.
//!
//! A test describes a [`Site`]: a `ServerRoot` of its own in a temporary directory, with scripts
//! and configuration. [`Site::start`] makes it an [`Httpd`] on a free port of 127.0.0.1, which
//! the test asks over HTTP ([`Httpd::get`], [`Connection`]), reads the log of ([`ErrorLog`]) and
//! looks at from outside ([`Process`]). Dropping it stops what was started, also when the test
//! panics, and fails the test if the error log tells of a crash.
//!
//! ```no_run
//! let server = testkit::Site::new()
//!     .script("hello.wsgi", "def application(environ, start_response): ...")
//!     .config("WSGIScriptAlias /hello ${WSGI}/hello.wsgi")
//!     .start();
//! assert_eq!(server.get("/hello").status, 200);
//! ```
//!
//! Which module is tested says the environment variable `MOD_WSGI_SO`; see [`module_under_test`].
//! The same tests run against mod_wsgi itself, the reference; where we differ on purpose a test
//! asks [`ours`].
//!
//! Everything here reports a failure by panicking: it runs in tests, where that is the report.

#![forbid(unsafe_code)]
#![expect(
    clippy::expect_used,
    clippy::print_stderr,
    reason = "test support reports by panicking, and prints the error log of a failed test"
)]

mod connection;
mod curl;
mod error_log;
mod httpd;
mod installation;
mod message;
mod process;
mod process_group;
mod program;
mod site;
mod subject;
mod terminal;
mod wait;

pub use connection::Connection;
pub use curl::{Curl, CurlAnswer};
pub use error_log::{ErrorLog, Mark};
pub use httpd::{Httpd, SharedHttpd, StartFailure};
pub use installation::{Mpm, load_module};
pub use message::{Chunk, Ending, Head, Request, Response};
pub use process::Process;
pub use program::{Program, free_port};
pub use site::{Answer, Site};
pub use subject::{copy_of_module, is_reference, module_under_test, ours, skip};
pub use terminal::Terminal;
pub use wait::{DEADLINE, assert_soon, wait_until};
