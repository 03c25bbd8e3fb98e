//! `script-user` and `script-group`: whether a script belongs to whom it must.
//!
//! Asked by httpd's child before a request is sent anywhere: a script that somebody else could
//! have written does not reach the group's processes.

use std::fs::{self, Metadata};
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
    for (path, faults) in [(script, of_script), (directory, of_directory)] {
        let file = fs::metadata(path).map_err(|error| refused(path, &error.to_string(), 153))?;
        for (fault, id) in faults {
            if let Some(objection) = objection(owner, &file, *fault) {
                return Err(refused(path, &objection, *id));
            }
        }
    }
    Ok(())
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

/// What a script is refused for, and its directory, in the order in which it is looked for, each with
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
