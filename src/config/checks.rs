//! Mistakes in a configuration that are no errors: they cost one site, not the server.
//!
//! Looked for once httpd has read everything: when it tests its configuration, and when it starts
//! with it. Nothing is changed, started or written. Each is a warning with an id, explained in
//! `docs/errors.md`, in the log of the server whose site it concerns.

use std::ffi::{CStr, OsStr};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use engine_abi::EnginesError;
use httpd::{Level, Parms, Server};
use wsgi_config::nearest::UnknownWord;
use wsgi_config::url;
use wsgi_config::value::OptimizeWarning;

use crate::config::access::{Obstacle, User};
use crate::config::{ProcessWide, ScriptAlias, server};
use crate::log::{self, Id};
use crate::{Wsgi, engines};

/// A mistake that is no error.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(super) enum Mistake<'c> {
    #[error("{alias}: {obstacle}; its requests are answered with 404 until that is mended")]
    Missing {
        alias: &'c ScriptAlias,
        obstacle: Obstacle,
    },
    #[error(
        "{alias}: user \"{user}\", as whom requests are served, cannot get at {:?}: {obstacle}",
        .alias.target()
    )]
    Unreachable {
        alias: &'c ScriptAlias,
        user: &'c User,
        obstacle: Obstacle,
    },
    #[error("{later} never matches: {earlier} comes first and takes all its URLs")]
    Shadowed {
        later: &'c ScriptAlias,
        earlier: &'c ScriptAlias,
    },
    #[error("{0} never matches: a URL path begins with \"/\"")]
    NoLeadingSlash(&'c ScriptAlias),
    #[error("{alias}: {:?} does not begin with \"/\", and is relative to nothing", .alias.target())]
    RelativeTarget { alias: &'c ScriptAlias },
    #[error(
        "{alias}: {:?} is a file, so nothing but that very URL works; take the \"/\" off its end",
        .alias.target()
    )]
    TrailingSlash { alias: &'c ScriptAlias },
    #[error("WSGIPythonHome: {0}")]
    PythonHomeMissing(Obstacle),
    #[error("WSGIPythonHome: {0:?} is not a directory; name the one that bin/python is in")]
    PythonHomeNotADirectory(&'c Path),
    #[error("WSGIPythonHome: user \"{0}\", as whom Python runs, cannot get at it: {1}")]
    PythonHomeUnreachable(&'c User, Obstacle),
    #[error("{0}")]
    NoEngine(EnginesError),
    #[error(
        "user \"{user}\", as whom Python runs, cannot get at the Python engine {path:?}: {obstacle}"
    )]
    EngineUnreachable {
        user: &'c User,
        path: PathBuf,
        obstacle: Obstacle,
    },
    #[error("WSGITrustedProxyHeaders: without effect, for {0}")]
    TrustedProxyHeader(UnknownWord),
    #[error("WSGIPythonOptimize: {0}")]
    Optimize(OptimizeWarning),
}

impl Mistake<'_> {
    fn id(&self) -> Id {
        Id(match self {
            Self::PythonHomeMissing(_) => 100,
            Self::PythonHomeNotADirectory(_) => 101,
            Self::PythonHomeUnreachable(..) => 102,
            Self::NoEngine(_) => 1001,
            Self::Missing { .. } => 1020,
            Self::Unreachable { .. } => 1021,
            Self::Shadowed { .. } => 1022,
            Self::NoLeadingSlash(_) => 1023,
            Self::RelativeTarget { .. } => 1024,
            Self::TrailingSlash { .. } => 1025,
            Self::TrustedProxyHeader(_) => 1026,
            Self::Optimize(_) => 1027,
            Self::EngineUnreachable { .. } => 1028,
        })
    }
}

/// Reports a mistake in the directive being read.
pub(super) fn report_while_reading(parms: &Parms<'_>, mistake: &Mistake<'_>) {
    log::directive(parms, Level::WARN, mistake.id(), mistake);
}

/// Reports the mistakes of the whole configuration.
pub(crate) fn check(base: Server<'_>) {
    let user = User::of_children();
    let process = base.config::<Wsgi>().process();
    if !process.restrict_embedded {
        report(base, check_python_home(process, &user).err());
        report(base, check_engine(process, &user).err());
    }
    for (server, aliases) in server::own_aliases(base) {
        for (index, alias) in aliases.iter().enumerate() {
            let earlier = aliases.get(..index).unwrap_or_default();
            let checked = check_urls(alias, earlier).and_then(|()| check_target(alias, &user));
            report(server, checked.err());
        }
    }
}

fn report(server: Server<'_>, mistake: Option<Mistake<'_>>) {
    if let Some(mistake) = mistake {
        log::server(server, Level::WARN, mistake.id(), mistake);
    }
}

/// Looks for an earlier alias that takes all of this one's URLs.
fn check_urls<'c>(
    later: &'c ScriptAlias,
    earlier: &'c [Arc<ScriptAlias>],
) -> Result<(), Mistake<'c>> {
    let Some(location) = later.location() else {
        return Ok(());
    };
    let location = location.to_bytes();
    if !location.starts_with(b"/") {
        return Err(Mistake::NoLeadingSlash(later));
    }
    let shadows = |alias: &&Arc<ScriptAlias>| {
        alias
            .location()
            .is_some_and(|earlier| url::shadows(earlier.to_bytes(), location))
    };
    match earlier.iter().find(shadows) {
        Some(earlier) => Err(Mistake::Shadowed { later, earlier }),
        None => Ok(()),
    }
}

/// Looks for what stands between a request and the script.
fn check_target<'c>(alias: &'c ScriptAlias, user: &'c User) -> Result<(), Mistake<'c>> {
    let target = constant_part(alias);
    if target.is_empty() {
        return Ok(());
    }
    let target = Path::new(OsStr::from_bytes(target));
    if !target.is_absolute() {
        return Err(Mistake::RelativeTarget { alias });
    }
    match user.reach(target) {
        Ok(found) if found.is_file() && wants_directory(alias) => {
            Err(Mistake::TrailingSlash { alias })
        }
        Ok(_) => Ok(()),
        Err(obstacle @ Obstacle::Missing(_)) => Err(Mistake::Missing { alias, obstacle }),
        Err(obstacle) => Err(Mistake::Unreachable {
            alias,
            user,
            obstacle,
        }),
    }
}

/// The target, or the directories of it that are the same for every URL that a pattern matches.
fn constant_part(alias: &ScriptAlias) -> &[u8] {
    let target = alias.target().to_bytes();
    let is_substituted = |&byte: &u8| matches!(byte, b'$' | b'\\');
    match target.iter().position(is_substituted) {
        Some(end) if alias.is_pattern() => {
            let constant = target.get(..end).unwrap_or_default();
            let directories = constant
                .iter()
                .rposition(|&byte| byte == b'/')
                .map_or(0, |at| at + 1);
            constant.get(..directories).unwrap_or_default()
        }
        _ => target,
    }
}

/// Whether the alias maps `/name/x` to what is called `x` in its target.
fn wants_directory(alias: &ScriptAlias) -> bool {
    let ends_in_slash = |path: &CStr| path.to_bytes().ends_with(b"/");
    alias
        .location()
        .is_some_and(|location| location != c"/" && ends_in_slash(location))
        && !ends_in_slash(alias.target())
}

fn check_python_home<'c>(process: &'c ProcessWide, user: &'c User) -> Result<(), Mistake<'c>> {
    let Some(home) = process.python_home.as_deref().map(as_path) else {
        return Ok(());
    };
    match user.reach(home) {
        Ok(found) if !found.is_dir() => Err(Mistake::PythonHomeNotADirectory(home)),
        Ok(_) => Ok(()),
        Err(obstacle @ Obstacle::Closed { .. }) => {
            Err(Mistake::PythonHomeUnreachable(user, obstacle))
        }
        Err(obstacle) => Err(Mistake::PythonHomeMissing(obstacle)),
    }
}

/// Looks for the library that brings Python into the processes of httpd.
fn check_engine<'c>(process: &ProcessWide, user: &'c User) -> Result<(), Mistake<'c>> {
    let path = engines::of(process).map_err(Mistake::NoEngine)?.path;
    match user.reach(&path) {
        Ok(_) => Ok(()),
        Err(obstacle) => Err(Mistake::EngineUnreachable {
            user,
            path,
            obstacle,
        }),
    }
}

fn as_path(path: &CStr) -> &Path {
    Path::new(OsStr::from_bytes(path.to_bytes()))
}
