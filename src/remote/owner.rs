//! `script-user` and `script-group`: whether a script belongs to whom it must.
//!
//! Asked by httpd's child before a request is sent anywhere: a script that somebody else could
//! have written does not reach the group's processes.

use std::fs::{self, Metadata};
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use httpd::Status;

use crate::config::ScriptOwner;
use crate::handler::Refusal;

/// Refuses a script if it, or the directory it is in, belongs to somebody else, or if others may
/// write to either.
pub(super) fn check(owner: ScriptOwner, script: &Path) -> Result<(), Refusal> {
    let directory = script.parent().unwrap_or(Path::new("/"));
    let (of_script, of_directory) = faults(owner);
    let (no_script, no_directory) = match owner {
        ScriptOwner::Group(_) => (153, 158),
        ScriptOwner::User(_) => (162, 169),
    };
    match fs::metadata(script) {
        Ok(file) => check_file(owner, script, &file, of_script)?,
        // Only the one of a handler may be missing. The worker says so; whether anybody could put
        // one there meanwhile says the directory.
        Err(error) if error.kind() == ErrorKind::NotFound && !is_link(script) => {}
        Err(error) => return Err(refused(script, &error.to_string(), no_script)),
    }
    let file = fs::metadata(directory);
    let file = file.map_err(|error| refused(directory, &error.to_string(), no_directory))?;
    check_file(owner, directory, &file, of_directory)
}

/// Whether there is a link, which may lead to where others can put a file.
fn is_link(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok()
}

fn check_file(
    owner: ScriptOwner,
    path: &Path,
    file: &Metadata,
    faults: &[(Fault, u16)],
) -> Result<(), Refusal> {
    let objection = |(fault, id): &(Fault, u16)| Some((objection(owner, file, *fault)?, *id));
    match faults.iter().find_map(objection) {
        Some((objection, id)) => Err(refused(path, &objection, id)),
        None => Ok(()),
    }
}

/// What a file may have that it must not.
#[derive(Clone, Copy)]
enum Fault {
    /// Another owner.
    Stranger,
    /// A group that may write to it.
    GroupWrites,
    /// A mode that lets everybody write to it.
    AllWrite,
}

/// What a script is refused for, and its directory, in the order in which it is looked for, each
/// with the id of its message.
type Faults = &'static [(Fault, u16)];

const fn faults(owner: ScriptOwner) -> (Faults, Faults) {
    use Fault::{AllWrite, GroupWrites, Stranger};
    match owner {
        ScriptOwner::User(_) => (
            &[(Stranger, 164), (GroupWrites, 166), (AllWrite, 168)],
            &[(Stranger, 171), (AllWrite, 172), (GroupWrites, 173)],
        ),
        ScriptOwner::Group(_) => (
            &[(Stranger, 155), (AllWrite, 157)],
            &[(Stranger, 160), (AllWrite, 161)],
        ),
    }
}

/// What is wrong with a file, if it has the fault.
fn objection(owner: ScriptOwner, file: &Metadata, fault: Fault) -> Option<String> {
    let may = |bit: u32| file.mode() & bit != 0;
    match (fault, owner) {
        (Fault::Stranger, ScriptOwner::User(uid)) => (file.uid() != uid)
            .then(|| format!("it belongs to user {} and not to {uid}", file.uid())),
        (Fault::Stranger, ScriptOwner::Group(gid)) => (file.gid() != gid)
            .then(|| format!("it belongs to group {} and not to {gid}", file.gid())),
        (Fault::GroupWrites, _) => may(0o020).then(|| "its group may write to it".to_owned()),
        (Fault::AllWrite, _) => may(0o002).then(|| "everybody may write to it".to_owned()),
    }
}

fn refused(path: &Path, why: &str, id: u16) -> Refusal {
    let text = format!(
        "The process group accepts only what belongs to its script-user or script-group, and \
         {path:?} is refused: {why}."
    );
    Refusal::new(Status::FORBIDDEN, id, text)
}
