//! The process groups as a child sees them: where their workers listen, and how busy they are.
//!
//! The parent makes these once per configuration; children inherit them by fork and share them
//! among their threads.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use control::{Secret, Slot, SlotState, Table};

use super::connection::Connection;
use crate::config::ScriptOwner;
use crate::supervise::KeptGroup;

/// The groups of the configuration in force.
static GROUPS: RwLock<Option<Arc<Groups>>> = RwLock::new(None);

/// All groups.
#[derive(Debug, Default)]
pub(crate) struct Groups {
    groups: Vec<Group>,
}

/// A group.
#[derive(Debug)]
pub(crate) struct Group {
    /// Its name.
    pub(crate) name: Vec<u8>,
    /// If it was defined in a virtual host: that host's `ServerName`.
    pub(crate) host: Option<Option<Vec<u8>>>,
    /// Whom its scripts must belong to.
    pub(super) script_owner: Option<ScriptOwner>,
    /// What its workers know us by.
    pub(super) secret: Secret,
    /// Where its slots listen.
    pub(crate) sockets: Vec<PathBuf>,
    /// What its supervisor and its workers say of themselves.
    pub(crate) table: Table,
    /// How long a request may wait for a place in a backlog.
    pub(crate) connect_timeout: Option<Duration>,
    /// How long a line of a response's head may be, in bytes.
    pub(super) longest_line: usize,
    /// How long a worker may be silent.
    pub(crate) socket_timeout: Duration,
    /// How much of a request's or response's body is kept for a client that is slow, in bytes.
    pub(super) response_buffer: usize,
    /// How long a client may take nothing of a response, if that is other than httpd's `Timeout`.
    pub(super) response_timeout: Option<Duration>,
    /// Connections that no request is on, for each slot.
    idle: Vec<Mutex<Vec<Connection>>>,
    /// Where the search for a worker begins, so that equals share the work.
    pub(crate) turn: AtomicUsize,
}

impl Groups {
    /// These groups.
    pub(crate) fn new(groups: Vec<Group>) -> Self {
        Self { groups }
    }

    /// Puts these groups in force. In the parent, once per configuration.
    pub(crate) fn set_current(self) {
        *GROUPS.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(self));
    }

    /// The groups in force.
    pub(crate) fn current() -> Arc<Self> {
        let groups = GROUPS.read().unwrap_or_else(PoisonError::into_inner);
        groups.clone().unwrap_or_default()
    }

    /// Whether there are none at all.
    pub(crate) fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// The group of this name.
    pub(crate) fn find(&self, name: &[u8]) -> Option<&Group> {
        self.groups.iter().find(|group| group.name == name)
    }
}

impl Group {
    /// What children need to know of a group that the parent keeps.
    pub(crate) fn new(kept: &KeptGroup) -> io::Result<Self> {
        let sockets: Vec<_> = kept.sockets().map(Path::to_owned).collect();
        Ok(Self {
            name: kept.name().as_bytes().to_vec(),
            host: kept.host(),
            script_owner: kept.script_owner(),
            secret: kept.secret().clone(),
            idle: sockets.iter().map(|_| Mutex::default()).collect(),
            sockets,
            table: kept.table()?,
            longest_line: kept.longest_line(),
            connect_timeout: kept.connect_timeout(),
            socket_timeout: kept.socket_timeout(),
            response_buffer: kept.response_buffer(),
            response_timeout: kept.response_timeout(),
            turn: AtomicUsize::new(0),
        })
    }

    /// Whether requests of a virtual host with this `ServerName` may use the group: one that was
    /// defined in a virtual host belongs to the hosts of that name.
    pub(crate) fn is_reachable_from(&self, hostname: Option<&[u8]>) -> bool {
        self.host
            .as_ref()
            .is_none_or(|host| host.as_deref() == hostname)
    }

    /// The slot whose worker is to get the next request: of those that are ready the least busy,
    /// or else one whose worker is starting. `None` if all are down or were tried.
    pub(super) fn choose(&self, tried: &[usize]) -> Option<usize> {
        let slots = self.table.slots();
        let first = self.turn.fetch_add(1, Ordering::Relaxed);
        (0..slots.len())
            .map(|offset| first.wrapping_add(offset) % slots.len())
            .filter(|slot| !tried.contains(slot))
            .filter_map(|slot| Some((rank(slots.get(slot)?)?, slot)))
            .min_by_key(|(rank, _)| *rank)
            .map(|(_, slot)| slot)
    }

    /// An idle connection to a slot's present worker.
    pub(super) fn idle_connection(&self, slot: usize) -> Option<Connection> {
        let incarnation = self.slot(slot)?.incarnation();
        let mut idle = self
            .idle
            .get(slot)?
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        // What leads to an earlier worker is closed here.
        while let Some(connection) = idle.pop() {
            if connection.incarnation == incarnation {
                return Some(connection);
            }
        }
        None
    }

    /// Keeps a connection for the next request.
    pub(super) fn keep(&self, slot: usize, connection: Connection) {
        if let Some(idle) = self.idle.get(slot) {
            idle.lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(connection);
        }
    }

    /// What is known of a slot.
    pub(super) fn slot(&self, slot: usize) -> Option<&Slot> {
        self.table.slots().get(slot)
    }
}

/// The order in which slots are preferred; `None` for one that is down.
fn rank(slot: &Slot) -> Option<(bool, u32)> {
    match slot.state() {
        SlotState::Ready => Some((false, slot.active())),
        SlotState::Starting => Some((true, 0)),
        SlotState::Down => None,
    }
}
