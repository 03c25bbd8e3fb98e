//! A worker: one process of a group.
//!
//! In order: get the description of the group from the supervisor, load the engine, drop
//! privileges, start Python, preload scripts, report that it is ready, and serve when told to. From
//! then on the main thread waits for events that concern the process ([`life`]) while the other
//! threads serve requests ([`server`]).

mod connection;
mod connection_window;
mod dispatcher;
mod early;
mod exchange;
mod flusher;
mod fork;
mod home;
mod identity;
mod lead;
mod life;
mod limits;
mod memory;
mod monitor;
mod orphan;
mod outbox;
mod own_slot;
mod parallel;
mod poller;
mod python;
mod root;
mod scripts;
mod server;
mod service;
mod vital;
mod watch;

use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use control::{
    Channel, ChannelError, Failure, FromWorker, GroupSpec, ScoreboardReader, Table, ToWorker,
};

use crate::Program;
use crate::fault;
use crate::log::Log;
use early::Early;
use engine_abi::LoadedEngine;
use nix::libc::SIGUSR1;
use nix::sys::signal::{SigHandler, Signal, signal};
use root::Root;
use scripts::Scripts;
use server::Server;
use service::Service;

/// Why a worker cannot start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
enum StartError {
    /// The supervisor did not say what to start.
    #[error("the first message of the supervisor does not say what to start")]
    Protocol,
    /// The link to the supervisor broke.
    #[error(transparent)]
    Control(#[from] ChannelError),
    /// The table of workers cannot be mapped.
    #[error("the table of workers cannot be used: {0}")]
    Table(std::io::Error),
    /// Privileges could not be dropped.
    #[error(transparent)]
    Identity(#[from] identity::IdentityError),
    /// The engine cannot be loaded.
    #[error(transparent)]
    Engine(#[from] engine_abi::LoadError),
    /// Python cannot start where it is told to.
    #[error(transparent)]
    Home(#[from] home::HomeError),
    /// Python does not start; the log says why.
    #[error("Python does not start; the lines before this one say why")]
    Python,
    /// Threads or handlers could not be made.
    #[error("threads, signal handlers or sockets cannot be set up: {0}")]
    System(#[from] std::io::Error),
}

impl StartError {
    /// The id of the message, if it has one of its own.
    fn id(&self) -> Option<u16> {
        match self {
            Self::Identity(error) => Some(error.id()),
            _ => None,
        }
    }
}

/// What the supervisor handed over.
struct Assignment {
    group: Box<GroupSpec>,
    slot: usize,
    supervisor: u32,
    log: Log,
    table: Table,
    listener: OwnedFd,
    /// The way to httpd's scoreboard, if the group may use it.
    scoreboard: Option<ScoreboardReader>,
}

/// What a worker does once it is ready.
enum Role {
    Server(Arc<Log>, Arc<Server>, Early),
    Service(Service),
}

/// Runs a worker until it ends, and returns its exit status.
pub(crate) fn run(control: Channel, program: Program) -> u8 {
    let begin = Instant::now();
    match start(&control, program) {
        Ok(Role::Server(log, server, early)) => {
            life::run(control, &log, &server, early, begin.elapsed())
        }
        Ok(Role::Service(service)) => service.run(control),
        Err(error) => {
            // If the supervisor has ended as well, the failure cannot be reported.
            let failure = Failure {
                id: error.id(),
                text: error.to_string(),
            };
            let _ = control.send(&FromWorker::Failed(failure), &[]);
            1
        }
    }
}

/// Does everything up to the point where requests can be served. Runs on the main thread.
fn start(control: &Channel, program: Program) -> Result<Role, StartError> {
    let Assignment {
        group,
        slot,
        supervisor,
        log,
        table,
        listener,
        scoreboard,
    } = assignment(control)?;
    let log = Arc::new(log);
    let fault_log = log.clone();
    fault::tell(
        format!("a worker of {}", describe(&group)),
        move |level, id, text| fault_log.line(level, id, text),
    );
    // Before the change of user and root directory: the engine may be out of reach after that.
    let engine = group.python.engine.as_ref();
    let engine = match program {
        Program::Daemon => LoadedEngine::load(engine)?,
        Program::Python => LoadedEngine::load_without_libpython(engine)?,
    };
    let libraries = memory::Libraries::mapped();
    limits::apply(&group, &log);
    identity::assume(&group, &log)?;
    // After the change of user, which clears this setting.
    end_with(supervisor)?;
    home::check(&group.python, engine)?;
    fork::prepare()?;
    let early = Early::register()?;
    fork::note_handler(SIGUSR1);
    // Without the signal, writing beyond the size limit of files is an error of the write. SAFETY:
    // no handler is installed.
    unsafe { signal(Signal::SIGXFSZ, SigHandler::SigIgn) }.map_err(std::io::Error::from)?;
    if group.is_service() {
        early.end();
        service::leave_signals()?;
    }
    python::start(engine, &group, &log, scoreboard)?;
    let scripts = Scripts::default();
    if !group.is_service() {
        python::preload(engine, &group.preload, &scripts);
    }
    memory::give_back(libraries);
    python::set_switch_interval(engine, &group);
    let role = if group.is_service() {
        Role::Service(Service { engine, group, log })
    } else {
        let server = Server::new(engine, group, scripts, (table, slot), listener, log.clone())?;
        Role::Server(log, Arc::new(server), early)
    };
    nix::sys::prctl::set_pdeathsig(None).map_err(std::io::Error::from)?;
    Ok(role)
}

/// Has the kernel kill this process when the supervisor ends: while scripts are loaded, the worker
/// does not watch the link.
fn end_with(supervisor: u32) -> Result<(), StartError> {
    nix::sys::prctl::set_pdeathsig(Signal::SIGKILL).map_err(std::io::Error::from)?;
    // The supervisor may have ended before the call.
    match std::os::unix::process::parent_id() == supervisor {
        true => Ok(()),
        false => Err(ChannelError::Closed.into()),
    }
}

fn assignment(control: &Channel) -> Result<Assignment, StartError> {
    let start = control.receive_any()?;
    let ToWorker::Start {
        group,
        slot,
        supervisor,
    } = start.message
    else {
        return Err(StartError::Protocol);
    };
    let mut descriptors = start.descriptors?.into_iter();
    let mut next = || descriptors.next().ok_or(StartError::Protocol);
    let (log, table, listener) = (next()?, next()?, next()?);
    let processes = usize::try_from(group.processes).map_err(|_| StartError::Protocol)?;
    let slot = usize::try_from(slot).map_err(|_| StartError::Protocol)?;
    let table = Table::map(table, processes).map_err(StartError::Table)?;
    if slot >= table.slots().len() {
        return Err(StartError::Protocol);
    }
    let preload = Root::of(&group.identity).scripts_inside(group.preload.clone());
    Ok(Assignment {
        log: Log::new(log, group.log_form.clone(), group.log_level),
        group: Box::new(GroupSpec { preload, ..*group }),
        slot,
        supervisor,
        table,
        listener,
        scoreboard: descriptors.next().map(ScoreboardReader::from_socket),
    })
}

/// The group as messages name it.
fn describe(group: &GroupSpec) -> String {
    format!("process group '{}'", group.name)
}

/// Locks a mutex. A thread that panicked left no value half-changed: every change here is one
/// insertion or removal.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_whose_supervisor_is_gone_already_does_not_start() {
        // The kernel knows who minds for each thread.
        let started = std::thread::spawn(|| end_with(std::process::id()));
        assert!(started.join().unwrap().is_err());
    }
}
