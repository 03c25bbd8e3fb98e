//! Application groups whose interpreter could not be made: what was wrong, and when it is tried again.
//!
//! Making an interpreter costs a hundred times what a request does, and every failure is several lines
//! in the log. So after one, the requests of the group are refused at once for a while: a second at
//! first, up to a minute when it goes on failing. Whoever mends the cause, a module that is missing for
//! one, waits no longer than that, and need not restart anything.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::CreateError;

const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

static FAILED: Mutex<Option<HashMap<Box<[u8]>, Failure>>> = Mutex::new(None);

struct Failure {
    why: String,
    pause: Duration,
    again: Instant,
}

/// Refuses a group whose interpreter is not to be tried again yet.
pub(super) fn check(group: &[u8]) -> Result<(), CreateError> {
    let failed = lock();
    let Some(failure) = failed.as_ref().and_then(|failed| failed.get(group)) else {
        return Ok(());
    };
    match failure.again.checked_duration_since(Instant::now()) {
        Some(rest) if !rest.is_zero() => Err(CreateError::Recently {
            why: failure.why.clone(),
            // Rounded up: 0 would be now.
            seconds: rest.as_secs() + 1,
        }),
        _ => Ok(()),
    }
}

/// Remembers how an attempt went.
pub(super) fn note<T>(group: &[u8], attempt: &Result<T, CreateError>) {
    let mut failed = lock();
    match attempt {
        Ok(_) => {
            if let Some(failed) = failed.as_mut() {
                failed.remove(group);
            }
        }
        Err(error) => {
            let failed = failed.get_or_insert_default();
            let before = failed.get(group).map(|failure| failure.pause);
            let pause = before.map_or(FIRST_PAUSE, |pause| LONGEST_PAUSE.min(pause * 2));
            let failure = Failure {
                why: error.to_string(),
                pause,
                again: Instant::now() + pause,
            };
            failed.insert(group.into(), failure);
        }
    }
}

fn lock() -> MutexGuard<'static, Option<HashMap<Box<[u8]>, Failure>>> {
    // A panic while the guard is held leaves every entry whole.
    FAILED.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_remembered_until_an_attempt_succeeds() {
        let group = b"failing";
        assert!(check(group).is_ok());
        for pause in [1, 2, 4, 8, 16, 32, 60, 60] {
            note::<()>(group, &Err(CreateError::Refused));
            let Err(CreateError::Recently { why, seconds }) = check(group) else {
                panic!("it is tried at once");
            };
            assert_eq!((why, seconds), (CreateError::Refused.to_string(), pause));
            assert!(check(b"another").is_ok());
        }
        note(group, &Ok(()));
        assert!(check(group).is_ok());
    }
}
