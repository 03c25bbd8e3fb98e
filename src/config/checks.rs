//! Mistakes in a configuration that are no errors: they cost one site, not the server.
//!
//! Looked for once httpd has read everything: when it tests its configuration, and when it starts
//! with it. Nothing is changed, started or written. Each is a warning with an id, explained in
//! `docs/errors.md`, in the log of the server whose site it concerns.

mod directories;
mod embedded;
mod groups;
mod interpreters;
mod python;
mod scripts;
mod users;
mod words;

use std::fmt;

use httpd::{Level, Pool, Server};

pub(super) use words::{WordMistake, check_forms, report_while_reading};

use crate::config::access::User;
use crate::config::daemon::{DaemonDefinition, daemons};
use crate::config::remarks;
use crate::log::{self, Id};

/// A mistake that is no error; its text says what is wrong and what to do.
trait Mistake: fmt::Display {
    /// The id of its message.
    fn id(&self) -> Id;
}

/// A configuration that has been read, as the checks see it.
struct Checked<'c> {
    /// The pool it lives in.
    pool: Pool<'c>,
    base: Server<'c>,
    /// As whom requests are served.
    children: User,
    groups: Vec<Group<'c>>,
}

/// A process group.
struct Group<'c> {
    definition: DaemonDefinition<'c>,
    /// As whom its applications run.
    user: User,
}

impl<'c> Checked<'c> {
    fn new(pool: Pool<'c>, base: Server<'c>) -> Self {
        let group = |definition| Group {
            user: User::of_group(&definition),
            definition,
        };
        Self {
            pool,
            base,
            children: User::of_children(),
            groups: daemons(base).map(group).collect(),
        }
    }
}

/// Reports the mistakes of a configuration, which lives in `pool`.
pub(crate) fn check(pool: Pool<'_>, base: Server<'_>) {
    remarks::write_down(pool, base);
    let config = Checked::new(pool, base);
    python::check(&config);
    directories::check(&config);
    embedded::check(&config);
    interpreters::check(&config);
    groups::check(&config);
    scripts::check(&config);
    users::check(&config);
    words::check(&config);
}

/// Reports what a check found, if anything.
fn report<M: Mistake>(server: Server<'_>, checked: Result<(), M>) {
    if let Err(mistake) = checked {
        log::server(server, Level::WARN, mistake.id(), mistake);
    }
}
