//! httpd's scoreboard: what each of its children, and each of their threads, is doing.
//!
//! It is memory that all children share and write all the time, so what is read is a copy, in which
//! one number may be older than the next. Any thread of a child.

use std::ffi::{c_char, c_int};
use std::mem::MaybeUninit;

use httpd_sys as sys;

/// A copy of the scoreboard. Times are in microseconds since the epoch.
#[derive(Clone, Debug)]
pub struct Scoreboard {
    /// The most children there can be.
    pub server_limit: u32,
    /// The most threads each of them can have.
    pub thread_limit: u32,
    /// The generation of the configuration in force: each graceful restart begins another.
    pub generation: i32,
    /// When the server was started, or restarted.
    pub restart_time: i64,
    /// The places for children, used or not.
    pub children: Vec<Child>,
}

/// The place of a child.
#[derive(Clone, Debug)]
pub struct Child {
    /// Its process; 0 if there is none.
    pub pid: i32,
    /// The generation it belongs to.
    pub generation: i32,
    /// Whether it is about to end.
    pub quiescing: bool,
    /// The places of its threads, used or not.
    pub workers: Vec<Worker>,
}

/// The place of a thread.
#[derive(Clone, Debug)]
pub struct Worker {
    /// Its number in the child.
    pub number: i32,
    /// The generation it belongs to.
    pub generation: i32,
    /// What it is doing: the letter of mod_status.
    pub status: char,
    /// How many requests it has served.
    pub access_count: u64,
    /// How much it has sent.
    pub bytes_served: u64,
    /// When its last request began.
    pub start_time: i64,
    /// When its last request ended.
    pub stop_time: i64,
    /// When it last did anything.
    pub last_used: i64,
    /// The client of its last request, as far as there is room for it.
    pub client: Vec<u8>,
    /// The first line of that request, likewise.
    pub request: Vec<u8>,
    /// Its virtual host, likewise.
    pub vhost: Vec<u8>,
}

/// The letters for the states of a thread, in the order of their numbers (`SERVER_…`).
const LETTERS: &[u8; 11] = b".S_RWKLDCGI";

impl Scoreboard {
    /// Copies it; `None` if there is none.
    pub fn read() -> Option<Self> {
        // SAFETY: plain questions.
        let global = unsafe {
            if sys::ap_exists_scoreboard_image() == 0 {
                return None;
            }
            sys::ap_get_scoreboard_global()
        };
        if global.is_null() {
            return None;
        }
        // SAFETY: not null, and mapped as long as the server lives. Others may write while we read.
        let (server_limit, thread_limit, generation, restart_time) = unsafe {
            (
                (&raw const (*global).server_limit).read_volatile(),
                (&raw const (*global).thread_limit).read_volatile(),
                (&raw const (*global).running_generation).read_volatile(),
                (&raw const (*global).restart_time).read_volatile(),
            )
        };
        let children = (0..server_limit).map(|child| Child::read(child, thread_limit));
        Some(Self {
            server_limit: u32::try_from(server_limit).unwrap_or_default(),
            thread_limit: u32::try_from(thread_limit).unwrap_or_default(),
            generation,
            restart_time,
            children: children.collect::<Option<_>>()?,
        })
    }
}

impl Child {
    fn read(number: c_int, thread_limit: c_int) -> Option<Self> {
        // SAFETY: there is a scoreboard, and it has a child of this number.
        let process = unsafe { sys::ap_get_scoreboard_process(number) };
        if process.is_null() {
            return None;
        }
        // SAFETY: not null, and mapped as long as the server lives. Others may write while we read.
        let (pid, generation, quiescing) = unsafe {
            (
                (&raw const (*process).pid).read_volatile(),
                (&raw const (*process).generation).read_volatile(),
                (&raw const (*process).quiescing).read_volatile(),
            )
        };
        let workers = (0..thread_limit).map(|thread| Worker::read(number, thread));
        Some(Self {
            pid,
            generation,
            quiescing: quiescing != 0,
            workers: workers.collect(),
        })
    }
}

impl Worker {
    fn read(child: c_int, thread: c_int) -> Self {
        // httpd copies as much as its own record has. Later versions of it may have added to the
        // end of the one that this was compiled with, so there is room for twice as much.
        let mut room = MaybeUninit::<[sys::worker_score; 2]>::zeroed();
        // SAFETY: there is a scoreboard, and it has such a thread; the target has room. The record
        // is made of numbers and arrays of them, of which all bytes, zeros included, are values.
        let score = unsafe {
            sys::ap_copy_scoreboard_worker(room.as_mut_ptr().cast(), child, thread);
            let [score, _] = room.assume_init();
            score
        };
        let letter = LETTERS.get(usize::from(score.status)).copied();
        Self {
            number: score.thread_num,
            generation: score.generation,
            status: char::from(letter.unwrap_or(b'?')),
            access_count: score.access_count,
            bytes_served: u64::try_from(score.bytes_served).unwrap_or_default(),
            start_time: score.start_time,
            stop_time: score.stop_time,
            last_used: score.last_used,
            client: text(&score.client),
            request: text(&score.request),
            vhost: text(&score.vhost),
        }
    }
}

/// The text in an array: up to a NUL, or all of it.
fn text<const N: usize>(array: &[c_char; N]) -> Vec<u8> {
    let bytes = array.map(c_char::cast_unsigned);
    let end = bytes.iter().position(|byte| *byte == 0);
    bytes.get(..end.unwrap_or(N)).unwrap_or_default().to_vec()
}
