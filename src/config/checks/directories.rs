//! Whether the directories that are named are there for who is to use them: where the processes of
//! a group are to be, where sockets are to be, and where modules are to be found.

use std::ffi::OsStr;
use std::fmt;
use std::fs::{self, Metadata};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use nix::unistd::{Uid, geteuid};

use crate::Wsgi;
use crate::config::access::{Obstacle, User};
use crate::config::checks::{Checked, Group, Mistake, report};
use crate::config::daemon::DaemonDefinition;
use crate::log::Id;

/// What says where processes go.
#[derive(Clone, Copy, Debug)]
enum Origin {
    Home,
    Chroot,
    User,
}

/// A directory that is not there for who is to use it.
#[derive(Debug, thiserror::Error)]
enum DirectoryMistake<'c> {
    /// Processes cannot go there.
    #[error(
        "{origin} of process group \"{name}\": user \"{user}\" cannot go there: {cause}; requests for the group are \
         answered with 503"
    )]
    Processes {
        origin: Origin,
        name: String,
        user: &'c User,
        cause: Cause,
    },
    /// httpd's children cannot connect to sockets there.
    #[error(
        "the sockets of process groups are to be at {prefix:?}, where user \"{user}\" cannot connect to them: {cause}; \
         requests for groups are answered with 503; WSGISocketPrefix may name another place"
    )]
    Sockets {
        prefix: PathBuf,
        user: &'c User,
        cause: Cause,
    },
    /// No modules are found there.
    #[error("{directive}: user \"{user}\" finds no modules in {path:?}: {cause}")]
    Modules {
        directive: String,
        path: PathBuf,
        user: &'c User,
        cause: Cause,
    },
}

#[derive(Debug, thiserror::Error)]
enum Cause {
    #[error("{0}")]
    Obstacle(Obstacle),
    #[error("{0:?} is not a directory")]
    File(PathBuf),
    #[error("it does not begin with \"/\", and is relative to wherever the process is")]
    Relative,
}

impl Mistake for DirectoryMistake<'_> {
    fn id(&self) -> Id {
        Id(match self {
            Self::Processes { .. } => 1032,
            Self::Sockets { .. } => 1035,
            Self::Modules { .. } => 1036,
        })
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Home => "home",
            Self::Chroot => "chroot",
            Self::User => "the home directory, as there is no home=,",
        })
    }
}

pub(super) fn check(config: &Checked<'_>) {
    for group in &config.groups {
        report(group.definition.server(), check_way(config, group));
        check_modules(group);
    }
    if let Some(first) = config.groups.first() {
        report(config.base, check_sockets(config, &first.definition));
    }
    let process = config.base.config::<Wsgi>().process();
    let list = process.interpreters.outside().python_path.as_deref();
    if let Some(list) = list.filter(|_| !process.restrict_embedded) {
        let user = &config.children;
        for mistake in check_list(list, user, None, "WSGIPythonPath") {
            report(config.base, Err(mistake));
        }
    }
}

/// Whether processes can go where they are to be: one that cannot does not start.
fn check_way<'c>(config: &Checked<'_>, group: &'c Group<'_>) -> Result<(), DirectoryMistake<'c>> {
    let Some((origin, path)) = directory(group, config) else {
        return Ok(());
    };
    let found = match origin {
        // Root goes there, before it becomes the user.
        Origin::Chroot => fs::metadata(&path).map_err(|error| Obstacle::of(&path, error)),
        Origin::Home | Origin::User => group.user.reach(&path),
    };
    expect_directory(found, &path).map_err(|cause| DirectoryMistake::Processes {
        origin,
        name: name_of(group),
        user: &group.user,
        cause,
    })
}

/// Whether httpd's children can connect to the sockets of groups, which are all in one place.
fn check_sockets<'c>(
    config: &'c Checked<'_>,
    any: &DaemonDefinition<'_>,
) -> Result<(), DirectoryMistake<'c>> {
    let prefix = any.socket_prefix();
    let mut socket = prefix.clone().into_os_string();
    socket.push(".sock");
    let Some(directory) = Path::new(&socket).parent() else {
        return Ok(());
    };
    let found = config.children.reach(directory);
    let process = config.base.config::<Wsgi>().process();
    if process.socket_prefix.is_none() && matches!(found, Err(Obstacle::Missing(_))) {
        // The scripts that start httpd create the runtime directory, if it does not survive a
        // reboot.
        return Ok(());
    }
    expect_directory(found, directory).map_err(|cause| DirectoryMistake::Sockets {
        prefix: prefix.clone(),
        user: &config.children,
        cause,
    })
}

/// Whether modules can be found where a group is to look for them; below another root that cannot
/// be judged from here.
fn check_modules(group: &Group<'_>) {
    let options = group.definition.options();
    if let (Some(list), None) = (&options.python_path, &options.chroot) {
        let directive = format!("python-path of process group \"{}\"", name_of(group));
        let home = options.home.as_deref().map(OsStr::from_bytes);
        for mistake in check_list(list, &group.user, home.map(Path::new), &directive) {
            report(group.definition.server(), Err(mistake));
        }
    }
}

/// Looks at each of a list of directories or archives that modules are to be found in, by processes
/// that are at `home`.
fn check_list<'c>(
    list: &[u8],
    user: &'c User,
    home: Option<&Path>,
    directive: &str,
) -> Vec<DirectoryMistake<'c>> {
    let paths = list.split(|&byte| byte == b':');
    let paths = paths.filter(|path| !path.is_empty());
    let mistakes = paths.filter_map(|path| {
        let path = Path::new(OsStr::from_bytes(path));
        let cause = match home {
            Some(home) => Cause::Obstacle(user.reach(&home.join(path)).err()?),
            None if path.is_absolute() => Cause::Obstacle(user.reach(path).err()?),
            None => Cause::Relative,
        };
        Some(DirectoryMistake::Modules {
            directive: directive.to_owned(),
            path: path.to_owned(),
            user,
            cause,
        })
    });
    mistakes.collect()
}

fn expect_directory(found: Result<Metadata, Obstacle>, path: &Path) -> Result<(), Cause> {
    match found {
        Ok(found) if found.is_dir() => Ok(()),
        Ok(_) => Err(Cause::File(path.to_owned())),
        Err(obstacle) => Err(Cause::Obstacle(obstacle)),
    }
}

fn name_of(group: &Group<'_>) -> String {
    group.definition.name().to_string_lossy().into_owned()
}

/// Where the processes of a group go first, as far as that can be judged from here: what is below
/// another root cannot. Processes of httpd's own user stay where httpd is, unless they have a
/// `home`.
fn directory(group: &Group<'_>, config: &Checked<'_>) -> Option<(Origin, PathBuf)> {
    let options = group.definition.options();
    let path = |path: &[u8]| Path::new(OsStr::from_bytes(path)).to_owned();
    if let Some(root) = options.chroot.as_deref() {
        return Some((Origin::Chroot, path(root)));
    }
    if let Some(home) = options.home.as_deref() {
        return Some((Origin::Home, path(home)));
    }
    let uid = Uid::from_raw(group.definition.user().uid);
    if !geteuid().is_root() || config.children.is(uid) {
        return None;
    }
    let user = nix::unistd::User::from_uid(uid).ok().flatten()?;
    Some((Origin::User, user.dir))
}
