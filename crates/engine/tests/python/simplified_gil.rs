//! Extension modules that call back through `PyGILState_Ensure`, as ctypes does: in every group, on
//! a thread that serves several of them in turn.

use crate::memory::App;

/// Calls `qsort` of the C library, which calls back into Python.
const CALLBACK: &str = "
import ctypes, mod_wsgi

compare_type = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_int),
                                ctypes.POINTER(ctypes.c_int))
libc = ctypes.CDLL(None)

def application(environ, start_response):
    groups = set()

    def compare(a, b):
        groups.add(__import__('sys').modules['mod_wsgi'].application_group)
        return a[0] - b[0]

    numbers = (ctypes.c_int * 5)(3, 1, 4, 1, 5)
    libc.qsort(numbers, 5, ctypes.sizeof(ctypes.c_int), compare_type(compare))
    start_response('200 OK', [])
    return [repr((list(numbers), sorted(groups))).encode()]
";

fn assert_called_back(app: &App, group: &str) {
    let answer = app.ask().group(group).answer().text();
    assert_eq!(answer, format!("([1, 1, 3, 4, 5], ['{group}'])"));
}

#[test]
fn callbacks_land_in_their_own_group() {
    let app = App::new(CALLBACK);
    // The groups in either order, each on a new thread: what a thread serves first must not matter.
    for order in [
        ["", "callback-1", "callback-2"],
        ["callback-2", "", "callback-1"],
    ] {
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for _ in 0..3 {
                    for group in order {
                        assert_called_back(&app, group);
                    }
                }
            });
        });
    }
}

#[test]
fn callbacks_work_on_many_threads_at_once() {
    let app = App::new(CALLBACK);
    let app = &app;
    std::thread::scope(|scope| {
        for thread in 0..8 {
            scope.spawn(move || {
                for round in 0..20 {
                    let group =
                        ["", "callback-1", "callback-2", "callback-3"][(thread + round) % 4];
                    assert_called_back(app, group);
                }
            });
        }
    });
}

#[test]
fn threads_that_python_does_not_know_find_the_main_interpreter() {
    // A thread of the C library's own, made by no Python: timer_create would do; here ctypes starts
    // one with pthread_create.
    let app = App::new(
        "
import ctypes, mod_wsgi

start_type = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p)
libc = ctypes.CDLL(None)
seen = []

@start_type
def start(argument):
    seen.append('called')
    return None

def application(environ, start_response):
    thread = ctypes.c_ulong()
    libc.pthread_create(ctypes.byref(thread), None, start, None)
    libc.pthread_join(thread, None)
    start_response('200 OK', [])
    return [repr(seen).encode()]
",
    );
    assert_eq!(app.ask().answer().text(), "['called']");
}
