//! Bugs of our own: the message of a panic goes to the log, with its place in the code.

use std::fmt;
use std::panic::set_hook;

use crate::log::Level;

/// Has the panics of this process reported by `say`; `whose` names the process. The engine reports
/// its own panics: as a separate library it has its own panic hook.
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
