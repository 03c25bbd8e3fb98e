//! The arguments of `WSGIDaemonProcess`: the name of a process group and its options.
//!
//! Users and groups stay names here; which ids they have is for whoever can ask the system.

use std::ops::RangeInclusive;
use std::time::Duration;

use crate::nearest::UnknownWord;
use crate::value::flag;
use crate::words::{OptionSyntaxError, OptionWord, Words, lossy};

/// A process group as written.
#[derive(Clone, Debug, PartialEq)]
pub struct DaemonProcess {
    /// Its name.
    pub name: Vec<u8>,
    /// Its options.
    pub options: DaemonOptions,
}

/// The options of a process group: what was said, or the default.
#[derive(Clone, Debug, PartialEq)]
pub struct DaemonOptions {
    /// `user`, a name or `#uid`.
    pub user: Option<Vec<u8>>,
    /// `group`, a name or `#gid`.
    pub group: Option<Vec<u8>>,
    /// `supplementary-groups`, names or `#gid`s.
    pub supplementary_groups: Option<Vec<Vec<u8>>>,
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

/// Whether threads that requests wake take the CPU from those that run, by the names that sched(7) has
/// for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CpuScheduling {
    /// They wait for a free CPU, or until the others have had their share.
    Batch,
    /// They are like any thread.
    Other,
}

/// What `response-buffer-size` is if nothing is said.
const RESPONSE_BUFFER: u64 = 8 << 20;

impl Default for DaemonOptions {
    fn default() -> Self {
        let seconds = |seconds| Some(Duration::from_secs(seconds));
        Self {
            user: None,
            group: None,
            supplementary_groups: None,
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

/// What applies without `header-buffer-size`, in bytes.
const HEADER_BUFFER_SIZE: usize = 32_768;

/// The options' names.
pub const OPTIONS: &[&str] = &[
    "user",
    "group",
    "supplementary-groups",
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

/// Why the arguments of `WSGIDaemonProcess` were refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DaemonProcessError {
    /// There is no name.
    #[error("the name of the process group is missing, as in \"blog processes=2 threads=15\"")]
    NoName,
    /// A word is no option at all.
    #[error("{0}; options are written option=value")]
    NotAnOption(#[from] OptionSyntaxError),
    /// The option is none of ours.
    #[error("the option {0}")]
    UnknownOption(UnknownWord),
    /// The option has a value that it cannot have.
    #[error("the option {option}=\"{value}\": {allowed}")]
    Value {
        /// The option.
        option: String,
        /// Its value.
        value: String,
        /// What it could be.
        allowed: String,
    },
    /// Two options exclude each other.
    #[error("script-user and script-group cannot both be given")]
    ScriptUserAndGroup,
}

impl DaemonProcess {
    /// Reads the arguments of `WSGIDaemonProcess`.
    ///
    /// # Errors
    ///
    /// When the name is missing, or an option is unknown or has a value it cannot have.
    pub fn parse(arguments: &[u8]) -> Result<Self, DaemonProcessError> {
        let mut words = Words::new(arguments);
        let name = words.next_word();
        if name.is_empty() {
            return Err(DaemonProcessError::NoName);
        }
        let mut options = DaemonOptions::default();
        while let Some(option) = words.next_option()? {
            options.set(&option, &name)?;
        }
        if options.script_user.is_some() && options.script_group.is_some() {
            return Err(DaemonProcessError::ScriptUserAndGroup);
        }
        Ok(Self { name, options })
    }
}

impl DaemonOptions {
    /// A later option of the same name wins.
    fn set(&mut self, word: &OptionWord<'_>, name: &[u8]) -> Result<(), DaemonProcessError> {
        let value = Value { word };
        match word.key {
            b"user" => self.user = Some(value.text()?),
            b"group" => self.group = Some(value.text()?),
            b"supplementary-groups" => self.supplementary_groups = Some(value.list()),
            b"processes" => self.processes = Some(value.whole(1..=u32::MAX.into())?),
            b"threads" => self.threads = value.whole(0..=65_533)?,
            b"umask" => self.umask = Some(value.octal()?),
            b"chroot" => self.chroot = Some(value.absolute_path()?),
            b"home" => self.home = Some(value.absolute_path()?),
            b"lang" => self.lang = value.maybe_text(),
            b"locale" => self.locale = value.maybe_text(),
            b"display-name" => self.display_name = Some(display_name(&word.value, name)),
            b"python-home" => self.python_home = value.maybe_text(),
            b"python-path" => self.python_path = value.maybe_text(),
            b"python-eggs" => self.python_eggs = value.maybe_text(),
            b"switch-interval" => self.switch_interval = Some(value.interval()?),
            b"script-user" => self.script_user = Some(value.text()?),
            b"script-group" => self.script_group = Some(value.text()?),
            b"server-metrics" => self.server_metrics = value.flag()?,
            b"socket-user" => self.socket_user = Some(value.text()?),
            b"stack-size" => self.stack_size = Some(value.whole(1..=u64::MAX)?),
            b"cpu-priority" => self.cpu_priority = value.priority()?,
            b"cpu-scheduling" => self.cpu_scheduling = value.scheduling()?,
            b"listen-backlog" => self.listen_backlog = value.whole(0..=i32::MAX as u64)?,
            _ => return self.set_limit(word.key, &value),
        }
        Ok(())
    }

    /// The options that are numbers with "0 is off" as their lowest value.
    fn set_limit(&mut self, key: &[u8], value: &Value<'_>) -> Result<(), DaemonProcessError> {
        match key {
            b"maximum-requests" => self.maximum_requests = value.limit(0)?,
            b"memory-limit" => self.memory_limit = value.limit(0)?,
            b"virtual-memory-limit" => self.virtual_memory_limit = value.limit(0)?,
            b"send-buffer-size" => self.send_buffer_size = value.limit(512)?,
            b"receive-buffer-size" => self.receive_buffer_size = value.limit(512)?,
            b"response-buffer-size" => {
                self.response_buffer_size = value.limit(65_536)?.unwrap_or(RESPONSE_BUFFER);
            }
            b"header-buffer-size" => {
                let size = value.limit(8192)?.map(usize::try_from);
                self.header_buffer_size = match size {
                    None => HEADER_BUFFER_SIZE,
                    Some(size) => size.unwrap_or(usize::MAX),
                };
            }
            // What the application flushes is flushed at once: there is no delay to set.
            b"response-flush-delay" => {
                value.limit(0)?;
                self.has_flush_delay = true;
            }
            b"cpu-time-limit" => self.cpu_time_limit = value.seconds()?,
            b"connect-timeout" => self.connect_timeout = value.seconds()?,
            b"socket-timeout" => self.socket_timeout = value.seconds()?,
            b"queue-timeout" => self.queue_timeout = value.seconds()?,
            b"startup-timeout" => self.startup_timeout = value.seconds()?,
            b"request-timeout" => self.request_timeout = value.seconds()?,
            b"interrupt-timeout" => self.interrupt_timeout = value.seconds()?,
            b"deadlock-timeout" => self.deadlock_timeout = value.seconds()?,
            b"inactivity-timeout" => self.inactivity_timeout = value.seconds()?,
            b"graceful-timeout" => self.graceful_timeout = value.seconds()?,
            b"eviction-timeout" => self.eviction_timeout = value.seconds()?,
            b"restart-interval" => self.restart_interval = value.seconds()?,
            b"shutdown-timeout" => self.shutdown_timeout = value.seconds()?,
            b"response-socket-timeout" => self.response_socket_timeout = value.seconds()?,
            unknown => {
                let unknown = UnknownWord::new(unknown, OPTIONS);
                return Err(DaemonProcessError::UnknownOption(unknown));
            }
        }
        Ok(())
    }
}

/// The value of an option, as what it has to be.
struct Value<'w> {
    word: &'w OptionWord<'w>,
}

impl Value<'_> {
    fn text(&self) -> Result<Vec<u8>, DaemonProcessError> {
        self.maybe_text()
            .ok_or_else(|| self.refused("a value is needed"))
    }

    /// Empty means that nothing was said.
    fn maybe_text(&self) -> Option<Vec<u8>> {
        Some(self.word.value.clone()).filter(|text| !text.is_empty())
    }

    /// What stands between commas, which may be nothing.
    fn list(&self) -> Vec<Vec<u8>> {
        let names = self.word.value.split(|byte| *byte == b',');
        names
            .filter(|name| !name.is_empty())
            .map(<[u8]>::to_vec)
            .collect()
    }

    fn absolute_path(&self) -> Result<Vec<u8>, DaemonProcessError> {
        let path = self.text()?;
        if path.starts_with(b"/") {
            Ok(path)
        } else {
            Err(self.refused("an absolute path is needed"))
        }
    }

    fn flag(&self) -> Result<bool, DaemonProcessError> {
        flag(&self.word.value).map_err(|_| self.refused("it must be On or Off"))
    }

    fn octal(&self) -> Result<u32, DaemonProcessError> {
        let digits = std::str::from_utf8(&self.word.value).unwrap_or_default();
        u32::from_str_radix(digits, 8)
            .ok()
            .filter(|mask| *mask <= 0o7777 && !digits.starts_with('+'))
            .ok_or_else(|| self.refused("an octal number such as 0027 is needed"))
    }

    fn interval(&self) -> Result<f64, DaemonProcessError> {
        crate::value::positive_seconds(&self.word.value).ok_or_else(|| {
            self.refused("a number of seconds greater than 0 is needed, such as 0.005")
        })
    }

    /// 0 changes nothing.
    fn priority(&self) -> Result<Option<i32>, DaemonProcessError> {
        let range = -20..=20;
        let priority: i32 = self
            .parsed()
            .filter(|priority| range.contains(priority))
            .ok_or_else(|| self.refused("a whole number from -20 to 20 is needed"))?;
        Ok(Some(priority).filter(|priority| *priority != 0))
    }

    fn scheduling(&self) -> Result<CpuScheduling, DaemonProcessError> {
        match self.word.value.as_slice() {
            b"batch" => Ok(CpuScheduling::Batch),
            b"other" => Ok(CpuScheduling::Other),
            _ => Err(self.refused("it must be batch or other")),
        }
    }

    fn seconds(&self) -> Result<Option<Duration>, DaemonProcessError> {
        // A longer time than a century is as good as none, and cannot overflow any clock.
        let seconds: Option<u64> = self.limit(0)?;
        Ok(seconds.map(|seconds| Duration::from_secs(seconds.min(100 * 366 * 86_400))))
    }

    /// A number of at least `least`, or 0 for none.
    fn limit(&self, least: u64) -> Result<Option<u64>, DaemonProcessError> {
        match self.parsed::<u64>() {
            Some(0) => Ok(None),
            Some(number) if number >= least => Ok(Some(number)),
            _ if least == 0 => Err(self.refused("a whole number is needed; 0 switches it off")),
            _ => Err(self.refused(&format!(
                "a whole number of at least {least} is needed, or 0 for the default"
            ))),
        }
    }

    fn whole<N: TryFrom<u64>>(&self, range: RangeInclusive<u64>) -> Result<N, DaemonProcessError> {
        self.parsed::<u64>()
            .filter(|number| range.contains(number))
            .and_then(|number| N::try_from(number).ok())
            .ok_or_else(|| {
                self.refused(&match range.end() {
                    &u64::MAX => format!("a whole number of at least {} is needed", range.start()),
                    end => format!("a whole number from {} to {end} is needed", range.start()),
                })
            })
    }

    fn parsed<N: std::str::FromStr>(&self) -> Option<N> {
        std::str::from_utf8(&self.word.value).ok()?.parse().ok()
    }

    fn refused(&self, allowed: &str) -> DaemonProcessError {
        DaemonProcessError::Value {
            option: lossy(self.word.key),
            value: lossy(&self.word.value),
            allowed: allowed.to_owned(),
        }
    }
}

/// `%{GROUP}` stands for the group's name as processes show it.
fn display_name(value: &[u8], name: &[u8]) -> Vec<u8> {
    if value == b"%{GROUP}" {
        [b"(wsgi:", name, b")"].concat()
    } else {
        value.to_vec()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &str) -> Result<DaemonProcess, DaemonProcessError> {
        DaemonProcess::parse(arguments.as_bytes())
    }

    fn options(options: &str) -> DaemonOptions {
        parse(&format!("blog {options}")).unwrap().options
    }

    #[test]
    fn without_options_everything_has_its_default() {
        let group = parse("blog").unwrap();
        assert_eq!(group.name, b"blog");
        assert_eq!(group.options, DaemonOptions::default());
        assert_eq!((group.options.threads, group.options.processes), (15, None));
        assert_eq!(group.options.shutdown_timeout, Some(Duration::from_secs(5)));
    }

    #[test]
    fn options_are_read_as_what_they_are() {
        let read = options(
            "user=#33 processes=1 threads=0 umask=0027 home=/srv display-name=%{GROUP} \
             cpu-priority=-5 graceful-timeout=0 request-timeout=60 memory-limit=1048576 \
             supplementary-groups=a,#7 switch-interval=0.01 server-metrics=oN \
             cpu-scheduling=other",
        );
        assert_eq!(read.user.as_deref(), Some(&b"#33"[..]));
        assert_eq!(
            (read.processes, read.threads, read.umask),
            (Some(1), 0, Some(0o27))
        );
        assert_eq!(read.display_name.as_deref(), Some(&b"(wsgi:blog)"[..]));
        assert_eq!(read.cpu_priority, Some(-5));
        assert_eq!(read.cpu_scheduling, CpuScheduling::Other);
        assert_eq!(
            (read.graceful_timeout, read.request_timeout),
            (None, Some(Duration::from_secs(60)))
        );
        assert_eq!(read.memory_limit, Some(1_048_576));
        assert_eq!(
            read.supplementary_groups,
            Some(vec![b"a".to_vec(), b"#7".to_vec()])
        );
        assert_eq!(read.switch_interval, Some(0.01));
        assert!(read.server_metrics);
    }

    #[test]
    fn every_option_is_known() {
        for name in OPTIONS {
            let error = parse(&format!("blog {name}=?")).err();
            let unknown = matches!(error, Some(DaemonProcessError::UnknownOption(_)));
            assert!(!unknown, "{name}: {error:?}");
        }
    }

    #[test]
    fn mistakes_are_named() {
        let cases = [
            ("", "the name of the process group is missing"),
            ("blog theads=3", "did you mean \"threads\"?"),
            (
                "blog threads=many",
                "the option threads=\"many\": a whole number from 0 to 65533",
            ),
            (
                "blog processes=0",
                "the option processes=\"0\": a whole number from 1 to",
            ),
            ("blog user=", "the option user=\"\": a value is needed"),
            (
                "blog home=srv",
                "the option home=\"srv\": an absolute path is needed",
            ),
            ("blog umask=9", "the option umask=\"9\": an octal number"),
            (
                "blog request-timeout=-1",
                "the option request-timeout=\"-1\": a whole number is needed",
            ),
            (
                "blog header-buffer-size=100",
                "of at least 8192 is needed, or 0",
            ),
            ("blog cpu-priority=21", "from -20 to 20"),
            ("blog cpu-scheduling=fifo", "it must be batch or other"),
            ("blog server-metrics=maybe", "it must be On or Off"),
            ("blog script-user=a script-group=b", "cannot both be given"),
            (
                "blog threads",
                "\"threads\" is not of the form option=value",
            ),
        ];
        for (arguments, expected) in cases {
            let error = parse(arguments).unwrap_err().to_string();
            assert!(error.contains(expected), "{arguments}: {error}");
        }
    }
}
