//! The requests that wait for a thread of a group, in memory that all of httpd's children map.
//!
//! For mod_status only: the real queue is that of the listening socket, and the kernel does not
//! report its length. So a child whose request waits makes a note here. A note is one number, of
//! the time and the process, so that it is made and removed atomically. If a process is killed
//! while it waits, its notes are removed by its parent ([`Queue::forget`]), or else by the next
//! reader. A worker could write anything here; readers take it as numbers only.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// How many notes there is room for. Further requests are not counted.
const ROOM: usize = 256;

/// How many bits of a note are the process id, which is no larger on Linux.
const PID_BITS: u32 = 22;

/// The notes of a group; 0 is none.
#[repr(C, align(64))]
#[derive(Debug)]
pub struct Queue([AtomicU64; ROOM]);

/// A note that a request waits. Removed when this is dropped.
#[derive(Debug)]
pub struct Waiting<'q> {
    /// The place and value of the note, if there was room.
    note: Option<(&'q AtomicU64, u64)>,
}

/// How long a queue is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Waits {
    /// How many requests wait, as far as there is room for notes of them.
    pub count: u32,
    /// How long the first of them has waited, if there are any.
    pub longest: Option<Duration>,
}

impl Queue {
    /// Notes that a request of this process, `pid`, waits since `begin`, in microseconds since the
    /// epoch.
    pub fn enter(&self, pid: u32, begin: i64) -> Waiting<'_> {
        let note = encode(pid, begin);
        let first = usize::try_from(begin).unwrap_or_default() % ROOM;
        let (before, behind) = self.0.split_at(first);
        let place = behind.iter().chain(before).find(|place| {
            place.load(Ordering::Relaxed) == 0
                && place
                    .compare_exchange(0, note, Ordering::Relaxed, Ordering::Relaxed)
                    .is_ok()
        });
        Waiting {
            note: place.map(|place| (place, note)),
        }
    }

    /// Removes the notes of the process `pid`, which has ended. To be called before another process
    /// gets that id.
    pub fn forget(&self, pid: u32) {
        for place in &self.0 {
            let note = place.load(Ordering::Relaxed);
            if note != 0 && decode(note).0 == pid {
                take(place, note);
            }
        }
    }

    /// The length of the queue at the time `now`, in microseconds since the epoch. `is_there` says
    /// whether a process exists.
    pub fn look(&self, now: i64, is_there: impl Fn(u32) -> bool) -> Waits {
        let mut waits = Waits::default();
        for place in &self.0 {
            let note = place.load(Ordering::Relaxed);
            if note == 0 {
                continue;
            }
            let (pid, begin) = decode(note);
            if !is_there(pid) {
                take(place, note);
                continue;
            }
            let waited = u64::try_from(now.saturating_sub(begin)).unwrap_or_default();
            waits.count += 1;
            waits.longest = waits.longest.max(Some(Duration::from_micros(waited)));
        }
        waits
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if let Some((place, note)) = self.note {
            take(place, note);
        }
    }
}

/// Removes a note, if it is still there.
fn take(place: &AtomicU64, note: u64) {
    let _ = place.compare_exchange(note, 0, Ordering::Relaxed, Ordering::Relaxed);
}

/// Encodes a note. The time is in milliseconds, and fits for another century.
fn encode(pid: u32, begin: i64) -> u64 {
    let begin = u64::try_from(begin / 1000).unwrap_or_default();
    let pid = u64::from(pid) & ((1 << PID_BITS) - 1);
    begin << PID_BITS | pid
}

fn decode(note: u64) -> (u32, i64) {
    let pid = note & ((1 << PID_BITS) - 1);
    let begin = i64::try_from(note >> PID_BITS).unwrap_or_default();
    (u32::try_from(pid).unwrap_or_default(), begin * 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue() -> Queue {
        Queue([const { AtomicU64::new(0) }; ROOM])
    }

    /// November 2026, in microseconds since the epoch.
    const NOW: i64 = 1_795_000_000_000_000;

    #[test]
    fn the_longest_wait_is_that_of_the_first() {
        let queue = queue();
        assert_eq!(queue.look(NOW, |_| true), Waits::default());
        let first = queue.enter(4_194_303, NOW - 3_000_000);
        let second = queue.enter(1, NOW - 1_000_000);
        let waits = queue.look(NOW, |pid| pid == 4_194_303 || pid == 1);
        assert_eq!(waits.count, 2);
        assert_eq!(waits.longest, Some(Duration::from_secs(3)));
        drop(first);
        let waits = queue.look(NOW, |_| true);
        assert_eq!(
            (waits.count, waits.longest),
            (1, Some(Duration::from_secs(1)))
        );
        drop(second);
        assert_eq!(queue.look(NOW, |_| true), Waits::default());
    }

    #[test]
    fn of_a_process_that_has_ended_nothing_is_left() {
        let queue = queue();
        let ended = [NOW, NOW + 1_000_000].map(|begin| queue.enter(2, begin));
        let _other = queue.enter(3, NOW);
        queue.forget(2);
        // The number may be another process's by now.
        assert_eq!(queue.look(NOW, |_| true).count, 1);
        let again = queue.enter(2, NOW + 2_000_000);
        drop(ended);
        assert_eq!(queue.look(NOW, |_| true).count, 2);
        drop(again);
    }

    #[test]
    fn what_a_dead_process_has_left_is_cleared_away() {
        let queue = queue();
        let dead = queue.enter(2, NOW);
        let _alive = queue.enter(3, NOW);
        assert_eq!(queue.look(NOW, |pid| pid == 3).count, 1);
        assert_eq!(queue.look(NOW, |_| true).count, 1, "it is gone for good");
        let other = queue.enter(4, NOW);
        drop(dead);
        assert_eq!(queue.look(NOW, |_| true).count, 2, "nobody takes another's");
        drop(other);
    }

    #[test]
    fn where_there_is_no_room_one_waits_unseen() {
        let queue = queue();
        let all: Vec<_> = (0..ROOM + 10).map(|_| queue.enter(5, NOW)).collect();
        assert_eq!(queue.look(NOW, |_| true).count, 256);
        drop(all);
        assert_eq!(queue.look(NOW, |_| true), Waits::default());
    }

    #[test]
    fn any_number_can_be_looked_at() {
        let queue = queue();
        for (place, value) in queue.0.iter().zip([1, u64::MAX, u64::MAX << PID_BITS]) {
            place.store(value, Ordering::Relaxed);
        }
        let waits = queue.look(NOW, |_| true);
        assert_eq!(waits.count, 3);
        assert_eq!(queue.look(i64::MIN, |_| true).longest, Some(Duration::ZERO));
        assert_eq!(queue.look(NOW, |_| false), Waits::default());
    }
}
