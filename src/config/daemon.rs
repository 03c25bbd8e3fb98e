//! `WSGIDaemonProcess`: a process group as it is configured.
//!
//! Names of users and groups are looked up as the directive is read, so that one that does not
//! exist is an error of the configuration, at the line that names it.

use std::ffi::{CStr, CString};
use std::path::PathBuf;
use std::time::Duration;

use httpd::child_user::ChildUser;
use httpd::{Parms, Refusal, Server, process};
use nix::unistd::{Group, SysconfVar, Uid, User, sysconf};
use wsgi_config::daemon_process::{DaemonOptions, DaemonProcess};

use crate::Wsgi;
use crate::config::groups::Groups;
use crate::config::{accepted, c_string, server};

/// Why a process group is refused, apart from its words.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum DaemonError {
    /// There is no such user or group.
    #[error("the option {option}=\"{name}\": there is no such {kind} on this system")]
    Unknown {
        /// The option.
        option: &'static str,
        /// What it names.
        name: String,
        /// User or group.
        kind: &'static str,
    },
    /// The number that functions such as `setgid` and `chown` take for none.
    #[error(
        "the option {option}=\"{name}\": no {kind} has that number, which to the system means \
         \"leave it as it is\"; choose another"
    )]
    NoNumber {
        /// The option.
        option: &'static str,
        /// What it says.
        name: String,
        /// User or group.
        kind: &'static str,
    },
    /// More than a process can be in.
    #[error(
        "the option supplementary-groups names {named} groups: too many supplementary groups, as this system \
         lets a process be in {most}, of which one is its group itself"
    )]
    TooManyGroups {
        /// How many it names.
        named: usize,
        /// How many the system allows.
        most: usize,
    },
    /// Root runs no applications.
    #[error("the option user=\"{0}\": applications may not run as root")]
    Root(String),
    /// Only root may do that.
    #[error("the option chroot needs httpd to be started by root")]
    Chroot,
}

/// A process group as it was read.
#[derive(Debug)]
pub(crate) struct Daemon {
    name: CString,
    options: DaemonOptions,
    user: Option<RunAs>,
    group: Option<u32>,
    supplementary_groups: Option<Vec<u32>>,
    socket_owner: Option<u32>,
    script_owner: Option<ScriptOwner>,
}

/// Whom the scripts of a group must belong to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ScriptOwner {
    /// `script-user`
    User(u32),
    /// `script-group`
    Group(u32),
}

/// As whom a worker runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RunAs {
    pub(crate) name: Option<String>,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

/// What httpd's children hold a group to, that its workers need not know.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terms {
    /// Whom its scripts must belong to.
    pub(crate) script_owner: Option<ScriptOwner>,
    /// How long a line of a response's head may be, in bytes.
    pub(crate) longest_line: usize,
    /// How long a request may wait for a place in the queue, if at all.
    pub(crate) connect_timeout: Option<Duration>,
    /// How long a worker may be silent.
    pub(crate) socket_timeout: Duration,
    /// How long a client may take nothing of a response: `response-socket-timeout`, or
    /// `socket-timeout`; httpd's `Timeout` if neither was given.
    pub(crate) response_timeout: Option<Duration>,
}

/// A process group in the server it was defined in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DaemonDefinition<'s> {
    daemon: &'s Daemon,
    server: Server<'s>,
    base: Server<'s>,
}

/// The process groups of a configuration.
pub(crate) fn daemons(base: Server<'_>) -> impl Iterator<Item = DaemonDefinition<'_>> {
    server::configs(base).flat_map(move |(server, config)| {
        let daemons = config.own_daemons().iter();
        daemons.map(move |daemon| DaemonDefinition {
            daemon,
            server,
            base,
        })
    })
}

impl Daemon {
    /// Reads the arguments of `WSGIDaemonProcess`.
    pub(super) fn parse(parms: &Parms<'_>, line: &CStr) -> Result<Self, Refusal> {
        let DaemonProcess { name, options } = DaemonProcess::parse(line.to_bytes())?;
        let daemon = Self {
            user: options.user.as_deref().map(user).transpose()?,
            group: options
                .group
                .as_deref()
                .map(|name| group("group", name))
                .transpose()?,
            supplementary_groups: supplementary_groups(&options)?,
            socket_owner: options
                .socket_user
                .as_deref()
                .map(|name| uid("socket-user", name))
                .transpose()?,
            script_owner: script_owner(&options)?,
            name: c_string(name),
            options,
        };
        if daemon.options.chroot.is_some() && !Uid::effective().is_root() {
            return Err(DaemonError::Chroot.into());
        }
        Groups::define(parms, &daemon.name)?;
        if daemon.options.has_flush_delay {
            accepted::response_flush_delay(parms);
        }
        Ok(daemon)
    }
}

impl<'s> DaemonDefinition<'s> {
    /// Its name.
    pub(crate) fn name(&self) -> &'s CStr {
        &self.daemon.name
    }

    /// Its options.
    pub(crate) fn options(&self) -> &'s DaemonOptions {
        &self.daemon.options
    }

    /// The server it was defined in.
    pub(crate) fn server(&self) -> Server<'s> {
        self.server
    }

    /// The base server.
    pub(crate) fn base(&self) -> Server<'s> {
        self.base
    }

    /// If it was defined in a virtual host: that host's `ServerName`.
    pub(crate) fn host(&self) -> Option<Option<Vec<u8>>> {
        let hostname = || self.server.hostname().map(|name| name.to_bytes().to_vec());
        self.server.is_virtual().then(hostname)
    }

    /// How long a worker may be silent: `socket-timeout`, or httpd's `Timeout`.
    pub(crate) fn socket_timeout(&self) -> Duration {
        self.options()
            .socket_timeout
            .unwrap_or_else(|| self.server.timeout())
    }

    /// What the paths of sockets begin with.
    pub(crate) fn socket_prefix(&self) -> PathBuf {
        let configured = self.base.config::<Wsgi>().process().socket_prefix.clone();
        configured.unwrap_or_else(|| process::runtime_path(self.base.process_pool(), c"wsgi"))
    }

    /// Whose the socket is: who may connect.
    pub(crate) fn socket_owner(&self) -> u32 {
        self.daemon
            .socket_owner
            .unwrap_or_else(|| ChildUser::configured().uid)
    }

    /// What children hold it to.
    pub(crate) fn terms(&self) -> Terms {
        let options = self.options();
        Terms {
            script_owner: self.daemon.script_owner,
            longest_line: options.header_buffer_size,
            connect_timeout: options.connect_timeout,
            socket_timeout: self.socket_timeout(),
            response_timeout: options.response_socket_timeout.or(options.socket_timeout),
        }
    }

    /// As whom its workers run: what it says itself, or as httpd's children do.
    pub(crate) fn user(&self) -> RunAs {
        let children = ChildUser::configured();
        let user = self.daemon.user.clone().unwrap_or_else(|| RunAs {
            name: Some(children.name.to_string_lossy().into_owned()),
            uid: children.uid,
            gid: children.gid,
        });
        // Without `group` it is httpd's Group, whatever the user's own is.
        RunAs {
            gid: self.daemon.group.unwrap_or(children.gid),
            ..user
        }
    }

    /// The groups that replace those of the user.
    pub(crate) fn supplementary_groups(&self) -> Option<Vec<u32>> {
        self.daemon.supplementary_groups.clone()
    }
}

fn user(word: &[u8]) -> Result<RunAs, DaemonError> {
    let name = String::from_utf8_lossy(word).into_owned();
    let found = match numeric("user", &name, "user")? {
        Some(uid) => match User::from_uid(Uid::from_raw(uid)).ok().flatten() {
            Some(user) => Some(run_as(&user)),
            None => Some(RunAs {
                name: None,
                uid,
                gid: uid,
            }),
        },
        None => User::from_name(&name).ok().flatten().as_ref().map(run_as),
    };
    match found {
        Some(RunAs { uid: 0, .. }) => Err(DaemonError::Root(name)),
        Some(found) => Ok(found),
        None => Err(DaemonError::Unknown {
            option: "user",
            name,
            kind: "user",
        }),
    }
}

fn run_as(user: &User) -> RunAs {
    RunAs {
        name: Some(user.name.clone()),
        uid: user.uid.as_raw(),
        gid: user.gid.as_raw(),
    }
}

fn uid(option: &'static str, word: &[u8]) -> Result<u32, DaemonError> {
    let name = String::from_utf8_lossy(word).into_owned();
    let found = numeric(option, &name, "user")?.or_else(|| {
        User::from_name(&name)
            .ok()
            .flatten()
            .map(|user| user.uid.as_raw())
    });
    found.ok_or(DaemonError::Unknown {
        option,
        name,
        kind: "user",
    })
}

/// Only one of the two can be given.
fn script_owner(options: &DaemonOptions) -> Result<Option<ScriptOwner>, DaemonError> {
    if let Some(name) = &options.script_user {
        return uid("script-user", name).map(|uid| Some(ScriptOwner::User(uid)));
    }
    let gid = options.script_group.as_deref();
    let gid = gid.map(|name| group("script-group", name)).transpose()?;
    Ok(gid.map(ScriptOwner::Group))
}

fn group(option: &'static str, word: &[u8]) -> Result<u32, DaemonError> {
    let name = String::from_utf8_lossy(word).into_owned();
    let found = numeric(option, &name, "group")?.or_else(|| {
        Group::from_name(&name)
            .ok()
            .flatten()
            .map(|group| group.gid.as_raw())
    });
    found.ok_or(DaemonError::Unknown {
        option,
        name,
        kind: "group",
    })
}

fn supplementary_groups(options: &DaemonOptions) -> Result<Option<Vec<u32>>, DaemonError> {
    let Some(names) = &options.supplementary_groups else {
        return Ok(None);
    };
    let named = names.iter().map(|name| group("supplementary-groups", name));
    let groups: Vec<u32> = named.collect::<Result<_, _>>()?;
    match most_groups() {
        Some(most) if groups.len() >= most => Err(DaemonError::TooManyGroups {
            named: groups.len(),
            most,
        }),
        _ => Ok(Some(groups)),
    }
}

/// How many groups a process can be in, if there is a limit.
fn most_groups() -> Option<usize> {
    let limit = sysconf(SysconfVar::NGROUPS_MAX).ok().flatten()?;
    usize::try_from(limit).ok()
}

/// The number in `#33`, if it is one that a user or group can have.
fn numeric(
    option: &'static str,
    name: &str,
    kind: &'static str,
) -> Result<Option<u32>, DaemonError> {
    let number = name
        .strip_prefix('#')
        .and_then(|digits| digits.parse().ok());
    if number == Some(u32::MAX) {
        return Err(DaemonError::NoNumber {
            option,
            name: name.to_owned(),
            kind,
        });
    }
    Ok(number)
}
