//! A worker whose supervisor has died.
//!
//! httpd notices within a second or so and starts another supervisor, which starts workers. Until
//! the one of this slot serves, this worker goes on: so the death of a supervisor keeps nobody
//! waiting. It does not survive httpd, and it does not wait for ever: its group may be gone from
//! the configuration.

use std::sync::Arc;
use std::time::{Duration, Instant};

use control::Replacement;

use super::server::Server;
use crate::held::HeldProcess;

/// How long a successor may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// What such a worker waits for.
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

    /// Looks whether it is time to leave, and why.
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
