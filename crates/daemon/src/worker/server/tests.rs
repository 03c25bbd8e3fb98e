//! A server whose engine is made of constants, and a child that asks it.

use std::ffi::c_int;
use std::io::{Read as _, Write as _};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::sync::mpsc::channel;
use std::time::Instant;

use control::Secret;
use engine_abi::{
    ABI_VERSION, Bytes, Call, Called, Engine, Host, Outcome, ProcessConfig, Request, RequestHandle,
    Script,
};
use wire::{Decoder, RequestHead, ToChild, ToWorker};

use super::turn::Turn;
use super::*;
use crate::{fault, testing};

/// The script that meets with a fault of ours.
const FAULTY: &[u8] = b"/faulty.wsgi";

/// Fails if this is the script for that. Called where a request has everything that it can have.
pub(super) fn fail_if_faulty(script: &[u8]) {
    assert!(script != FAULTY, "injected");
}

/// An engine that answers each request with nothing.
pub(in crate::worker) static ENGINE: Engine = {
    unsafe extern "C" fn start(_: *const Host, _: *const ProcessConfig<'_>) -> c_int {
        0
    }
    unsafe extern "C" fn load(_: *const Script<'_>) -> c_int {
        0
    }
    unsafe extern "C" fn handle(_: *const Request<'_>, _: RequestHandle) -> Outcome {
        Outcome {
            kind: Outcome::COMPLETE,
            status: 0,
        }
    }
    unsafe extern "C" fn call(_: *const Call<'_>, _: RequestHandle) -> Called {
        Called::FAILED
    }
    unsafe extern "C" fn set_switch_interval(_: f64) -> c_int {
        0
    }
    unsafe extern "C" fn probe(_: u32) -> c_int {
        -1
    }
    unsafe extern "C" fn newcomers() -> u32 {
        0
    }
    unsafe extern "C" fn of_request(_: u32, _: i64) -> c_int {
        0
    }
    unsafe extern "C" fn signal(_: c_int) {}
    unsafe extern "C" fn announce_stop(_: Bytes<'_>) {}
    unsafe extern "C" fn stop(_: Bytes<'_>, _: u32) -> c_int {
        0
    }
    Engine {
        abi_version: ABI_VERSION,
        tag: c"cp311".as_ptr(),
        start,
        preload: load,
        run: load,
        handle,
        call,
        set_switch_interval,
        probe,
        newcomers,
        interrupt: of_request,
        log_stacks: of_request,
        signal,
        announce_stop,
        stop,
    }
};

/// A socket that listens, under a name that no file has.
fn listener(group: &str) -> (OwnedFd, SocketAddr) {
    let name = format!("mod_wsgi-{group}-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(name).unwrap();
    let listener = UnixListener::bind_addr(&address).unwrap();
    (listener.into(), address)
}

/// Asks for a script over a connection of its own, as who has waited since then. Returns how that
/// ended, or `None` if it was cut off.
fn ask(address: &SocketAddr, secret: &Secret, script: &[u8], queue_start: i64) -> Option<String> {
    let mut stream = UnixStream::connect_addr(address).unwrap();
    let head = RequestHead {
        https: false,
        reload: false,
        body_on_demand: false,
        asks_first: false,
        body_is_whole: false,
        ignore_activity: false,
        has_place: false,
        has_window: false,
        content_length: None,
        request_start: 0,
        queue_start,
        script_mtime: RequestHead::UNSEEN,
        connects: 0,
        restarts: 0,
        log_level: 6,
        secret: secret.as_bytes(),
        script,
        application_group: b"",
        callable: b"application",
        resource: b"",
        environ: None,
    };
    let mut out = Vec::new();
    ToWorker::encode_request(&mut out, 1, &head, std::iter::empty()).unwrap();
    stream.write_all(&out).unwrap();
    let mut decoder = Decoder::new();
    loop {
        let mut bytes = [0; 1024];
        match stream.read(&mut bytes) {
            Ok(0) | Err(_) => return None,
            Ok(count) => decoder.feed(&bytes[..count]),
        }
        while let Some((_, frame)) = decoder.next::<ToChild<'_>>().unwrap() {
            if matches!(frame, ToChild::End(_) | ToChild::Rejected(_)) {
                return Some(format!("{frame:?}"));
            }
        }
    }
}

/// A server that does not serve yet, and where its children will reach it.
fn server(group: GroupSpec, log: Arc<Log>) -> (Arc<Server>, SocketAddr) {
    server_of(&ENGINE, group, log)
}

/// The same with another engine.
pub(in crate::worker) fn server_of(
    engine: &'static Engine,
    group: GroupSpec,
    log: Arc<Log>,
) -> (Arc<Server>, SocketAddr) {
    let (listener, address) = listener(&group.name);
    let server = Server::new(
        LoadedEngine::of(engine),
        Box::new(group),
        Scripts::default(),
        (Table::new(1).unwrap(), 0),
        listener,
        log,
    );
    (Arc::new(server.unwrap()), address)
}

/// A server that serves, and where its children reach it.
fn serve(group: GroupSpec, log: Arc<Log>) -> (Arc<Server>, SocketAddr) {
    let (server, address) = server(group, log);
    let (sender, _) = channel();
    server.serve(0, sender).unwrap();
    (server, address)
}

#[test]
fn a_fault_costs_one_request_and_leaves_a_line() {
    let group = testing::group("faulty");
    let secret = group.secret.clone();
    let (log, memory) = testing::log();
    let fault_log = log.clone();
    fault::tell("a worker".to_owned(), move |level, id, text| {
        fault_log.line(level, id, text);
    });
    let (server, address) = serve(group, log);
    // The one thread there is takes them all.
    let scripts = [FAULTY, b"/site.wsgi"].repeat(3);
    let ends: Vec<_> = scripts
        .iter()
        .map(|script| ask(&address, &secret, script, 0))
        .collect();
    let _ = std::panic::take_hook();
    for ends in ends.chunks(2) {
        assert_eq!(ends, [None, Some("End(Complete)".to_owned())]);
    }
    let slot = server.slot.get().unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    while server.active() > 0 || slot.active() > 0 {
        assert!(Instant::now() < deadline, "{slot:?}");
        std::thread::yield_now();
    }
    let lines = testing::lines(&memory);
    // The hook is that of all tests of this process.
    let told = lines
        .lines()
        .filter(|line| line.contains("WSGI1361: a worker has a fault: ") && line.contains(file!()));
    assert_eq!(told.count(), 3, "{lines}");
}

/// There may be a request on it that was read and counts from the next moment on.
#[test]
fn a_worker_that_leaves_waits_for_a_thread_that_has_a_connection() {
    let (server, _) = server(testing::group("leaving"), testing::log().0);
    let (sender, events) = channel();
    server.events.set(sender).unwrap();
    let turn = Turn::new(&server, 1);
    server.drain();
    assert_eq!(server.active(), 0);
    assert!(!server.is_idle());
    drop(turn);
    assert!(server.is_idle());
    let happened: Vec<_> = events.try_iter().collect();
    assert!(matches!(happened.as_slice(), [Event::Idle]), "{happened:?}");
}

#[test]
fn a_connection_does_not_come_back_to_a_worker_that_leaves() {
    let (server, _) = server(testing::group("closed"), testing::log().0);
    let (stream, mut child) = UnixStream::pair().unwrap();
    let connection = Connection::new(stream, None, server.slot.issue());
    server.drain();
    // As by a thread that has looked just before.
    server.poller.put(1, connection);
    assert!(server.poller.take(1).is_none());
    assert_eq!(child.read(&mut [0]).unwrap(), 0, "the child can tell");
}

#[test]
fn whatever_a_child_says_of_the_time_is_only_a_time() {
    let mut group = testing::group("late");
    group.life.queue_timeout = Some(Duration::from_secs(3600));
    let secret = group.secret.clone();
    let (_server, address) = serve(group, testing::log().0);
    for (queue_start, expected) in [
        (i64::MIN, "Rejected(QueueTimeout)"),
        (i64::MAX, "End(Complete)"),
    ] {
        let end = ask(&address, &secret, b"/site.wsgi", queue_start);
        assert_eq!(end.as_deref(), Some(expected));
    }
}
