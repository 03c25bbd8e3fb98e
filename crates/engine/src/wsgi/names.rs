//! The key objects of environ variables, kept between requests.
//!
//! Making a `str` and computing its hash costs more than everything else that is done for a
//! variable. Attached threads only, one interpreter's objects.

use std::collections::HashMap;
use std::ffi::CStr;
use std::sync::{Mutex, PoisonError};

use crate::python::{Attached, Owned, Result, Stored};

/// How many names of clients' choice are kept. A client can send any number.
const MOST_SEEN: usize = 1024;

/// The longest of them.
const LONGEST_SEEN: usize = 128;

type Map<T> = HashMap<Box<[u8]>, T, foldhash::fast::RandomState>;

/// Names and their key objects.
pub(super) struct Names {
    known: Map<Known>,
    /// Never locked while Python code can run.
    seen: Mutex<Map<Stored>>,
}

/// A name that is known beforehand.
pub(super) struct Known {
    pub(super) key: Stored,
    pub(super) kind: Kind,
}

/// What is known of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// It has a place, by which it is told whether it was set.
    Placed(usize),
    /// The same, and it names a file.
    PlacedPath(usize),
    /// It is for the engine to set.
    Typed,
}

impl Names {
    /// Starts with the names that are known.
    pub(super) fn create<'py, 'a>(
        py: Attached<'py>,
        known: impl Iterator<Item = (&'a CStr, Kind)>,
    ) -> Result<'py, Self> {
        let known = known.map(|(name, kind)| {
            let key = py.intern(name)?;
            Ok((name.to_bytes().into(), Known { key, kind }))
        });
        Ok(Self {
            known: known.collect::<Result<'py, _>>()?,
            seen: Mutex::default(),
        })
    }

    /// What is known of a name.
    pub(super) fn known(&self, name: &[u8]) -> Option<&Known> {
        self.known.get(name)
    }

    /// The key object of any other name.
    pub(super) fn key<'py>(&self, py: Attached<'py>, name: &[u8]) -> Result<'py, Owned<'py>> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(key) = seen.get(name) {
            return Ok(key.bind(py).owned());
        }
        let key = py.latin1(name)?;
        if name.len() <= LONGEST_SEEN {
            // A full cache begins anew. What is in use comes back at once, and names that a
            // client made up cannot keep it out.
            let full = (seen.len() >= MOST_SEEN).then(|| std::mem::take(&mut *seen));
            seen.insert(name.into(), key.stored());
            drop(seen);
            drop(full);
        }
        Ok(key)
    }
}
