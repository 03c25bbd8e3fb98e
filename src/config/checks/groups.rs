//! Whether process groups that are used exist, and those that exist are used.

use std::ffi::CStr;
use std::fmt;

use httpd::Server;
use wsgi_config::nearest::UnknownWord;

use crate::config::checks::{Checked, Group, Mistake, report};
use crate::config::groups::Groups;
use crate::config::server;
use crate::config::source::Source;
use crate::log::Id;

#[derive(Debug, thiserror::Error)]
enum GroupMistake<'c> {
    #[error(
        "the process group {unknown} ({used_in}); until a WSGIDaemonProcess defines it, its \
         requests are answered with 500"
    )]
    Unknown {
        unknown: UnknownWord,
        used_in: Source,
    },
    #[error("the process group {unknown} ({chosen_in}); what is said of it there has no effect")]
    ChosenInVain {
        unknown: UnknownWord,
        chosen_in: Source,
    },
    #[error(
        "{directive}: process group \"{}\" belongs to the virtual host {}, so requests are answered \
         with 500; define it outside of virtual hosts to share it",
        .group.to_string_lossy(), .host.to_string_lossy()
    )]
    Foreign {
        directive: String,
        group: &'c CStr,
        host: &'c CStr,
    },
    #[error(
        "process group \"{}\" ({defined_in}) is never used: no process-group= and no WSGIProcessGroup names it",
        .name.to_string_lossy()
    )]
    Idle { name: &'c CStr, defined_in: Source },
    #[error(
        "process group \"{}\": {option}={bytes} is a number of bytes, and less than Python itself needs, so no process \
         starts; a limit of {bytes} MiB is {option}={}",
        .name.to_string_lossy(), .bytes.saturating_mul(MIB)
    )]
    NoMemory {
        name: &'c CStr,
        option: &'static str,
        bytes: u64,
    },
}

/// A mebibyte, in bytes.
const MIB: u64 = 1 << 20;

/// Who writes a number below this has not counted bytes.
const LEAST_MEMORY: u64 = 1 << 16;

impl Mistake for GroupMistake<'_> {
    fn id(&self) -> Id {
        Id(match self {
            Self::Unknown { .. } => 1029,
            Self::Foreign { .. } => 1030,
            Self::Idle { .. } => 1031,
            Self::NoMemory { .. } => 1037,
            Self::ChosenInVain { .. } => 1038,
        })
    }
}

pub(super) fn check(config: &Checked<'_>) {
    Groups::inspect(config.pool, |read| {
        for (unknown, used_in) in read.used_in_vain() {
            let used_in = used_in.clone();
            report(config.base, Err(GroupMistake::Unknown { unknown, used_in }));
        }
        for (unknown, chosen_in) in read.chosen_in_vain() {
            let chosen_in = chosen_in.clone();
            let mistake = GroupMistake::ChosenInVain { unknown, chosen_in };
            report(config.base, Err(mistake));
        }
        for group in &config.groups {
            check_hosts(config, group, read);
            let name = group.definition.name();
            if read.is_idle(name)
                && let Some(defined_in) = read.source(name).cloned()
            {
                let idle = GroupMistake::Idle { name, defined_in };
                report(group.definition.server(), Err(idle));
            }
        }
    });
    for group in &config.groups {
        report(group.definition.server(), check_memory(group));
    }
    for (server, own) in server::configs(config.base) {
        for alias in own.own_aliases() {
            let group = alias.options().process_group.as_deref();
            let group = config
                .groups
                .iter()
                .find(|own| Some(own.definition.name()) == group);
            if let Some(group) = group {
                report(server, check_host(group, server, alias));
            }
        }
    }
}

/// Looks for virtual hosts that have their applications run in a group of another one.
fn check_hosts(config: &Checked<'_>, group: &Group<'_>, read: &Groups) {
    for (id, source) in read.used_in_hosts(group.definition.name()) {
        if let Some(server) = config.base.iter().find(|server| server.id() == id) {
            let directive = format_args!("WSGIProcessGroup ({source})");
            report(server, check_host(group, server, directive));
        }
    }
}

/// Looks for a limit that was meant in larger units.
fn check_memory<'c>(group: &Group<'c>) -> Result<(), GroupMistake<'c>> {
    let options = group.definition.options();
    let limits = [
        ("memory-limit", options.memory_limit),
        ("virtual-memory-limit", options.virtual_memory_limit),
    ];
    for (option, limit) in limits {
        if let Some(bytes) = limit.filter(|&limit| limit < LEAST_MEMORY) {
            let name = group.definition.name();
            return Err(GroupMistake::NoMemory {
                name,
                option,
                bytes,
            });
        }
    }
    Ok(())
}

/// Looks whether requests of this server, which a directive of it sends to this group, must not use
/// it.
fn check_host<'c>(
    group: &Group<'c>,
    server: Server<'_>,
    directive: impl fmt::Display,
) -> Result<(), GroupMistake<'c>> {
    let owner = group.definition.server();
    if !owner.is_virtual() || owner.hostname() == server.hostname() {
        return Ok(());
    }
    Err(GroupMistake::Foreign {
        directive: directive.to_string(),
        group: group.definition.name(),
        host: owner.hostname().unwrap_or_default(),
    })
}
