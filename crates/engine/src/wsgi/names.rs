//! The names of environ variables: how their values behave, and their key objects, which are kept
//! between requests.
//!
//! Making a `str` and computing its hash takes longer than everything else that is done for a
//! variable. For attached threads only; the objects belong to one interpreter.

use std::collections::HashMap;
use std::ffi::CStr;
use std::sync::Mutex;

use super::environ::TYPED;
use crate::lock::lock;
use crate::python::{Attached, Owned, Result, Stored};

/// Variables that usually have the same value in successive requests: those of the server, of the
/// script, and of the client's program.
const STEADY: [&CStr; 35] = [
    c"REQUEST_METHOD",
    c"REQUEST_SCHEME",
    c"SCRIPT_NAME",
    c"CONTEXT_PREFIX",
    c"CONTEXT_DOCUMENT_ROOT",
    c"SERVER_NAME",
    c"SERVER_PORT",
    c"SERVER_ADDR",
    c"SERVER_PROTOCOL",
    c"SERVER_SOFTWARE",
    c"SERVER_ADMIN",
    c"REMOTE_ADDR",
    c"HTTP_HOST",
    c"HTTP_CONNECTION",
    c"HTTP_USER_AGENT",
    c"HTTP_ACCEPT",
    c"HTTP_ACCEPT_ENCODING",
    c"HTTP_ACCEPT_LANGUAGE",
    c"HTTP_CACHE_CONTROL",
    c"HTTP_DNT",
    c"HTTP_UPGRADE_INSECURE_REQUESTS",
    c"HTTP_SEC_FETCH_DEST",
    c"HTTP_SEC_FETCH_MODE",
    c"HTTP_SEC_FETCH_SITE",
    c"HTTP_SEC_FETCH_USER",
    c"HTTP_X_FORWARDED_PROTO",
    c"mod_wsgi.process_group",
    c"mod_wsgi.application_group",
    c"mod_wsgi.callable_object",
    c"mod_wsgi.request_handler",
    c"mod_wsgi.handler_script",
    c"mod_wsgi.script_name",
    c"mod_wsgi.listener_host",
    c"mod_wsgi.listener_port",
    c"mod_wsgi.server_pid",
];

/// Such variables that are paths of files, which are decoded as Python decodes file names.
const PATHS: [&CStr; 2] = [c"DOCUMENT_ROOT", c"SCRIPT_FILENAME"];

/// Variables that applications use often, with different values in each request.
const VARYING: [&CStr; 13] = [
    c"REQUEST_URI",
    c"QUERY_STRING",
    c"PATH_INFO",
    c"REMOTE_PORT",
    c"REMOTE_USER",
    c"CONTENT_TYPE",
    c"CONTENT_LENGTH",
    c"HTTP_COOKIE",
    c"HTTP_REFERER",
    c"HTTP_X_FORWARDED_FOR",
    c"mod_wsgi.path_info",
    c"mod_wsgi.request_id",
    c"mod_wsgi.connection_id",
];

/// How many names that clients have chosen are kept. Clients can send any number.
const MOST_SEEN: usize = 1024;

/// The longest of these names that is kept, in bytes.
const LONGEST_SEEN: usize = 128;

type Map<T> = HashMap<Box<[u8]>, T, foldhash::fast::RandomState>;

/// Names and their key objects.
pub(super) struct Names {
    known: Map<Known>,
    /// Never locked while Python code can run.
    seen: Mutex<Map<Stored>>,
}

/// A name that is known beforehand.
struct Known {
    key: Stored,
    kind: Kind,
}

/// How the values of a variable behave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The value is likely that of the request before.
    Steady,
    /// The same, and it is the path of a file.
    Path,
    /// The value differs between requests, or must not be kept since it may be secret.
    Varying,
    /// The engine sets the value itself.
    Typed,
}

impl Names {
    /// Starts with the names that are known.
    pub(super) fn create(py: Attached<'_>) -> Result<'_, Self> {
        let kinds: [(&[&CStr], Kind); 4] = [
            (&STEADY, Kind::Steady),
            (&PATHS, Kind::Path),
            (&VARYING, Kind::Varying),
            (&TYPED, Kind::Typed),
        ];
        let mut known = Map::default();
        for (names, kind) in kinds {
            for name in names {
                // Interned, as are the keys that are looked up: identity is the fastest comparison.
                let key = py.intern(name)?;
                known.insert(name.to_bytes().into(), Known { key, kind });
            }
        }
        Ok(Self {
            known,
            seen: Mutex::default(),
        })
    }

    /// The key object of a name, and how its values behave.
    pub(super) fn key<'py>(
        &self,
        py: Attached<'py>,
        name: &[u8],
    ) -> Result<'py, (Owned<'py>, Kind)> {
        if let Some(known) = self.known.get(name) {
            return Ok((known.key.bind(py).owned(), known.kind));
        }
        let mut seen = lock(&self.seen);
        if let Some(key) = seen.get(name) {
            return Ok((key.bind(py).owned(), Kind::Varying));
        }
        // As configurations are. Names that differ must not become one, since a client may choose some.
        let key = py.utf8_escaped(name)?;
        if name.len() <= LONGEST_SEEN {
            // A full cache is emptied. Names in use are added again at once, and cannot be
            // displaced for long by names that a client has made up.
            let full = (seen.len() >= MOST_SEEN).then(|| std::mem::take(&mut *seen));
            seen.insert(name.into(), key.stored());
            drop(seen);
            drop(full);
        }
        Ok((key, Kind::Varying))
    }
}
