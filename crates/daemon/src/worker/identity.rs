//! Becoming the group's user, before any byte of an application is read.
//!
//! Each step is checked, and then the result as a whole: a worker with wrong ids does not start (in
//! CVE-2014-0240 and CVE-2014-8583 a step failed unnoticed).

use std::collections::BTreeSet;
use std::ffi::{CString, OsString};

use control::{GroupSpec, Identity};
use nix::errno::Errno;
use nix::sys::stat::{Mode, umask};
use nix::unistd::{Gid, Uid, User, chdir, chroot, setgid, setgroups, setuid};
use nix::unistd::{getgrouplist, getgroups, getresgid, getresuid};

use crate::log::{Level, Log};
use crate::worker::describe;

/// Why a worker could not take on its identity.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(super) enum IdentityError {
    /// A step failed.
    #[error("Unable to {step}: {cause}")]
    Step {
        /// The id of the message.
        id: u16,
        /// The step, with its value.
        step: String,
        /// What the system said.
        cause: Errno,
    },
    /// The steps succeeded, yet the process has other ids than it should.
    #[error(
        "Daemon process configuration failed; after changing them it has other user or group ids than {uid}:{gid}, or \
         other supplementary groups than it should"
    )]
    NotDropped {
        /// The uid it should have.
        uid: Uid,
        /// The gid it should have.
        gid: Gid,
    },
}

impl IdentityError {
    /// The id of the message: mod_wsgi's, for the same step.
    pub(super) fn id(&self) -> u16 {
        match self {
            Self::Step { id, .. } => *id,
            Self::NotDropped { .. } => 8,
        }
    }
}

/// Changes root directory, groups, group, user, working directory, umask and environment.
pub(super) fn assume(group: &GroupSpec, log: &Log) -> Result<(), IdentityError> {
    let identity = &group.identity;
    set_locale(group, log);
    let ids = identity.ids.map(|(uid, gid)| Ids::of(identity, uid, gid));
    let ids = ids.transpose()?;
    if let Some(root) = &identity.chroot {
        let step = || format!("change root directory to {root:?}");
        chroot(root.as_os_str())
            .and_then(|()| chdir("/"))
            .map_err(failed(3, step))?;
    }
    if let Some(ids) = ids {
        ids.take(identity)?;
    }
    if identity.no_new_privileges {
        nix::sys::prctl::set_no_new_privs().map_err(failed(25, || {
            "give up the right to gain privileges".to_owned()
        }))?;
    }
    enter_working_directory(identity)?;
    if let Some(mask) = identity.umask {
        umask(Mode::from_bits_truncate(mask));
    }
    set_user_variables();
    Ok(())
}

/// The ids of a worker.
struct Ids {
    uid: Uid,
    gid: Gid,
    /// The supplementary groups, including the primary group.
    groups: Vec<Gid>,
}

impl Ids {
    /// Looks up the groups, unless the configuration names them. To be called before the root
    /// directory is changed: in a `chroot`, whoever may write to its files would decide which
    /// groups a worker has, and which library is loaded to look them up, while the worker still is
    /// root (CVE-2025-32463 was of that kind).
    fn of(identity: &Identity, uid: u32, gid: u32) -> Result<Self, IdentityError> {
        let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
        let name = identity.user_name.as_deref();
        let groups = if let Some(groups) = &identity.supplementary_groups {
            let groups = groups.iter().copied().map(Gid::from_raw);
            std::iter::once(gid).chain(groups).collect()
        } else if let Some(name) = name.and_then(|name| CString::new(name).ok()) {
            let step = || format!("look up the groups of uname={name:?} and gid={gid}");
            getgrouplist(&name, gid).map_err(failed(6, step))?
        } else {
            vec![gid]
        };
        Ok(Self { uid, gid, groups })
    }

    /// Takes the ids on, and verifies the result.
    fn take(&self, identity: &Identity) -> Result<(), IdentityError> {
        let Self { uid, gid, groups } = self;
        setgid(*gid).map_err(failed(4, || format!("set group id to gid={gid}")))?;
        let (id, step) = match (&identity.supplementary_groups, &identity.user_name) {
            (Some(_), _) => (
                5,
                format!("set supplementary groups {groups:?} for uid={uid}"),
            ),
            (None, Some(name)) => (
                6,
                format!("initialise groups for uname={name:?} and gid={gid}"),
            ),
            (None, None) => (6, format!("initialise groups for uid={uid} and gid={gid}")),
        };
        setgroups(groups).map_err(failed(id, || step))?;
        setuid(*uid).map_err(failed(7, || format!("change to uid={uid}")))?;
        self.verify()
    }

    /// Verifies that the real, effective and saved ids and the supplementary groups are as they
    /// should be, and that the process cannot become root again.
    fn verify(&self) -> Result<(), IdentityError> {
        let (uid, gid) = (self.uid, self.gid);
        let user = getresuid().is_ok_and(|ids| [ids.real, ids.effective, ids.saved] == [uid; 3]);
        let group = getresgid().is_ok_and(|ids| [ids.real, ids.effective, ids.saved] == [gid; 3]);
        let groups = getgroups().is_ok_and(|groups| as_set(&groups) == as_set(&self.groups));
        let back_to_root = !uid.is_root() && setuid(Uid::from_raw(0)).is_ok();
        if user && group && groups && !back_to_root {
            Ok(())
        } else {
            Err(IdentityError::NotDropped { uid, gid })
        }
    }
}

/// For comparison: the kernel does not keep the order of groups.
fn as_set(groups: &[Gid]) -> BTreeSet<libc::gid_t> {
    groups.iter().map(|group| group.as_raw()).collect()
}

/// Changes to `home`, or else to the user's home directory if the user is not httpd's.
fn enter_working_directory(identity: &Identity) -> Result<(), IdentityError> {
    if let Some(home) = &identity.home {
        let step = || format!("change working directory to {home:?}");
        return chdir(home.as_os_str()).map_err(failed(9, step));
    }
    let uid = Uid::effective();
    if identity.chroot.is_some() || uid.as_raw() == identity.httpd_uid {
        return Ok(());
    }
    let Some(user) = User::from_uid(uid).ok().flatten() else {
        return Ok(());
    };
    let home = &user.dir;
    let step = || format!("change working directory to home directory {home:?} for uid={uid}");
    chdir(home).map_err(failed(10, step))
}

/// Sets `LANG` and `LC_ALL` for Python, and the locale of the C library.
fn set_locale(group: &GroupSpec, log: &Log) {
    let identity = &group.identity;
    set_variable("LANG", identity.lang.as_ref());
    set_variable("LC_ALL", identity.locale.as_ref());
    let Some(locale) = &identity.locale else {
        return;
    };
    let Ok(name) = CString::new(locale.as_encoded_bytes()) else {
        return;
    };
    // SAFETY: the process still has only one thread, and the name is NUL-terminated.
    if unsafe { libc::setlocale(libc::LC_ALL, name.as_ptr()) }.is_null() {
        log.line(
            Level::Warn,
            79,
            format_args!(
                "Unable to set the locale of {} to {locale:?}, which this system does not have; its \
                 processes go on with the one they have. 'locale -a' shows what there is.",
                describe(group)
            ),
        );
    }
}

/// Sets `HOME` to that of the user, and the variables with the user's name if they are set at all.
fn set_user_variables() {
    let Ok(Some(user)) = User::from_uid(Uid::effective()) else {
        return;
    };
    set_variable("HOME", Some(&user.dir.into_os_string()));
    for name in ["USER", "USERNAME", "LOGNAME"] {
        if std::env::var_os(name).is_some() {
            set_variable(name, Some(&OsString::from(&user.name)));
        }
    }
}

fn set_variable(name: &str, value: Option<&OsString>) {
    if let Some(value) = value {
        // SAFETY: this runs before the process starts its second thread, so no other thread reads
        // or writes the environment.
        unsafe { std::env::set_var(name, value) };
    }
}

fn failed(id: u16, step: impl FnOnce() -> String) -> impl FnOnce(Errno) -> IdentityError {
    move |cause| IdentityError::Step {
        id,
        step: step(),
        cause,
    }
}
