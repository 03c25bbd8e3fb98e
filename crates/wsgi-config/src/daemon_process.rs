//! The arguments of `WSGIDaemonProcess`: the name of a process group and its options.
//!
//! Users and groups stay names here; which ids they have is for whoever can ask the system.

use crate::nearest::UnknownWord;
use crate::words::{OptionSyntaxError, OptionWord, Words};

mod options;
mod value;

pub use options::{CpuScheduling, DaemonOptions, OPTIONS};

use options::{HEADER_BUFFER_SIZE, RESPONSE_BUFFER};
use value::Value;

/// A process group as written.
#[derive(Clone, Debug, PartialEq)]
pub struct DaemonProcess {
    /// Its name.
    pub name: Vec<u8>,
    /// Its options.
    pub options: DaemonOptions,
}

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
            b"no-new-privileges" => self.no_new_privileges = value.flag()?,
            b"processes" => self.processes = Some(value.whole(1..=u32::MAX.into())?),
            b"threads" => self.threads = value.whole(0..=65_533)?,
            b"umask" => self.umask = Some(value.octal()?),
            b"chroot" => self.chroot = Some(value.absolute_path()?),
            b"home" => self.home = Some(value.absolute_path()?),
            b"lang" => self.lang = Some(value.variable()),
            b"locale" => self.locale = Some(value.variable()),
            b"display-name" => self.display_name = Some(display_name(&word.value, name)),
            b"python-home" => self.python_home = value.maybe_text(),
            b"python-path" => self.python_path = value.maybe_text(),
            b"python-eggs" => self.python_eggs = Some(value.variable()),
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
    use std::time::Duration;

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
             cpu-scheduling=other no-new-privileges=off",
        );
        assert_eq!(read.user.as_deref(), Some(&b"#33"[..]));
        assert_eq!(
            (read.processes, read.threads, read.umask),
            (Some(1), 0, Some(0o27))
        );
        assert_eq!(read.display_name.as_deref(), Some(&b"(wsgi:blog)"[..]));
        assert_eq!(read.cpu_priority, Some(-5));
        assert_eq!(read.cpu_scheduling, CpuScheduling::Other);
        assert!(!read.no_new_privileges);
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
