//! What the parent keeps from one configuration to the next.
//!
//! It is in memory: a module that is loaded from the same path again finds it there (see build.rs).
//! A module that is loaded from another path starts without it, with a supervisor of its own.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use control::{Channel, GroupSpec, ScoreboardReader, ScoreboardSource, Secret, SlotState, Table};
use httpd::Level;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::error_log::ErrorLog;
use super::sockets::{self, Shape, SocketError};
use crate::config::{DaemonDefinition, Terms};
use crate::log::{self, Id};

/// All that is kept.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    pub(super) supervisor: Option<Supervisor>,
    pub(super) groups: Vec<KeptGroup>,
    /// The number of the group that was made last. No number is used twice, since the workers of a
    /// removed group may run for a long time.
    pub(super) last_number: u32,
}

/// Both ends of the link from the workers of a group to httpd's scoreboard. Each group has its own
/// link, since a worker can shut it down for all that share it.
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

impl Supervisor {
    /// Kills it; its workers notice. It must not have been waited for, or another process may have
    /// its pid.
    pub(super) fn kill(&self) {
        if let Ok(pid) = i32::try_from(self.pid) {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
}

/// A group, with its socket, table and log.
#[derive(Debug)]
pub(crate) struct KeptGroup {
    pub(super) spec: GroupSpec,
    shape: Shape,
    /// The `ServerName` of the virtual host in which it is defined, if it is.
    host: Option<Option<Vec<u8>>>,
    log: OwnedFd,
    table: Table,
    socket_path: PathBuf,
    socket: OwnedFd,
    /// Made when the group first has `server-metrics`. It stays, since processes of several
    /// generations have its ends.
    scoreboard: Option<ScoreboardLink>,
    terms: Terms,
}

/// Logs a warning about the socket of a group.
fn warn(definition: &DaemonDefinition<'_>) -> impl Fn(Id, String) {
    |id, text| log::server(definition.server(), Level::WARN, id, text)
}

impl KeptGroup {
    /// Makes a new group, with its socket, table and log.
    pub(super) fn new(
        spec: GroupSpec,
        shape: Shape,
        definition: &DaemonDefinition<'_>,
    ) -> Result<Self, SocketError> {
        let socket_path = shape.path(spec.number);
        let socket = sockets::listen(&socket_path, &shape, warn(definition))?;
        let log = error_log(definition)?;
        Ok(Self {
            table: Table::new(shape.room()).map_err(SocketError::Table)?,
            log: log.descriptor,
            host: definition.host(),
            terms: definition.terms(),
            spec: GroupSpec {
                log_form: log.form,
                ..spec
            },
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
        let log = error_log(definition)?;
        Ok(Self {
            spec: GroupSpec {
                number: self.spec.number,
                secret: self.spec.secret,
                log_form: log.form,
                ..spec
            },
            log: log.descriptor,
            host: definition.host(),
            terms: definition.terms(),
            ..self
        })
    }

    /// Adapts the socket of this group to another shape, if possible. Returns whether socket and
    /// table can be used.
    pub(super) fn adapt(&mut self, shape: &Shape, definition: &DaemonDefinition<'_>) -> bool {
        let Some(shape) = self.shape.changed(shape) else {
            return false;
        };
        let adapt = || {
            let warn = warn(definition);
            sockets::adapt(&self.socket, &self.socket_path, &shape, warn).is_ok()
        };
        let is_usable =
            sockets::is_there(&self.socket_path) && !sockets::is_shut_down(&self.socket);
        let is_adapted = is_usable && (self.shape == shape || adapt());
        self.shape = shape;
        is_adapted
    }

    /// The descriptors for the supervisor: the log, the table, the socket, and the link to the
    /// scoreboard if the group may use it.
    pub(super) fn descriptors(&self) -> Vec<BorrowedFd<'_>> {
        let scoreboard = self.scoreboard.as_ref();
        let scoreboard = scoreboard.filter(|_| self.has_server_metrics());
        [self.log.as_fd(), self.table.as_fd(), self.socket.as_fd()]
            .into_iter()
            .chain(scoreboard.map(|link| link.reader.as_fd()))
            .collect()
    }

    /// Makes the link to the scoreboard, if the group may use it.
    pub(super) fn connect_scoreboard(&mut self) -> io::Result<()> {
        if self.has_server_metrics() && self.scoreboard.is_none() {
            let (reader, source) = control::scoreboard_link()?;
            self.scoreboard = Some(ScoreboardLink { reader, source });
        }
        Ok(())
    }

    /// The end of the link to the scoreboard that children serve, if the group may use it.
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

    /// The user that its workers run as: a name, or `#` and a number as in `User`.
    pub(crate) fn user(&self) -> String {
        let identity = &self.spec.identity;
        let own = || nix::unistd::geteuid().as_raw();
        match (&identity.ids, &identity.user_name) {
            (Some(_), Some(name)) => name.clone(),
            (ids, _) => format!("#{}", ids.map_or_else(own, |(user, _)| user)),
        }
    }

    /// The secret by which its workers recognise httpd's children. It stays the same over restarts,
    /// since children of the last configuration still use it.
    pub(crate) fn secret(&self) -> &Secret {
        &self.spec.secret
    }

    /// Whether it serves no requests, but runs scripts.
    pub(crate) fn is_service(&self) -> bool {
        self.spec.is_service()
    }

    /// The `ServerName` of the virtual host in which it is defined, if it is.
    pub(crate) fn host(&self) -> Option<Option<Vec<u8>>> {
        self.host.clone()
    }

    /// The path of its socket.
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

    /// Another mapping of its table, for the children.
    pub(crate) fn table(&self) -> io::Result<Table> {
        let table = Table::map(self.table.as_fd().try_clone_to_owned()?, self.shape.slots())?;
        table.secure()?;
        Ok(table)
    }

    /// Marks slots in which a worker was starting as down: there is no supervisor, so requests must
    /// not wait for a worker.
    pub(super) fn note_nobody_starts(&self) {
        let slots = self.table.slots().iter().take(self.shape.slots());
        for slot in slots.filter(|slot| slot.state() == SlotState::Starting) {
            slot.set_state(SlotState::Down);
        }
    }

    /// The limits that children enforce for it.
    pub(crate) fn terms(&self) -> Terms {
        self.terms
    }

    /// Whether `cpu-scheduling` is `batch`.
    pub(crate) fn is_batch(&self) -> bool {
        self.spec.limits.is_batch
    }

    /// `response-buffer-size`.
    pub(crate) fn response_buffer(&self) -> usize {
        self.spec.response_buffer
    }
}

fn error_log(definition: &DaemonDefinition<'_>) -> Result<ErrorLog, SocketError> {
    ErrorLog::of(definition.server(), definition.base()).map_err(SocketError::Log)
}
