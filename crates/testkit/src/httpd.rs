//! A running httpd: how it is started, asked, restarted and stopped.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};
use std::{fmt, fs, thread};

use rustix::process::Signal;

use crate::connection::Connection;
use crate::error_log::ErrorLog;
use crate::message::{Request, Response};
use crate::process::Process;
use crate::process_group::{self, ProcessGroup};
use crate::site::Site;
use crate::terminal;
use crate::wait::{DEADLINE, poll};

/// How often a port may turn out to be taken by someone else before that is a failure.
const PORT_ATTEMPTS: usize = 5;

/// What httpd logs when it is up, and again after every restart.
const RUNNING: &str = "resuming normal operations";

/// An httpd that serves a [`Site`]. Dropping it stops it.
#[derive(Debug)]
pub struct Httpd {
    site: Site,
    ports: Ports,
    processes: ProcessGroup,
    log: ErrorLog,
}

impl Httpd {
    pub(crate) fn start(site: Site) -> Result<Self, StartFailure> {
        let mut attempts = 0;
        let (ports, processes) = loop {
            attempts += 1;
            let ports = Ports::find();
            match launch(&site, ports) {
                Ok(processes) => break (ports, processes),
                Err(failure) if failure.is_busy_port() && attempts < PORT_ATTEMPTS => {}
                Err(failure) => return Err(failure),
            }
        };
        Ok(Self {
            log: ErrorLog::new(site.path("logs/error.log")),
            site,
            ports,
            processes,
        })
    }

    /// The site it serves, whose files may be changed while it runs.
    pub fn site(&self) -> &Site {
        &self.site
    }

    /// Its error log.
    pub fn log(&self) -> &ErrorLog {
        &self.log
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.ports.address()
    }

    /// The number of `${PORT}`.
    pub fn port(&self) -> u16 {
        self.ports.main
    }

    /// The number of `${TLS_PORT}`.
    pub fn tls_port(&self) -> u16 {
        self.ports.tls
    }

    /// The parent process, the one that was started.
    pub fn process(&self) -> Process {
        self.processes.leader()
    }

    /// The processes that serve.
    pub fn children(&self) -> Vec<Process> {
        self.process().children()
    }

    /// Opens a connection.
    pub fn connect(&self) -> Connection {
        Connection::open(self.address())
    }

    /// Gets `target` on a connection of its own.
    pub fn get(&self, target: &str) -> Response {
        self.send(&Request::get(target))
    }

    /// Sends a request on a connection of its own and reads the response.
    pub fn send(&self, request: &Request) -> Response {
        let mut connection = self.connect();
        connection.send(&request.clone().header("Connection", "close").to_bytes());
        connection.read_response_to(request.method())
    }

    /// Restarts gracefully (`SIGUSR1`) and waits until the new generation is in charge.
    pub fn restart_gracefully(&self) {
        self.restart(Signal::USR1);
    }

    /// Restarts at once (`SIGHUP`) and waits until the new generation is in charge.
    pub fn restart_hard(&self) {
        self.settle();
        self.restart(Signal::HUP);
    }

    fn restart(&self, signal: Signal) {
        let mark = self.log.mark();
        self.processes.signal(signal);
        self.log.wait_for(mark, RUNNING);
    }

    /// Stops (`SIGTERM`), waits until all its processes are gone, and returns how long that took.
    /// Panics if some had to be killed.
    pub fn stop(&mut self) -> Duration {
        self.end(Signal::TERM)
    }

    /// Stops gracefully (`SIGWINCH`): requests in flight are finished first.
    pub fn stop_gracefully(&mut self) -> Duration {
        self.end(Signal::WINCH)
    }

    fn end(&mut self, signal: Signal) -> Duration {
        self.settle();
        let begin = Instant::now();
        let left = self.processes.end(signal);
        assert!(left.is_empty(), "did not stop: {left:#?}");
        begin.elapsed()
    }

    fn settle(&self) {
        process_group::settle(|| self.children());
    }
}

impl Drop for Httpd {
    fn drop(&mut self) {
        let mut left = Vec::new();
        if !self.processes.is_gone() {
            self.settle();
            left = self.processes.end(Signal::TERM);
        }
        if thread::panicking() {
            eprintln!("--- httpd said ---\n{}", all_output(&self.site));
            return;
        }
        assert!(
            left.is_empty(),
            "did not stop: {left:#?}\n{}",
            all_output(&self.site)
        );
        let alarms = self.log.alarms();
        assert!(
            alarms.is_empty(),
            "in the error log: {alarms:#?}\n{}",
            all_output(&self.site)
        );
    }
}

/// Starts httpd and waits until it serves.
fn launch(site: &Site, ports: Ports) -> Result<ProcessGroup, StartFailure> {
    site.write_config(ports.main, ports.tls);
    let output = File::create(site.path("logs/output")).expect("a file for the output");
    let errors = output.try_clone().expect("a second descriptor");
    let mut command = site.command();
    command.arg("-DFOREGROUND").stdout(output).stderr(errors);
    let mut processes = match site.chosen_terminal() {
        // The site's program leads a session of its own there.
        Some(path) => ProcessGroup::start_leader(command.stdin(terminal::open(path))),
        None => ProcessGroup::start(command.stdin(Stdio::null())),
    }
    .on(site.root());

    // httpd writes its pid when it listens, and then installs its handlers of signals: one that
    // comes before that ends it.
    let pid_file = site.path("logs/httpd.pid");
    let parent = processes.leader();
    // The last one that it installs; where it is one process, it knows nothing of graceful
    // restarts.
    let last = match site.has_argument("-X") {
        true => Signal::TERM,
        false => Signal::USR1,
    };
    let serves =
        || pid_file.exists() && TcpStream::connect(ports.address()).is_ok() && parent.catches(last);
    let up = poll(DEADLINE, || match processes.leader_ended() {
        true => Some(false),
        false => serves().then_some(true),
    });
    if up == Some(true) {
        return Ok(processes);
    }
    if up == Some(false) {
        let left = processes.wait_for_end();
        assert!(left.is_empty(), "are left of a failed start: {left:#?}");
    }
    Err(StartFailure {
        text: all_output(site),
    })
}

/// The ports of a server.
#[derive(Clone, Copy, Debug)]
struct Ports {
    main: u16,
    tls: u16,
}

impl Ports {
    /// Two ports that nobody listens on right now.
    fn find() -> Self {
        let listeners = [(); 2].map(|()| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)));
        let [main, tls] = listeners.map(|listener| {
            let address = listener.and_then(|listener| listener.local_addr());
            address.expect("a free port").port()
        });
        Self { main, tls }
    }

    fn address(self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.main))
    }
}

/// What httpd printed, then its error log.
fn all_output(site: &Site) -> String {
    if !site.path("conf").exists() {
        return "nothing that is left: somebody has removed its ServerRoot".to_owned();
    }
    let output = fs::read_to_string(site.path("logs/output")).unwrap_or_default();
    let log = ErrorLog::new(site.path("logs/error.log"));
    output + &log.text()
}

/// Why httpd did not start.
#[derive(Debug)]
pub struct StartFailure {
    /// What it printed, then its error log.
    pub text: String,
}

impl StartFailure {
    fn is_busy_port(&self) -> bool {
        self.text.contains("Address already in use")
    }
}

impl fmt::Display for StartFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "httpd did not start; it said:\n{}", self.text)
    }
}

impl std::error::Error for StartFailure {}

/// One httpd for the tests of a file: started by the first that needs it, stopped when no test
/// holds it any more.
///
/// ```no_run
/// use testkit::{SharedHttpd, Site};
///
/// static SERVER: SharedHttpd =
///     SharedHttpd::new(|| Site::new().config("WSGIScriptAlias / ${WSGI}/"));
/// let server = SERVER.borrow();
/// ```
#[derive(Debug)]
pub struct SharedHttpd {
    site: fn() -> Site,
    running: Mutex<Weak<Httpd>>,
}

impl SharedHttpd {
    /// A server on the site that `site` makes.
    pub const fn new(site: fn() -> Site) -> Self {
        Self {
            site,
            running: Mutex::new(Weak::new()),
        }
    }

    /// The running server.
    pub fn borrow(&self) -> Arc<Httpd> {
        // A test that panicked while it started the server left nothing half done.
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(server) = running.upgrade() {
            return server;
        }
        let server = Arc::new((self.site)().start());
        *running = Arc::downgrade(&server);
        server
    }
}
