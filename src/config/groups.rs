//! What the directives of a configuration say of process groups, while it is read: which there are,
//! and which are meant to be used.
//!
//! Kept with the pool of the configuration, so that a directive can know of those before it. What
//! is true of a group for good is in [`daemon`](super::daemon).

use std::collections::BTreeMap;
use std::ffi::{CStr, CString};

use httpd::directive::ServerId;
use httpd::{Parms, Pool};
use wsgi_config::nearest::UnknownWord;

use crate::config::source::Source;

/// The process groups of a configuration that is being read.
#[derive(Debug, Default)]
pub(super) struct Groups {
    defined: BTreeMap<CString, Place>,
    used: BTreeMap<CString, Source>,
    /// Where virtual hosts have applications run in a group.
    used_in_hosts: Vec<(CString, Place)>,
    /// What is said of groups by their names, without having anything run in them.
    chosen: Vec<Chosen>,
    /// Whether which group is used may depend on a request.
    depend_on_requests: bool,
    /// Whether anything but the alias of a script may say which group it runs in.
    depend_on_places: bool,
}

/// A group that something is said of.
#[derive(Debug)]
struct Chosen {
    name: CString,
    ignore_case: bool,
    source: Source,
}

/// Where a directive stands, and the server that it is read for.
#[derive(Debug)]
struct Place {
    source: Source,
    server: ServerId,
    is_virtual: bool,
}

/// There is a group of this name already.
#[derive(Debug, thiserror::Error)]
#[error("there is a process group of the name \"{name}\" already ({first})")]
pub(super) struct Duplicate {
    name: String,
    first: Source,
}

/// Why a script cannot be loaded when the processes of a group start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(super) enum PreloadError {
    /// There is no such group yet.
    #[error(
        "the process group is not yet configured: {0} (a WSGIDaemonProcess must stand before what \
         is to be loaded in it; process-group=%{{GLOBAL}} means the processes of httpd itself)"
    )]
    Unknown(UnknownWord),
    /// It belongs to another virtual host.
    #[error(
        "the process group \"{0}\" is not accessible here: it was configured in a virtual host of \
         another ServerName"
    )]
    Foreign(String),
    /// Only one of the two hosts has a name so far.
    #[error(
        "the process group \"{0}\" is not matchable: it was configured in another virtual host, and only one \
         of the two has a ServerName so far; each must stand before this directive"
    )]
    Nameless(String),
}

impl Groups {
    /// Notes that the directive being read defines a group.
    pub(super) fn define(parms: &Parms<'_>, name: &CStr) -> Result<(), Duplicate> {
        let mut groups = parms.pool().state::<Self>().borrow_mut();
        match groups.defined.insert(name.to_owned(), Place::of(parms)) {
            None => Ok(()),
            Some(first) => Err(Duplicate {
                name: name.to_string_lossy().into_owned(),
                first: first.source,
            }),
        }
    }

    /// Notes that the directive being read has applications run in a group.
    pub(super) fn mention(parms: &Parms<'_>, name: &CStr) {
        let mut groups = parms.pool().state::<Self>().borrow_mut();
        if name.to_bytes().starts_with(b"%{") {
            groups.depend_on_requests = true;
        } else if !name.is_empty() {
            let source = Source::of(parms);
            groups.used.entry(name.to_owned()).or_insert(source);
        }
    }

    /// Notes that the directive being read is about a group, and has nothing run in it. Whether the
    /// case of letters counts is for that directive to say.
    pub(super) fn choose(parms: &Parms<'_>, name: &CStr, ignore_case: bool) {
        let mut groups = parms.pool().state::<Self>().borrow_mut();
        if !name.is_empty() {
            groups.chosen.push(Chosen {
                name: name.to_owned(),
                ignore_case,
                source: Source::of(parms),
            });
        }
    }

    /// Notes that the directive being read leaves it to requests where they go.
    pub(super) fn leave_to_requests(parms: &Parms<'_>) {
        let mut groups = parms.pool().state::<Self>().borrow_mut();
        groups.depend_on_requests = true;
        groups.depend_on_places = true;
    }

    /// Notes that the directive being read has the applications of a place run in a group.
    pub(super) fn mention_for_place(parms: &Parms<'_>, name: &CStr) {
        Self::mention(parms, name);
        let mut groups = parms.pool().state::<Self>().borrow_mut();
        groups.depend_on_places = true;
        if parms.is_virtual() {
            let used = (name.to_owned(), Place::of(parms));
            groups.used_in_hosts.push(used);
        }
    }

    /// Whether the processes of a group can load a script of the server that is being read.
    pub(super) fn check_preload(parms: &Parms<'_>, name: &CStr) -> Result<(), PreloadError> {
        let groups = parms.pool().state::<Self>().borrow();
        let Some(defined) = groups.defined.get(name) else {
            return Err(PreloadError::Unknown(groups.unknown(name)));
        };
        let name = || name.to_string_lossy().into_owned();
        if !defined.is_virtual || defined.server == parms.server_id() {
            return Ok(());
        }
        match (parms.hostname_of(defined.server), parms.hostname()) {
            (Some(there), Some(here)) if there == here => Ok(()),
            (Some(_), Some(_)) => Err(PreloadError::Foreign(name())),
            (None, None) => Ok(()),
            _ => Err(PreloadError::Nameless(name())),
        }
    }

    /// The groups of a configuration that has been read, looked at by `body`.
    pub(super) fn inspect<T>(pool: Pool<'_>, body: impl FnOnce(&Self) -> T) -> T {
        body(&pool.state::<Self>().borrow())
    }

    /// Whether a script runs in httpd's own processes unless its own directive names a group.
    pub(super) fn are_named_by_scripts_alone(&self) -> bool {
        !self.depend_on_places
    }

    /// Whether which group is used may depend on a request.
    pub(super) fn depend_on_requests(&self) -> bool {
        self.depend_on_requests
    }

    /// Says that `name` is none of the groups.
    fn unknown(&self, name: &CStr) -> UnknownWord {
        let names: Vec<String> = self
            .defined
            .keys()
            .map(|name| name.to_string_lossy().into_owned())
            .collect();
        UnknownWord::among_names(name.to_bytes(), &names)
    }

    /// Where a group is defined.
    pub(super) fn source(&self, name: &CStr) -> Option<&Source> {
        self.defined.get(name).map(|place| &place.source)
    }

    /// The groups that applications are meant to run in and that nothing defines, and where that
    /// was said first.
    pub(super) fn used_in_vain(&self) -> impl Iterator<Item = (UnknownWord, &Source)> {
        self.used
            .iter()
            .filter(|(name, _)| !self.defined.contains_key(*name))
            .map(|(name, source)| (self.unknown(name), source))
    }

    /// Where something in a virtual host has applications run in this group, and in which.
    pub(super) fn used_in_hosts(&self, name: &CStr) -> impl Iterator<Item = (ServerId, &Source)> {
        self.used_in_hosts
            .iter()
            .filter(move |(used, _)| used.as_c_str() == name)
            .map(|(_, place)| (place.server, &place.source))
    }

    /// The groups that something is said of and that nothing defines, and where that is.
    pub(super) fn chosen_in_vain(&self) -> impl Iterator<Item = (UnknownWord, &Source)> {
        self.chosen
            .iter()
            .filter(|chosen| !self.defined.keys().any(|name| chosen.is(name)))
            .map(|chosen| (self.unknown(&chosen.name), &chosen.source))
    }

    /// Whether no application runs in this group, as far as can be known before any request.
    pub(super) fn is_idle(&self, name: &CStr) -> bool {
        !self.depend_on_requests && !self.used.contains_key(name)
    }
}

impl Chosen {
    /// Whether this group is meant.
    fn is(&self, name: &CStr) -> bool {
        match self.ignore_case {
            true => self.name.as_bytes().eq_ignore_ascii_case(name.to_bytes()),
            false => self.name.as_c_str() == name,
        }
    }
}

impl Place {
    fn of(parms: &Parms<'_>) -> Self {
        Self {
            source: Source::of(parms),
            server: parms.server_id(),
            is_virtual: parms.is_virtual(),
        }
    }
}
