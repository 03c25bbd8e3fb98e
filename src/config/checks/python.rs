//! Whether there is a Python for httpd's own processes and for each process group, and whether they
//! can get at it.

use std::ffi::{CStr, OsStr};
use std::fmt;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use engine_abi::{EnginesError, PythonVersion};
use httpd::process::{self, Phase};

use crate::config::access::{Obstacle, User};
use crate::config::checks::{Checked, Group, Mistake, report};
use crate::config::hook::Hooks;
use crate::log::Id;
use crate::{Wsgi, engines, supervise};

/// Whose Python it is.
#[derive(Clone, Copy, Debug)]
enum Whose<'c> {
    /// That of httpd's own processes.
    Httpd,
    /// That of a process group.
    Group(&'c CStr),
}

#[derive(Debug, thiserror::Error)]
enum PythonMistake<'c> {
    #[error("{whose}: {obstacle}; create that virtual environment, or mend the path")]
    HomeMissing {
        whose: Whose<'c>,
        obstacle: Obstacle,
    },
    #[error("{whose}: {home:?} is not a directory; name the one that bin/python is in")]
    HomeNotADirectory { whose: Whose<'c>, home: &'c Path },
    #[error("{whose}: user \"{user}\", as whom Python runs, cannot get at it: {obstacle}")]
    HomeUnreachable {
        whose: Whose<'c>,
        user: &'c User,
        obstacle: Obstacle,
    },
    #[error(
        "{whose}: {home:?} has neither the pyvenv.cfg of a virtual environment nor the library of Python {version}; name \
         the directory that bin/python is in{}", nearest(.home)
    )]
    NoHome {
        whose: Whose<'c>,
        home: &'c Path,
        version: PythonVersion,
    },
    #[error("{0}")]
    NoEngine(EnginesError),
    #[error("{whose}: {error}")]
    NoEngineForGroup {
        whose: Whose<'c>,
        error: EnginesError,
    },
    #[error(
        "user \"{user}\", as whom Python runs, cannot get at the Python engine {path:?}: {obstacle}"
    )]
    EngineUnreachable {
        user: &'c User,
        path: PathBuf,
        obstacle: Obstacle,
    },
    #[error(
        "{whose}: {home:?} has several Pythons ({versions}), and bin/python3 there is none of them; \
         {taken} is taken. Name a virtual environment, which is for one, or link bin/python3 to the \
         one that is meant"
    )]
    SeveralPythons {
        whose: Whose<'c>,
        home: &'c Path,
        versions: String,
        taken: PythonVersion,
    },
    #[error("the program of the process groups: {0}")]
    NoProgram(Obstacle),
}

impl Mistake for PythonMistake<'_> {
    fn id(&self) -> Id {
        Id(match self {
            Self::HomeMissing { .. } => 100,
            Self::HomeNotADirectory { .. } => 101,
            Self::HomeUnreachable { .. } => 102,
            Self::NoHome { .. } => 1033,
            Self::NoEngine(_) => 1001,
            Self::EngineUnreachable { .. } => 1028,
            Self::NoEngineForGroup { .. } => 1232,
            Self::NoProgram(_) => 1233,
            Self::SeveralPythons { .. } => 1302,
        })
    }
}

impl fmt::Display for Whose<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Httpd => write!(f, "WSGIPythonHome"),
            Self::Group(name) => {
                write!(
                    f,
                    "python-home of process group \"{}\"",
                    name.to_string_lossy()
                )
            }
        }
    }
}

pub(super) fn check(config: &Checked<'_>) {
    let process = config.base.config::<Wsgi>().process();
    let has_hooks = Hooks::inspect(config.pool, |hooks| !hooks.scripts().is_empty());
    if !process.restrict_embedded || has_hooks {
        let home = process.python_home.as_deref().map(CStr::to_bytes);
        report(
            config.base,
            check_home(Whose::Httpd, home, &config.children),
        );
        report(
            config.base,
            check_engine(Whose::Httpd, home, &config.children),
        );
    }
    for group in &config.groups {
        let options = group.definition.options();
        let server = group.definition.server();
        // What is below another root cannot be judged from here.
        if let Some(home) = &options.python_home
            && options.chroot.is_none()
        {
            report(server, check_group(group, home));
        }
    }
    if !config.groups.is_empty() && process::phase() == Phase::Test {
        report(config.base, check_program());
    }
}

fn check_group<'c>(group: &'c Group<'_>, home: &'c [u8]) -> Result<(), PythonMistake<'c>> {
    let whose = Whose::Group(group.definition.name());
    check_home(whose, Some(home), &group.user)?;
    match check_engine(whose, Some(home), &group.user) {
        // At the start of httpd, this is also reported when the group is started.
        Err(PythonMistake::NoEngine(_)) if process::phase() == Phase::Run => Ok(()),
        Err(PythonMistake::NoEngine(error)) => {
            Err(PythonMistake::NoEngineForGroup { whose, error })
        }
        checked => checked,
    }
}

fn check_home<'c>(
    whose: Whose<'c>,
    home: Option<&'c [u8]>,
    user: &'c User,
) -> Result<(), PythonMistake<'c>> {
    let Some(home) = home.map(as_path) else {
        return Ok(());
    };
    match user.reach(home) {
        Ok(found) if !found.is_dir() => Err(PythonMistake::HomeNotADirectory { whose, home }),
        Ok(_) => Ok(()),
        Err(obstacle @ Obstacle::Closed { .. }) => Err(PythonMistake::HomeUnreachable {
            whose,
            user,
            obstacle,
        }),
        Err(obstacle) => Err(PythonMistake::HomeMissing { whose, obstacle }),
    }
}

/// Looks for the library that brings Python into a process.
fn check_engine<'c>(
    whose: Whose<'c>,
    home: Option<&'c [u8]>,
    user: &'c User,
) -> Result<(), PythonMistake<'c>> {
    let home = home.map(as_path);
    let engines = engines::installed().map_err(PythonMistake::NoEngine)?;
    let chosen = engines.for_home(home).map_err(PythonMistake::NoEngine)?;
    let engine = chosen.engine;
    if let Err(obstacle) = user.reach(&engine.path) {
        return Err(PythonMistake::EngineUnreachable {
            user,
            path: engine.path.clone(),
            obstacle,
        });
    }
    // What is wrong with a directory that is not there was told.
    if let Some(home) = home.filter(|home| home.is_dir())
        && engine.python.is_at_home_in(home) == Some(false)
    {
        let version = engine.python;
        return Err(PythonMistake::NoHome {
            whose,
            home,
            version,
        });
    }
    match home.zip(chosen.guessed_of) {
        None => Ok(()),
        Some((home, versions)) => Err(PythonMistake::SeveralPythons {
            whose,
            home,
            versions,
            taken: engine.python,
        }),
    }
}

/// The virtual environment that a directory is inside of, if it is in one, as a question.
fn nearest(inside: &Path) -> String {
    let mut above = inside.ancestors().skip(1);
    let home = above.find(|above| above.join("pyvenv.cfg").exists());
    home.map_or_else(String::new, |home| format!("; did you mean {home:?}?"))
}

/// Looks for the program that runs the process groups. Root starts it, so it only has to be there,
/// and to be a program.
fn check_program() -> Result<(), PythonMistake<'static>> {
    let program = supervise::program().map_err(PythonMistake::NoEngine)?;
    match program.metadata() {
        Ok(metadata) if metadata.permissions().mode() & 0o111 == 0 => {
            let refused = std::io::ErrorKind::PermissionDenied.into();
            Err(PythonMistake::NoProgram(Obstacle::of(&program, refused)))
        }
        Ok(_) => Ok(()),
        Err(error) => Err(PythonMistake::NoProgram(Obstacle::of(&program, error))),
    }
}

fn as_path(path: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(path))
}
