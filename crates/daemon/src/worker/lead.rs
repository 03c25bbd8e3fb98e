//! Which thread polls for requests: one at a time, the *leader*. The other threads follow.
//!
//! Threads that share a GIL run one after the other. If each took a request as soon as it came,
//! most would only wait for the GIL, and each handover of the GIL costs more than a short request.
//! So when a leader leaves the post with a request, no other thread takes the post at once: usually
//! the leader is back in a moment and takes the next request itself. Whether it will be cannot be
//! known in advance, so:
//!
//! - One of the followers is the *deputy*. While requests come, it checks at short intervals
//!   whether the leader is still away, and then takes the post. This is how an application that
//!   waits for a database, or computes without the GIL, gets its threads.
//! - No thread takes the post while a request waits for the GIL to begin, since another request
//!   could only delay that one: CPython gives a GIL to a thread that asks for it before one that
//!   must be woken first, however long that one has waited. For one request this holds for a limited
//!   time only, since other threads than requests may want the GIL. But while two requests wait, the
//!   post stays vacant if the group has other processes: one whose GIL is not given back leaves the
//!   requests to them. Requests that have begun and want the GIL back do not count: a few long
//!   responses would keep all other requests out.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use control::MOST_SPARE;
use engine_abi::RequestTime;

use super::lock;
use super::parallel::Parallel;

/// How long the leader may be away before the deputy takes the post, if requests are short.
const PATIENCE: Duration = Duration::from_millis(1);

/// The same if requests are long: they may be waiting for something, and others could run.
const LITTLE_PATIENCE: Duration = Duration::from_micros(250);

/// How long the post may stay vacant because a request waits for the GIL to begin.
const LONGEST_VACANCY: Duration = Duration::from_millis(50);

/// So many requests that wait for the GIL to begin keep the post vacant for as long as they wait, if
/// others can serve those that come.
const TOO_MANY: u32 = 2;

/// How often the deputy checks in vain before it sleeps until the leader leaves.
const GLANCES: u32 = 2;

/// How long a request may wait behind others that are short.
const SHORT_WAIT: Duration = Duration::from_millis(10);

/// How long the post may be vacant before waiting requests are better served elsewhere.
const DESERTED: Duration = Duration::from_millis(500);

/// The post of the leader.
#[derive(Debug)]
pub(super) struct Lead {
    /// Whether requests can run at the same time.
    pub(super) parallel: Parallel,
    post: Mutex<Post>,
    /// Followers wait here.
    bench: Condvar,
    /// The deputy waits here.
    watch: Condvar,
    /// How long requests take on average, until their response is complete.
    request_time: RequestTime,
    /// Whether another process may serve what this one leaves in the queue.
    has_others: bool,
}

#[derive(Debug)]
struct Post {
    /// Whether there is a leader.
    is_taken: bool,
    /// Since when there is none.
    vacant_since: Instant,
    /// How often a leader has left.
    departures: u64,
    /// How many threads are on the bench.
    followers: u32,
    deputy: Deputy,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Deputy {
    /// There is none.
    None,
    /// It checks at intervals.
    Looks,
    /// It sleeps until the leader leaves.
    Sleeps,
}

/// The leadership of the calling thread, which ends when this is dropped.
struct Leadership<'l>(&'l Lead);

impl Drop for Leadership<'_> {
    fn drop(&mut self) {
        self.0.leave();
    }
}

impl Lead {
    /// The vacant post of a worker. `parallel` says whether its requests can run at the same time,
    /// `has_others` whether its group has other processes.
    pub(super) fn new(parallel: Parallel, has_others: bool) -> Self {
        Self {
            // A request that is still to be read may be for an interpreter with a GIL of its own.
            has_others: has_others && !parallel.has_own_gils(),
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

    /// Waits until the calling thread is the leader, and runs `act` as that. `newcomers` says how
    /// many requests wait for the GIL to begin.
    pub(super) fn lead<R>(&self, newcomers: impl Fn() -> u32, act: impl FnOnce() -> R) -> R {
        let newcomers = || match self.parallel.runs_in_parallel() {
            true => 0,
            false if self.has_others => newcomers(),
            false => newcomers().min(TOO_MANY - 1),
        };
        self.follow(&newcomers);
        let _leadership = Leadership(self);
        act()
    }

    /// Notes how long a request took. Returns how many requests may wait in this worker for others
    /// that run, beyond those for which there are threads.
    pub(super) fn note(&self, duration: Duration) -> u32 {
        let average = self.request_time.add(duration);
        if !self.request_time.is_short() {
            return 0;
        }
        let most = SHORT_WAIT.as_nanos() / average.as_nanos().max(1);
        u32::try_from(most).unwrap_or(u32::MAX).min(MOST_SPARE)
    }

    /// Whether the post is vacant for so long that waiting requests are better served elsewhere.
    pub(super) fn is_deserted(&self) -> bool {
        let post = lock(&self.post);
        !post.is_taken && post.vacant_since.elapsed() >= DESERTED
    }

    /// Waits until the calling thread is the leader.
    fn follow(&self, newcomers: &impl Fn() -> u32) {
        let mut post = lock(&self.post);
        while !post.is_open(newcomers) {
            if post.deputy == Deputy::None {
                post = self.stand_by(post, newcomers);
            } else {
                post.followers += 1;
                post = wait(&self.bench, post);
                post.followers -= 1;
            }
        }
        post.is_taken = true;
        // A follower that is woken becomes the deputy, or the leader if the post is vacant again,
        // and then wakes another follower here. So if there are followers, there is a deputy, or a
        // thread that is about to become one.
        if post.deputy == Deputy::None && post.followers > 0 {
            self.bench.notify_one();
        }
    }

    /// Acts as the deputy until there is reason to take the post. Sleeps only while there is a
    /// leader.
    fn stand_by<'p>(
        &self,
        mut post: MutexGuard<'p, Post>,
        newcomers: &impl Fn() -> u32,
    ) -> MutexGuard<'p, Post> {
        post.deputy = Deputy::Looks;
        let mut seen = post.departures;
        let mut glances = 0;
        loop {
            let patience = self.patience();
            if post.is_open(newcomers) && post.vacant_since.elapsed() >= patience {
                break;
            }
            let has_news = std::mem::replace(&mut seen, post.departures) != post.departures;
            glances = if has_news || !post.is_taken {
                0
            } else {
                glances + 1
            };
            if glances <= GLANCES {
                // What has not changed for long need not be looked at every moment.
                let pause = match post.is_vacant_for_long() {
                    true => SHORT_WAIT,
                    false => patience,
                };
                post = wait_for(&self.watch, post, pause);
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

    /// Leaves the post.
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
    /// Whether a thread may take the post.
    fn is_open(&self, newcomers: &impl Fn() -> u32) -> bool {
        !self.is_taken
            && match newcomers() {
                0 => true,
                TOO_MANY.. => false,
                _ => self.is_vacant_for_long(),
            }
    }

    /// Whether the post has been vacant for long.
    fn is_vacant_for_long(&self) -> bool {
        !self.is_taken && self.vacant_since.elapsed() >= LONGEST_VACANCY
    }
}

fn wait<'p>(place: &Condvar, post: MutexGuard<'p, Post>) -> MutexGuard<'p, Post> {
    // No panic can happen while the post is half changed.
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
    use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
    use std::thread;

    use control::PythonSpec;

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

    /// The post of one of several workers.
    fn lead() -> Lead {
        Lead::new(Parallel::default(), true)
    }

    #[test]
    fn one_leads_at_a_time() {
        let lead = Arc::new(lead());
        let leaders = Arc::new(AtomicUsize::new(0));
        let threads = (0..8).map(|_| {
            let (lead, leaders) = (lead.clone(), leaders.clone());
            thread::spawn(move || {
                for _ in 0..1000 {
                    lead.lead(
                        || 0,
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
        let lead = Arc::new(lead());
        let away = Arc::new(AtomicUsize::new(0));
        let back = Arc::new(AtomicBool::new(false));
        for _ in 0..200 {
            let threads = (0..THREADS).map(|_| {
                let (lead, away, back) = (lead.clone(), away.clone(), back.clone());
                thread::spawn(move || {
                    lead.lead(|| 0, || ());
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
        let own_gils = || {
            Parallel::of(&PythonSpec {
                own_gils: true,
                ..PythonSpec::default()
            })
        };
        for (lead, newcomers) in [
            (lead(), 1),
            (Lead::new(Parallel::default(), false), TOO_MANY),
            (Lead::new(own_gils(), true), TOO_MANY),
        ] {
            let begin = Instant::now();
            lead.lead(|| 0, || ());
            lead.lead(|| newcomers, || ());
            assert!(begin.elapsed() >= LONGEST_VACANCY);
        }
    }

    #[test]
    fn nobody_leads_while_requests_wait_for_a_gil_that_is_not_given_back() {
        let lead = lead();
        let newcomers = AtomicU32::new(TOO_MANY);
        let looks = AtomicUsize::new(0);
        let count = || {
            looks.fetch_add(1, Ordering::SeqCst);
            newcomers.load(Ordering::SeqCst)
        };
        thread::scope(|scope| {
            let follower = scope.spawn(|| lead.lead(count, || ()));
            wait_until("it to be deserted", || lead.is_deserted());
            let seen = looks.load(Ordering::SeqCst);
            wait_until("another look", || looks.load(Ordering::SeqCst) > seen);
            assert!(!follower.is_finished());
            newcomers.store(0, Ordering::SeqCst);
            wait_until("the follower", || follower.is_finished());
        });
    }

    #[test]
    fn short_requests_have_spare_places() {
        let lead = lead();
        assert_eq!(lead.note(Duration::from_micros(40)), MOST_SPARE);
        for _ in 0..100 {
            lead.note(Duration::from_micros(200));
        }
        let spare = lead.note(Duration::from_micros(200));
        assert!((45..=60).contains(&spare), "{spare}");
        assert_eq!(lead.note(Duration::from_secs(1)), 0);
    }
}
