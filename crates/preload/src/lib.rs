//! A worker that is Python's own program.
//!
//! The supervisor executes that program, the one of which its distribution's `python3` is a link, and has the dynamic
//! linker load this library into it before everything else, by `LD_PRELOAD`. When it begins, the C library is
//! to call its `main`, in `__libc_start_main`. That is here, and calls the worker's instead: not one line of
//! Python has run by then, so the worker drops its privileges and configures Python as it always does. What it calls of
//! Python it finds in the program.

use std::ffi::{OsString, c_char, c_int, c_void};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::panic::catch_unwind;

use daemon::Program;

/// The environment variable by which this came into the process.
const LD_PRELOAD: &str = "LD_PRELOAD";

/// What a program that panics exits with.
const PANICKED: u8 = 101;

type Main = unsafe extern "C" fn(c_int, *mut *mut c_char, *mut *mut c_char) -> c_int;
type Hook = Option<unsafe extern "C" fn()>;
type Start =
    unsafe extern "C" fn(Main, c_int, *mut *mut c_char, Hook, Hook, Hook, *mut c_void) -> c_int;

/// Begins the program, with the worker as its `main`. The C library's function of this name does the work; its
/// signature is laid down in the Linux Standard Base.
#[unsafe(no_mangle)]
unsafe extern "C" fn __libc_start_main(
    _main: Main,
    argc: c_int,
    argv: *mut *mut c_char,
    init: Hook,
    fini: Hook,
    rtld_fini: Hook,
    stack_end: *mut c_void,
) -> c_int {
    // SAFETY: the name is NUL-terminated.
    let start = unsafe { libc::dlsym(libc::RTLD_NEXT, c"__libc_start_main".as_ptr()) };
    if start.is_null() {
        // A program without the C library has not come here.
        std::process::abort();
    }
    // SAFETY: the next one of this name is the C library's.
    let start: Start = unsafe { std::mem::transmute(start) };
    // SAFETY: all but `main` is as the program itself has passed it.
    unsafe { start(main, argc, argv, init, fini, rtld_fini, stack_end) }
}

/// What runs instead of Python's `main`.
unsafe extern "C" fn main(_: c_int, _: *mut *mut c_char, _: *mut *mut c_char) -> c_int {
    let status = catch_unwind(|| {
        restore_environment();
        daemon::run(Program::Python)
    });
    status.unwrap_or(PANICKED).into()
}

/// Takes this library out of the list of those that programs are to load, as the supervisor has put it there, in
/// front: what an application starts is as it would be otherwise.
fn restore_environment() {
    let Some(list) = std::env::var_os(LD_PRELOAD) else {
        return;
    };
    let list = list.as_bytes();
    // SAFETY: the process has one thread yet.
    unsafe {
        match list.iter().position(|byte| *byte == b':') {
            Some(end) => {
                let others = OsString::from_vec(list[end + 1..].to_vec());
                std::env::set_var(LD_PRELOAD, others);
            }
            None => std::env::remove_var(LD_PRELOAD),
        }
    }
}
