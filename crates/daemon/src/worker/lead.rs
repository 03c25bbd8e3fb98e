//! Who polls: one thread at a time, the leader. The others follow.
//!
//! Threads that share a GIL run one after the other. If each took a request as soon as it came,
//! most would only stand in line for the GIL, and every hand-over between them costs more than a
//! short request does. So a leader that leaves with a request lets nobody else lead at once: it is
//! back in a moment, and takes the next request itself. Nothing tells beforehand whether it is:
//!
//! - One of the followers is the *deputy*. While requests come it looks every moment, and leads if
//!   the leader is still away. That is how an application gets its threads that waits for a
//!   database, or computes without the GIL.
//! - Nobody leads while a request waits for the GIL to begin: another one could only delay it.
//!   CPython does not care who has waited longest for a GIL, and a thread that comes for it gets it
//!   before one that has to be woken first. Unless that goes on for long, for then others than
//!   requests want it. Requests that have begun and want it back keep nobody away: a few that do so
//!   all the time, as long responses do, would keep all others out.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use control::MOST_SPARE;
use engine_abi::RequestTime;

use super::lock;
use super::parallel::Parallel;

/// How long the leader may be away before the deputy leads, where requests are short.
const PATIENCE: Duration = Duration::from_millis(1);

/// The same where they are not: they may wait for something, and others could run.
const LITTLE_PATIENCE: Duration = Duration::from_micros(250);

/// How long the post may be vacant because requests wait for the GIL to begin.
const LONGEST_VACANCY: Duration = Duration::from_millis(50);

/// How many times the deputy looks in vain before it sleeps until the leader leaves.
const GLANCES: u32 = 2;

/// How long a request may wait behind others that are short.
const SHORT_WAIT: Duration = Duration::from_millis(10);

/// How long a leader may be away before whoever waits had better go elsewhere.
const DESERTED: Duration = Duration::from_millis(500);

/// The post of the leader.
#[derive(Debug)]
pub(super) struct Lead {
    /// Whether requests can run at the same time.
    pub(super) parallel: Parallel,
    post: Mutex<Post>,
    /// Where followers wait.
    bench: Condvar,
    /// Where the deputy waits.
    watch: Condvar,
    /// How long requests take on average, until their response is complete.
    request_time: RequestTime,
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
    /// It sleeps until the leader leaves.
    Sleeps,
}

/// That the calling thread leads, however that ends.
struct Leadership<'l>(&'l Lead);

impl Drop for Leadership<'_> {
    fn drop(&mut self) {
        self.0.leave();
    }
}

impl Lead {
    /// The post of a worker whose requests can run at the same time, or share a GIL.
    pub(super) fn new(parallel: Parallel) -> Self {
        Self {
            parallel,
            post: Mutex::new(Post {
                is_taken: false,
                vacant_since: Instant::now(),
                departures: 0,
                followers: 0,
                deputy: Deputy::None,
            }),
            bench: Condvar::new(),
            watch: Condvar::new(),
            request_time: RequestTime::new(),
        }
    }

    /// Does what only the leader may do, once the calling thread is that. `has_newcomers` tells
    /// whether a request waits for the GIL to begin.
    pub(super) fn lead<R>(&self, has_newcomers: impl Fn() -> bool, act: impl FnOnce() -> R) -> R {
        let has_newcomers = || !self.parallel.runs_in_parallel() && has_newcomers();
        self.follow(&has_newcomers);
        let _leadership = Leadership(self);
        act()
    }

    /// A request has taken so long. Returns how many more may wait until as many others are done.
    pub(super) fn note(&self, duration: Duration) -> u32 {
        let average = self.request_time.add(duration);
        if !self.request_time.is_short() {
            return 0;
        }
        let most = SHORT_WAIT.as_nanos() / average.as_nanos().max(1);
        u32::try_from(most).unwrap_or(u32::MAX).min(MOST_SPARE)
    }

    /// Whether nobody leads for so long that requests wait which others could serve.
    pub(super) fn is_deserted(&self) -> bool {
        let post = lock(&self.post);
        !post.is_taken && post.vacant_since.elapsed() >= DESERTED
    }

    /// Waits until the calling thread leads.
    fn follow(&self, has_newcomers: &impl Fn() -> bool) {
        let mut post = lock(&self.post);
        while !post.is_open(has_newcomers) {
            if post.deputy == Deputy::None {
                post = self.stand_by(post, has_newcomers);
            } else {
                post.followers += 1;
                post = wait(&self.bench, post);
                post.followers -= 1;
            }
        }
        post.is_taken = true;
        // A follower that is woken becomes the deputy, or leads if the post is vacant again, and
        // then wakes another one here. So where there are followers, there is a deputy, or somebody
        // on the way to become one.
        if post.deputy == Deputy::None && post.followers > 0 {
            self.bench.notify_one();
        }
    }

    /// Is the deputy until there is reason to lead. It sleeps only while somebody leads.
    fn stand_by<'p>(
        &self,
        mut post: MutexGuard<'p, Post>,
        has_newcomers: &impl Fn() -> bool,
    ) -> MutexGuard<'p, Post> {
        post.deputy = Deputy::Looks;
        let mut seen = post.departures;
        let mut glances = 0;
        loop {
            let patience = self.patience();
            if post.is_open(has_newcomers) && post.vacant_since.elapsed() >= patience {
                break;
            }
            let has_news = std::mem::replace(&mut seen, post.departures) != post.departures;
            glances = if has_news || !post.is_taken {
                0
            } else {
                glances + 1
            };
            if glances <= GLANCES {
                post = wait_for(&self.watch, post, patience);
            } else {
                post.deputy = Deputy::Sleeps;
                post = wait(&self.watch, post);
                post.deputy = Deputy::Looks;
                glances = 0;
            }
        }
        post.deputy = Deputy::None;
        post
    }

    /// Gives the post up.
    fn leave(&self) {
        let mut post = lock(&self.post);
        post.is_taken = false;
        post.vacant_since = Instant::now();
        post.departures += 1;
        if self.parallel.runs_in_parallel() && post.followers > 0 {
            self.bench.notify_one();
        }
        if post.deputy == Deputy::Sleeps {
            self.watch.notify_one();
        }
    }

    fn patience(&self) -> Duration {
        match self.request_time.is_short() {
            _ if self.parallel.runs_in_parallel() => Duration::from_micros(1),
            true => PATIENCE,
            false => LITTLE_PATIENCE,
        }
    }
}

impl Post {
    /// Whether somebody may lead.
    fn is_open(&self, has_newcomers: &impl Fn() -> bool) -> bool {
        let is_vacant_for_long = || self.vacant_since.elapsed() >= LONGEST_VACANCY;
        !self.is_taken && (!has_newcomers() || is_vacant_for_long())
    }
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
    use std::thread;

    use super::*;

    /// How long a test waits for what must come.
    const DEADLINE: Duration = Duration::from_secs(30);

    fn wait_until(what: &str, is_so: impl Fn() -> bool) {
        let begin = Instant::now();
        while !is_so() {
            assert!(begin.elapsed() < DEADLINE, "waited for {what}");
            thread::sleep(Duration::from_millis(1));
        }
    }

    #[test]
    fn one_leads_at_a_time() {
        let lead = Arc::new(Lead::new(Parallel::default()));
        let leaders = Arc::new(AtomicUsize::new(0));
        let threads = (0..8).map(|_| {
            let (lead, leaders) = (lead.clone(), leaders.clone());
            thread::spawn(move || {
                for _ in 0..1000 {
                    lead.lead(
                        || false,
                        || {
                            assert_eq!(leaders.fetch_add(1, Ordering::SeqCst), 0);
                            leaders.fetch_sub(1, Ordering::SeqCst);
                        },
                    );
                }
            })
        });
        let threads: Vec<_> = threads.collect();
        for thread in threads {
            thread.join().unwrap();
        }
    }

    #[test]
    fn all_threads_get_to_lead_where_leaders_stay_away() {
        const THREADS: usize = 8;
        let lead = Arc::new(Lead::new(Parallel::default()));
        let away = Arc::new(AtomicUsize::new(0));
        let back = Arc::new(AtomicBool::new(false));
        for _ in 0..200 {
            let threads = (0..THREADS).map(|_| {
                let (lead, away, back) = (lead.clone(), away.clone(), back.clone());
                thread::spawn(move || {
                    lead.lead(|| false, || ());
                    away.fetch_add(1, Ordering::SeqCst);
                    while !back.load(Ordering::SeqCst) {
                        thread::sleep(Duration::from_micros(50));
                    }
                })
            });
            let threads: Vec<_> = threads.collect();
            wait_until("all", || away.load(Ordering::SeqCst) == THREADS);
            back.store(true, Ordering::SeqCst);
            for thread in threads {
                thread.join().unwrap();
            }
            away.store(0, Ordering::SeqCst);
            back.store(false, Ordering::SeqCst);
        }
    }

    #[test]
    fn a_follower_leads_in_the_end_though_the_gil_is_wanted() {
        let lead = Lead::new(Parallel::default());
        let begin = Instant::now();
        lead.lead(|| false, || ());
        lead.lead(|| true, || ());
        assert!(begin.elapsed() >= LONGEST_VACANCY);
    }

    #[test]
    fn short_requests_have_spare_places() {
        let lead = Lead::new(Parallel::default());
        assert_eq!(lead.note(Duration::from_micros(40)), MOST_SPARE);
        for _ in 0..100 {
            lead.note(Duration::from_micros(200));
        }
        let spare = lead.note(Duration::from_micros(200));
        assert!((45..=60).contains(&spare), "{spare}");
        assert_eq!(lead.note(Duration::from_secs(1)), 0);
    }
}
