//! Which scripts this process has loaded, with the modification times of their files.
//!
//! A worker does not reload a changed script: it is replaced, so that the modules that the script
//! imported are new as well. httpd looks at the file at every request. If its modification time
//! differs from that of the loaded script, the worker looks at the file itself, before anything
//! runs.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::sync::{PoisonError, RwLock};

use wire::RequestHead;

use crate::log::{Level, Log};

/// A modification time in microseconds since the epoch.
type ModificationTime = i64;

/// The modification time of a file that does not exist.
pub(super) const MISSING: ModificationTime = 0;

/// For a script that has said itself that it must be reloaded. No file has this modification time.
const STALE: ModificationTime = ModificationTime::MIN;

/// The scripts of this process.
#[derive(Debug, Default)]
pub(super) struct Scripts {
    loaded: RwLock<HashMap<Vec<u8>, ModificationTime>>,
}

impl Scripts {
    /// Whether the script was loaded and its file has changed since. `seen` is the modification
    /// time that httpd saw, or [`UNSEEN`](RequestHead::UNSEEN). If it is the one that the script
    /// was loaded with, this does not look at the file.
    pub(super) fn changed(&self, path: &[u8], seen: ModificationTime) -> bool {
        self.loaded(path).is_some_and(|then| {
            let is_as_seen = then == seen && seen != RequestHead::UNSEEN;
            !is_as_seen && then != modification_time(path)
        })
    }

    /// The script has said that it must be reloaded: from now on it counts as changed.
    pub(super) fn expire(&self, path: &[u8]) {
        let mut loaded = self.loaded.write().unwrap_or_else(PoisonError::into_inner);
        loaded.insert(path.to_vec(), STALE);
    }

    /// The modification time of the script as it was loaded, or as the caller is about to load it.
    pub(super) fn mtime(&self, path: &[u8]) -> ModificationTime {
        if let Some(then) = self.loaded(path) {
            return then;
        }
        let now = modification_time(path);
        let mut loaded = self.loaded.write().unwrap_or_else(PoisonError::into_inner);
        *loaded.entry(path.to_vec()).or_insert(now)
    }

    /// The modification time that the script was loaded with, if it was. The lock is never held
    /// while the file system is asked: if that hangs, threads with other scripts must not wait.
    fn loaded(&self, path: &[u8]) -> Option<ModificationTime> {
        let loaded = self.loaded.read().unwrap_or_else(PoisonError::into_inner);
        loaded.get(path).copied()
    }
}

/// Logs if a script does not exist. This can only be one of a `WSGIHandlerScript`; httpd has
/// checked all others.
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
