//! Whether the user that requests are served as, or applications are run as, can get at a file.
//!
//! Asked while httpd tests its configuration or starts, usually as root, who could open anything:
//! so it is worked out from what the file system says of each directory on the way, instead of
//! tried.

use std::fmt;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use httpd::child_user::ChildUser;
use nix::unistd::{Gid, Uid, getegid, geteuid, getgrouplist, getgroups};
use wsgi_config::permission::{Credentials, Ownership, Want};

use crate::config::c_string;
use crate::config::daemon::{DaemonDefinition, RunAs};

/// A user of the system: the one that requests are served as, or that a process group runs as.
#[derive(Clone, Debug)]
pub(super) struct User {
    name: String,
    credentials: Credentials,
}

/// Why the user cannot get at a file: the first thing on the way that is in the way.
#[derive(Debug)]
pub(super) enum Obstacle {
    /// This does not exist.
    Missing(PathBuf),
    /// This does not let the user do what is wanted.
    Closed {
        path: PathBuf,
        want: Want,
        mode: u32,
    },
    /// This could not be looked at.
    Failed(PathBuf, io::Error),
}

impl User {
    /// The user that httpd's children run as: that of `User` and `Group`, or whoever started httpd
    /// if that is not root.
    pub(super) fn of_children() -> Self {
        if !geteuid().is_root() {
            return Self::current();
        }
        let child = ChildUser::configured();
        let primary = Gid::from_raw(child.gid);
        let groups = getgrouplist(child.name, primary).unwrap_or_else(|_| vec![primary]);
        Self::new(
            child.name.to_string_lossy().into_owned(),
            child.uid,
            &groups,
        )
    }

    /// The user that a process group runs as: its own only if root starts httpd.
    pub(super) fn of_group(definition: &DaemonDefinition<'_>) -> Self {
        if !geteuid().is_root() {
            return Self::current();
        }
        let RunAs { name, uid, gid } = definition.user();
        let primary = Gid::from_raw(gid);
        let others = match (definition.supplementary_groups(), &name) {
            (Some(groups), _) => groups.into_iter().map(Gid::from_raw).collect(),
            (None, Some(name)) => {
                let name = c_string(name.as_str());
                getgrouplist(&name, primary).unwrap_or_default()
            }
            (None, None) => Vec::new(),
        };
        let groups: Vec<Gid> = others.into_iter().chain([primary]).collect();
        Self::new(name.unwrap_or_else(|| format!("#{uid}")), uid, &groups)
    }

    fn current() -> Self {
        let mut groups = getgroups().unwrap_or_default();
        groups.push(getegid());
        let uid = geteuid().as_raw();
        Self::new(format!("#{uid}"), uid, &groups)
    }

    fn new(name: String, uid: u32, groups: &[Gid]) -> Self {
        let groups = groups.iter().map(|group| group.as_raw()).collect();
        Self {
            name,
            credentials: Credentials { uid, groups },
        }
    }

    /// Whether this is its number.
    pub(super) fn is(&self, uid: Uid) -> bool {
        self.credentials.uid == uid.as_raw()
    }

    /// Follows `path` to the directory it names, or to the file it names or leads through, which
    /// this user must be able to read, and returns what it found there.
    pub(super) fn reach(&self, path: &Path) -> Result<Metadata, Obstacle> {
        self.follow(path, Some(Want::Read))
    }

    /// The same, if it is enough to know that the file is there.
    pub(super) fn find(&self, path: &Path) -> Result<Metadata, Obstacle> {
        self.follow(path, None)
    }

    fn follow(&self, path: &Path, of_file: Option<Want>) -> Result<Metadata, Obstacle> {
        let (found, metadata) = self.walk(path, of_file)?;
        // The same again without symbolic links: their targets may lie behind other directories.
        match fs::canonicalize(&found) {
            Ok(real) if real != found => self.walk(&real, of_file).map(|_| metadata),
            _ => Ok(metadata),
        }
    }

    fn walk(&self, path: &Path, of_file: Option<Want>) -> Result<(PathBuf, Metadata), Obstacle> {
        // Without the slash at its end, which would make a file "not a directory".
        let path = path.components().as_path();
        let is_step = |step: &&Path| !step.as_os_str().is_empty();
        let mut steps: Vec<&Path> = path.ancestors().filter(is_step).collect();
        let mut last = None;
        while let Some(step) = steps.pop() {
            let metadata = fs::metadata(step).map_err(|error| Obstacle::of(step, error))?;
            let is_directory = metadata.is_dir();
            let want = if is_directory {
                Some(Want::Search)
            } else {
                of_file
            };
            if let Some(want) = want {
                self.check(step, &metadata, want)?;
            }
            last = Some((step.to_owned(), metadata));
            if !is_directory {
                break;
            }
        }
        last.ok_or_else(|| Obstacle::Missing(path.to_owned()))
    }

    fn check(&self, path: &Path, metadata: &Metadata, want: Want) -> Result<(), Obstacle> {
        let ownership = Ownership {
            uid: metadata.uid(),
            gid: metadata.gid(),
            mode: metadata.mode(),
        };
        if self.credentials.allow(ownership, want) || has_access_list(path) {
            return Ok(());
        }
        Err(Obstacle::Closed {
            path: path.to_owned(),
            want,
            mode: ownership.mode & 0o7777,
        })
    }
}

impl fmt::Display for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.name.fmt(f)
    }
}

/// Whether more than the mode decides who may open a file. Then only the kernel can tell, and it
/// is not accused.
fn has_access_list(path: &Path) -> bool {
    matches!(xattr::get(path, "system.posix_acl_access"), Ok(Some(_)))
}

impl Obstacle {
    /// What a failed look at `path` comes to.
    pub(super) fn of(path: &Path, error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::NotFound => Self::Missing(path.to_owned()),
            _ => Self::Failed(path.to_owned(), error),
        }
    }
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(path) => write!(f, "{} does not exist", path.display()),
            Self::Closed { path, want, mode } => {
                let (permission, bit) = match want {
                    Want::Read => ("read", "r"),
                    Want::Search => ("search", "x"),
                };
                let path = path.display();
                write!(
                    f,
                    "{path} (mode {mode:04o}) gives it no {permission} permission; \
                     chmod o+{bit} {path} would"
                )
            }
            Self::Failed(path, error) => write!(f, "{}: {error}", path.display()),
        }
    }
}
