//! Counts the threads of the host that use Python, so that Python is finalised only when there are
//! none.
//!
//! After the finalisation, CPython ends each thread that tries to attach, together with whatever
//! locks it holds. So every thread of the host enters here before it attaches. The end of Python
//! lets no thread enter any more, and waits up to its deadline until all have left.

use std::time::Instant;

use crate::gate::{Gate, Inside};

static GATE: Gate = Gate::new();

/// Enters, unless Python is ending.
pub(crate) fn enter() -> Option<Inside<'static>> {
    GATE.enter()
}

/// Whether more than one thread is inside.
pub(crate) fn is_shared() -> bool {
    GATE.is_shared()
}

/// Lets no thread enter any more; false if that was so already.
pub(crate) fn close() -> bool {
    GATE.close()
}

/// Waits until all have left; false if some are still inside at the deadline.
pub(crate) fn wait_until_left(deadline: Instant) -> bool {
    GATE.wait_until_left(Some(deadline))
}
