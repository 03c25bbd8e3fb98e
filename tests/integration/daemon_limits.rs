//! What `WSGIDaemonProcess` says of limits, priorities and sizes, asked of the kernel.

use testkit::{Httpd, Mark, Site, ours};

use crate::apps::{answering, environ, shared_library};
use crate::daemon_site::{SELF, serving, told, with_options};

#[test]
fn priority_and_limits() {
    let own = told(
        "cpu-priority=7 cpu-time-limit=3600 shutdown-timeout=9 memory-limit=2000000000 \
         virtual-memory-limit=8000000000",
    );
    assert_eq!(own.value("nice"), "7");
    assert_eq!(own.value("cpu"), "(3600, 3610)");
    assert_eq!(own.value("data"), "(2000000000, 2000000000)");
    assert_eq!(own.value("space"), "(8000000000, 8000000000)");
}

/// Containers often have no right to that, and the group serves all the same.
#[test]
fn a_priority_that_cannot_be_had_is_told_of() {
    let server = Site::new()
        .without_capability("sys_nice")
        .script("self.wsgi", SELF)
        .config(
            "WSGIDaemonProcess own cpu-priority=-5
             WSGIScriptAlias / ${WSGI}/self.wsgi process-group=own",
        )
        .start();
    assert_ne!(environ(&server.get("/")).value("nice"), "-5");
    let line = server.log().wait_for(Mark::START, "WSGI0075");
    assert!(line.contains(":warn]"), "{line}");
}

/// Whoever starts httpd may have lower ones, which only root with the right to that may raise.
#[test]
fn limits_that_cannot_be_had_are_told_of() {
    const LOWER: [&str; 4] = [
        "prlimit",
        "--cpu=1000:1000",
        "--data=1900000000:1900000000",
        "--as=7000000000:7000000000",
    ];
    let server = Site::new()
        .without_capability("sys_resource")
        .through(&LOWER)
        .script("self.wsgi", SELF)
        .config(
            "WSGIDaemonProcess own cpu-time-limit=3600 memory-limit=2000000000 \
                 virtual-memory-limit=8000000000
             WSGIScriptAlias / ${WSGI}/self.wsgi process-group=own",
        )
        .start();
    let own = environ(&server.get("/"));
    assert_eq!(own.value("data"), "(1900000000, 1900000000)");
    for id in ["WSGI0076", "WSGI0077", "WSGI0078"] {
        let line = server.log().wait_for(Mark::START, id);
        assert!(line.contains(":warn]"), "{line}");
        assert!(line.contains("Unable to set"), "{line}");
    }
}

#[test]
fn threads_that_serve_do_not_preempt_unless_they_are_told_to() {
    if !ours("D111") {
        return;
    }
    assert_eq!(told("").value("scheduling"), "True");
    assert_eq!(told("cpu-scheduling=batch").value("scheduling"), "True");
    let server = with_options("cpu-scheduling=other");
    assert_eq!(environ(&server.get("/")).value("scheduling"), "False");
    // Nor do those of httpd, which wait for them.
    let do_preempt = |server: &Httpd| !server.children().iter().any(|it| it.has_batch_threads());
    assert!(do_preempt(&server));
    let server = with_options("");
    server.get("/");
    assert!(!do_preempt(&server));
}

#[test]
fn buffers_of_sockets() {
    let own = told("send-buffer-size=20480 receive-buffer-size=10240");
    // Linux doubles them, for its own needs.
    assert!(own.value("sent").contains("40960"), "{}", own.value("sent"));
    let received = own.value("received");
    assert!(received.contains("20480"), "{received}");
}

/// Put before the C library, it refuses every size.
const NO_SIZES: &str = "
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <sys/socket.h>

int setsockopt(int fd, int level, int name, const void *value, socklen_t length) {
    if (level == SOL_SOCKET && (name == SO_SNDBUF || name == SO_RCVBUF)) {
        errno = ENOBUFS;
        return -1;
    }
    int (*next)(int, int, int, const void *, socklen_t) = dlsym(RTLD_NEXT, \"setsockopt\");
    return next(fd, level, name, value, length);
}
";

#[test]
fn a_size_that_the_system_refuses_is_told_and_left_out() {
    let site = Site::new().script("a.wsgi", &answering("ran"));
    let library = shared_library(&site, "no-sizes", NO_SIZES);
    let server = site
        .env("LD_PRELOAD", &library)
        .config(
            "WSGISocketPrefix ${DATA}/socket
             WSGIDaemonProcess one send-buffer-size=20480 receive-buffer-size=10240
             WSGIScriptAlias / ${WSGI}/a.wsgi process-group=one",
        )
        .start();
    assert_eq!(server.get("/").text(), "ran");
    for id in ["WSGI0062", "WSGI0063"] {
        let lines = server.log().matching(Mark::START, id);
        let [line] = &lines[..] else {
            panic!("{id}: {lines:?}");
        };
        assert!(line.contains("wsgi:warn"), "{line}");
        assert!(line.contains("default size will be used"), "{line}");
    }
}

#[test]
fn a_size_beyond_all_memory_is_the_largest() {
    // What the kernel reads of it is 512; mod_wsgi reads digits as C does.
    if !ours("D09") {
        return;
    }
    let usual = told("send-buffer-size=2147483647");
    let larger = told("send-buffer-size=4294967808");
    assert_eq!(larger.value("sent"), usual.value("sent"));
}

/// Answers with the size of the stack of the thread that serves, as C sees it.
const STACK: &str = r#"
import ctypes

libc = ctypes.CDLL(None)
libc.pthread_self.restype = ctypes.c_ulong
libc.pthread_getattr_np.argtypes = [ctypes.c_ulong, ctypes.c_void_p]
libc.pthread_attr_getstacksize.argtypes = [ctypes.c_void_p, ctypes.POINTER(ctypes.c_size_t)]

def application(environ, start_response):
    attributes, size = ctypes.create_string_buffer(256), ctypes.c_size_t()
    assert libc.pthread_getattr_np(libc.pthread_self(), attributes) == 0
    assert libc.pthread_attr_getstacksize(attributes, ctypes.byref(size)) == 0
    start_response('200 OK', [('Content-Type', 'text/plain')])
    return [str(size.value).encode()]
"#;

#[test]
fn the_stack_of_a_thread_has_the_size_that_was_asked_for() {
    let size = |options: &str| -> usize {
        let text = serving(STACK, options).get("/").text();
        text.parse()
            .unwrap_or_else(|error| panic!("{text}: {error}"))
    };
    for asked in [512 << 10, 1 << 20, 3 << 20, 64 << 20] {
        let found = size(&format!("stack-size={asked}"));
        // The page that guards it may count.
        assert!(
            (asked - 65_536..=asked + 65_536).contains(&found),
            "{asked}: {found}"
        );
    }
    // Python code may nest deeply.
    let default = size("");
    assert!(default >= 8 << 20, "{default}");
}
