//! The configuration: from the words of directives to what applies to a request.
//!
//! 1. *As written*: httpd calls a setter (in [`server`] or [`directory`]) for each directive it
//!    reads. What nobody said stays `None`.
//! 2. *Merged*: a virtual host with the base server ([`ServerConfig`]), a place with the places
//!    around it ([`DirConfig`]). httpd does the latter for every request.
//! 3. *Resolved*: [`RequestConfig`] is what applies to one request, with every default filled in
//!    and every name expanded.
//!
//! What the words mean is decided in the `wsgi-config` crate; here they meet httpd. [`checks`]
//! looks for mistakes that are no errors, when httpd tests its configuration or starts with it.

pub(crate) mod accepted;
mod access;
mod alias;
mod checks;
mod daemon;
pub(crate) mod directory;
pub(crate) mod environment;
mod groups;
mod handler;
mod hook;
pub(crate) mod interpreters;
mod preload;
mod remarks;
pub(crate) mod removed;
mod request;
pub(crate) mod server;
mod setters;
mod source;

pub(crate) use alias::{Mapped, ScriptAlias};
pub(crate) use checks::check;
pub(crate) use daemon::{DaemonDefinition, ScriptOwner, Terms, daemons};
pub(crate) use directory::DirConfig;
pub(crate) use handler::HandlerScript;
pub(crate) use hook::HookScript;
pub(crate) use preload::Preload;
pub(crate) use request::{Destination, RequestConfig};
pub(crate) use server::{ProcessWide, ServerConfig, preloads};

use std::ffi::CString;

/// A word of the configuration as httpd wants it. Words come from C strings, so there is no NUL in
/// them that could make this fail.
fn c_string(word: impl Into<Vec<u8>>) -> CString {
    CString::new(word).unwrap_or_default()
}
