//! Which program a worker runs: that of its group's Python, if it can become a worker, or else this
//! one.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs::{self, File, Metadata};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use command_fds::{CommandFdExt as _, FdMapping};
use control::GroupSpec;
use nix::errno::Errno;
use nix::sys::signal::Signal;

use crate::log::{Level, Log};
use crate::{LIBRARY, LIBRARY_FD, NO_PYTHON, PRINT_VERSION, STARTED_BY_HAND};

/// The library beside this program that turns a Python program into a worker.
const LIBRARY_NAME: &str = "mod_wsgi-worker.so";

/// The environment variable with the libraries that the dynamic linker loads first.
const LD_PRELOAD: &str = "LD_PRELOAD";

/// How long the trial of a program may take.
const TRIAL: Duration = Duration::from_secs(5);

/// How long to wait for another trial after one that took too long.
const PAUSE: Duration = Duration::from_secs(10);

/// How often to check whether a trial is over.
const LOOK: Duration = Duration::from_micros(500);

/// The program that a worker runs.
#[derive(Debug)]
pub(super) struct Program {
    pub(super) command: Command,
    /// The descriptor of the library that makes it a worker, if it needs one.
    pub(super) library: Option<FdMapping>,
}

impl Program {
    /// This program. Without arguments it is a worker.
    fn own() -> Self {
        Self {
            command: Command::new("/proc/self/exe"),
            library: None,
        }
    }

    /// Python's program, made a worker by the library. If the dynamic linker does not load the
    /// library, the argument has Python print its version and end.
    fn python(python: &OsString, library: &File) -> io::Result<Self> {
        let mut command = Command::new(python);
        command.env(LD_PRELOAD, preloaded(std::env::var_os(LD_PRELOAD)));
        command.arg(PRINT_VERSION);
        let library = FdMapping {
            parent_fd: OwnedFd::from(library.try_clone()?),
            child_fd: LIBRARY_FD,
        };
        Ok(Self {
            command,
            library: Some(library),
        })
    }
}

/// The value of `LD_PRELOAD` for a worker. Our library comes last, since others may have to be the
/// first. The worker restores the old value.
fn preloaded(others: Option<OsString>) -> OsString {
    let mut all = others.map_or_else(OsString::new, |mut others| {
        others.push(":");
        others
    });
    all.push(LIBRARY);
    all
}

/// Why a Python's program cannot become a worker.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
enum Unsuitable {
    /// The library that makes it one cannot be opened.
    #[error("{LIBRARY_NAME}, which belongs beside mod_wsgi-daemon, cannot be opened: {0}")]
    Library(io::ErrorKind),
    /// The system does not execute it.
    #[error("it cannot be executed: {0}")]
    System(#[from] io::Error),
    /// A signal ended it.
    #[error("it was ended while it was tried ({0})")]
    Killed(ExitStatus),
    /// It did not end in time.
    #[error("a trial takes more than {} seconds", TRIAL.as_secs())]
    Slow,
    /// The dynamic linker did not load the library.
    #[error(
        "the system does not load {LIBRARY_NAME} into it; either the program has set-user-ID bits \
         or capabilities, or the library is damaged"
    )]
    Untouched,
    /// It is not a Python.
    #[error("there is no Python in it")]
    NoPython,
}

impl Unsuitable {
    /// How long this result holds while the files do not change; `None` is for ever. If the system
    /// was only short of something, that says nothing about the program.
    fn validity(&self) -> Option<Duration> {
        match self {
            Self::Library(_) | Self::Untouched | Self::NoPython => None,
            Self::System(error) if is_refusal(error) => None,
            Self::Killed(status) if !is_from_outside(*status) => None,
            Self::System(_) | Self::Killed(_) => Some(Duration::ZERO),
            // A trial blocks the supervisor, and there may be hundreds of workers to start.
            Self::Slow => Some(PAUSE),
        }
    }
}

/// Whether this error depends on the file, so that the system never executes it.
fn is_refusal(error: &io::Error) -> bool {
    let error = error.raw_os_error().map(Errno::from_raw);
    matches!(
        error,
        Some(Errno::EACCES | Errno::EPERM | Errno::ENOENT | Errno::ENOEXEC)
    )
}

/// Whether a process was killed from outside, or for lack of memory or CPU time, and not because of
/// a bug of its own.
fn is_from_outside(status: ExitStatus) -> bool {
    let signal = status.signal().and_then(|it| Signal::try_from(it).ok());
    matches!(
        signal,
        Some(Signal::SIGKILL | Signal::SIGTERM | Signal::SIGXCPU)
    )
}

/// The programs that workers run, and what is known of them.
#[derive(Debug)]
pub(super) struct Programs {
    /// The library, opened once: it stays of the same build as this program if another is
    /// installed.
    library: Result<File, io::ErrorKind>,
    /// The results of trials, by the path of the Python.
    tried: HashMap<OsString, Trial>,
}

/// The result of a trial: whether a Python's program can become a worker.
#[derive(Debug)]
struct Trial {
    /// The files that were tried. If one of them changes there is another trial.
    files: [Option<Version>; 2],
    is_suitable: bool,
    /// When to try again even if they have not.
    expiry: Option<Instant>,
}

/// What identifies a version of a file: device, inode, and the time of its last change.
type Version = (u64, u64, i64, i64);

impl Programs {
    /// Opens the library; no program has been tried yet.
    pub(super) fn open() -> Self {
        let library = std::env::current_exe()
            .and_then(|program| File::open(program.with_file_name(LIBRARY_NAME)));
        Self {
            library: library.map_err(|error| error.kind()),
            tried: HashMap::new(),
        }
    }

    /// The program for a worker of a group. If it is not Python's program although the group has
    /// one, the log says why; once, unless the reason may pass.
    pub(super) fn of(&mut self, group: &GroupSpec, log: &Log) -> io::Result<Program> {
        let Some(python) = &group.python.program else {
            return Ok(Program::own());
        };
        let is_suitable = self.is_suitable(python, |why| complain(group, python, why, log));
        match &self.library {
            Ok(library) if is_suitable => Program::python(python, library),
            _ => Ok(Program::own()),
        }
    }

    /// Whether a Python's program can become a worker. Tries it if that is not known.
    fn is_suitable(&mut self, python: &OsString, complain: impl FnOnce(&Unsuitable)) -> bool {
        let library = self.library.as_ref();
        let metadata = library.ok().and_then(|library| library.metadata().ok());
        let files = [fs::metadata(python).ok(), metadata].map(|file| file.as_ref().map(version));
        let is_valid = |trial: &&Trial| {
            trial.files == files && trial.expiry.is_none_or(|expiry| Instant::now() < expiry)
        };
        if let Some(trial) = self.tried.get(python).filter(is_valid) {
            return trial.is_suitable;
        }
        let tried = library
            .map_err(|error| Unsuitable::Library(*error))
            .and_then(|library| try_out(python, library))
            .inspect_err(complain);
        let is_suitable = tried.is_ok();
        let trial = Trial {
            files,
            is_suitable,
            expiry: tried
                .err()
                .and_then(|why| why.validity())
                .map(|time| Instant::now() + time),
        };
        self.tried.insert(python.clone(), trial);
        is_suitable
    }
}

fn version(file: &Metadata) -> Version {
    (file.dev(), file.ino(), file.ctime(), file.ctime_nsec())
}

/// Starts a Python's program as a worker without a link, which must end with [`STARTED_BY_HAND`].
fn try_out(python: &OsString, library: &File) -> Result<(), Unsuitable> {
    let Program {
        mut command,
        library,
    } = Program::python(python, library)?;
    let mut process = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .fd_mappings(library.into_iter().collect())
        .map_err(io::Error::other)?
        .spawn()?;
    let status = end_of(&mut process)?;
    let is = |code: u8| status.code() == Some(code.into());
    if is(STARTED_BY_HAND) {
        Ok(())
    } else if is(NO_PYTHON) {
        Err(Unsuitable::NoPython)
    } else if status.code().is_some() {
        Err(Unsuitable::Untouched)
    } else {
        Err(Unsuitable::Killed(status))
    }
}

/// The exit status of a process that normally ends within milliseconds. The supervisor does nothing
/// else meanwhile, so a process that takes too long is killed. One that does not end even then,
/// because a file system hangs for example, is left alone.
fn end_of(process: &mut Child) -> Result<ExitStatus, Unsuitable> {
    if let Some(status) = end_within(TRIAL, process)? {
        return Ok(status);
    }
    process.kill()?;
    let _ = end_within(TRIAL, process)?;
    Err(Unsuitable::Slow)
}

fn end_within(time: Duration, process: &mut Child) -> io::Result<Option<ExitStatus>> {
    let limit = Instant::now() + time;
    loop {
        let status = process.try_wait()?;
        if status.is_some() || limit <= Instant::now() {
            return Ok(status);
        }
        thread::sleep(LOOK);
    }
}

fn complain(group: &GroupSpec, python: &OsString, why: &Unsuitable, log: &Log) {
    let next = match why.validity() {
        Some(_) => " It is tried again for later workers.",
        None => "",
    };
    let text = format_args!(
        "{python:?} cannot run the workers of process group '{}': {why}. They use Python's shared \
         library instead, if there is one, which is slower.{next}",
        group.name
    );
    log.line(Level::Warn, 1240, text);
}

#[cfg(test)]
mod tests {
    use std::os::fd::RawFd;
    use std::path::Path;

    use super::*;

    #[test]
    fn the_library_is_where_its_name_says() {
        let number: RawFd = LIBRARY.rsplit('/').next().unwrap().parse().unwrap();
        assert_eq!(number, LIBRARY_FD);
    }

    #[test]
    fn what_an_administrator_loads_into_processes_comes_before_it() {
        let all = |others: Option<&str>| preloaded(others.map(OsString::from));
        assert_eq!(all(None), LIBRARY);
        assert_eq!(all(Some("")), ":/proc/self/fd/4");
        assert_eq!(all(Some("/a.so:/b.so")), "/a.so:/b.so:/proc/self/fd/4");
    }

    #[test]
    fn a_program_that_stays_what_it_is_is_no_worker() {
        let nothing = tempfile::tempfile().unwrap();
        let tried = try_out(&"/bin/true".into(), &nothing);
        assert!(matches!(tried, Err(Unsuitable::Untouched)), "{tried:?}");
        let tried = try_out(&"/nowhere/python".into(), &nothing);
        assert!(matches!(tried, Err(Unsuitable::System(_))), "{tried:?}");
    }

    /// A program that does what the file says that lies beside it. Another process writes it: what
    /// this one had open to be written could not be executed while a test beside this one starts a
    /// process.
    fn obedient(place: &Path) -> OsString {
        const WRITE: &str = r#"printf '#!/bin/sh\n. "$0.does"\n' > "$0" && chmod 700 "$0""#;
        let program = place.join("python");
        let written = Command::new("sh")
            .args(["-c", WRITE])
            .arg(&program)
            .status();
        assert!(written.unwrap().success());
        program.into()
    }

    #[test]
    fn what_happened_to_a_trial_says_nothing_of_the_program() {
        let place = tempfile::tempdir().unwrap();
        let python = obedient(place.path());
        let mut programs = Programs {
            library: Ok(tempfile::tempfile().unwrap()),
            tried: HashMap::new(),
        };
        let mut is_suitable_if_it = |does: &str| {
            fs::write(place.path().join("python.does"), does).unwrap();
            let mut why = None;
            let is_suitable = programs.is_suitable(&python, |it| why = Some(it.to_string()));
            (is_suitable, why)
        };
        for _ in 0..2 {
            let (is_suitable, why) = is_suitable_if_it("kill -KILL $$");
            assert!(!is_suitable);
            let why = why.expect("it is told each time");
            assert!(why.contains("SIGKILL"), "{why}");
        }
        assert_eq!(is_suitable_if_it("exit 2"), (true, None));
        assert_eq!(is_suitable_if_it("exit 0"), (true, None), "it is known");
    }

    #[test]
    fn what_a_program_does_is_a_verdict() {
        let place = tempfile::tempdir().unwrap();
        let python = obedient(place.path());
        let mut programs = Programs {
            library: Ok(tempfile::tempfile().unwrap()),
            tried: HashMap::new(),
        };
        for (does, is_told) in [("exit 0", true), ("exit 2", false)] {
            fs::write(place.path().join("python.does"), does).unwrap();
            let mut was_told = false;
            assert!(!programs.is_suitable(&python, |_| was_told = true));
            assert_eq!(was_told, is_told, "{does}");
        }
    }
}
