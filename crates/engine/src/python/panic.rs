//! Panics: caught before they reach C, and told in the log.
//!
//! A panic is a fault of the engine. It costs one request, not the process: every function that C
//! calls runs its work inside [`catch`]. The panic hook keeps the message and the place off the
//! process's stderr, which is not ours, and remembers them for whoever catches the panic.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook};

thread_local! {
    static LAST: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// A panic that was caught, with its message and place.
#[derive(Debug, thiserror::Error)]
#[error("the engine has a fault: {0}")]
pub(crate) struct Panicked(String);

/// Sets the panic hook of the engine. Other libraries of the process have their own.
pub(crate) fn remember_panics() {
    set_hook(Box::new(|info| {
        let text = info.to_string().replace('\n', " ");
        // Without a place to put it (the thread is ending) the message is lost, no more.
        let _ = LAST.try_with(|last| last.replace(Some(text)));
    }));
}

/// Runs `f`, and stops a panic in it from going further.
pub(crate) fn catch<R>(f: impl FnOnce() -> R) -> Result<R, Panicked> {
    // What a panic may leave half changed is the state of one request or one object,
    // which is given up, or is behind a lock that its users recover.
    catch_unwind(AssertUnwindSafe(f)).map_err(|_| {
        let text = LAST.try_with(RefCell::take).ok().flatten();
        Panicked(text.unwrap_or_else(|| "a panic without a message".to_owned()))
    })
}
