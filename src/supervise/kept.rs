//! What the parent keeps from one configuration to the next.
//!
//! It is in memory: a module that is loaded from the same path again has its values still, as
//! build.rs says. One that is loaded from another path begins anew, with a supervisor of its own.

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
    /// The number of the group that was made last. None is given twice: workers of a group that is
    /// gone may be there for a long time.
    pub(super) last_number: u32,
}

/// Both ends of the way from the workers of a group to httpd's scoreboard. Each group has its own,
/// for a worker can close it for all who share it.
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
    /// Kills it; its workers notice. It must not have been waited for, so that the pid is its own.
    pub(super) fn kill(&self) {
        if let Ok(pid) = i32::try_from(self.pid) {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
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

/// Where to tell of what is wrong with the socket of a group, and costs it nothing.
fn warn(definition: &DaemonDefinition<'_>) -> impl Fn(Id, String) {
    |id, text| log::server(definition.server(), Level::WARN, id, text)
}

impl KeptGroup {
    /// Makes what a new group needs.
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

    /// Makes of what was made for this group what it needs in another shape, if that can be done.
    /// Returns whether it can be used.
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

    /// What the supervisor needs: the log, the table, the socket, and the way to the scoreboard if
    /// the group may use it.
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

    /// There is no supervisor that could start a worker: no request waits for one.
    pub(super) fn note_nobody_starts(&self) {
        let slots = self.table.slots().iter().take(self.shape.slots());
        for slot in slots.filter(|slot| slot.state() == SlotState::Starting) {
            slot.set_state(SlotState::Down);
        }
    }

    /// What children hold it to.
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
