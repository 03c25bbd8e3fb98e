//! Whether the processes of each group can go to the directories that they are to be in: a worker that cannot does not
//! start.

use std::ffi::OsStr;
use std::fmt;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use nix::unistd::{Uid, geteuid};

use crate::config::access::{Obstacle, User};
use crate::config::checks::{Checked, Group, Mistake, report};
use crate::log::Id;

/// What says where processes go.
#[derive(Clone, Copy, Debug)]
enum Origin {
    Home,
    Chroot,
    User,
}

/// A directory that processes cannot go to.
#[derive(Debug, thiserror::Error)]
#[error(
    "{origin} of process group \"{name}\": user \"{user}\" cannot go there: {cause}; requests for the group are \
     answered with 503"
)]
struct NoWay<'c> {
    origin: Origin,
    name: String,
    user: &'c User,
    cause: Cause,
}

#[derive(Debug, thiserror::Error)]
enum Cause {
    #[error("{0}")]
    Obstacle(Obstacle),
    #[error("{0:?} is not a directory")]
    File(PathBuf),
}

impl Mistake for NoWay<'_> {
    fn id(&self) -> Id {
        Id(1032)
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
        let Some((origin, path)) = directory(group, config) else {
            continue;
        };
        let found = match origin {
            // Root goes there, before it becomes the user.
            Origin::Chroot => fs::metadata(&path).map_err(|error| Obstacle::of(&path, error)),
            Origin::Home | Origin::User => group.user.reach(&path),
        };
        let cause = match found {
            Ok(found) if found.is_dir() => continue,
            Ok(_) => Cause::File(path),
            Err(obstacle) => Cause::Obstacle(obstacle),
        };
        let no_way = NoWay {
            origin,
            name: group.definition.name().to_string_lossy().into_owned(),
            user: &group.user,
            cause,
        };
        report(group.definition.server(), Err(no_way));
    }
}

/// Where the processes of a group go first, as far as that can be judged from here: what is below another root
/// cannot. Processes of httpd's own user stay where httpd is, unless they have a `home`.
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
