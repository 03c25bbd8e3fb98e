//! A worker that serves no requests but runs scripts: that of a group with `threads=0`.
//!
//! The scripts, those of `WSGIImportScript`, run one after the other on Python's main thread, and
//! the process ends with the last of them; the supervisor then starts another. All signals go to
//! that thread: the others block them. SIGTERM raises `SystemExit` there, unless the script handles
//! it; a request of the supervisor to end is passed on as SIGTERM as well. If the script ignores
//! it, the supervisor kills the process when its time is over.

use std::io;
use std::sync::Arc;
use std::thread::{self, Builder};
use std::time::Duration;

use control::{Channel, FromWorker, GroupSpec, ToWorker};
use engine_abi::LoadedEngine;
use nix::sys::signal::{SigSet, Signal, kill};
use nix::unistd::Pid;

use super::life::exit_now;
use super::{describe, python, vital};
use crate::log::{Level, Log};

/// A worker that runs scripts.
pub(super) struct Service {
    pub(super) engine: LoadedEngine,
    pub(super) group: Box<GroupSpec>,
    pub(super) log: Arc<Log>,
}

/// Blocks all signals, for the threads that are started later; Python's main thread unblocks them.
/// To be called before there are other threads.
pub(super) fn leave_signals() -> io::Result<()> {
    SigSet::all().thread_block()?;
    Ok(())
}

impl Service {
    /// Runs the scripts, and ends the process.
    pub(super) fn run(&self, control: Channel) -> u8 {
        let control = Arc::new(control);
        if let Err(error) = self.watch(control.clone()) {
            let _ = control.send(&FromWorker::Failed(error.into()), &[]);
            return 1;
        }
        // If the supervisor has died, the watching thread notices.
        let _ = control.send(&FromWorker::Ready, &[]);
        let scripts = &self.group.preload;
        let failed = scripts
            .iter()
            .filter(|script| !python::run(self.engine, script))
            .count();
        while scripts.is_empty() {
            // Without scripts, waits until the supervisor ends the process.
            thread::park();
        }
        let group = describe(&self.group);
        let text = format_args!("The service script of {group} has ended; the process ends too.");
        self.log.line(Level::Info, 0, text);
        let limit = self.group.life.stop_limit();
        python::stop(self.engine, &self.group, "", limit, &self.log);
        exit_now(i32::from(failed > 0))
    }

    /// Starts the thread that waits for messages of the supervisor.
    fn watch(&self, control: Arc<Channel>) -> io::Result<()> {
        let has_scripts = !self.group.preload.is_empty();
        let limit = self.group.life.stop_limit();
        let watch = move || {
            let mut told = false;
            loop {
                match control.receive() {
                    // A second SIGTERM would disturb the script while it ends.
                    Ok((ToWorker::Drain { .. }, _)) if told => {}
                    Ok((ToWorker::Drain { .. }, _)) => {
                        told = true;
                        terminate(has_scripts);
                    }
                    Ok((ToWorker::Start { .. } | ToWorker::Serve { .. }, _)) => {}
                    Err(_) => return end_orphaned(has_scripts, limit),
                }
            }
        };
        let thread = Builder::new().name("wsgi-control".to_owned());
        vital::spawn_with(thread, move || terminate(has_scripts), watch)
    }
}

/// Asks the script to end.
fn terminate(has_scripts: bool) {
    if has_scripts {
        // This cannot fail: the process exists.
        let _ = kill(Pid::this(), Signal::SIGTERM);
    } else {
        exit_now(0);
    }
}

/// The supervisor has died, so this process has to end itself in time. The kernel has sent SIGTERM
/// to Python's main thread.
fn end_orphaned(has_scripts: bool, limit: Duration) {
    if has_scripts {
        thread::sleep(limit);
    }
    exit_now(1);
}
