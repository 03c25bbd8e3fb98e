//! The description of a process group: everything that the supervisor and the workers must know of
//! it.
//!
//! The module makes these from `WSGIDaemonProcess`, with every name already resolved and every
//! value checked; durations are `None` where a limit is off.

use std::ffi::OsString;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use nix::sys::socket::{setsockopt, sockopt};
use serde::{Deserialize, Serialize};

use crate::messages::Replacement;
use crate::secret::Secret;

/// A process group.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GroupSpec {
    /// The parent's number for this group's table and socket. The same number in a later set of
    /// groups means the same table.
    pub number: u32,
    /// The secret by which its workers recognise httpd's children.
    pub secret: Secret,
    /// Its name.
    pub name: String,
    /// How many processes it has: one for each slot of its table.
    pub processes: u32,
    /// Whether `processes` was given at all, which `wsgi.multiprocess` shows.
    pub multiprocess: bool,
    /// How many threads each of its processes has; 0 runs a service script.
    pub threads: u32,
    /// The stack size of those threads, in bytes.
    pub stack_size: Option<usize>,
    /// How much of each response is buffered for a slow client, in bytes.
    pub response_buffer: usize,
    /// The name of its processes in a list of processes.
    pub display_name: Option<OsString>,
    /// Their user, groups and directories.
    pub identity: Identity,
    /// Their resource limits.
    pub limits: Limits,
    /// The buffer sizes of their sockets.
    pub buffers: SocketBuffers,
    /// When they are replaced.
    pub life: Life,
    /// Their Python.
    pub python: PythonSpec,
    /// The scripts to load before the first request, in the configuration's order.
    pub preload: Vec<PreloadScript>,
    /// The httpd they belong to.
    pub server: ServerSpec,
    /// The most verbose level that is logged, in httpd's numbers.
    pub log_level: u8,
    /// The format of lines in its error log.
    pub log_form: LogForm,
}

/// The format of lines in an error log.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum LogForm {
    /// As httpd writes them to a file or a program.
    #[default]
    Lines,
    /// As messages for syslog (RFC 3164), each in a datagram.
    Syslog {
        /// The facility, in the numbers of `<syslog.h>`.
        facility: u8,
        /// The name of the program in each message.
        ident: String,
    },
}

/// The user, groups and directories of a worker.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The user and its primary group, if the supervisor runs as root and must change them.
    pub ids: Option<(u32, u32)>,
    /// The user's name, for its groups; absent if it has none.
    pub user_name: Option<String>,
    /// The supplementary groups, if they replace those of the user.
    pub supplementary_groups: Option<Vec<u32>>,
    /// The uid of httpd's `User`. A worker that runs as another user changes to that user's home
    /// directory.
    pub httpd_uid: u32,
    /// The uid that a peer on the socket must have, unless it is root: that of the socket's owner.
    pub peer_uid: u32,
    /// The umask.
    pub umask: Option<u32>,
    /// The root directory.
    pub chroot: Option<OsString>,
    /// The working directory.
    pub home: Option<OsString>,
    /// Whether `home` goes to the front of `sys.path`. The home directory of a user does not.
    pub home_on_path: bool,
    /// `LANG`.
    pub lang: Option<OsString>,
    /// `LC_ALL`.
    pub locale: Option<OsString>,
    /// Whether it, and programs that it starts, can never gain privileges.
    pub no_new_privileges: bool,
}

/// The resource limits of a worker.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Its nice value.
    pub cpu_priority: Option<i32>,
    /// Whether its threads, and those of httpd that wait for it, do not preempt others.
    pub is_batch: bool,
    /// Its CPU time.
    pub cpu_time: Option<Duration>,
    /// Its data segment, in bytes.
    pub memory: Option<u64>,
    /// Its address space, in bytes.
    pub virtual_memory: Option<u64>,
}

/// The sizes of a socket's buffers, in bytes; `None` is the system's default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SocketBuffers {
    /// `SO_SNDBUF`
    pub send: Option<usize>,
    /// `SO_RCVBUF`
    pub receive: Option<usize>,
}

impl SocketBuffers {
    /// Sets the size of the send buffer.
    ///
    /// # Errors
    ///
    /// When the system refuses. The socket can still be used.
    pub fn set_send(self, socket: BorrowedFd<'_>) -> nix::Result<()> {
        match self.send {
            Some(size) => setsockopt(&socket, sockopt::SndBuf, &as_the_system_reads(size)),
            None => Ok(()),
        }
    }

    /// Sets the size of the receive buffer.
    ///
    /// # Errors
    ///
    /// As for [`set_send`](Self::set_send).
    pub fn set_receive(self, socket: BorrowedFd<'_>) -> nix::Result<()> {
        match self.receive {
            Some(size) => setsockopt(&socket, sockopt::RcvBuf, &as_the_system_reads(size)),
            None => Ok(()),
        }
    }
}

/// The kernel reads this option as an `int`, so larger sizes are limited to that.
fn as_the_system_reads(size: usize) -> usize {
    size.min(i32::MAX as usize)
}

/// When a worker is replaced, and how long things may take.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Life {
    /// Replaced after this number of requests.
    pub maximum_requests: Option<u64>,
    /// Replaced after this time.
    pub restart_interval: Option<Duration>,
    /// Replaced after this time without a request.
    pub inactivity_timeout: Option<Duration>,
    /// Replaced if no script could be loaded in this time after the first request.
    pub startup_timeout: Option<Duration>,
    /// Replaced, or the request interrupted, if a request takes longer than this.
    pub request_timeout: Option<Duration>,
    /// How long a request that was interrupted may take to unwind.
    pub interrupt_timeout: Option<Duration>,
    /// Replaced if a GIL could not be acquired in this time.
    pub deadlock_timeout: Option<Duration>,
    /// How long requests in flight may take when a worker is replaced.
    pub graceful_timeout: Option<Duration>,
    /// The same after SIGUSR1.
    pub eviction_timeout: Option<Duration>,
    /// How long the end of Python may take.
    pub shutdown_timeout: Option<Duration>,
    /// How long a request may have waited for a thread when one takes it.
    pub queue_timeout: Option<Duration>,
    /// How long one read or write on a child's connection may take.
    pub socket_timeout: Option<Duration>,
}

impl GroupSpec {
    /// The name of its processes in a list of processes.
    pub fn shown_name(&self) -> OsString {
        self.display_name
            .clone()
            .unwrap_or_else(|| format!("(wsgi:{})", self.name).into())
    }

    /// Whether its processes serve no requests, but run scripts.
    pub const fn is_service(&self) -> bool {
        self.threads == 0
    }
}

impl Life {
    /// How long requests in flight may take when a worker drains for this reason; `None` is without
    /// limit.
    pub fn patience(&self, reason: Replacement) -> Option<Duration> {
        match reason {
            reason if reason.is_urgent() => Some(self.stop_limit() - self.last_moment()),
            Replacement::EvictionSignal => self.eviction_timeout,
            // Without a limit, the worker would wait for ever for a request that hangs.
            Replacement::RequestTimeout => Some(self.graceful_timeout.unwrap_or_default()),
            _ => self.graceful_timeout,
        }
    }

    /// How long a worker may take in total to end for this reason; `None` is without limit. If the
    /// reason is urgent, it is `shutdown-timeout`, with or without requests in flight.
    pub fn longest_end(&self, reason: Replacement) -> Option<Duration> {
        match reason.is_urgent() {
            true => Some(self.stop_limit()),
            false => self.patience(reason).map(|time| time + self.stop_limit()),
        }
    }

    /// The part of `shutdown-timeout` that is reserved for the end of Python.
    pub fn last_moment(&self) -> Duration {
        (self.stop_limit() / 4).min(Duration::from_secs(1))
    }

    /// How long the end of Python may take: `shutdown-timeout`, or if that is off, the time that
    /// httpd allows its own children, so that no worker outlives its server.
    pub fn stop_limit(&self) -> Duration {
        self.shutdown_timeout.unwrap_or(Duration::from_secs(10))
    }
}

/// A worker's Python.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PythonSpec {
    /// The engine's file.
    pub engine: OsString,
    /// The program that contains all of that Python, if there is one.
    pub program: Option<OsString>,
    /// `python-home`.
    pub home: Option<OsString>,
    /// `python-path`: directories joined by colons.
    pub path: Option<OsString>,
    /// The `<WSGIInterpreterOptions>` sections that apply to its interpreters. Later sections
    /// override earlier ones.
    pub sections: Vec<InterpreterSection>,
    /// `python-eggs`.
    pub eggs: Option<OsString>,
    /// `WSGIPythonWarnings`.
    pub warnings: Vec<OsString>,
    /// `WSGIPythonOptimize`.
    pub optimize: i32,
    /// `WSGIPythonHashSeed`.
    pub hash_seed: Option<u32>,
    /// `WSGIDontWriteBytecode`.
    pub dont_write_bytecode: bool,
    /// `WSGIDestroyInterpreter`.
    pub destroy_interpreter: bool,
    /// `WSGIRestrictStdin`.
    pub restrict_stdin: bool,
    /// `WSGIRestrictStdout`.
    pub restrict_stdout: bool,
    /// `WSGIRestrictSignal`.
    pub restrict_signal: bool,
    /// `WSGICaseSensitivity`.
    pub case_sensitive: bool,
    /// `server-metrics`.
    pub server_metrics: bool,
    /// `WSGIPerInterpreterGIL`.
    pub per_interpreter_gil: bool,
    /// `WSGIFreeThreading`, if the engine's Python can do without a GIL.
    pub free_threading: bool,
    /// Whether interpreters with a GIL of their own are configured and supported by the engine's
    /// Python.
    pub own_gils: bool,
    /// `WSGISwitchInterval`, in seconds.
    pub default_switch_interval: Option<f64>,
    /// `switch-interval`, in seconds: set once scripts are loaded.
    pub switch_interval: Option<f64>,
}

/// The settings of a `<WSGIInterpreterOptions>` section for interpreters in the processes of a
/// group.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct InterpreterSection {
    /// The application group it is for, where empty is the main interpreter; `None` is for all.
    pub application_group: Option<OsString>,
    /// `WSGIPythonPath`: directories joined by colons.
    pub python_path: Option<OsString>,
    /// `WSGIRestrictStdin`.
    pub restrict_stdin: Option<bool>,
    /// `WSGIRestrictStdout`.
    pub restrict_stdout: Option<bool>,
    /// `WSGIRestrictSignal`.
    pub restrict_signal: Option<bool>,
    /// `WSGIPerInterpreterGIL`.
    pub per_interpreter_gil: Option<bool>,
    /// `WSGISwitchInterval`, in seconds.
    pub switch_interval: Option<f64>,
}

/// A script that is loaded when a worker starts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PreloadScript {
    /// Its path.
    pub path: OsString,
    /// The application group; empty is the main interpreter.
    pub application_group: OsString,
    /// Whether it is reloaded when it has changed.
    pub reload: bool,
}

/// The httpd a worker belongs to, as the Python module `apache` shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerSpec {
    /// The process id of its parent.
    pub pid: i32,
    /// Major, minor, patch.
    pub version: [u32; 3],
    /// The server's full description.
    pub description: String,
    /// When it was built.
    pub build_date: String,
    /// Its MPM.
    pub mpm_name: String,
    /// The MPM's most processes.
    pub maximum_processes: u32,
    /// The MPM's most threads in a process.
    pub threads_per_process: u32,
}
