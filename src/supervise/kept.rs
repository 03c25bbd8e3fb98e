//! What the parent keeps from one configuration to the next.
//!
//! Between two configurations httpd unloads this module and loads it again, perhaps in another
//! version. Descriptors and processes survive that, values in memory do not. So they are written
//! down, as bytes in the pool of the process; bytes of another version are not touched.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd, RawFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use control::{Channel, GroupSpec, ScoreboardReader, ScoreboardSource, Secret, Table};
use httpd::{Level, Pool};
use serde::{Deserialize, Serialize};

use super::sockets::{self, Shape, SocketError};
use crate::config::{DaemonDefinition, ScriptOwner};
use crate::log::{self, Id};

/// The name of the bytes. It changes whenever [`Stored`] does, or what a table is like.
const KEY: &CStr = c"mod_wsgi:supervision:8";

/// All that is kept.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    pub(super) supervisor: Option<Supervisor>,
    pub(super) groups: Vec<KeptGroup>,
    /// The number of the group that was made last. None is given twice: workers of a group that is
    /// gone may be there for a long time.
    pub(super) last_number: u32,
}

/// Both ends of the way from the workers of a group to httpd's scoreboard. Each group has its own, for
/// a worker can close it for all who share it.
#[derive(Debug)]
pub(super) struct ScoreboardLink {
    reader: ScoreboardReader,
    source: ScoreboardSource,
}

/// The supervisor.
#[derive(Debug)]
pub(super) struct Supervisor {
    pub(super) pid: u32,
    pub(super) control: Channel,
}

/// A group and what was made for it.
#[derive(Debug)]
pub(crate) struct KeptGroup {
    pub(super) spec: GroupSpec,
    shape: Shape,
    /// If it was defined in a virtual host: that host's `ServerName`.
    host: Option<Option<Vec<u8>>>,
    log: OwnedFd,
    table: Table,
    socket_path: PathBuf,
    socket: OwnedFd,
    /// Made when the group may first use it; it stays, for its ends are with processes of several
    /// generations.
    scoreboard: Option<ScoreboardLink>,
    terms: Terms,
}

/// What children hold a group to, that its workers need not know.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Terms {
    script_owner: Option<ScriptOwner>,
    longest_line: usize,
    connect_timeout: Option<Duration>,
    socket_timeout: Duration,
    response_timeout: Option<Duration>,
}

impl Terms {
    fn of(definition: &DaemonDefinition<'_>) -> Self {
        Self {
            script_owner: definition.script_owner(),
            longest_line: definition.options().header_buffer_size,
            connect_timeout: definition.options().connect_timeout,
            socket_timeout: definition.socket_timeout(),
            response_timeout: definition.response_timeout(),
        }
    }
}

/// What is kept, as bytes: descriptors by their numbers.
#[derive(Debug, Serialize, Deserialize)]
struct Stored {
    supervisor: Option<(u32, RawFd)>,
    groups: Vec<StoredGroup>,
    last_number: u32,
}

#[derive(Debug, Serialize, Deserialize)]
struct StoredGroup {
    spec: GroupSpec,
    shape: Shape,
    host: Option<Option<Vec<u8>>>,
    log: RawFd,
    table: RawFd,
    socket_path: PathBuf,
    socket: RawFd,
    scoreboard: Option<(RawFd, RawFd)>,
    terms: Terms,
}

impl Kept {
    /// What an earlier module left in the pool of the process.
    pub(super) fn load(process_pool: Pool<'_>) -> Option<Self> {
        let stored: Stored = postcard::from_bytes(&process_pool.userdata(KEY)?).ok()?;
        // SAFETY: the bytes were stored by this process under the name of this very format, and
        // whoever stored them left the descriptors open for whoever comes next, which is us.
        unsafe { stored.take_over() }.ok()
    }

    /// Leaves a note of it in the pool of the process, for the next module.
    pub(super) fn store(&self, process_pool: Pool<'_>) {
        let stored = Stored {
            supervisor: self
                .supervisor
                .as_ref()
                .map(|supervisor| (supervisor.pid, supervisor.control.as_fd().as_raw_fd())),
            groups: self.groups.iter().map(KeptGroup::stored).collect(),
            last_number: self.last_number,
        };
        // What cannot be written down is started anew after the next restart.
        let bytes = postcard::to_stdvec(&stored).unwrap_or_default();
        process_pool.set_userdata(KEY, &bytes);
    }
}

impl Stored {
    /// # Safety
    ///
    /// The descriptors must be open, and nobody else may own them.
    unsafe fn take_over(self) -> io::Result<Kept> {
        // SAFETY: the caller's promise, for each of them.
        let own = |fd: RawFd| unsafe { OwnedFd::from_raw_fd(fd) };
        let supervisor = self.supervisor.map(|(pid, fd)| Supervisor {
            pid,
            control: Channel::from_socket(own(fd)),
        });
        let groups = self.groups.into_iter().map(|group| {
            Ok(KeptGroup {
                table: Table::map(own(group.table), group.shape.room())?,
                spec: group.spec,
                shape: group.shape,
                host: group.host,
                log: own(group.log),
                socket_path: group.socket_path,
                socket: own(group.socket),
                scoreboard: group.scoreboard.map(|(reader, source)| ScoreboardLink {
                    reader: ScoreboardReader::from_socket(own(reader)),
                    source: ScoreboardSource::from_socket(own(source)),
                }),
                terms: group.terms,
            })
        });
        Ok(Kept {
            supervisor,
            groups: groups.collect::<io::Result<_>>()?,
            last_number: self.last_number,
        })
    }
}

impl KeptGroup {
    /// Makes what a new group needs.
    pub(super) fn new(
        spec: GroupSpec,
        shape: Shape,
        definition: &DaemonDefinition<'_>,
    ) -> Result<Self, SocketError> {
        let socket_path = shape.path(spec.number);
        let socket = sockets::listen(&socket_path, &shape, || {
            let text = format!(
                "Removing stale unix domain socket {socket_path:?}, which a process of this id has \
                 left behind."
            );
            log::server(definition.server(), Level::WARN, Id(65), text);
        })?;
        Ok(Self {
            table: Table::new(shape.room()).map_err(SocketError::Table)?,
            log: definition.log().map_err(SocketError::Log)?,
            host: definition.host(),
            terms: Terms::of(definition),
            spec,
            shape,
            socket_path,
            socket,
            scoreboard: None,
        })
    }

    /// The same group as a new configuration describes it.
    pub(super) fn renewed(
        self,
        spec: GroupSpec,
        definition: &DaemonDefinition<'_>,
    ) -> Result<Self, SocketError> {
        Ok(Self {
            spec: GroupSpec {
                number: self.spec.number,
                secret: self.spec.secret,
                ..spec
            },
            log: definition.log().map_err(SocketError::Log)?,
            host: definition.host(),
            terms: Terms::of(definition),
            ..self
        })
    }

    /// Makes of what was made for this group what it needs in another shape, if that can be done.
    /// Returns whether it can be used.
    pub(super) fn adapt(&mut self, shape: &Shape) -> bool {
        let Some(shape) = self.shape.changed(shape) else {
            return false;
        };
        let is_adapted = sockets::is_there(&self.socket_path)
            && (self.shape == shape
                || sockets::adapt(&self.socket, &self.socket_path, &shape).is_ok());
        self.shape = shape;
        is_adapted
    }

    /// What the supervisor needs: the log, the table, the socket, and the way to the scoreboard if the
    /// group may use it.
    pub(super) fn descriptors(&self) -> Vec<BorrowedFd<'_>> {
        let scoreboard = self.scoreboard.as_ref();
        let scoreboard = scoreboard.filter(|_| self.has_server_metrics());
        [self.log.as_fd(), self.table.as_fd(), self.socket.as_fd()]
            .into_iter()
            .chain(scoreboard.map(|link| link.reader.as_fd()))
            .collect()
    }

    /// Makes the way to the scoreboard, if the group may use it.
    pub(super) fn connect_scoreboard(&mut self) -> io::Result<()> {
        if self.has_server_metrics() && self.scoreboard.is_none() {
            let (reader, source) = control::scoreboard_link()?;
            self.scoreboard = Some(ScoreboardLink { reader, source });
        }
        Ok(())
    }

    /// Of the way to the scoreboard, if the group may use it, the end that is a child's.
    pub(super) fn into_scoreboard_source(self) -> Option<ScoreboardSource> {
        let is_wanted = self.has_server_metrics();
        let link = self.scoreboard.filter(|_| is_wanted);
        link.map(|link| link.source)
    }

    /// `server-metrics`: whether its workers may know what httpd's processes are doing.
    fn has_server_metrics(&self) -> bool {
        self.spec.python.server_metrics
    }

    /// Its name.
    pub(crate) fn name(&self) -> &str {
        &self.spec.name
    }

    /// The user that its workers run as: a name, or else a number as `User` has it.
    pub(crate) fn user(&self) -> String {
        let identity = &self.spec.identity;
        let own = || nix::unistd::geteuid().as_raw();
        match (&identity.ids, &identity.user_name) {
            (Some(_), Some(name)) => name.clone(),
            (ids, _) => format!("#{}", ids.map_or_else(own, |(user, _)| user)),
        }
    }

    /// What its workers know httpd's children by. It stays, as the children of the last
    /// configuration use it still.
    pub(crate) fn secret(&self) -> &Secret {
        &self.spec.secret
    }

    /// Whether it serves no requests, but runs scripts.
    pub(crate) fn is_service(&self) -> bool {
        self.spec.is_service()
    }

    /// If it was defined in a virtual host: that host's `ServerName`.
    pub(crate) fn host(&self) -> Option<Option<Vec<u8>>> {
        self.host.clone()
    }

    /// Where it listens.
    pub(crate) fn socket(&self) -> &Path {
        &self.socket_path
    }

    /// How many threads each of its processes has.
    pub(crate) fn threads(&self) -> u32 {
        self.spec.threads
    }

    /// `queue-timeout`.
    pub(crate) fn queue_timeout(&self) -> Option<Duration> {
        self.spec.life.queue_timeout
    }

    /// A mapping of its table of its own, which children share.
    pub(crate) fn table(&self) -> io::Result<Table> {
        let table = Table::map(self.table.as_fd().try_clone_to_owned()?, self.shape.slots())?;
        table.secure()?;
        Ok(table)
    }

    /// Whom its scripts must belong to.
    pub(crate) fn script_owner(&self) -> Option<ScriptOwner> {
        self.terms.script_owner
    }

    /// `header-buffer-size`.
    pub(crate) fn longest_line(&self) -> usize {
        self.terms.longest_line
    }

    /// `connect-timeout`.
    pub(crate) fn connect_timeout(&self) -> Option<Duration> {
        self.terms.connect_timeout
    }

    /// `socket-timeout`, or httpd's `Timeout`.
    pub(crate) fn socket_timeout(&self) -> Duration {
        self.terms.socket_timeout
    }

    /// `response-socket-timeout`, or `socket-timeout`, if either was given.
    pub(crate) fn response_timeout(&self) -> Option<Duration> {
        self.terms.response_timeout
    }

    /// Whether `cpu-scheduling` is `batch`.
    pub(crate) fn is_batch(&self) -> bool {
        self.spec.limits.is_batch
    }

    /// `response-buffer-size`.
    pub(crate) fn response_buffer(&self) -> usize {
        self.spec.response_buffer
    }

    fn stored(&self) -> StoredGroup {
        StoredGroup {
            spec: self.spec.clone(),
            shape: self.shape.clone(),
            host: self.host.clone(),
            log: self.log.as_raw_fd(),
            table: self.table.as_fd().as_raw_fd(),
            socket_path: self.socket_path.clone(),
            socket: self.socket.as_raw_fd(),
            scoreboard: self.scoreboard.as_ref().map(|link| {
                (
                    link.reader.as_fd().as_raw_fd(),
                    link.source.as_fd().as_raw_fd(),
                )
            }),
            terms: self.terms,
        }
    }
}
