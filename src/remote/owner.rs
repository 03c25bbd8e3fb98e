//! `script-user` and `script-group`: whether a script has the owner that it must have.
//!
//! Checked by httpd's child before a request is sent anywhere: a script that another user could
//! have written is not run by the group.

use std::fs::{self, Metadata};
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use httpd::Status;

use crate::config::ScriptOwner;
use crate::handler::Refusal;

/// Refuses a script if the script or its directory belongs to another user or group, or if others
/// may write to either.
pub(super) fn check(owner: ScriptOwner, script: &Path) -> Result<(), Refusal> {
    let directory = script.parent().unwrap_or(Path::new("/"));
    let (of_script, of_directory) = faults(owner);
    let (no_script, no_directory) = match owner {
        ScriptOwner::Group(_) => (153, 158),
        ScriptOwner::User(_) => (162, 169),
    };
    match fs::metadata(script) {
        Ok(file) => check_file(owner, script, &file, of_script)?,
        // Only the script of a `WSGIHandlerScript` can be missing here, and the worker reports
        // that. The check of the directory ensures that nobody else can create it meanwhile.
        Err(error) if error.kind() == ErrorKind::NotFound && !is_link(script) => {}
        Err(error) => return Err(refused(script, &error.to_string(), no_script)),
    }
    let file = fs::metadata(directory);
    let file = file.map_err(|error| refused(directory, &error.to_string(), no_directory))?;
    check_file(owner, directory, &file, of_directory)
}

/// Whether the path is a dangling link, which may lead to a place where others can create a file.
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

/// What can be wrong with a file.
#[derive(Clone, Copy)]
enum Fault {
    /// Another owner.
    Stranger,
    /// A group that may write to it.
    GroupWrites,
    /// A mode that lets everybody write to it.
    AllWrite,
}

/// The faults for which a script or its directory is refused, in the order of the checks, each with
/// the id of its message.
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
