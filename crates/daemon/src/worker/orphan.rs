//! A worker whose supervisor has died.
//!
//! httpd notices within about a second and starts another supervisor, which starts workers. This
//! worker serves until the new one of its slot does, so no request waits because a supervisor died.
//! It ends when httpd does, and after a time limit, since its group may have been removed from the
//! configuration.

use std::sync::Arc;
use std::time::{Duration, Instant};

use control::Replacement;

use super::server::Server;
use crate::held::HeldProcess;

/// How long a successor may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// The conditions under which such a worker ends.
pub(super) struct Orphan {
    server: Arc<Server>,
    httpd: Arc<HeldProcess>,
    deadline: Instant,
}

impl Orphan {
    /// The supervisor has just died.
    pub(super) fn new(server: &Arc<Server>, httpd: &Arc<HeldProcess>) -> Self {
        Self {
            server: server.clone(),
            httpd: httpd.clone(),
            deadline: Instant::now() + PATIENCE,
        }
    }

    /// Checks whether it is time to leave. Returns why.
    pub(super) fn look(&self) -> Option<Replacement> {
        if !self.httpd.is_running() {
            Some(Replacement::ShutdownSignal)
        } else if self.server.is_succeeded() || self.deadline <= Instant::now() {
            Some(Replacement::GracefulSignal)
        } else {
            self.server.stand_in();
            None
        }
    }
}
