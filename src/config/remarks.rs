//! What is remarked about directives while they are read.
//!
//! A server that starts has no log yet when it reads the configuration that it is going to run
//! with, and no standard error any more. So remarks are kept until there is a log.

use std::fmt;

use httpd::directive::ServerId;
use httpd::process::{self, Phase};
use httpd::{Level, Log, Parms, Pool, Server};

use crate::Wsgi;
use crate::config::source::Source;
use crate::log::{self, Id};

/// What was remarked about the directives of a configuration, in the order in which they were read.
#[derive(Debug, Default)]
struct Remarks(Vec<Remark>);

#[derive(Debug)]
struct Remark {
    server: ServerId,
    level: Level,
    id: Id,
    text: String,
}

/// Remarks something about the directive that is being read, and where it stands. A server that
/// starts reads its configuration twice, and is told once.
pub(super) fn remark(parms: &Parms<'_>, level: Level, id: Id, text: impl fmt::Display) {
    let text = format!("{text} ({})", Source::of(parms));
    match process::phase() {
        // What a `.htaccess` file says is gone with its request.
        Phase::Serving => log::line(parms.log(), level, id, text),
        Phase::Rehearsal | Phase::Dump => {}
        Phase::Test | Phase::Run => {
            let server = parms.server_id();
            let remark = Remark {
                server,
                level,
                id,
                text,
            };
            parms.pool().state::<Remarks>().borrow_mut().0.push(remark);
        }
    }
}

/// Writes down what was remarked about a configuration that has been read, each in the log of its
/// server.
pub(super) fn write_down(pool: Pool<'_>, base: Server<'_>) {
    for remark in &pool.state::<Remarks>().borrow().0 {
        let server = base.iter().find(|server| server.id() == remark.server);
        let log = Log::of_server::<Wsgi>(server.unwrap_or(base));
        log::line(log, remark.level, remark.id, &remark.text);
    }
}
