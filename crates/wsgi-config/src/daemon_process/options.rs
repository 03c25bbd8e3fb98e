//! Which options a process group has, and what they are if nothing is said.

use std::time::Duration;

/// The options' names.
pub const OPTIONS: &[&str] = &[
    "user",
    "group",
    "supplementary-groups",
    "no-new-privileges",
    "processes",
    "threads",
    "umask",
    "chroot",
    "home",
    "lang",
    "locale",
    "display-name",
    "python-home",
    "python-path",
    "python-eggs",
    "switch-interval",
    "script-user",
    "script-group",
    "server-metrics",
    "socket-user",
    "stack-size",
    "maximum-requests",
    "cpu-priority",
    "cpu-scheduling",
    "cpu-time-limit",
    "memory-limit",
    "virtual-memory-limit",
    "listen-backlog",
    "send-buffer-size",
    "receive-buffer-size",
    "header-buffer-size",
    "response-buffer-size",
    "response-flush-delay",
    "connect-timeout",
    "socket-timeout",
    "queue-timeout",
    "startup-timeout",
    "request-timeout",
    "interrupt-timeout",
    "deadlock-timeout",
    "inactivity-timeout",
    "graceful-timeout",
    "eviction-timeout",
    "restart-interval",
    "shutdown-timeout",
    "response-socket-timeout",
];

/// The options of a process group: what was said, or the default.
#[derive(Clone, Debug, PartialEq)]
pub struct DaemonOptions {
    /// `user`, a name or `#uid`.
    pub user: Option<Vec<u8>>,
    /// `group`, a name or `#gid`.
    pub group: Option<Vec<u8>>,
    /// `supplementary-groups`, names or `#gid`s.
    pub supplementary_groups: Option<Vec<Vec<u8>>>,
    /// `no-new-privileges`.
    pub no_new_privileges: bool,
    /// `processes`, if given: merely giving it makes `wsgi.multiprocess` true.
    pub processes: Option<u32>,
    /// `threads`.
    pub threads: u32,
    /// `umask`.
    pub umask: Option<u32>,
    /// `chroot`, an absolute path.
    pub chroot: Option<Vec<u8>>,
    /// `home`, an absolute path.
    pub home: Option<Vec<u8>>,
    /// `lang`.
    pub lang: Option<Vec<u8>>,
    /// `locale`.
    pub locale: Option<Vec<u8>>,
    /// `display-name`, with `%{GROUP}` expanded.
    pub display_name: Option<Vec<u8>>,
    /// `python-home`.
    pub python_home: Option<Vec<u8>>,
    /// `python-path`.
    pub python_path: Option<Vec<u8>>,
    /// `python-eggs`.
    pub python_eggs: Option<Vec<u8>>,
    /// `switch-interval`, in seconds.
    pub switch_interval: Option<f64>,
    /// `script-user`, a name or `#uid`.
    pub script_user: Option<Vec<u8>>,
    /// `script-group`, a name or `#gid`.
    pub script_group: Option<Vec<u8>>,
    /// `server-metrics`.
    pub server_metrics: bool,
    /// `socket-user`, a name or `#uid`.
    pub socket_user: Option<Vec<u8>>,
    /// `stack-size`, in bytes.
    pub stack_size: Option<u64>,
    /// `maximum-requests`.
    pub maximum_requests: Option<u64>,
    /// `cpu-priority`, a nice value.
    pub cpu_priority: Option<i32>,
    /// `cpu-scheduling`.
    pub cpu_scheduling: CpuScheduling,
    /// `cpu-time-limit`.
    pub cpu_time_limit: Option<Duration>,
    /// `memory-limit`, in bytes.
    pub memory_limit: Option<u64>,
    /// `virtual-memory-limit`, in bytes.
    pub virtual_memory_limit: Option<u64>,
    /// `listen-backlog`.
    pub listen_backlog: u32,
    /// `send-buffer-size`, in bytes.
    pub send_buffer_size: Option<u64>,
    /// `receive-buffer-size`, in bytes.
    pub receive_buffer_size: Option<u64>,
    /// `header-buffer-size`: how long a line of a response's head may be, in bytes.
    pub header_buffer_size: usize,
    /// `connect-timeout`.
    pub connect_timeout: Option<Duration>,
    /// `socket-timeout`.
    pub socket_timeout: Option<Duration>,
    /// `queue-timeout`.
    pub queue_timeout: Option<Duration>,
    /// `startup-timeout`.
    pub startup_timeout: Option<Duration>,
    /// `request-timeout`.
    pub request_timeout: Option<Duration>,
    /// `interrupt-timeout`.
    pub interrupt_timeout: Option<Duration>,
    /// `deadlock-timeout`.
    pub deadlock_timeout: Option<Duration>,
    /// `inactivity-timeout`.
    pub inactivity_timeout: Option<Duration>,
    /// `graceful-timeout`.
    pub graceful_timeout: Option<Duration>,
    /// `eviction-timeout`.
    pub eviction_timeout: Option<Duration>,
    /// `restart-interval`.
    pub restart_interval: Option<Duration>,
    /// `shutdown-timeout`.
    pub shutdown_timeout: Option<Duration>,
    /// `response-socket-timeout`.
    pub response_socket_timeout: Option<Duration>,
    /// `response-buffer-size`, in bytes.
    pub response_buffer_size: u64,
    /// Whether `response-flush-delay`, which changes nothing, is given.
    pub has_flush_delay: bool,
}

/// Whether threads that requests wake take the CPU from those that run, by the names that sched(7)
/// has for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CpuScheduling {
    /// They wait for a free CPU, or until the others have had their share.
    Batch,
    /// They are like any thread.
    Other,
}

/// What `response-buffer-size` is if nothing is said.
pub(super) const RESPONSE_BUFFER: u64 = 8 << 20;

/// What applies without `header-buffer-size`, in bytes.
pub(super) const HEADER_BUFFER_SIZE: usize = 32_768;

impl Default for DaemonOptions {
    fn default() -> Self {
        let seconds = |seconds| Some(Duration::from_secs(seconds));
        Self {
            user: None,
            group: None,
            supplementary_groups: None,
            no_new_privileges: true,
            processes: None,
            threads: 15,
            umask: None,
            chroot: None,
            home: None,
            lang: None,
            locale: None,
            display_name: None,
            python_home: None,
            python_path: None,
            python_eggs: None,
            switch_interval: None,
            script_user: None,
            script_group: None,
            server_metrics: false,
            socket_user: None,
            stack_size: None,
            maximum_requests: None,
            cpu_priority: None,
            cpu_scheduling: CpuScheduling::Batch,
            cpu_time_limit: None,
            memory_limit: None,
            virtual_memory_limit: None,
            listen_backlog: 100,
            send_buffer_size: None,
            receive_buffer_size: None,
            header_buffer_size: HEADER_BUFFER_SIZE,
            connect_timeout: seconds(15),
            socket_timeout: None,
            queue_timeout: None,
            startup_timeout: None,
            request_timeout: None,
            interrupt_timeout: None,
            deadlock_timeout: seconds(300),
            inactivity_timeout: None,
            graceful_timeout: seconds(15),
            eviction_timeout: None,
            restart_interval: None,
            shutdown_timeout: seconds(5),
            response_socket_timeout: None,
            response_buffer_size: RESPONSE_BUFFER,
            has_flush_delay: false,
        }
    }
}
