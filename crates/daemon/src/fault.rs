//! Faults of our own: what a panic says goes to the log, with the place.

use std::fmt;
use std::panic::set_hook;

use crate::log::Level;

/// Has the panics of this process told by `say`, as those of what is named. Those of the engine are
/// told by the engine: as a library it has a hook of its own.
pub(crate) fn tell(
    whose: String,
    say: impl Fn(Level, u16, fmt::Arguments<'_>) + Send + Sync + 'static,
) {
    set_hook(Box::new(move |info| {
        let text = info.to_string().replace('\n', " ");
        say(
            Level::Crit,
            1361,
            format_args!("{whose} has a fault: {text}"),
        );
    }));
}
