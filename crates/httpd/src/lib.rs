//! The server, made safe: the parts of httpd and APR that a module of ours needs.
//!
//! Files follow httpd's own areas, names are httpd's without their prefix:
//!
//! - [`module`]: the record httpd loads, and the configuration it carries;
//!   [`directive`]: the rows of its command table; [`written`]: the directives of a configuration
//!   before they count; [`hook`]: its hooks; [`auth`]: those, and the providers, that say who may
//!   enter; [`authn_cache`]: what the latter may have remembered.
//! - [`pool`], [`table`], [`text`]: the memory and strings everything is made of.
//! - [`request`], [`server`], [`connection`]: the three records a hook gets or reaches.
//!   [`variables`]: what they tell CGI programs and the like.
//! - [`brigade`], [`input`]: the response going out, the body coming in.
//! - [`log`], [`mod@panic`], [`status`], [`regex`], [`process`], [`child_user`], [`scoreboard`]:
//!   what the others need. [`server_status`]: the page of mod_status.
//!
//! # How it is safe
//!
//! - A wrapper such as [`Request`] is a pointer that httpd handed out, plus a lifetime. Hooks get
//!   it for every lifetime (`for<'r>`), so nothing of it can be kept beyond the hook.
//! - What is allocated in a pool is neither moved nor freed before the pool is cleared, and
//!   strings that httpd put there are not changed in place while a request is handled. So a string
//!   borrowed from a request lives as long as the request, even if the field is set anew.
//! - The records are used by one thread at a time, so no wrapper is `Send` or `Sync`.
//! - Nothing unwinds into httpd: every entry from C goes through [`panic::guard`].
//!
//! This crate knows no Python.

pub mod auth;
pub mod authn_cache;
pub mod brigade;
pub mod child;
pub mod child_user;
pub mod connection;
pub mod directive;
pub mod hook;
pub mod input;
pub mod log;
pub mod module;
mod output_filters;
pub mod panic;
pub mod pool;
pub mod process;
pub mod regex;
pub mod request;
pub mod scoreboard;
pub mod server;
pub mod server_status;
mod ssl;
pub mod status;
pub mod table;
pub mod text;
pub mod variables;
pub mod written;

pub use brigade::Brigade;
pub use connection::Connection;
pub use directive::{Allowed, Args, Directive, Directives, Parms, Refusal, Section};
pub use hook::{Hooks, Order};
pub use input::{InputError, RequestBody};
pub use log::{Level, Log};
pub use module::{Config, Module, Record};
pub use pool::Pool;
pub use regex::Regex;
pub use request::Request;
pub use server::Server;
pub use status::{AprStatus, Status};
pub use table::Table;
pub use written::Written;
