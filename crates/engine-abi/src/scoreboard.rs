//! httpd's scoreboard, as a host lends it to an engine: for `mod_wsgi.server_metrics()`.

use std::ffi::c_void;

use crate::{Bytes, Slice};

/// Takes the scoreboard that [`Host::scoreboard`](crate::Host::scoreboard) lends until this
/// returns.
pub type TakeScoreboard =
    unsafe extern "C" fn(taker: *mut c_void, scoreboard: *const Scoreboard<'_>);

/// What httpd's processes are doing. Times are in microseconds since the epoch.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Scoreboard<'a> {
    /// The most processes there can be.
    pub server_limit: u32,
    /// The most threads each of them can have.
    pub thread_limit: u32,
    /// The generation of the configuration in force.
    pub generation: i32,
    /// When the server was started, or restarted.
    pub restart_time: i64,
    /// The places for processes, used or not.
    pub processes: Slice<'a, ScoreboardProcess<'a>>,
}

/// The place of a process of httpd.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct ScoreboardProcess<'a> {
    /// Its number; 0 if there is none.
    pub pid: i32,
    /// The generation of the configuration that it has.
    pub generation: i32,
    /// Whether it is about to end.
    pub quiescing: bool,
    /// The places of its threads, used or not.
    pub workers: Slice<'a, ScoreboardWorker<'a>>,
}

/// The place of a thread of httpd. Texts may be cut off.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct ScoreboardWorker<'a> {
    /// Its number in its process.
    pub number: i32,
    /// The generation of the configuration that it has.
    pub generation: i32,
    /// What it is doing: a letter of mod_status.
    pub status: u8,
    /// How many requests it has served.
    pub access_count: u64,
    /// How many bytes it has sent.
    pub bytes_served: u64,
    /// When its last request began.
    pub start_time: i64,
    /// When its last request ended.
    pub stop_time: i64,
    /// When it last did anything.
    pub last_used: i64,
    /// The client of its last request.
    pub client: Bytes<'a>,
    /// The first line of that request.
    pub request: Bytes<'a>,
    /// The virtual host of that request.
    pub vhost: Bytes<'a>,
}
