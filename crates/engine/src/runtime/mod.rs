//! The life of Python in this process.
//!
//! Python belongs to a thread of its own, the *owner*: it initialises Python, is what `threading`
//! calls the main thread, sleeps while the host's threads serve requests, and in the end finalises
//! Python. So the main thread is never one that serves requests, which has its own end, and
//! finalisation happens where CPython wants it.
//!
//! ```text
//! host:   start ───────────────┐ready    handle, handle, …    stop ──────────────┐done or deadline
//! owner:        initialise ────┘ ············ asleep ············ end ───────────┘
//! ```

mod end;
mod init;

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use engine_abi::Level;

use crate::activity;
use crate::log;
use crate::process::{self, Process};
use crate::python::{Detached, catch, remember_panics};

/// How the owner is woken; nothing before it sleeps.
static OWNER: Mutex<Option<Sender<Stop>>> = Mutex::new(None);

/// The order to end Python.
struct Stop {
    reason: Vec<u8>,
    limit: Duration,
    done: Sender<bool>,
}

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

/// Starts Python, and returns when it is ready.
pub(crate) fn start(process: Process) -> Result<(), StartError> {
    remember_panics();
    if !process::configure(process) {
        return Err(StartError::Twice);
    }
    let (ready, is_ready) = channel();
    let (stop, stops) = channel();
    let owner = std::thread::Builder::new().name("wsgi-python".to_owned());
    // Python's main thread runs what scripts import nowhere but in `atexit` functions; it gets
    // the room that a main thread has.
    let owner = owner.stack_size(8 << 20);
    owner.spawn(move || own_python(&ready, &stops))?;
    is_ready.recv().unwrap_or(Err(StartError::Owner))?;
    *OWNER.lock().unwrap_or_else(PoisonError::into_inner) = Some(stop);
    Ok(())
}

/// Ends Python; true if that is done, false if the deadline came first.
pub(crate) fn stop(detached: &Detached, reason: &[u8], limit: Duration) -> bool {
    if !activity::close() {
        return true;
    }
    let owner = OWNER.lock().unwrap_or_else(PoisonError::into_inner).take();
    let Some(owner) = owner else {
        return true;
    };
    let (done, is_done) = channel();
    let reason = reason.to_vec();
    let sent = owner.send(Stop {
        reason,
        limit,
        done,
    });
    let ended = sent.is_ok() && is_done.recv_timeout(limit).unwrap_or(false);
    if !ended {
        let text = "Python has not ended in time; the process ends without it.";
        log::server(detached, Level::Warn, 1012, text);
    }
    ended
}

/// The owner's life.
fn own_python(ready: &Sender<Result<(), StartError>>, stops: &Receiver<Stop>) {
    block_signals();
    // SAFETY: the thread is new; it is attached only inside the functions that take this.
    let mut detached = unsafe { Detached::assume() };
    let started = catch(|| init::initialise(&mut detached));
    let started = started.unwrap_or_else(|panicked| Err(init::InitError::Fault(panicked)));
    let runs = started.is_ok();
    // A host that no longer waits for either has given up on the process.
    let _ = ready.send(started.map_err(StartError::from));
    if !runs {
        return;
    }
    if let Ok(stop) = stops.recv() {
        let ended = catch(|| end::end(&mut detached, &stop.reason, stop.limit));
        let _ = stop.done.send(ended.unwrap_or(false));
    }
    // CPython may have been left alone with threads of the application, and a thread that has
    // finalised it must not outlive it: sleep until the process ends.
    loop {
        std::thread::park();
    }
}

/// The host's signals are for the host's threads.
fn block_signals() {
    // SAFETY: the set is initialised before it is used; only this thread's mask is changed.
    unsafe {
        let mut all = std::mem::MaybeUninit::uninit();
        libc::sigfillset(all.as_mut_ptr());
        libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), std::ptr::null_mut());
    }
}
