//! Who is inside Python: the count that says when Python may be finalised.
//!
//! CPython cannot be finalised under the feet of a thread: one that attaches afterwards is ended on
//! the spot, with whatever it holds. So every thread of the host passes here before it attaches,
//! and the end of Python waits, up to its deadline, until all of them have left and lets none enter
//! any more.

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

/// Lets nobody enter any more; false if that was so already.
pub(crate) fn close() -> bool {
    GATE.close()
}

/// Waits until all have left; false if some are still inside at the deadline.
pub(crate) fn wait_until_left(deadline: Instant) -> bool {
    GATE.wait_until_left(Some(deadline))
}
