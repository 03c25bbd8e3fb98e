//! Which scripts this process has loaded, as they were then.
//!
//! A worker does not load a changed script anew: it is replaced, so that what the script imported
//! is new as well. Whether a script changed is asked of the file system at every request, before
//! anything runs: by httpd, and where it finds another file than was loaded, here.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::sync::{PoisonError, RwLock};

use wire::RequestHead;

use crate::log::{Level, Log};

/// A modification time in microseconds since the epoch.
type ModificationTime = i64;

/// That of a file that is not there.
pub(super) const MISSING: ModificationTime = 0;

/// What no file's modification time is: of a script that says itself that it must be loaded anew.
const STALE: ModificationTime = ModificationTime::MIN;

/// The scripts of this process.
#[derive(Debug, Default)]
pub(super) struct Scripts {
    loaded: RwLock<HashMap<Vec<u8>, ModificationTime>>,
}

impl Scripts {
    /// Whether the script was loaded and its file differs now. `seen` is the time of its
    /// modification as httpd saw it, or [`UNSEEN`](RequestHead::UNSEEN); where that is the time it
    /// was loaded with, the file is not looked at.
    pub(super) fn changed(&self, path: &[u8], seen: ModificationTime) -> bool {
        self.loaded(path).is_some_and(|then| {
            let is_as_seen = then == seen && seen != RequestHead::UNSEEN;
            !is_as_seen && then != modification_time(path)
        })
    }

    /// The script says that it must be loaded anew: from now on it is one that changed.
    pub(super) fn expire(&self, path: &[u8]) {
        let mut loaded = self.loaded.write().unwrap_or_else(PoisonError::into_inner);
        loaded.insert(path.to_vec(), STALE);
    }

    /// The modification time of the script as it is loaded, or will be by whoever asks now.
    pub(super) fn mtime(&self, path: &[u8]) -> ModificationTime {
        if let Some(then) = self.loaded(path) {
            return then;
        }
        let now = modification_time(path);
        let mut loaded = self.loaded.write().unwrap_or_else(PoisonError::into_inner);
        *loaded.entry(path.to_vec()).or_insert(now)
    }

    /// The modification time that the script was loaded with, if it was. Nobody asks the file
    /// system with the lock held: a file system that hangs would have all threads wait, whatever
    /// their scripts are.
    fn loaded(&self, path: &[u8]) -> Option<ModificationTime> {
        let loaded = self.loaded.read().unwrap_or_else(PoisonError::into_inner);
        loaded.get(path).copied()
    }
}

/// Says so if a script is not there. That is one that implements a handler: of others, httpd has
/// looked.
pub(super) fn check_presence(path: &[u8], log: &Log) {
    if let Err(error) = fs::metadata(OsStr::from_bytes(path)) {
        let script = String::from_utf8_lossy(path);
        let text = format!("Unable to stat target handler script '{script}': {error}.");
        log.line(Level::Warn, 82, text);
    }
}

fn modification_time(path: &[u8]) -> ModificationTime {
    engine_abi::modification_time(path).unwrap_or(MISSING)
}
