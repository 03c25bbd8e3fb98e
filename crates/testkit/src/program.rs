//! A program that brings an httpd of its own along, such as a command of mod_wsgi's package.

use std::net::{Ipv4Addr, TcpListener};
use std::process::Command;

use rustix::process::Signal;

use crate::process::Process;
use crate::process_group::{self, ProcessGroup};

/// A program that was started, and whatever it starts. Dropping it kills what is left of that.
#[derive(Debug)]
pub struct Program {
    processes: ProcessGroup,
}

impl Program {
    /// Starts `command`.
    pub fn start(command: &mut Command) -> Self {
        Self {
            processes: ProcessGroup::start(command),
        }
    }

    /// The process that was started.
    pub fn process(&self) -> Process {
        self.processes.leader()
    }

    /// Whether that process has ended.
    pub fn has_ended(&mut self) -> bool {
        self.processes.leader_ended()
    }

    /// Tells that process to end, and waits until it and all that it started have. Returns whether
    /// they did so in time; otherwise they are killed.
    pub fn stop(&mut self) -> bool {
        if !self.has_ended() {
            let program = self.process();
            process_group::settle(|| program.descendants());
            return self.processes.end(Signal::TERM).is_empty();
        }
        self.processes.wait_for_end().is_empty()
    }
}

/// A port of this machine that nobody listens on right now.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
    let address = listener.and_then(|listener| listener.local_addr());
    address.expect("a free port").port()
}
