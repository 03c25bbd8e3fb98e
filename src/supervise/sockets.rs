//! The listening sockets of process groups.
//!
//! Only one user may connect, the user of httpd's children or `socket-user`: the socket belongs to
//! that user, and its mode is 0600. Its directory decides who may replace it.

use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use control::{GroupSpec, SocketBuffers};
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, connect, listen as start_listening,
    socket,
};
use nix::sys::stat::{Mode, SFlag, lstat, umask};
use nix::unistd::{Uid, fchownat, unlink};

use crate::config::DaemonDefinition;
use crate::log::Id;

/// Why there is no socket.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum SocketError {
    /// A step failed.
    #[error("the socket {path:?} cannot be {step}: {cause}; WSGISocketPrefix says where it is")]
    Step {
        /// The id of the message.
        id: u16,
        /// The socket.
        path: PathBuf,
        /// The step, as a participle.
        step: &'static str,
        /// What the system said.
        cause: Errno,
    },
    /// There is no secret for it.
    #[error("the system has no random numbers for its secret: {0}")]
    Random(io::Error),
    /// The table of workers cannot be made.
    #[error("its table of workers cannot be made: {0}")]
    Table(io::Error),
    /// Its error log cannot be used.
    #[error("its error log cannot be used: {0}")]
    Log(io::Error),
}

impl SocketError {
    /// The id of the message: mod_wsgi's, for the same step.
    pub(super) fn id(&self) -> Id {
        match self {
            Self::Step { id, .. } => Id(*id),
            Self::Random(_) | Self::Table(_) | Self::Log(_) => Id(13),
        }
    }
}

/// The least number of processes for which a table has room, so that a group can get more of them
/// and keep its table. Memory is used only for the processes that exist.
const ROOM: u32 = 1024;

/// The properties of a group's socket and table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    prefix: PathBuf,
    processes: u32,
    /// How many processes the table has room for.
    room: u32,
    backlog: u32,
    owner: Option<u32>,
    buffers: SocketBuffers,
}

impl Shape {
    /// The shape of a group.
    pub(super) fn of(definition: &DaemonDefinition<'_>, spec: &GroupSpec) -> Self {
        Self {
            prefix: definition.socket_prefix(),
            processes: spec.processes,
            room: spec.processes.max(ROOM),
            backlog: definition.options().listen_backlog,
            owner: Uid::effective()
                .is_root()
                .then(|| definition.socket_owner()),
            buffers: spec.buffers,
        }
    }

    /// How many slots are in use: one for each process.
    pub(super) fn slots(&self) -> usize {
        usize::try_from(self.processes).unwrap_or(usize::MAX)
    }

    /// How many slots the table has room for.
    pub(super) fn room(&self) -> usize {
        usize::try_from(self.room).unwrap_or(usize::MAX)
    }

    /// The shape of an existing socket and table after a change to another shape; `None` if new
    /// ones must be made.
    pub(super) fn changed(&self, to: &Self) -> Option<Self> {
        let fits = self.prefix == to.prefix && to.processes <= self.room;
        fits.then(|| Self {
            room: self.room,
            ..to.clone()
        })
    }

    /// The path of the socket of the group with this number.
    pub(super) fn path(&self, group: u32) -> PathBuf {
        let mut path = self.prefix.clone().into_os_string();
        path.push(format!(".{}.{group}.sock", std::process::id()));
        PathBuf::from(path)
    }
}

/// The first number after `last` at whose path no process listens. The groups of a module that was
/// loaded from another path may.
pub(super) fn next_number(shape: &Shape, last: u32) -> u32 {
    let mut numbers = last.saturating_add(1)..;
    numbers
        .find(|number| !is_listened_at(&shape.path(*number)))
        .unwrap_or(last)
}

fn is_listened_at(path: &Path) -> bool {
    let socket = socket(
        AddressFamily::Unix,
        SockType::Stream,
        SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK,
        None,
    );
    let (Ok(socket), Ok(address)) = (socket, UnixAddr::new(path)) else {
        return false;
    };
    // EAGAIN: the queue of a listening socket is full.
    matches!(
        connect(socket.as_raw_fd(), &address),
        Ok(()) | Err(Errno::EAGAIN)
    )
}

/// Makes a listening socket. A file at its path was left by a dead process that had the same
/// process id, and is replaced. `warn` gets problems that do not prevent the socket from being
/// used.
pub(super) fn listen(
    path: &Path,
    shape: &Shape,
    warn: impl Fn(Id, String),
) -> Result<OwnedFd, SocketError> {
    let failed = |id, step| failed(path, id, step);
    let socket = socket(
        AddressFamily::Unix,
        SockType::Stream,
        SockFlag::SOCK_CLOEXEC,
        None,
    )
    .map_err(failed(12, "created"))?;
    let address = UnixAddr::new(path).map_err(failed(13, "named"))?;
    match unlink(path) {
        Ok(()) => warn(
            Id(65),
            format!(
                "Removing stale unix domain socket {path:?}, which a process of this id has left \
                 behind."
            ),
        ),
        Err(Errno::ENOENT) => {}
        Err(error) => return Err(failed(13, "replaced")(error)),
    }
    // The parent has one thread, so no other file is created with this mask.
    let mask = umask(Mode::from_bits_truncate(0o177));
    let bound = bind(socket.as_raw_fd(), &address);
    umask(mask);
    bound.map_err(failed(13, "bound"))?;
    adapt(&socket, path, shape, warn)?;
    Ok(socket)
}

/// Sets the owner, the buffer sizes and the backlog of a socket. If it is listening already, the
/// connections in its queue stay there.
pub(super) fn adapt(
    socket: &OwnedFd,
    path: &Path,
    shape: &Shape,
    warn: impl Fn(Id, String),
) -> Result<(), SocketError> {
    let failed = |id, step| failed(path, id, step);
    if let Some(owner) = shape.owner {
        // Without following links: a user that may write to the directory could have put one there.
        let owner = Some(Uid::from_raw(owner));
        let given = fchownat(AT_FDCWD, path, owner, None, AtFlags::AT_SYMLINK_NOFOLLOW);
        given.map_err(failed(15, "given to its user"))?;
    }
    let (send, receive) = (
        shape.buffers.set_send(socket.as_fd()),
        shape.buffers.set_receive(socket.as_fd()),
    );
    for (id, kind, set) in [(62, "send", send), (63, "receive", receive)] {
        if let Err(cause) = set {
            let text = format!(
                "Unable to set {kind} buffer size on daemon process socket {path:?}: {cause}; \
                 default size will be used, whatever {kind}-buffer-size says."
            );
            warn(Id(id), text);
        }
    }
    let backlog = i32::try_from(shape.backlog).unwrap_or(i32::MAX);
    let backlog = Backlog::new(backlog).unwrap_or(Backlog::MAXCONN);
    start_listening(socket, backlog).map_err(failed(14, "listened on"))
}

fn failed(path: &Path, id: u16, step: &'static str) -> impl FnOnce(Errno) -> SocketError {
    let path = path.to_owned();
    move |cause| SocketError::Step {
        id,
        path,
        step,
        cause,
    }
}

/// Whether this socket was shut down, so that nobody can connect any more. A worker can do that,
/// for all processes and for good.
pub(super) fn is_shut_down(socket: &OwnedFd) -> bool {
    // A flag that nix does not define.
    let end = PollFlags::from_bits_retain(libc::POLLRDHUP);
    let mut sockets = [PollFd::new(socket.as_fd(), end)];
    poll(&mut sockets, PollTimeout::ZERO) == Ok(1)
}

/// Whether there is a socket at a path.
pub(super) fn is_there(path: &Path) -> bool {
    let status = lstat(path);
    status.is_ok_and(|it| SFlag::from_bits_truncate(it.st_mode) & SFlag::S_IFMT == SFlag::S_IFSOCK)
}
