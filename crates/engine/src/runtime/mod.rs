//! The life of Python in this process.
//!
//! A thread of the engine's own, the *owner*, initialises Python, makes the interpreters, loads the
//! scripts that must be there before the first request, sleeps while the host's threads serve
//! requests, and finally finalises Python. So the main thread of the main interpreter outlives all
//! requests, and finalisation happens on the thread that CPython requires. In a sub-interpreter,
//! `threading` takes the thread that loaded the first script for the main thread: the owner, or a
//! thread of the host that serves requests. (CPython 3.11 also cannot make another thread state in
//! a sub-interpreter that has lost its first one. That of the owner is never lost.)
//!
//! ```text
//! host:   start ──────────┐ready   preload ────┐loaded   handle ──────┐interpreter   stop ─────────┐done or deadline
//! owner:     initialise ──┘ ······ load one ───┘ ······· create one ──┘ ············ end ──────────┘ asleep for ever
//! ```

mod end;
mod hooks;
mod init;
mod signals;

pub(crate) use end::is_announced as is_stop_announced;
pub(crate) use init::warn_about_interval;

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use engine_abi::{Level, USUAL_STACK_SIZE};

use crate::activity;
use crate::lock::lock;
use crate::log;
use crate::process::{self, Process};
use crate::python::{Detached, catch, remember_panics};
use crate::runtime::signals::SignalMask;

/// A function for the owner to run.
type Job = Box<dyn FnOnce(&mut Detached) + Send>;

/// The sender of jobs to the owner; `None` while Python does not run.
static OWNER: Mutex<Option<Sender<Job>>> = Mutex::new(None);

/// Why Python does not run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum StartError {
    /// It was started before.
    #[error("Python has been started in this process before")]
    Twice,
    /// There is no thread for it.
    #[error("no thread can be started for Python: {0}")]
    Thread(#[from] std::io::Error),
    /// CPython cannot be initialised.
    #[error("Python cannot be initialised: {0}")]
    Init(#[from] init::InitError),
    /// The owner died.
    #[error("the thread that starts Python has ended")]
    Owner,
}

impl StartError {
    /// Whether Python was initialised all the same, and it is its main interpreter that is of no
    /// use.
    pub(crate) fn leaves_python(&self) -> bool {
        matches!(self, Self::Init(init::InitError::Create(_)))
    }
}

/// Starts Python, and returns when it is ready.
pub(crate) fn start(process: Process) -> Result<(), StartError> {
    remember_panics();
    if !process::configure(process) {
        return Err(StartError::Twice);
    }
    let (ready, is_ready) = channel();
    let (jobs, job_queue) = channel();
    let owner = std::thread::Builder::new()
        .name("wsgi-python".to_owned())
        .stack_size(stack_size());
    let mask = mask_for_caller();
    owner.spawn(move || own_python(mask, &ready, &job_queue))?;
    is_ready.recv().unwrap_or(Err(StartError::Owner))?;
    *owner_slot() = Some(jobs);
    Ok(())
}

/// The stack size of the threads that load scripts and run `atexit` functions, in bytes: no smaller
/// than usual, whatever the limit of the system, and not so large that a thread cannot be started.
fn stack_size() -> usize {
    const LARGEST: usize = 1 << 30;
    engine_abi::stack_size().clamp(USUAL_STACK_SIZE, LARGEST)
}

/// Has the owner do something, and waits for its result; `None` if Python does not run.
pub(crate) fn on_owner<R: Send + 'static>(
    _: &Detached,
    job: impl FnOnce(&mut Detached) -> R + Send + 'static,
) -> Option<R> {
    let owner = owner_slot().clone()?;
    post(&owner, job).recv().ok()
}

/// Has the owner tell the applications of the end.
pub(crate) fn announce_stop(_: &Detached, reason: &[u8]) {
    let reason = reason.to_vec();
    if let Some(owner) = owner_slot().clone() {
        drop(post(&owner, move |detached| {
            end::announce(detached, &reason)
        }));
    }
}

/// Ends Python; true if that is done, false if the limit came first.
pub(crate) fn stop(detached: &Detached, reason: &[u8], limit: Duration) -> bool {
    activity::close();
    let Some(owner) = owner_slot().take() else {
        return true;
    };
    let reason = reason.to_vec();
    let (done, is_done) = channel();
    let given_up = done.clone();
    // The thread that asked may have stopped waiting.
    let give_up = move || given_up.send(false).unwrap_or_default();
    drop(post(&owner, move |detached| {
        let ended = end::end(detached, &reason, limit, give_up);
        done.send(ended).unwrap_or_default();
    }));
    let ended = is_done.recv_timeout(limit).unwrap_or(false);
    if !ended {
        let text = "Python has not ended in time; the process ends without it.";
        log::server(detached, Level::Warn, 1012, text);
    }
    ended
}

fn post<R: Send + 'static>(
    owner: &Sender<Job>,
    job: impl FnOnce(&mut Detached) -> R + Send + 'static,
) -> Receiver<R> {
    let (done, is_done) = channel();
    let mask = mask_for_caller();
    let job = move |detached: &mut Detached| mask.during(|| job(detached));
    // The thread that asked may have stopped waiting. If the owner has ended, the job is dropped,
    // and `done` with it, which ends the wait.
    let job: Job = Box::new(move |detached| drop(done.send(job(detached))));
    drop(owner.send(job));
    is_done
}

/// The signals that the owner blocks while it does something for the calling thread: what an
/// application starts meanwhile, threads and programs, is to get those that it would get from that
/// thread. Those of a service are for its script.
fn mask_for_caller() -> SignalMask {
    if process::config().is_service() {
        SignalMask::none()
    } else {
        SignalMask::of_this_thread()
    }
}

fn owner_slot() -> MutexGuard<'static, Option<Sender<Job>>> {
    lock(&OWNER)
}

/// The owner's life. It initialises Python for a thread that blocks these signals.
fn own_python(mask: SignalMask, ready: &Sender<Result<(), StartError>>, jobs: &Receiver<Job>) {
    // The host's signals are for the host's threads, but for those of a script that runs here.
    if process::config().is_service() {
        SignalMask::none().set();
        end_with_parent();
    } else {
        SignalMask::all().set();
    }
    // SAFETY: the thread is new; it is attached only inside the functions that take this.
    let mut detached = unsafe { Detached::assume() };
    let started = mask.during(|| catch(|| init::initialise(&mut detached)));
    let started = started.unwrap_or_else(|panicked| Err(init::InitError::Fault(panicked)));
    let runs = started.is_ok();
    // A host that no longer waits has given up on the process.
    drop(ready.send(started.map_err(StartError::from)));
    while let (true, Ok(job)) = (runs, jobs.recv()) {
        // A panic drops the job's sender, which wakes the thread that waits.
        ending_forks(|| drop(catch(|| job(&mut detached))));
    }
    // The thread that has initialised Python outlives it, finalised or not: at its end it would
    // give its thread states back.
    loop {
        std::thread::park();
    }
}

/// Runs `f`, and ends with it what it has forked: in the new process is nobody who has asked for
/// it, or a copy of a host, which is not to go on as a second one.
pub(crate) fn ending_forks<R>(f: impl FnOnce() -> R) -> R {
    let process = std::process::id();
    let result = f();
    if std::process::id() != process {
        // SAFETY: ends the process; nothing of it is used afterwards.
        unsafe { libc::_exit(0) };
    }
    result
}

/// Has the kernel send SIGTERM when the process ends that has started this one: the host has seen
/// to it that this one is gone if that has ended already. A script may put another program in the
/// place of this process, with which the host and its threads are gone.
fn end_with_parent() {
    // SAFETY: takes numbers. It does not fail for a signal that there is.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM) };
}
