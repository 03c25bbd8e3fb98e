//! The processes of one httpd: the program that was started, in a process group of its own, so
//! that everything it starts can be found and nothing else can be hit.

use std::os::unix::process::CommandExt;
use std::process::{Child, Command};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process, kill_process_group, test_kill_process_group};

use crate::process::Process;
use crate::wait::{DEADLINE, poll, wait_until};

/// How long processes may be busy before they are stopped in the middle of something.
const PATIENCE_TO_SETTLE: Duration = Duration::from_secs(2);

/// How often in a row they must be seen asleep: threads are looked at one after the other, and one
/// that was asleep may have been woken by the next.
const GLANCES_TO_SETTLE: u32 = 3;

/// A started program and whatever it starts. Dropping it kills what is left.
#[derive(Debug)]
pub(crate) struct ProcessGroup {
    leader: Child,
    gone: bool,
}

impl ProcessGroup {
    /// Starts `command`.
    pub(crate) fn start(command: &mut Command) -> Self {
        Self::start_leader(command.process_group(0))
    }

    /// Starts `command`, which makes itself the leader of a group.
    pub(crate) fn start_leader(command: &mut Command) -> Self {
        Self {
            leader: command.spawn().expect("the program runs"),
            gone: false,
        }
    }

    /// The process that was started.
    pub(crate) fn leader(&self) -> Process {
        Process {
            pid: self.id().as_raw_nonzero().get(),
        }
    }

    /// Whether the process that was started has ended.
    pub(crate) fn leader_ended(&mut self) -> bool {
        !matches!(self.leader.try_wait(), Ok(None))
    }

    /// Sends a signal to the process that was started.
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.id(), signal).expect("a process not waited for can be signalled");
    }

    /// Whether it was ended, so that its number may belong to someone else.
    pub(crate) fn is_gone(&self) -> bool {
        self.gone
    }

    /// Waits until all processes have ended, and kills those that have not by the deadline.
    /// Returns whether that was not necessary.
    pub(crate) fn wait_for_end(&mut self) -> bool {
        let ended = poll(DEADLINE, || self.leader_ended().then_some(())).is_some()
            && poll(DEADLINE, || self.is_empty().then_some(())).is_some();
        self.kill();
        ended
    }

    fn kill(&mut self) {
        if self.gone {
            return;
        }
        // Fails if nothing is left, which is what we want.
        let _ = kill_process_group(self.id(), Signal::KILL);
        let _ = self.leader.wait();
        wait_until("killed processes to end", || self.is_empty().then_some(()));
        self.gone = true;
    }

    fn is_empty(&self) -> bool {
        test_kill_process_group(self.id()).is_err()
    }

    fn id(&self) -> Pid {
        Pid::from_child(&self.leader)
    }
}

impl Drop for ProcessGroup {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Waits, but not for long, until processes of httpd have done with the requests they answered.
///
/// A client has its response a moment before the thread that served it lets go of the
/// connection. The event MPM of httpd 2.4 may crash when it is told to stop in that moment:
/// it shuts down the sockets of its threads without asking whether they are still there.
pub(crate) fn settle(processes: impl Fn() -> Vec<Process>) {
    let mut glances = 0;
    poll(PATIENCE_TO_SETTLE, || {
        let asleep = processes().into_iter().all(Process::is_asleep);
        glances = if asleep { glances + 1 } else { 0 };
        (glances == GLANCES_TO_SETTLE).then_some(())
    });
}
