//! What a group works with, as httpd's parent sent it: its error log, its table, its socket.

use std::iter;
use std::os::fd::{AsFd as _, AsRawFd as _, FromRawFd as _, OwnedFd, RawFd};

use control::{ChannelError, Ending, GroupSpec, Member, Setback, SlotState, Table};
use nix::sys::socket::{Shutdown, SockFlag, UnixAddr, accept4, getsockname, shutdown};

use super::closer;
use super::inherited::Inherited;
use super::spawn::Equipment;
use crate::log::Log;

/// Why a group cannot be started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(super) enum GroupError {
    /// Fewer descriptors came with its description than it needs.
    #[error("httpd sent only {0} of the descriptors that it needs")]
    Descriptors(usize),
    /// Some of them are missing.
    #[error("{0}")]
    Missing(#[from] ChannelError),
    /// Its error log cannot be used.
    #[error("its error log cannot be used: {0}")]
    Log(std::io::Error),
    /// Its table cannot be used.
    #[error("its table of workers cannot be used: {0}")]
    Table(std::io::Error),
}

/// What a group works with.
pub(super) struct OwnedEquipment {
    pub(super) log: Log,
    /// The error log as workers get it.
    descriptor: OwnedFd,
    table: Table,
    listener: OwnedFd,
    /// The way to httpd's scoreboard, if the group may use it.
    scoreboard: Option<OwnedFd>,
}

impl OwnedEquipment {
    /// What came with a group's description: its error log, its table, its socket, perhaps the way
    /// to httpd's scoreboard.
    pub(super) fn new(
        spec: &GroupSpec,
        descriptors: Vec<OwnedFd>,
        known_slots: usize,
    ) -> Result<Self, GroupError> {
        let count = descriptors.len();
        // If the group has fewer processes now, the workers of its last slots still have to end.
        let slots = usize::try_from(spec.processes).unwrap_or(usize::MAX);
        let slots = slots.max(known_slots);
        let mut descriptors = descriptors.into_iter();
        let mut next = || descriptors.next().ok_or(GroupError::Descriptors(count));
        let (descriptor, table, listener) = (next()?, next()?, next()?);
        let scoreboard = descriptors.next();
        let log = descriptor.try_clone().map_err(GroupError::Log)?;
        Ok(Self {
            log: Log::new(log, spec.log_form.clone(), spec.log_level),
            descriptor,
            table: Table::map(table, slots).map_err(GroupError::Table)?,
            listener,
            scoreboard,
        })
    }

    /// The workers of an earlier supervisor, as it recorded them in the table.
    pub(super) fn inherited(&self) -> Inherited {
        Inherited::of(&self.table)
    }

    /// How many slots there are.
    pub(super) fn slots(&self) -> usize {
        self.table.slots().len()
    }

    /// The descriptors that a worker gets.
    pub(super) fn lend(&self) -> Equipment<'_> {
        Equipment {
            log: self.descriptor.as_fd(),
            table: self.table.as_fd(),
            listener: self.listener.as_fd(),
            scoreboard: self.scoreboard.as_ref().map(OwnedFd::as_fd),
        }
    }

    /// Tells the children whether a slot takes requests.
    pub(super) fn set_state(&self, slot: usize, state: SlotState) {
        if let Some(place) = self.table.slots().get(slot) {
            place.set_state(state);
        }
    }

    /// Tells the children that another worker serves in a slot. Returns its incarnation.
    pub(super) fn succeed(&self, slot: usize) -> u32 {
        let place = self.table.slots().get(slot);
        let incarnation = place.map_or(0, |place| {
            place.succeed();
            place.incarnation()
        });
        self.set_state(slot, SlotState::Ready);
        incarnation
    }

    /// Tells the children how a worker of a slot ended. Returns whether the worker that serves
    /// there has answered a request, or has one.
    pub(super) fn note_end(&self, slot: usize, ending: Ending) -> bool {
        let Some(place) = self.table.slots().get(slot) else {
            return false;
        };
        let has_served = place.active() > 0 || place.has_answered();
        place.set_ending(ending);
        has_served
    }

    /// Records for mod_status which workers are in a slot, and how often none could be started
    /// there.
    pub(super) fn tell(
        &self,
        slot: usize,
        members: impl Iterator<Item = Member>,
        setback: Setback,
    ) {
        if let Some(place) = self.table.slots().get(slot) {
            place.set_members(members);
            place.set_setback(setback);
        }
    }

    /// Takes the socket out of the file system.
    pub(super) fn remove_socket(&self) {
        let address = getsockname::<UnixAddr>(self.listener.as_raw_fd());
        if let Some(path) = address.ok().as_ref().and_then(UnixAddr::path) {
            // It may have been removed already.
            let _ = std::fs::remove_file(path);
        }
    }

    /// Lets nobody connect any more, and closes the connections that wait in the queue: their
    /// requests were not read, so their children may send them elsewhere.
    pub(super) fn close_socket(&self) {
        self.remove_socket();
        let listener = self.listener.as_raw_fd();
        // After this nobody can connect, and `accept` does not block.
        let _ = shutdown(listener, Shutdown::Both);
        let callers: Vec<_> = iter::from_fn(|| next_caller(listener)).collect();
        closer::close(callers);
    }
}

/// Takes a connection out of the queue and tells its other end that nothing comes over it, which may
/// be long before it is closed.
fn next_caller(listener: RawFd) -> Option<OwnedFd> {
    let caller = accept4(listener, SockFlag::SOCK_CLOEXEC).ok()?;
    let _ = shutdown(caller, Shutdown::Both);
    // SAFETY: `accept4` has just returned this descriptor, so nobody else owns it.
    Some(unsafe { OwnedFd::from_raw_fd(caller) })
}

#[cfg(test)]
mod tests {
    use std::io::{ErrorKind, IoSlice, Read as _};
    use std::os::linux::net::SocketAddrExt as _;
    use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
    use std::time::{Duration, Instant};

    use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};

    use super::*;
    use crate::testing;

    #[test]
    fn who_is_turned_away_keeps_nobody_waiting() {
        let begin = Instant::now();
        let name = format!("mod_wsgi-turned-away-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(name).unwrap();
        let mut descriptors = testing::equipment();
        descriptors[2] = UnixListener::bind_addr(&address).unwrap().into();
        let equipment = OwnedEquipment::new(&testing::group("one"), descriptors, 0).unwrap();
        let connect = || UnixStream::connect_addr(&address);
        let callers = [connect().unwrap(), connect().unwrap()];
        let (socket, _peer) = testing::lingering(60);
        let sent = sendmsg::<()>(
            callers[0].as_raw_fd(),
            &[IoSlice::new(b"a request")],
            &[ControlMessage::ScmRights(&[socket.as_raw_fd()])],
            MsgFlags::empty(),
            None,
        );
        assert!(sent.is_ok(), "{sent:?}");
        drop(socket);
        equipment.close_socket();
        for mut caller in callers {
            caller
                .set_read_timeout(Some(Duration::from_secs(20)))
                .unwrap();
            let end = caller.read(&mut [0]).map_err(|error| error.kind());
            assert!(matches!(end, Ok(0) | Err(ErrorKind::ConnectionReset)));
        }
        assert!(begin.elapsed() < Duration::from_secs(20));
        assert!(connect().is_err());
    }
}
