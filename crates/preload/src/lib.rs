//! A worker that is Python's own program.
//!
//! The supervisor executes that program, such as `/usr/bin/python3.11`, and has the dynamic linker
//! load this library into it, by `LD_PRELOAD`. When it begins, the C library is to call its `main`,
//! in `__libc_start_main`. That is here, and calls the worker's instead: not one line of Python has
//! run by then, so the worker drops its privileges and configures Python as it always does. What it
//! calls of Python it finds in the program.

use std::ffi::{CStr, CString, OsStr, c_char, c_int, c_void};
use std::os::unix::ffi::OsStrExt as _;
use std::panic::catch_unwind;
use std::ptr::{null, null_mut};

use daemon::{LIBRARY, NO_PYTHON, PRINT_VERSION, Program};

/// The environment variable by which this came into the process.
const LD_PRELOAD: &str = "LD_PRELOAD";

/// What a program that panics exits with.
const PANICKED: u8 = 101;

type Main = unsafe extern "C" fn(c_int, *mut *mut c_char, *mut *mut c_char) -> c_int;
type Hook = Option<unsafe extern "C" fn()>;
type Start =
    unsafe extern "C" fn(Main, c_int, *mut *mut c_char, Hook, Hook, Hook, *mut c_void) -> c_int;

/// Begins the program, with the worker as its `main`. The C library's function of this name does
/// the work; its signature is laid down in the Linux Standard Base.
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
unsafe extern "C" fn main(argc: c_int, argv: *mut *mut c_char, _: *mut *mut c_char) -> c_int {
    let status = catch_unwind(|| {
        // SAFETY: these are the arguments of `main`.
        unsafe { forget_argument(argc, argv) };
        restore_environment();
        take_file_name();
        match is_python() {
            true => daemon::run(Program::Python),
            false => NO_PYTHON,
        }
    });
    status.unwrap_or(PANICKED).into()
}

/// Overwrites the argument that was for Python's `main`: it is not to show in a list of processes.
///
/// # Safety
///
/// They are the arguments of `main`, which lie in memory that may be written to.
unsafe fn forget_argument(argc: c_int, argv: *mut *mut c_char) {
    if argc < 2 {
        return;
    }
    // SAFETY: there is an argument, which is NUL-terminated.
    unsafe {
        let argument = *argv.add(1);
        let length = CStr::from_ptr(argument).count_bytes();
        if CStr::from_ptr(argument).to_bytes() == PRINT_VERSION.as_bytes() {
            argument.write_bytes(0, length);
        }
    }
}

/// Takes this library out of the list of those that programs are to load, at whose end the
/// supervisor has put it: what an application starts is as it would be otherwise.
fn restore_environment() {
    let list = std::env::var_os(LD_PRELOAD).unwrap_or_default();
    let Some(others) = list.as_bytes().strip_suffix(LIBRARY.as_bytes()) else {
        return;
    };
    // SAFETY: threads that libraries of an administrator may have started do not change the
    // environment.
    unsafe {
        match others.strip_suffix(b":") {
            Some(others) => std::env::set_var(LD_PRELOAD, OsStr::from_bytes(others)),
            None => std::env::remove_var(LD_PRELOAD),
        }
    }
}

/// What the dynamic linker knows of a library; the beginning of the `struct link_map` of `link.h`.
#[repr(C)]
struct LinkMap {
    address: usize,
    name: *mut c_char,
}

/// Has `dladdr1` tell of the `LinkMap`; of `dlfcn.h`.
const RTLD_DL_LINKMAP: c_int = 2;

/// Tells debuggers the file of this library. By the name it was loaded by they would find a
/// descriptor of their own.
fn take_file_name() {
    let Ok(file) = std::fs::read_link(LIBRARY) else {
        return;
    };
    let Ok(name) = CString::new(file.into_os_string().into_encoded_bytes()) else {
        return;
    };
    let mut info = libc::Dl_info {
        dli_fname: null(),
        dli_fbase: null_mut(),
        dli_sname: null(),
        dli_saddr: null_mut(),
    };
    let mut map = null_mut();
    let address = take_file_name as *const c_void;
    // SAFETY: the places for the answers are writable. The map is that of this library, which is
    // never unloaded, so the dynamic linker frees neither name.
    unsafe {
        if libc::dladdr1(address, &raw mut info, &raw mut map, RTLD_DL_LINKMAP) != 0
            && !map.is_null()
        {
            (*map.cast::<LinkMap>()).name = name.into_raw();
        }
    }
}

/// Whether there is a Python in this program.
fn is_python() -> bool {
    // SAFETY: the name is NUL-terminated.
    let function = unsafe { libc::dlsym(libc::RTLD_DEFAULT, c"Py_InitializeFromConfig".as_ptr()) };
    !function.is_null()
}
