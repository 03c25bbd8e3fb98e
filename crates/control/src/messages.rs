//! The messages on the links: parent to supervisor, supervisor to worker, and back.

use serde::{Deserialize, Serialize};

use crate::spec::{GroupSpec, LogForm};

/// From the httpd parent to the supervisor.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum ToSupervisor {
    /// httpd drops its configuration and begins to read another. If no new set of groups follows in
    /// time, the new configuration does not load this module, and the groups end.
    Reconfiguring,
    /// A new set of groups begins. The main error log comes with this message, if there is one.
    Begin {
        /// The format of its lines.
        log_form: LogForm,
    },
    /// One group of the set. Its error log, table and listening socket come with this message, and
    /// the link to the scoreboard if the group has `server-metrics`.
    Group(Box<GroupSpec>),
    /// The set is complete. Groups that are not in it end; in groups that existed before, every
    /// worker is replaced.
    Commit,
    /// End all workers, and then the supervisor.
    Stop,
}

/// From the supervisor to a worker.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum ToWorker {
    /// The first message: the group of the worker. Its error log, table and listening socket come
    /// with this message, and the link to the scoreboard if the group has `server-metrics`.
    Start {
        /// The group.
        group: Box<GroupSpec>,
        /// The slot in the group's table.
        slot: u32,
        /// The process id of the supervisor.
        supervisor: u32,
    },
    /// Take over the slot: accept connections.
    Serve {
        /// The number of the worker among those of the slot. (The table has it as well, but later
        /// that of a successor.)
        incarnation: u32,
    },
    /// Take no more requests, finish those in flight, end.
    Drain {
        /// Why, in the words of `shutdown_reason`.
        reason: Replacement,
    },
}

/// From a worker to the supervisor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FromWorker {
    /// Python runs, the scripts are loaded: ready to serve.
    Ready,
    /// This worker has to be replaced soon: start a successor in advance.
    Prepare,
    /// This worker has to be replaced now, for this reason.
    Replace(Replacement),
    /// This worker cannot start. It ends after this.
    Failed(Failure),
}

/// Why a worker cannot start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// The id of the message, if it has one of its own.
    pub id: Option<u16>,
    /// What went wrong.
    pub text: String,
}

impl<E: std::error::Error> From<E> for Failure {
    fn from(error: E) -> Self {
        Self {
            id: None,
            text: error.to_string(),
        }
    }
}

/// Why a worker is replaced or ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Replacement {
    /// httpd stops, or the administrator sent SIGTERM.
    ShutdownSignal,
    /// httpd restarts gracefully, or the administrator sent SIGUSR1.
    GracefulSignal,
    /// SIGUSR1 where `eviction-timeout` is set.
    EvictionSignal,
    /// `cpu-time-limit`.
    CpuTimeLimit,
    /// `maximum-requests`.
    MaximumRequests,
    /// `restart-interval`.
    RestartInterval,
    /// `inactivity-timeout`.
    InactivityTimeout,
    /// `request-timeout`.
    RequestTimeout,
    /// `startup-timeout`.
    StartupTimeout,
    /// `deadlock-timeout`.
    DeadlockTimeout,
    /// A script changed.
    ScriptReload,
}

impl Replacement {
    /// All of them; their numbers in shared memory begin with 1.
    const ALL: [Self; 11] = [
        Self::ShutdownSignal,
        Self::GracefulSignal,
        Self::EvictionSignal,
        Self::CpuTimeLimit,
        Self::MaximumRequests,
        Self::RestartInterval,
        Self::InactivityTimeout,
        Self::RequestTimeout,
        Self::StartupTimeout,
        Self::DeadlockTimeout,
        Self::ScriptReload,
    ];

    /// Its number in shared memory, which is not 0.
    pub(crate) fn number(self) -> u32 {
        let index = Self::ALL.iter().position(|it| *it == self);
        index.map_or(0, |index| u32::try_from(index + 1).unwrap_or_default())
    }

    /// The one of this number, if there is one.
    pub(crate) fn from_number(number: u32) -> Option<Self> {
        let index = usize::try_from(number.checked_sub(1)?).ok()?;
        Self::ALL.get(index).copied()
    }

    /// The word that applications get as `shutdown_reason`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ShutdownSignal => "shutdown_signal",
            Self::GracefulSignal => "graceful_signal",
            Self::EvictionSignal => "eviction_signal",
            Self::CpuTimeLimit => "cpu_time_limit",
            Self::MaximumRequests => "maximum_requests",
            Self::RestartInterval => "restart_interval",
            Self::InactivityTimeout => "inactivity_timeout",
            Self::RequestTimeout => "request_timeout",
            Self::StartupTimeout => "startup_timeout",
            Self::DeadlockTimeout => "deadlock_timeout",
            Self::ScriptReload => "script_reload",
        }
    }

    /// Whether the worker must stop serving at once, without waiting for its successor.
    pub const fn is_urgent(self) -> bool {
        matches!(
            self,
            Self::DeadlockTimeout | Self::StartupTimeout | Self::ShutdownSignal
        )
    }
}
