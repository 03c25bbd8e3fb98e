//! The processes of one httpd: the program that was started, in a process group of its own, and
//! whatever comes of it. A supervisor leaves that group, and so do its workers; so everything is
//! found by its descent, and what has lost its parents by the files that it uses.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::process::{Life, Process, descendants_among, running};
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
    /// Where the files are that nobody else uses.
    root: Option<String>,
    /// What the leader had started when it was told to end.
    descendants: Vec<Life>,
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
            root: None,
            descendants: Vec::new(),
            gone: false,
        }
    }

    /// Says that whoever uses files below `root` belongs to it, except for the tests themselves.
    pub(crate) fn on(mut self, root: &Path) -> Self {
        self.root = Some(root.display().to_string());
        self
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

    /// Tells the process that was started to end by `signal`, and waits as [`Self::wait_for_end`]
    /// does.
    pub(crate) fn end(&mut self, signal: Signal) -> Vec<String> {
        // Those whose parents end before them are nobody's children then.
        self.find_descendants();
        self.signal(signal);
        self.wait_for_end()
    }

    /// Waits until all processes have ended, and kills those that have not by the deadline.
    /// Returns what these were.
    pub(crate) fn wait_for_end(&mut self) -> Vec<String> {
        poll(DEADLINE, || self.leader_ended().then_some(()));
        let mut left = Vec::new();
        poll(DEADLINE, || {
            left = self.left();
            left.is_empty().then_some(())
        });
        let left = left.into_iter().map(Life::describe).collect();
        self.kill();
        left
    }

    fn kill(&mut self) {
        if self.gone {
            return;
        }
        // The number of one that has ended may be that of another.
        if !self.leader_ended() {
            self.find_descendants();
            let _ = self.leader.kill();
        }
        wait_until("killed processes to end", || {
            let left = self.left();
            left.iter().copied().for_each(Life::kill);
            left.is_empty().then_some(())
        });
        let _ = self.leader.wait();
        self.gone = true;
    }

    fn find_descendants(&mut self) {
        let found = descendants_among(&running(), self.leader());
        self.descendants.extend(found);
    }

    /// What runs of it.
    fn left(&self) -> Vec<Life> {
        let stats = running();
        let group = self.leader().pid;
        let (mut left, others): (Vec<_>, Vec<_>) = stats
            .iter()
            .map(|stat| (Life::of(stat), stat.pgrp))
            .partition(|(life, pgrp)| *pgrp == group || self.descendants.contains(life));
        // To look into others takes a while, and what was found is to be waited for anyway.
        if left.is_empty()
            && let Some(root) = &self.root
        {
            // The tests, and programs they started, may use these files as well.
            let tests = Process::current();
            let known = descendants_among(&stats, tests);
            left = others;
            left.retain(|(life, _)| {
                life.process != tests && !known.contains(life) && life.process.refers_to(root)
            });
        }
        left.into_iter().map(|(life, _)| life).collect()
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

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::ProcessGroup;
    use crate::wait::wait_until;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn one_that_leaves_the_group_is_killed() {
        let group = ProcessGroup::start(&mut shell("setsid sleep 3600 & wait"));
        let stray = wait_until("the stray", || {
            let mut children = group.leader().children().into_iter();
            children.find(|child| child.arguments() == ["sleep", "3600"])
        });
        drop(group);
        assert!(!stray.is_running());
    }

    #[test]
    fn one_without_parents_is_found_by_its_directory() {
        let root = tempfile::tempdir().expect("a directory");
        let mut command = shell("setsid sleep 3600 & exit");
        let mut group = ProcessGroup::start(command.current_dir(root.path())).on(root.path());
        wait_until("the leader's end", || group.leader_ended().then_some(()));
        let stray = wait_until("the stray to be in place", || {
            let mut left = group.left().into_iter();
            left.find(|life| life.process.arguments() == ["sleep", "3600"])
        });
        drop(group);
        assert!(!stray.process.is_running());
    }
}
