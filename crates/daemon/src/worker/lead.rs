//! Who waits at the door: one thread at a time, the leader. The others follow.
//!
//! Threads that share a GIL run one after the other. If each took a request as soon as it came, most
//! would only stand in line for the GIL, and every hand-over between them costs more than a short
//! request does. So a leader that leaves with a request lets nobody else lead at once: it is back in
//! a moment, and takes the next request itself. Nothing tells beforehand whether it is:
//!
//! - One of the followers is the *deputy*. While requests come it looks every millisecond, and leads
//!   if the leader is still away. That is how an application gets its threads that waits for a
//!   database, or computes without the GIL.
//! - Where requests take longer on average, a follower is called at once.
//! - Nobody takes a request while another one waits for the GIL: it could only delay that one. CPython
//!   does not care who has waited longest for a GIL, and a thread that comes for it gets it before
//!   one that has to be woken first.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use control::MOST_SPARE;

use super::lock;

/// How long the leader may be away before the deputy leads.
const PATIENCE: Duration = Duration::from_millis(1);

/// How many times the deputy looks in vain before it sleeps until the leader leaves.
const GLANCES: u32 = 20;

/// What a short request takes at most: less than it takes to call somebody, or not much more.
const SHORT: Duration = Duration::from_micros(300);

/// What is a short time to wait for others.
const SHORT_WAIT: Duration = Duration::from_millis(10);

/// How long a leader may be away before whoever waits had better go elsewhere.
const DESERTED: Duration = Duration::from_millis(500);

/// How many requests the average is made of, roughly.
const WEIGHT: u64 = 8;

/// The post of the leader.
#[derive(Debug)]
pub(super) struct Lead {
    /// Whether requests may run at the same time, each with a GIL of its own.
    is_parallel: bool,
    post: Mutex<Post>,
    /// Where followers wait.
    bench: Condvar,
    /// Where the deputy waits.
    watch: Condvar,
    /// How long requests take on average, in nanoseconds.
    average: AtomicU64,
}

#[derive(Debug)]
struct Post {
    /// Somebody leads.
    is_taken: bool,
    /// Since when nobody does.
    vacant_since: Instant,
    /// How often a leader has left.
    departures: u64,
    /// How many are on the bench.
    followers: u32,
    deputy: Deputy,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Deputy {
    /// There is none.
    None,
    /// It looks now and then.
    Looks,
    /// It sleeps until it is called.
    Sleeps,
    /// It was called to lead.
    Called,
}

impl Lead {
    /// The post of a worker whose requests can run at the same time, each with a GIL of its own; or
    /// of one in which they share a GIL.
    pub(super) fn new(is_parallel: bool) -> Self {
        Self {
            is_parallel,
            post: Mutex::new(Post {
                is_taken: false,
                vacant_since: Instant::now(),
                departures: 0,
                followers: 0,
                deputy: Deputy::None,
            }),
            bench: Condvar::new(),
            watch: Condvar::new(),
            average: AtomicU64::new(0),
        }
    }

    /// Does what only the leader may do, once the calling thread is that. `is_gil_wanted` tells
    /// whether a request waits for the GIL.
    pub(super) fn lead<R>(&self, is_gil_wanted: impl Fn() -> bool, act: impl FnOnce() -> R) -> R {
        let is_gil_wanted = || !self.is_parallel && is_gil_wanted();
        self.follow(&is_gil_wanted);
        let result = act();
        self.leave(&is_gil_wanted);
        result
    }

    /// A request has taken so long. Returns how many more may wait until as many others are done.
    pub(super) fn note(&self, duration: Duration) -> u32 {
        let duration = nanoseconds(duration);
        let average = self.average.load(Ordering::Relaxed);
        let average = average - average / WEIGHT + duration / WEIGHT;
        // That one of two requests may get lost which end at the same time changes little.
        self.average.store(average, Ordering::Relaxed);
        if average >= nanoseconds(SHORT) {
            return 0;
        }
        let most = nanoseconds(SHORT_WAIT) / average.max(1);
        u32::try_from(most).unwrap_or(u32::MAX).min(MOST_SPARE)
    }

    /// Whether nobody leads for so long that requests wait which others could serve.
    pub(super) fn is_deserted(&self) -> bool {
        let post = lock(&self.post);
        !post.is_taken && post.vacant_since.elapsed() >= DESERTED
    }

    /// Waits until the calling thread leads.
    fn follow(&self, is_gil_wanted: &impl Fn() -> bool) {
        let mut post = lock(&self.post);
        while post.is_taken || is_gil_wanted() {
            if post.deputy == Deputy::None {
                post = self.stand_by(post, is_gil_wanted);
            } else {
                post.followers += 1;
                post = wait(&self.bench, post);
                post.followers -= 1;
            }
        }
        post.is_taken = true;
    }

    /// Is the deputy until there is reason to lead.
    fn stand_by<'p>(
        &self,
        mut post: MutexGuard<'p, Post>,
        is_gil_wanted: &impl Fn() -> bool,
    ) -> MutexGuard<'p, Post> {
        post.deputy = Deputy::Looks;
        let mut seen = post.departures;
        let mut glances = 0;
        while post.is_taken || !post.is_due(is_gil_wanted) {
            if post.is_taken {
                // Whoever was called for is there by now.
                post.deputy = Deputy::Looks;
            }
            let has_news = std::mem::replace(&mut seen, post.departures) != post.departures;
            glances = if has_news || !post.is_taken {
                0
            } else {
                glances + 1
            };
            if glances <= GLANCES {
                post = wait_for(&self.watch, post, PATIENCE);
                continue;
            }
            post.deputy = Deputy::Sleeps;
            post = wait(&self.watch, post);
            glances = 0;
        }
        post.deputy = Deputy::None;
        if post.followers > 0 {
            // Who finds no deputy is the next.
            self.bench.notify_one();
        }
        post
    }

    /// Gives the post up.
    fn leave(&self, is_gil_wanted: &impl Fn() -> bool) {
        let is_short = self.average.load(Ordering::Relaxed) < nanoseconds(SHORT);
        let calls = (self.is_parallel || !is_short) && !is_gil_wanted();
        let mut post = lock(&self.post);
        post.is_taken = false;
        post.vacant_since = Instant::now();
        post.departures += 1;
        if calls && post.followers > 0 {
            self.bench.notify_one();
        } else if calls && post.deputy != Deputy::None {
            post.deputy = Deputy::Called;
            self.watch.notify_one();
        } else if post.deputy == Deputy::Sleeps {
            post.deputy = Deputy::Looks;
            self.watch.notify_one();
        }
    }
}

impl Post {
    /// Whether the deputy is to lead, now that nobody does.
    fn is_due(&self, is_gil_wanted: &impl Fn() -> bool) -> bool {
        self.deputy == Deputy::Called || self.vacant_since.elapsed() >= PATIENCE && !is_gil_wanted()
    }
}

fn nanoseconds(time: Duration) -> u64 {
    // Half of the most there can be, so that sums are possible.
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX / 2)
}

fn wait<'p>(place: &Condvar, post: MutexGuard<'p, Post>) -> MutexGuard<'p, Post> {
    // A panic while the guard is held leaves the post as it was.
    place.wait(post).unwrap_or_else(PoisonError::into_inner)
}

fn wait_for<'p>(
    place: &Condvar,
    post: MutexGuard<'p, Post>,
    time: Duration,
) -> MutexGuard<'p, Post> {
    let waited = place.wait_timeout(post, time);
    waited.unwrap_or_else(PoisonError::into_inner).0
}
