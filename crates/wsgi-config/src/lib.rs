//! What the words of the configuration mean.
//!
//! Everything here is a function of its arguments: there is no httpd, no Python and no I/O, so it
//! can be tested with tables and properties and fuzzed (see `fuzz/`) without a server. The module
//! (`src/` of the root package) reads directives and requests with httpd's own functions and asks
//! this crate what they say.
//!
//! - [`words`] splits a line as httpd does; [`nearest`] finds the word that was meant.
//! - [`value`] reads the single values: flags, seeds, levels.
//! - [`script_alias`] reads a `WSGIScriptAlias`; [`url`] matches URLs against it.
//! - [`daemon_process`] reads a `WSGIDaemonProcess`, [`import_script`] a `WSGIImportScript`,
//!   [`handler_script`] a `WSGIHandlerScript`, [`hook_script`] the directives that name a script
//!   which decides about requests; [`script_options`] are those that several of them have.
//! - [`interpreter_options`] reads a `<WSGIInterpreterOptions>`.
//! - [`verdict`] tells what the functions of such a script say.
//! - [`telemetry`] reads the directives of telemetry.
//! - [`group`] expands `%{GLOBAL}`, `%{RESOURCE}` and their relatives.
//! - [`header`] tells which request headers can become variables, [`proxies`] which of these a
//!   proxy may have set.
//! - [`permission`] tells whether a user may open a file.
//!
//! Configuration and requests are bytes, not text: nothing here assumes UTF-8.

#![forbid(unsafe_code)]

pub mod daemon_process;
pub mod group;
pub mod handler_script;
pub mod header;
pub mod hook_script;
pub mod import_script;
pub mod interpreter_options;
pub mod nearest;
pub mod permission;
pub mod proxies;
pub mod script_alias;
pub mod script_options;
pub mod telemetry;
pub mod url;
pub mod value;
pub mod verdict;
pub mod words;
