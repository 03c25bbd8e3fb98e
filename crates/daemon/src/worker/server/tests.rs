//! A server whose engine is made of constants, and a child that asks it.

use std::ffi::c_int;
use std::io::{Read as _, Seek as _, Write as _};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::sync::mpsc::channel;

use control::{Identity, Life, Limits, PythonSpec, Secret, ServerSpec};
use engine_abi::{
    ABI_VERSION, Bytes, Call, Called, Engine, Host, Outcome, ProcessConfig, Request, RequestHandle,
    Script,
};
use nix::sys::memfd::{MFdFlags, memfd_create};
use wire::{Decoder, End, RequestHead};

use super::*;
use crate::fault;

/// The script that meets with a fault of ours.
const FAULTY: &[u8] = b"/faulty.wsgi";

/// Fails if this is the script for that. Called where a request has everything that it can have.
pub(super) fn fail_if_faulty(script: &[u8]) {
    assert!(script != FAULTY, "injected");
}

/// An engine that answers each request with nothing.
static ENGINE: Engine = {
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
    unsafe extern "C" fn gil_waiters() -> u32 {
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
        gil_waiters,
        interrupt: of_request,
        log_stacks: of_request,
        signal,
        announce_stop,
        stop,
    }
};

/// A group with one thread.
fn group() -> GroupSpec {
    GroupSpec {
        number: 0,
        secret: Secret::random().unwrap(),
        name: "one".to_owned(),
        processes: 1,
        multiprocess: false,
        threads: 1,
        stack_size: None,
        response_buffer: 1 << 16,
        display_name: None,
        identity: Identity {
            peer_uid: nix::unistd::getuid().as_raw(),
            ..Identity::default()
        },
        limits: Limits::default(),
        buffers: SocketBuffers::default(),
        life: Life::default(),
        python: PythonSpec::default(),
        preload: Vec::new(),
        server: ServerSpec::default(),
        log_level: 6,
    }
}

/// A socket that listens, under a name that no file has.
fn listener() -> (OwnedFd, SocketAddr) {
    let name = format!("mod_wsgi-test-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(name).unwrap();
    let listener = UnixListener::bind_addr(&address).unwrap();
    (listener.into(), address)
}

/// Asks for a script over a connection of its own. Returns how that ended, or `None` if it was cut off.
fn ask(address: &SocketAddr, secret: &Secret, script: &[u8]) -> Option<End> {
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
        queue_start: 0,
        script_mtime: 0,
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
            if let ToChild::End(end) = frame {
                return Some(end);
            }
        }
    }
}

#[test]
fn a_fault_costs_one_request_and_leaves_a_line() {
    let (listener, address) = listener();
    let group = group();
    let secret = group.secret.clone();
    let memory = memfd_create(c"log", MFdFlags::empty()).unwrap();
    let log = Arc::new(Log::new(memory.try_clone().unwrap(), 6));
    fault::tell(log.clone(), "a worker".to_owned());
    let server = Server::new(
        LoadedEngine::of(&ENGINE),
        Box::new(group),
        Scripts::default(),
        (Table::new(1).unwrap(), 0),
        listener,
        log,
    );
    let server = Arc::new(server.unwrap());
    let (sender, _events) = channel();
    server.serve(sender).unwrap();
    // The one thread there is takes them all.
    let scripts = [FAULTY, b"/site.wsgi"].repeat(3);
    let ends: Vec<_> = scripts
        .iter()
        .map(|script| ask(&address, &secret, script))
        .collect();
    let _ = std::panic::take_hook();
    assert_eq!(ends, [None, Some(End::Complete)].repeat(3));
    let slot = server.slot.get().unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    while server.active() > 0 || slot.active() > 0 {
        assert!(Instant::now() < deadline, "{slot:?}");
        std::thread::yield_now();
    }
    let mut lines = String::new();
    let mut memory = std::fs::File::from(memory);
    memory.rewind().unwrap();
    memory.read_to_string(&mut lines).unwrap();
    // The hook is that of all tests of this process.
    let told = lines
        .lines()
        .filter(|line| line.contains("WSGI1361: a worker has a fault: ") && line.contains(file!()));
    assert_eq!(told.count(), 3, "{lines}");
}
