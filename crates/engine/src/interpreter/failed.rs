//! Application groups whose interpreter could not be made: the reason, and when it is tried again.
//!
//! Making an interpreter takes a hundred times as long as a request, and each failure logs several
//! lines. So after a failure, requests of the group are refused at once for a while: for a second
//! at first, for up to a minute if it fails repeatedly. When the cause is removed, such as a
//! missing module, the group works again after that time, without a restart.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use super::CreateError;
use crate::lock::lock;

const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// How many groups are remembered. The number is limited since clients may choose the names.
const MOST: usize = 256;

type Failures = HashMap<Box<[u8]>, Failure>;

static FAILED: Mutex<Option<Failures>> = Mutex::new(None);

struct Failure {
    why: String,
    pause: Duration,
    again: Instant,
}

/// Refuses a group whose interpreter must not be tried again yet.
pub(super) fn check(group: &[u8]) -> Result<(), CreateError> {
    let failed = failures();
    let Some(failure) = failed.as_ref().and_then(|failed| failed.get(group)) else {
        return Ok(());
    };
    match failure.again.checked_duration_since(Instant::now()) {
        Some(rest) if !rest.is_zero() => Err(CreateError::Recently {
            why: failure.why.clone(),
            // Rounded up, so that it is never 0.
            seconds: rest.as_secs() + 1,
        }),
        _ => Ok(()),
    }
}

/// Remembers how an attempt went.
pub(super) fn note<T>(group: &[u8], attempt: &Result<T, CreateError>) {
    let mut failed = failures();
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
            let now = Instant::now();
            let failure = Failure {
                why: error.to_string(),
                pause,
                again: now + pause,
            };
            make_room(failed, group, now);
            failed.insert(group.into(), failure);
        }
    }
}

/// Forgets groups that were not requested for some time after they could be tried again, and then
/// as many more as necessary to remember `group`, those first that can be tried soonest.
fn make_room(failed: &mut Failures, group: &[u8], now: Instant) {
    failed.retain(|_, failure| now < failure.again + LONGEST_PAUSE);
    while failed.len() >= MOST && !failed.contains_key(group) {
        let soonest = failed.iter().min_by_key(|(_, failure)| failure.again);
        let Some(name) = soonest.map(|(name, _)| name.clone()) else {
            return;
        };
        failed.remove(&name);
    }
}

fn failures() -> MutexGuard<'static, Option<Failures>> {
    // No panic can leave an entry half changed.
    lock(&FAILED)
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

    fn failing_until(again: Instant) -> Failure {
        Failure {
            why: String::new(),
            pause: FIRST_PAUSE,
            again,
        }
    }

    #[test]
    fn what_nobody_asks_for_any_more_is_forgotten() {
        let now = Instant::now() + 3 * LONGEST_PAUSE;
        let mut failed = Failures::from([
            ((*b"old").into(), failing_until(now - LONGEST_PAUSE)),
            ((*b"due").into(), failing_until(now - FIRST_PAUSE)),
        ]);
        make_room(&mut failed, b"new", now);
        assert_eq!(failed.into_keys().collect::<Vec<_>>(), [(*b"due").into()]);
    }

    #[test]
    fn no_more_than_so_many_are_remembered() {
        let now = Instant::now();
        let mut failed = Failures::new();
        for number in 0..2 * MOST {
            let name = number.to_string();
            make_room(&mut failed, name.as_bytes(), now);
            let again = now + FIRST_PAUSE * u32::try_from(number).unwrap();
            failed.insert(name.into_bytes().into(), failing_until(again));
            assert!(failed.len() <= MOST);
        }
        let last = (2 * MOST - 1).to_string();
        assert!(failed.contains_key(last.as_bytes()));
        make_room(&mut failed, last.as_bytes(), now);
        assert_eq!(failed.len(), MOST, "it has its place already");
    }
}
