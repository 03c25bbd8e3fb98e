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
    for path in [script, directory] {
        let file = fs::metadata(path).map_err(|error| refused(path, &error.to_string()))?;
        if let Some(objection) = objection(owner, &file) {
            return Err(refused(path, &objection));
        }
    }
    Ok(())
}

/// What is wrong with a file, if anything is.
fn objection(owner: ScriptOwner, file: &Metadata) -> Option<String> {
    let (gid, mode) = (file.gid(), file.mode());
    match owner {
        ScriptOwner::User(uid) if file.uid() != uid => Some(format!(
            "it belongs to user {} and not to {uid}",
            file.uid()
        )),
        ScriptOwner::Group(group) if gid != group => {
            Some(format!("it belongs to group {gid} and not to {group}"))
        }
        ScriptOwner::User(_) if mode & 0o020 != 0 => Some("its group may write to it".to_owned()),
        _ if mode & 0o002 != 0 => Some("everybody may write to it".to_owned()),
        _ => None,
    }
}

fn refused(path: &Path, why: &str) -> Refusal {
    let text = format!(
        "The process group accepts only what belongs to its script-user or script-group, and \
         {path:?} is refused: {why}."
    );
    Refusal::new(Status::FORBIDDEN, 153, text)
}
