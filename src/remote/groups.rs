//! The process groups as a child sees them: the sockets of their workers, and how busy these are.
//!
//! The parent makes these once per configuration; children inherit them by fork and share them
//! among their threads.

use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use control::{Ending, Secret, SlotState, Table};
use httpd::process::Mpm;
use wire::Greeting;
use wsgi_config::group;

use super::connection::{Connection, NoConnection};
use crate::config::Terms;
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
    /// The `ServerName` of the virtual host in which it is defined, if it is.
    pub(crate) host: Option<Option<Vec<u8>>>,
    /// The user that its workers run as.
    pub(super) user: String,
    /// The limits that children enforce for it.
    pub(super) terms: Terms,
    /// The secret by which its workers recognise httpd's children.
    pub(super) secret: Secret,
    /// Whether it serves no requests, but runs scripts.
    pub(super) is_service: bool,
    /// The path of its socket.
    pub(super) socket: PathBuf,
    /// The uid of httpd's parent, which has made the socket.
    socket_owner: u32,
    /// Its table, which supervisor and workers write.
    pub(super) table: Table,
    /// How many threads each worker has.
    pub(super) threads: u32,
    /// How long a request may wait for a thread.
    pub(super) queue_timeout: Option<Duration>,
    /// How much of the body of a request or response is buffered for a slow client, in bytes.
    pub(super) response_buffer: usize,
    /// Whether threads that wait for its workers do not preempt others.
    pub(super) is_batch: bool,
    /// How many connections may be idle per slot: as many as a child has threads.
    most_idle: usize,
    /// The idle connections, per slot.
    idle: Vec<Mutex<Vec<Connection>>>,
    /// The slot at which the search for a worker begins. It changes, so that equally busy workers
    /// share the work.
    turn: AtomicUsize,
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

    /// All of them.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Group> {
        self.groups.iter()
    }

    /// The group of this name.
    pub(crate) fn find(&self, name: &[u8]) -> Option<&Group> {
        let name = group::text(name);
        self.groups
            .iter()
            .find(|group| group.name == name.as_bytes())
    }
}

impl Group {
    /// Makes of a group that the parent keeps what children need of it.
    pub(crate) fn new(kept: &KeptGroup) -> io::Result<Self> {
        let table = kept.table()?;
        Ok(Self {
            name: kept.name().as_bytes().to_vec(),
            host: kept.host(),
            user: kept.user(),
            terms: kept.terms(),
            secret: kept.secret().clone(),
            is_service: kept.is_service(),
            idle: table.slots().iter().map(|_| Mutex::default()).collect(),
            table,
            socket: kept.socket().to_owned(),
            socket_owner: nix::unistd::geteuid().as_raw(),
            threads: kept.threads(),
            queue_timeout: kept.queue_timeout(),
            response_buffer: kept.response_buffer(),
            is_batch: kept.is_batch(),
            most_idle: usize::try_from(Mpm::query().max_threads).unwrap_or(usize::MAX),
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

    /// Whether all slots are down: no worker serves or is starting.
    pub(super) fn is_down(&self) -> bool {
        let mut slots = self.table.slots().iter();
        slots.all(|slot| slot.state() == SlotState::Down)
    }

    /// A connection to the least busy worker that has a free thread, with a place reserved there.
    /// `None` if all are busy, or no connection to such a worker is idle: then the request belongs
    /// in the group's queue, where the next thread that is free finds it.
    pub(super) fn reserve(&self) -> Option<Connection> {
        let slots = self.table.slots();
        let first = self.turn.fetch_add(1, Ordering::Relaxed);
        let (number, slot) = (0..slots.len())
            .map(|offset| first.wrapping_add(offset) % slots.len())
            .filter_map(|number| Some((number, slots.get(number)?)))
            .filter(|(_, slot)| slot.state() == SlotState::Ready)
            .filter(|(_, slot)| slot.has_place(slot.places(self.threads)))
            .min_by_key(|(_, slot)| slot.active())?;
        let incarnation = slot.incarnation();
        let mut connection = self.idle_connection(number, incarnation)?;
        let ticket = connection.worker?.ticket;
        if slot.reserve(incarnation, slot.places(self.threads), ticket) {
            connection.has_place = true;
            Some(connection)
        } else {
            // Other requests were faster, or another worker has taken over.
            self.keep(connection);
            None
        }
    }

    /// A new connection, which waits in the group's queue until a thread is free.
    pub(super) fn connect(&self) -> Result<Connection, NoConnection> {
        let (path, owner) = (&self.socket, self.socket_owner);
        let terms = &self.terms;
        Connection::open(path, owner, terms.connect_timeout, terms.socket_timeout)
    }

    /// Gives back the place of a request that its worker did not read.
    pub(super) fn vacate(&self, connection: &mut Connection) {
        if let Some(worker) = connection.worker.filter(|_| connection.has_place)
            && let Some(slot) = slot_of(worker).and_then(|slot| self.table.slots().get(slot))
            // If the worker has noticed the end of the connection first, it has taken the stamp,
            // and given the place back.
            && slot.take_stamp(worker.ticket)
        {
            slot.vacate(worker.incarnation);
        }
        connection.has_place = false;
    }

    /// An idle connection to a slot's present worker.
    fn idle_connection(&self, slot: usize, incarnation: u32) -> Option<Connection> {
        let idle = self.idle.get(slot)?;
        let mut idle = idle.lock().unwrap_or_else(PoisonError::into_inner);
        // Connections to an earlier worker are dropped, and so closed.
        while let Some(connection) = idle.pop() {
            let worker = connection.worker;
            if worker.is_some_and(|worker| worker.incarnation == incarnation) {
                return Some(connection);
            }
        }
        None
    }

    /// Takes back a connection whose response has left.
    pub(super) fn release(&self, connection: Option<Connection>) {
        if let Some(mut connection) = connection {
            connection.rest();
            self.keep(connection);
        }
    }

    /// Keeps a connection for the next request.
    pub(super) fn keep(&self, mut connection: Connection) {
        connection.has_place = false;
        let slot = connection.worker.and_then(slot_of);
        if let Some(idle) = slot.and_then(|slot| self.idle.get(slot)) {
            let mut idle = idle.lock().unwrap_or_else(PoisonError::into_inner);
            // More cannot be in use at the same time.
            if idle.len() < self.most_idle {
                idle.push(connection);
            }
        }
    }

    /// How a worker ended, once its supervisor has recorded that.
    pub(super) fn ending_of(&self, worker: Greeting) -> Option<Ending> {
        let slot = self.table.slots().get(slot_of(worker)?)?;
        slot.ending_of(worker.pid)
    }

    /// How many processes it has.
    pub(super) fn processes(&self) -> usize {
        self.table.slots().len()
    }
}

fn slot_of(worker: Greeting) -> Option<usize> {
    usize::try_from(worker.slot).ok()
}
