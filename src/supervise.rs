//! The parent's side of daemon mode: starting the supervisor and sending it the process groups.
//!
//! Runs in the httpd parent, once per configuration. The parent makes what must outlive workers and
//! supervisors: the listening socket and the table of every group. So the death of either costs no
//! request: new connections wait in the backlog. A group with the same name in the next
//! configuration keeps its socket, so that the children of the last configuration can still reach
//! it.
//!
//! State that outlives a configuration is kept in memory ([`kept`]).

mod error_log;
mod kept;
mod sockets;
mod spec;
mod stop;

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

use command_fds::{CommandFdExt as _, FdMapping};
use control::{Channel, ChannelError, GroupSpec, Secret, ToSupervisor};
use engine_abi::EnginesError;
use httpd::hook::Configured;
use httpd::process::{self, Phase};
use httpd::{Level, Pool, Server, Status};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::Signal;

use crate::config::{self, DaemonDefinition};
use crate::engines;
use crate::log::{self, Id};
use crate::remote::groups::{Group, Groups};
use crate::scoreboard;
use error_log::ErrorLog;
use kept::Kept;
pub(crate) use kept::KeptGroup;
use sockets::SocketError;
pub(crate) use spec::engine;

/// The supervisor's program, beside the engines.
const PROGRAM: &str = "mod_wsgi-daemon";

/// What the parent keeps while it runs.
static RUNNING: Mutex<Option<Kept>> = Mutex::new(None);

fn running() -> MutexGuard<'static, Option<Kept>> {
    // After a panic while the guard is held, the groups may lack a supervisor; the next
    // configuration starts one.
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Why there is no supervisor.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum SuperviseError {
    /// The program cannot be found.
    #[error("{0}")]
    Engines(#[from] EnginesError),
    /// The program cannot be started.
    #[error("the supervisor {program:?} cannot be started: {cause}")]
    Start {
        /// Its file.
        program: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
    /// It cannot be sent the groups.
    #[error("the supervisor cannot be told what to do: {0}")]
    Tell(#[from] ChannelError),
}

/// Starts the process groups of a configuration. In the parent, when httpd will run with the
/// configuration, and all other modules have accepted it.
pub(crate) fn post_config(configured: Configured<'_>) -> Status {
    if process::phase() == Phase::Run {
        start(&configured);
    }
    Status::OK
}

fn start(configured: &Configured<'_>) {
    let base = configured.server;
    let definitions: Vec<_> = config::daemons(base).collect();
    let mut running = running();
    let kept = running.get_or_insert_default();
    allow_open_files(&definitions);
    let old = std::mem::take(&mut kept.groups);
    let made = groups_of(&definitions, old, &mut kept.last_number);
    let (groups, seen_by_children) = made.into_iter().unzip();
    kept.groups = groups;
    Groups::new(seen_by_children).set_current();
    if kept.groups.is_empty() && kept.supervisor.is_none() {
        return;
    }
    connect_scoreboard(kept, base);
    supervise(kept, configured.pool, base);
    stop::with(configured.pool);
}

/// Raises the soft limit of open files if there are many groups: the parent holds descriptors for
/// each of them. If it cannot be raised, the descriptor that is missing is reported when it is
/// needed.
fn allow_open_files(definitions: &[DaemonDefinition<'_>]) {
    /// For httpd itself and everything else in it.
    const OTHERS: u64 = 512;
    /// A log, a socket and a table, and a copy of that for the children; both ends of a link.
    const PER_GROUP: u64 = 6;

    // Twice, since the old groups still exist while the new ones are made.
    let groups = u64::try_from(definitions.len()).unwrap_or(u64::MAX);
    let needed = OTHERS.saturating_add(groups.saturating_mul(2 * PER_GROUP));
    if let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE)
        && soft < needed.min(hard)
    {
        let _ = setrlimit(Resource::RLIMIT_NOFILE, needed.min(hard), hard);
    }
}

/// In a new child: drops its copies of the parent's sockets, and serves its ends of the links to
/// the scoreboard. In single-process mode (`httpd -X`) this process stays the parent, and workers
/// get no scoreboard.
pub(crate) fn child_init(base: Server<'_>) {
    if process::is_the_only_one() {
        return;
    }
    let mut running = running();
    let groups = running.take().unwrap_or_default().groups;
    let sources = groups
        .into_iter()
        .filter_map(KeptGroup::into_scoreboard_source);
    for source in sources {
        if let Err(error) = scoreboard::serve(source) {
            report_no_metrics(base, &error);
        }
    }
}

/// Makes the groups of a configuration, for the parent and for children. Groups that exist already
/// keep their sockets. If a group cannot be made, that is logged, and it is left out; others are
/// not affected.
fn groups_of(
    definitions: &[DaemonDefinition<'_>],
    mut old: Vec<KeptGroup>,
    last_number: &mut u32,
) -> Vec<(KeptGroup, Group)> {
    let mut groups = Vec::new();
    for definition in definitions {
        match group_of(definition, &mut old, last_number) {
            Ok(group) => groups.extend(group),
            Err(cause) => report_unmade(definition, &cause),
        }
    }
    groups
}

/// Makes a group, for the parent and for children. `None`, with a line in the log, if there is no
/// engine for it.
fn group_of(
    definition: &DaemonDefinition<'_>,
    old: &mut Vec<KeptGroup>,
    last_number: &mut u32,
) -> Result<Option<(KeptGroup, Group)>, SocketError> {
    let secret = Secret::random().map_err(SocketError::Random)?;
    let Some(spec) = spec::of(definition, secret) else {
        return Ok(None);
    };
    let shape = sockets::Shape::of(definition, &spec);
    let same = old.iter().position(|group| group.name() == spec.name);
    let same = same.map(|index| old.swap_remove(index));
    let group = match same.and_then(|mut group| group.adapt(&shape, definition).then_some(group)) {
        Some(group) => group.renewed(spec, definition)?,
        None => {
            *last_number = sockets::next_number(&shape, *last_number);
            let number = *last_number;
            KeptGroup::new(GroupSpec { number, ..spec }, shape, definition)?
        }
    };
    let seen_by_children = Group::new(&group).map_err(SocketError::Table)?;
    Ok(Some((group, seen_by_children)))
}

/// Makes the links to the scoreboard, for groups with `server-metrics`.
fn connect_scoreboard(kept: &mut Kept, base: Server<'_>) {
    for group in &mut kept.groups {
        if let Err(error) = group.connect_scoreboard() {
            report_no_metrics(base, &error);
        }
    }
}

fn report_no_metrics(base: Server<'_>, error: &io::Error) {
    let text = format!("server_metrics() may return None in a process group: {error}");
    log::server(base, Level::WARN, Id(1340), text);
}

fn report_unmade(definition: &DaemonDefinition<'_>, cause: &SocketError) {
    let text = format!(
        "process group '{}': {cause}. Daemon group will not start, and its requests are answered \
         with 503.",
        definition.name().to_string_lossy()
    );
    log::server(definition.server(), Level::ALERT, cause.id(), text);
}

/// Sends the supervisor the groups. Starts a supervisor if there is none, or the link to it fails.
fn ensure_supervisor(kept: &mut Kept, base: Server<'_>) -> Result<(), SuperviseError> {
    let told = kept
        .supervisor
        .as_ref()
        .map(|it| tell(&it.control, kept, base));
    if matches!(told, Some(Ok(()))) {
        return Ok(());
    }
    if let (Some(supervisor), Some(Err(error))) = (kept.supervisor.take(), told)
        && !matches!(error, ChannelError::Closed)
    {
        // It lives, since its end of the link is open. When the link is closed it would take that
        // for the end of httpd, and remove the sockets.
        supervisor.kill();
    }
    let supervisor = spawn()?;
    tell(&supervisor.control, kept, base)?;
    kept.supervisor = Some(supervisor);
    Ok(())
}

fn tell(control: &Channel, kept: &Kept, base: Server<'_>) -> Result<(), ChannelError> {
    // Without a log, the supervisor keeps the one that it has.
    let log = ErrorLog::of(base, base).ok();
    let (log_form, descriptor) = log.map(|log| (log.form, log.descriptor)).unzip();
    let begin = ToSupervisor::Begin {
        log_form: log_form.unwrap_or_default(),
    };
    let descriptors: Vec<_> = descriptor.iter().map(OwnedFd::as_fd).collect();
    control.send_waiting(&begin, &descriptors)?;
    for group in &kept.groups {
        let message = ToSupervisor::Group(Box::new(group.spec.clone()));
        control.send_waiting(&message, &group.descriptors())?;
    }
    control.send_waiting(&ToSupervisor::Commit, &[])
}

/// Starts the supervisor. It inherits only its end of the link, and standard error, which is the
/// main error log.
fn spawn() -> Result<kept::Supervisor, SuperviseError> {
    let program = program()?;
    let started = start_program(&program);
    started.map_err(|cause| SuperviseError::Start { program, cause })
}

/// The path of the supervisor's program.
pub(crate) fn program() -> Result<PathBuf, EnginesError> {
    Ok(engines::installed()?.directory().join(PROGRAM))
}

fn start_program(program: &Path) -> io::Result<kept::Supervisor> {
    let (ours, theirs) = Channel::pair()?;
    let mut command = Command::new(program);
    command
        .arg0("(wsgi-supervisor)")
        .arg("supervise")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .fd_mappings(vec![FdMapping {
            parent_fd: theirs.as_fd().try_clone_to_owned()?,
            child_fd: control::LINK_FD,
        }])
        .map_err(io::Error::other)?;
    let child = command.spawn()?;
    // The child is not waited for here: httpd waits for all its children.
    Ok(kept::Supervisor {
        pid: child.id(),
        control: ours,
    })
}

/// Has httpd report when the supervisor dies, so that another is started.
fn watch(pool: Pool<'_>, kept: &Kept) {
    if let Some(supervisor) = &kept.supervisor {
        httpd::child::watch(pool, supervisor.pid, supervisor_died);
    }
}

/// The supervisor has died while httpd runs: starts another. The workers that it left serve until
/// those of the new one do.
fn supervisor_died(pool: Pool<'_>, base: Server<'_>, status: u32) {
    let mut running = running();
    let Some(kept) = running.as_mut() else { return };
    let fate = fate(status);
    log::server(
        base,
        Level::ERROR,
        Id(1230),
        format_args!("The supervisor of the process groups {fate}; another is started."),
    );
    kept.supervisor = None;
    supervise(kept, pool, base);
}

/// How a process ended, in words. httpd reports one number, which may be a signal or an exit
/// status.
fn fate(number: u32) -> String {
    let signal = i32::try_from(number).map(Signal::try_from);
    match signal {
        Ok(Ok(signal)) => {
            format!("died of signal {number} ({signal}), or ended with that exit status")
        }
        _ => format!("ended with exit status {number}"),
    }
}

/// In the parent, every few seconds: if there should be a supervisor and none could be started,
/// tries again.
pub(crate) fn monitor(pool: Pool<'_>, base: Server<'_>) {
    let mut running = running();
    let is_missing = |kept: &&mut Kept| kept.supervisor.is_none() && !kept.groups.is_empty();
    if let Some(kept) = running.as_mut().filter(is_missing) {
        supervise(kept, pool, base);
    }
}

/// Sends the supervisor the groups, and starts one if necessary. If that fails, httpd serves
/// everything else, and it is tried again later.
fn supervise(kept: &mut Kept, pool: Pool<'_>, base: Server<'_>) {
    match ensure_supervisor(kept, base) {
        Ok(()) => watch(pool, kept),
        Err(error) => {
            kept.groups.iter().for_each(KeptGroup::note_nobody_starts);
            let text = format_args!(
                "{error}. Requests for process groups get 503, unless workers from before still serve; \
                 httpd tries again every few seconds"
            );
            log::server(base, Level::CRIT, Id(1231), text);
        }
    }
}
