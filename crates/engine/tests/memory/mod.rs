//! A host in memory, and the engine started on it: once, for all tests of a process.

mod call;

use std::ffi::{c_int, c_void};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use engine_abi::{
    ABI_VERSION, Bytes, Engine, Host, Level, LogLine, Outcome, Pair, Part, ProcessConfig,
    ReadError, Request, RequestHandle, Script, Sent, ServerInfo, Slice, TakeScoreboard,
};

/// The answer of the application in `source`, a Python script, to a simple `GET` request.
pub fn answer_of(source: &str) -> Answer {
    Asked::new(source).answer()
}

/// An application.
pub struct App {
    script: PathBuf,
}

impl App {
    /// The application in `source`, a Python script.
    pub fn new(source: &str) -> Self {
        Self {
            script: script_file(source),
        }
    }

    /// The file that it is in.
    pub fn path(&self) -> &Path {
        &self.script
    }

    /// Writes another source, with another modification time.
    pub fn rewrite(&self, source: &str) {
        let before = std::fs::metadata(&self.script).unwrap().modified().unwrap();
        std::fs::write(&self.script, source).unwrap();
        let file = std::fs::File::open(&self.script).unwrap();
        file.set_modified(before + Duration::from_secs(1)).unwrap();
    }

    /// A `GET` request for it.
    pub fn ask(&self) -> Asked {
        let asked = Asked {
            script: self.script.clone(),
            group: String::new(),
            callable: "application".to_owned(),
            mtime: Script::UNKNOWN_MTIME,
            reload: true,
            environ: Vec::new(),
            content_length: -1,
            https: false,
            request_rec: std::ptr::null_mut(),
            exchange: Exchange::default(),
        };
        asked
            .variable("REQUEST_METHOD", "GET")
            .variable("PATH_INFO", "/")
    }
}

/// A request to be made.
pub struct Asked {
    script: PathBuf,
    group: String,
    callable: String,
    mtime: i64,
    reload: bool,
    environ: Vec<(String, Option<Vec<u8>>)>,
    content_length: i64,
    https: bool,
    request_rec: *mut c_void,
    exchange: Exchange,
}

/// What became of a request.
#[derive(Debug)]
pub struct Answer {
    pub outcome: Outcome,
    pub parts: Vec<SentPart>,
    /// Its log lines, from `warn` up.
    pub log: Vec<String>,
    /// Its other log lines.
    pub notices: Vec<String>,
    /// The sizes of the buffers that the host was asked to fill.
    pub reads: Vec<usize>,
}

/// A part that the engine has sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SentPart {
    pub head: Option<SentHead>,
    pub data: Vec<u8>,
    /// The region's offset and length.
    pub file: Option<(u64, u64)>,
    pub flush: bool,
    pub end: bool,
}

/// A head that the engine has sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SentHead {
    pub status: u16,
    pub status_line: String,
    pub headers: Vec<(String, String)>,
}

/// The request on the host's side.
#[derive(Debug, Default)]
struct Exchange {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// What the client sends, in the pieces in which it arrives; then its end, or a failure.
    body: std::collections::VecDeque<Vec<u8>>,
    failure: Option<ReadError>,
    /// How many parts are sent before the client is gone.
    patience: Option<usize>,
    /// Pieces are taken at once. They are not kept.
    is_eager: bool,
    reads: Vec<usize>,
    parts: Vec<SentPart>,
    log: Vec<String>,
    notices: Vec<String>,
}

impl Asked {
    /// A `GET` request for the application in `source`, a Python script.
    pub fn new(source: &str) -> Self {
        App::new(source).ask()
    }

    /// In this application group.
    pub fn group(mut self, group: &str) -> Self {
        group.clone_into(&mut self.group);
        self
    }

    /// For another callable of the script.
    pub fn callable(mut self, name: &str) -> Self {
        name.clone_into(&mut self.callable);
        self
    }

    /// With the modification time that the host has seen.
    pub fn mtime(mut self, mtime: i64) -> Self {
        self.mtime = mtime;
        self
    }

    /// With script reloading switched off.
    pub fn without_reloading(mut self) -> Self {
        self.reload = false;
        self
    }

    /// With a variable in the environ.
    pub fn variable(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.environ.retain(|(known, _)| known != name);
        self.environ
            .push((name.to_owned(), Some(value.as_ref().to_vec())));
        self
    }

    /// With a variable beside those of the same name.
    pub fn variable_again(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        let value = Some(value.as_ref().to_vec());
        self.environ.push((name.to_owned(), value));
        self
    }

    /// With a variable that has no value.
    pub fn variable_without_value(mut self, name: &str) -> Self {
        self.environ.push((name.to_owned(), None));
        self
    }

    /// With a body that arrives in these pieces.
    pub fn body(self, pieces: &[&[u8]]) -> Self {
        self.state(|state| state.body = pieces.iter().map(|piece| piece.to_vec()).collect())
    }

    /// With a `Content-Length` that the client states.
    pub fn content_length(mut self, length: i64) -> Self {
        self.content_length = length;
        self
    }

    /// With a failure where the body would end.
    pub fn failing(self, failure: ReadError) -> Self {
        self.state(|state| state.failure = Some(failure))
    }

    /// From a client that goes away after so many parts of the response.
    pub fn leaving_after(self, parts: usize) -> Self {
        self.state(|state| state.patience = Some(parts))
    }

    /// From a client that takes each piece of the response at once, as many as there may be.
    pub fn eager(self) -> Self {
        self.state(|state| state.is_eager = true)
    }

    /// Over TLS.
    pub fn https(mut self) -> Self {
        self.https = true;
        self
    }

    /// With the `request_rec`.
    pub fn request_rec(mut self, request_rec: *mut c_void) -> Self {
        self.request_rec = request_rec;
        self
    }

    fn state(mut self, change: impl FnOnce(&mut State)) -> Self {
        change(self.exchange.state.get_mut().unwrap());
        self
    }

    /// Makes the request.
    pub fn answer(self) -> Answer {
        let path = self.script.to_str().unwrap();
        let environ: Vec<Pair<'_>> = self
            .environ
            .iter()
            .map(|(name, value)| Pair {
                name: Bytes::from(name.as_str()),
                value: Bytes::from(value.as_deref()),
            })
            .collect();
        let request = Request {
            environ: Slice::new(&environ),
            script: Script {
                path: Bytes::from(path),
                application_group: Bytes::from(self.group.as_str()),
                mtime: self.mtime,
                reload: self.reload,
            },
            callable: Bytes::from(self.callable.as_str()),
            resource: Bytes::from(path),
            https: self.https,
            content_length: self.content_length,
            thread_id: 7,
            request_start: 1_700_000_000_250_000,
            queue_start: 0,
            daemon_start: 0,
            daemon_connects: 0,
            daemon_restarts: 0,
            request_rec: self.request_rec,
        };
        let handle = (&raw const self.exchange).cast_mut().cast();
        // SAFETY: the request and the exchange live until the call returns.
        let outcome = unsafe { (start().0.handle)(&raw const request, handle) };
        let state = self.exchange.state.into_inner().unwrap();
        Answer {
            outcome,
            parts: state.parts,
            log: state.log,
            notices: state.notices,
            reads: state.reads,
        }
    }
}

impl Answer {
    /// The whole body, as text. Fails with the log if the response is not complete.
    pub fn text(&self) -> String {
        assert_eq!(self.outcome.kind, Outcome::COMPLETE, "{self:#?}");
        assert!(self.parts.last().is_some_and(|part| part.end), "{self:#?}");
        String::from_utf8_lossy(&self.data()).into_owned()
    }

    /// What was sent of the body.
    pub fn data(&self) -> Vec<u8> {
        self.parts
            .iter()
            .flat_map(|part| part.data.clone())
            .collect()
    }

    /// The head.
    pub fn head(&self) -> &SentHead {
        let head = self.parts.first().and_then(|part| part.head.as_ref());
        head.unwrap_or_else(|| panic!("no head: {self:#?}"))
    }

    /// The log as one text, a line for each.
    pub fn log_text(&self) -> String {
        self.log.join("\n")
    }

    /// Fails unless the request was refused with 500, and the log says why.
    #[track_caller]
    pub fn assert_refused(&self, why: &str) {
        assert_eq!(
            (self.outcome.kind, self.outcome.status),
            (Outcome::REFUSED, 500),
            "{self:#?}"
        );
        assert!(self.parts.is_empty(), "{self:#?}");
        assert!(self.log_text().contains(why), "{self:#?}");
    }

    /// Fails unless the response was cut short, and the log says why.
    #[track_caller]
    pub fn assert_truncated(&self, why: &str) {
        assert_eq!(self.outcome.kind, Outcome::TRUNCATED, "{self:#?}");
        assert!(!self.parts.iter().any(|part| part.end), "{self:#?}");
        assert!(self.log_text().contains(why), "{self:#?}");
    }
}

/// A file of its own for every script, in a directory that lives as long as the tests.
fn script_file(source: &str) -> PathBuf {
    static SCRIPTS: OnceLock<(tempfile::TempDir, Mutex<usize>)> = OnceLock::new();
    let (directory, count) = SCRIPTS.get_or_init(|| (tempfile::tempdir().unwrap(), Mutex::new(0)));
    let mut count = count.lock().unwrap();
    *count += 1;
    let path = directory.path().join(format!("app{count}.wsgi"));
    std::fs::write(&path, source).unwrap();
    path
}

/// The engine, started.
pub fn engine() -> &'static Engine {
    let (engine, status) = start();
    assert_eq!(status, 0, "{:#?}", server_log());
    engine
}

/// The engine, and whether it could be started.
pub fn start() -> (&'static Engine, c_int) {
    static ENGINE: OnceLock<(&'static Engine, c_int)> = OnceLock::new();
    *ENGINE.get_or_init(|| {
        // SAFETY: the table is null or lives as long as the process.
        let engine = unsafe { wsgi_engine::wsgi_engine_entry(ABI_VERSION).as_ref() }.unwrap();
        let mut config = CONFIG;
        crate::configure(&mut config);
        // SAFETY: the host's table is a static, the configuration lives until the call returns.
        let status = unsafe { (engine.start)(&raw const HOST, &raw const config) };
        // The engine's hook keeps panics to itself; a failed assertion is one that shall be seen.
        drop(std::panic::take_hook());
        (engine, status)
    })
}

static SERVER_LOG: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// The lines that were logged outside any request.
pub fn server_log() -> Vec<String> {
    SERVER_LOG.lock().unwrap().clone()
}

static NOTICES: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// What was logged at info or below so far, for requests and beside them: the life of scripts.
pub fn notices() -> Vec<String> {
    NOTICES.lock().unwrap().clone()
}

static HOST: Host = Host {
    abi_version: ABI_VERSION,
    is_duplex: false,
    log,
    log_beside: log,
    log_level,
    read_body,
    await_body,
    send,
    try_send: Some(try_send),
    scoreboard,
    loaded,
};

const CONFIG: ProcessConfig<'static> = ProcessConfig {
    process_group: Bytes::new(b""),
    python_home: Bytes::NONE,
    python_path: Bytes::NONE,
    home: Bytes::NONE,
    python_eggs: Bytes::NONE,
    python_warnings: Slice::new(&[]),
    python_optimize: 0,
    python_hash_seed: -1,
    dont_write_bytecode: true,
    destroy_interpreter: true,
    restrict_stdin: false,
    restrict_stdout: false,
    keep_stdout: false,
    restrict_signal: true,
    switch_interval: 0.0,
    per_interpreter_gil: false,
    free_threading: true,
    sections: Slice::new(&[]),
    case_sensitive: true,
    server_metrics: false,
    multithread: true,
    multiprocess: false,
    run_once: false,
    maximum_processes: 1,
    threads_per_process: 16,
    server: ServerInfo {
        version: [2, 4, 62],
        description: Bytes::new(b"Memory/1.0"),
        build_date: Bytes::new(b"today"),
        mpm_name: Bytes::new(b"event"),
        maximum_processes: 1,
        threads_per_process: 16,
    },
};

/// The exchange behind a handle.
///
/// # Safety
///
/// - `request` is the handle of a request that is being served.
unsafe fn exchange<'a>(request: RequestHandle) -> &'a Exchange {
    // SAFETY: `Asked::answer` keeps the exchange until the engine returns.
    unsafe { &*request.cast_const().cast() }
}

unsafe extern "C" fn log(request: RequestHandle, line: *const LogLine<'_>) {
    // SAFETY: the line lives until we return.
    let line = unsafe { &*line };
    let mut text = String::from_utf8_lossy(line.text.or_empty()).into_owned();
    if line.id > 0 {
        text = format!("WSGI{:04}: {text}", line.id);
    }
    if line.level > Level::Warn {
        NOTICES.lock().unwrap().push(text.clone());
    }
    if request.is_null() {
        SERVER_LOG.lock().unwrap().push(text);
        return;
    }
    // SAFETY: the engine logs with a handle during the request only.
    let mut state = unsafe { exchange(request) }.state.lock().unwrap();
    if line.level <= Level::Warn {
        state.log.push(text);
    } else {
        state.notices.push(text);
    }
}

unsafe extern "C" fn log_level(_: RequestHandle) -> c_int {
    6
}

unsafe extern "C" fn scoreboard(_: TakeScoreboard, _: *mut c_void) {}

unsafe extern "C" fn loaded() {}

unsafe extern "C" fn read_body(request: RequestHandle, buffer: *mut u8, len: usize) -> isize {
    // SAFETY: the engine reads during the request only.
    let mut state = unsafe { exchange(request) }.state.lock().unwrap();
    state.reads.push(len);
    if len == 0 {
        return 0;
    }
    let Some(mut piece) = state.body.pop_front() else {
        return state.failure.map_or(0, |failure| failure as isize);
    };
    let rest = piece.split_off(piece.len().min(len));
    if !rest.is_empty() {
        state.body.push_front(rest);
    }
    // SAFETY: the buffer has room for `len` bytes.
    unsafe { std::ptr::copy_nonoverlapping(piece.as_ptr(), buffer, piece.len()) };
    piece.len().cast_signed()
}

unsafe extern "C" fn await_body(_: RequestHandle, _: c_int) {}

unsafe extern "C" fn send(request: RequestHandle, part: *const Part<'_>) -> Sent {
    // SAFETY: the engine sends during the request only, and the part lives until we return.
    let (exchange, part) = unsafe { (exchange(request), &*part) };
    let mut state = exchange.state.lock().unwrap();
    if state.patience == Some(state.parts.len()) {
        return Sent::GONE;
    }
    assert_eq!(
        part.head.is_null(),
        !state.parts.is_empty(),
        "the head comes first, once"
    );
    assert!(
        !state.parts.iter().any(|part| part.end),
        "nothing comes after the end"
    );
    state.parts.push(SentPart::from(part));
    Sent::OK
}

unsafe extern "C" fn try_send(request: RequestHandle, part: *const Part<'_>) -> Sent {
    // SAFETY: as in `send`.
    let (exchange, part) = unsafe { (exchange(request), &*part) };
    assert!(part.head.is_null() && part.file.is_null() && part.flush && !part.end);
    match exchange.state.lock().unwrap().is_eager {
        true => Sent::OK,
        false => Sent::REFUSED,
    }
}

impl From<&Part<'_>> for SentPart {
    fn from(part: &Part<'_>) -> Self {
        let text = |bytes: Bytes<'_>| String::from_utf8_lossy(bytes.or_empty()).into_owned();
        // SAFETY: null, or alive as long as the part.
        let (head, file) = unsafe { (part.head.as_ref(), part.file.as_ref()) };
        let mut data: Vec<u8> = part
            .data
            .get()
            .iter()
            .flat_map(|bytes| bytes.or_empty().to_vec())
            .collect();
        if let Some(region) = file {
            // SAFETY: the descriptor is the engine's, open until we return, and stays so.
            let file = std::mem::ManuallyDrop::new(unsafe {
                <std::fs::File as std::os::fd::FromRawFd>::from_raw_fd(region.fd)
            });
            let mut content = vec![0; usize::try_from(region.length).unwrap()];
            file.read_exact_at(&mut content, region.offset).unwrap();
            data.extend(content);
        }
        Self {
            head: head.map(|head| SentHead {
                status: head.status,
                status_line: text(head.status_line),
                headers: head
                    .headers
                    .get()
                    .iter()
                    .map(|pair| (text(pair.name), text(pair.value)))
                    .collect(),
            }),
            data,
            file: file.map(|region| (region.offset, region.length)),
            flush: part.flush,
            end: part.end,
        }
    }
}

/// The time, in seconds since the epoch.
pub fn now() -> f64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs_f64()
}
