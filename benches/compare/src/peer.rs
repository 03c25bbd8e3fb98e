//! Servers of their own behind mod_proxy: what else one would pick for a WSGI application.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use testkit::Process;

/// Processes, and threads of each.
const PROCESSES: &str = "2";
const THREADS: &str = "8";

/// How long one may take to start.
const PATIENCE: Duration = Duration::from_secs(20);

/// Which one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Gunicorn,
    Uwsgi,
    Granian,
}

/// One that runs. It is stopped when this is dropped.
#[derive(Debug)]
pub(crate) struct Peer {
    child: Child,
}

impl Kind {
    /// The modules and directives by which httpd passes everything on to it.
    pub(crate) fn proxy(self, port: u16) -> ([&'static str; 2], String) {
        let (module, scheme) = match self {
            Self::Uwsgi => ("proxy_uwsgi", "uwsgi"),
            Self::Gunicorn | Self::Granian => ("proxy_http", "http"),
        };
        let directive = format!("ProxyPass / {scheme}://127.0.0.1:{port}/");
        (["proxy", module], directive)
    }

    /// The command that serves the scripts in `directory`.
    fn command(self, venv: &Path, directory: &Path, port: u16) -> Command {
        let address = format!("127.0.0.1:{port}");
        let (name, arguments): (_, &[&str]) = match self {
            Self::Gunicorn => (
                "gunicorn",
                &[
                    "--workers",
                    PROCESSES,
                    "--threads",
                    THREADS,
                    "--keep-alive",
                    "75",
                    "--bind",
                    &address,
                    "dispatch:application",
                ],
            ),
            Self::Uwsgi => (
                "uwsgi",
                &[
                    "--master",
                    "--die-on-term",
                    "--disable-logging",
                    "--processes",
                    PROCESSES,
                    "--threads",
                    THREADS,
                    "--socket",
                    &address,
                    "--module",
                    "dispatch",
                ],
            ),
            Self::Granian => (
                "granian",
                &[
                    "--interface",
                    "wsgi",
                    "--no-ws",
                    "--workers",
                    PROCESSES,
                    "--blocking-threads",
                    THREADS,
                    "--host",
                    "127.0.0.1",
                    "--port",
                    &port.to_string(),
                    "dispatch:application",
                ],
            ),
        };
        let mut command = Command::new(venv.join("bin").join(name));
        command
            .args(arguments)
            .current_dir(directory)
            .env("PYTHONPATH", directory)
            .env("VIRTUAL_ENV", venv);
        command
    }
}

impl Peer {
    /// Starts one on `port`, and waits until it listens.
    pub(crate) fn start(
        kind: Kind,
        venv: &Path,
        directory: &Path,
        port: u16,
    ) -> anyhow::Result<Self> {
        let mut command = kind.command(venv, directory, port);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let child = command.process_group(0).spawn();
        let child = child.with_context(|| format!("cannot run {kind:?} of {}", venv.display()))?;
        let mut peer = Self { child };
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect(address).is_err() {
            ensure!(Instant::now() < deadline, "{kind:?} does not listen");
            if let Some(status) = peer.child.try_wait()? {
                bail!("{kind:?} has ended: {status}");
            }
            thread::sleep(Duration::from_millis(50));
        }
        Ok(peer)
    }

    /// Its first process, the parent of the others.
    pub(crate) fn process(&self) -> anyhow::Result<Process> {
        let pid = i32::try_from(self.child.id())?;
        Ok(Process { pid })
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        if let Ok(pid) = i32::try_from(self.child.id()) {
            // It may have ended by itself.
            let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
        }
        let _ = self.child.wait();
    }
}

/// A port that nobody listens on at this moment.
pub(crate) fn free_port() -> anyhow::Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    Ok(listener.local_addr()?.port())
}
