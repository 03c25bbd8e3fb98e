//! What tests begin with.

use std::fs::File;
use std::io::{Read as _, Seek as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;

use control::{
    GroupSpec, Identity, Life, Limits, LogForm, PythonSpec, Secret, ServerSpec, SocketBuffers,
    Table,
};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::socket::{setsockopt, sockopt};

use crate::log::Log;

/// A group with one thread.
pub(crate) fn group(name: &str) -> GroupSpec {
    GroupSpec {
        number: 0,
        secret: Secret::random().unwrap(),
        name: name.to_owned(),
        processes: 1,
        multiprocess: false,
        threads: 1,
        stack_size: None,
        response_buffer: 1 << 16,
        display_name: None,
        identity: Identity {
            peer_uid: nix::unistd::getuid().as_raw(),
            ..Identity::default()
        },
        limits: Limits::default(),
        buffers: SocketBuffers::default(),
        life: Life::default(),
        python: PythonSpec::default(),
        preload: Vec::new(),
        server: ServerSpec::default(),
        log_level: 6,
        log_form: LogForm::Lines,
    }
}

/// What comes with the description of such a group: a log, a table, and what is no socket.
pub(crate) fn equipment() -> Vec<OwnedFd> {
    let table = Table::new(1).unwrap().as_fd().try_clone_to_owned();
    let null = || OwnedFd::from(File::open("/dev/null").unwrap());
    vec![null(), table.unwrap(), null()]
}

/// A log in memory.
pub(crate) fn log() -> (Arc<Log>, File) {
    let memory = memfd_create(c"log", MFdFlags::empty()).unwrap();
    let log = Log::new(memory.try_clone().unwrap(), LogForm::Lines, 6);
    (Arc::new(log), File::from(memory))
}

/// What is in such a log.
pub(crate) fn lines(mut memory: &File) -> String {
    let mut lines = String::new();
    memory.rewind().unwrap();
    memory.read_to_string(&mut lines).unwrap();
    lines
}

/// A socket that takes so long to be closed, and its other end.
pub(crate) fn lingering(seconds: i32) -> (OwnedFd, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut socket = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (peer, _) = listener.accept().unwrap();
    socket.set_nonblocking(true).unwrap();
    while socket.write(&[0; 1 << 16]).is_ok() {}
    let linger = libc::linger {
        l_onoff: 1,
        l_linger: seconds,
    };
    setsockopt(&socket, sockopt::Linger, &linger).unwrap();
    (socket.into(), peer)
}
