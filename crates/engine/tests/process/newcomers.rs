//! Who counts as waiting for a GIL to begin.

use std::sync::atomic::{AtomicI32, Ordering};
use std::thread;
use std::time::Duration;

use crate::memory::{App, engine};
use crate::{in_own_process, wait_until};

/// An application that tells how far it is in a number of the test's, and goes on until the test
/// changes that: at `/streams` it lets go of the GIL for each piece, at `/keeps` it does not at
/// all.
const APPLICATION: &str = "
import ctypes, sys

def stream(state):
    state.value = 1
    while state.value == 1:
        yield b'piece'

def application(environ, start_response):
    start_response('200 OK', [])
    state = ctypes.c_int.from_address(int(environ['state']))
    if environ['PATH_INFO'] == '/streams':
        return stream(state)
    if environ['PATH_INFO'] == '/keeps':
        sys.setswitchinterval(60)
        state.value = 1
        while state.value == 1:
            pass
    return [b'served']
";

fn newcomers() -> u32 {
    // SAFETY: the function only reads a counter.
    unsafe { (engine().newcomers)() }
}

#[test]
#[cfg_attr(Py_GIL_DISABLED, ignore = "there is no GIL to wait for")]
fn a_request_that_comes_back_for_the_gil_is_no_newcomer() {
    in_own_process(
        "newcomers::a_request_that_comes_back_for_the_gil_is_no_newcomer",
        |_| {},
        || {
            let app = App::new(APPLICATION);
            let ask = |path: &str, state: &AtomicI32| {
                let state = state.as_ptr().addr().to_string();
                let asked = app.ask().variable("PATH_INFO", path);
                let answer = asked.variable("state", state).answer();
                assert_eq!(answer.head().status, 200, "{path}");
            };
            let (streams, keeps) = (AtomicI32::new(0), AtomicI32::new(0));
            let is_begun = |state: &AtomicI32| state.load(Ordering::Relaxed) == 1;
            thread::scope(|scope| {
                scope.spawn(|| ask("/streams", &streams));
                wait_until("one streams", || is_begun(&streams));
                scope.spawn(|| ask("/keeps", &keeps));
                wait_until("another has the GIL", || is_begun(&keeps));
                // The first has sent its piece by then.
                thread::sleep(Duration::from_millis(200));
                assert_eq!(newcomers(), 0);
                scope.spawn(|| ask("/", &keeps));
                wait_until("a third has come", || newcomers() == 1);
                for state in [&keeps, &streams] {
                    state.store(2, Ordering::Relaxed);
                }
            });
            assert_eq!(newcomers(), 0);
        },
    );
}
