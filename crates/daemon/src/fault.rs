//! Faults of our own: what a panic says goes to the log, with the place.

use std::panic::set_hook;
use std::sync::Arc;

use crate::log::{Level, Log};

/// Has the panics of this process told in `log`, as those of what is named. Those of the engine are told by
/// the engine: as a library it has a hook of its own.
pub(crate) fn tell(log: Arc<Log>, whose: String) {
    set_hook(Box::new(move |info| {
        let text = info.to_string().replace('\n', " ");
        log.line(
            Level::Crit,
            1361,
            format_args!("{whose} has a fault: {text}"),
        );
    }));
}
