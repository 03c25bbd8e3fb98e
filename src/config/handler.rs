//! `WSGIHandlerScript`: handlers that scripts implement, for `SetHandler` and its relatives.
//!
//! Read while httpd reads its configuration, then shared, unchanged, by all threads.

use std::collections::BTreeMap;
use std::ffi::{CStr, CString};
use std::fmt;
use std::sync::Arc;

use httpd::directive::ServerId;
use httpd::{Parms, Pool, Refusal};
use wsgi_config::group::Group;
use wsgi_config::handler_script::HandlerScript as Words;

use crate::config::c_string;
use crate::config::checks::check_forms;
use crate::config::groups::Groups;
use crate::config::source::Source;

/// A handler: its script, and how that is to be run. Names are as written, save that `%{GLOBAL}`
/// is empty.
#[derive(Debug)]
pub(crate) struct HandlerScript {
    name: CString,
    /// The path of the script.
    pub(crate) script: CString,
    pub(crate) process_group: Option<CString>,
    pub(crate) application_group: Option<CString>,
    pub(crate) pass_authorization: Option<bool>,
    source: Source,
}

/// The handlers that may be used in one place, by name.
#[derive(Clone, Debug, Default)]
pub(crate) struct Handlers(BTreeMap<CString, Arc<HandlerScript>>);

/// All handlers of a configuration that is being read, and the servers they were written in.
#[derive(Debug, Default)]
struct Written(Vec<(ServerId, Arc<HandlerScript>)>);

impl HandlerScript {
    /// Reads the arguments of `WSGIHandlerScript`.
    pub(super) fn parse(parms: &Parms<'_>, arguments: &CStr) -> Result<Arc<Self>, Refusal> {
        let words = Words::parse(arguments.to_bytes())?;
        let group = |group: Group| c_string(group.as_bytes());
        let handler = Arc::new(Self {
            name: c_string(words.name),
            script: c_string(words.script),
            process_group: words.options.process_group.map(group),
            application_group: words.options.application_group.map(group),
            pass_authorization: words.options.pass_authorization,
            source: Source::of(parms),
        });
        let groups = [&handler.process_group, &handler.application_group];
        check_forms(parms, groups.into_iter().flatten().map(|group| &**group));
        if let Some(group) = &handler.process_group {
            Groups::mention(parms, group);
        }
        let mut written = parms.pool().state::<Written>().borrow_mut();
        written.0.push((parms.server_id(), Arc::clone(&handler)));
        Ok(handler)
    }

    /// The name.
    pub(super) fn name(&self) -> &[u8] {
        self.name.to_bytes()
    }

    /// Looks, with `body`, at each handler of a configuration that has been read, and at the server
    /// it was written in.
    pub(super) fn for_each_written(pool: Pool<'_>, mut body: impl FnMut(ServerId, &Self)) {
        for (server, handler) in &pool.state::<Written>().borrow().0 {
            body(*server, handler);
        }
    }
}

impl fmt::Display for HandlerScript {
    /// As messages name it: `WSGIHandlerScript report-handler (/etc/httpd/report.conf:12)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.name.to_string_lossy();
        write!(f, "WSGIHandlerScript {name} ({})", self.source)
    }
}

impl Handlers {
    /// Adds a handler, in place of one of the same name.
    pub(super) fn add(&mut self, handler: Arc<HandlerScript>) {
        self.0.insert(handler.name.clone(), handler);
    }

    /// The handler of this name.
    pub(crate) fn find(&self, name: &CStr) -> Option<&HandlerScript> {
        self.0.get(name).map(Arc::as_ref)
    }

    /// Those of both places; of two with one name that of the inner one.
    pub(super) fn merged(outer: &Self, inner: &Self) -> Self {
        let mut all = outer.0.clone();
        let inner = inner.0.iter();
        all.extend(inner.map(|(name, handler)| (name.clone(), Arc::clone(handler))));
        Self(all)
    }
}
