//! A terminal for an httpd that runs in the foreground of one.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use rustix::fs::{Mode, OFlags};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};

use crate::wait::wait_until;

/// A pseudo-terminal, and what was written to it.
#[derive(Debug)]
pub struct Terminal {
    path: String,
    /// Keeps it there while nobody else has it open.
    inside: OwnedFd,
    keyboard: File,
    written: Arc<Mutex<Vec<u8>>>,
}

impl Terminal {
    /// One that nobody uses yet.
    pub fn open() -> Self {
        let outside =
            openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).expect("a pty");
        grantpt(&outside).expect("a pty of ours");
        unlockpt(&outside).expect("a pty of ours");
        let path = ptsname(&outside, Vec::new()).expect("a name");
        let path = path.into_string().expect("a name of ASCII");
        let written = Arc::default();
        let outside = File::from(outside);
        let keyboard = outside.try_clone().expect("a second descriptor");
        collect(outside, Arc::clone(&written));
        Self {
            inside: open(&path),
            keyboard,
            path,
            written,
        }
    }

    /// Its name, for whoever is to write to it: `/dev/pts/7`.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// What a program has for its standard streams there.
    pub fn stream(&self) -> Stdio {
        self.inside.try_clone().expect("a second descriptor").into()
    }

    /// Types a line. The terminal shows what is typed, so that counts as written to it.
    pub fn type_line(&self, line: &str) {
        writeln!(&self.keyboard, "{line}").expect("a terminal");
    }

    /// Has it stop processes that write to it from the background (`stty tostop`).
    pub fn stop_writers_in_the_background(&self) {
        let mut modes = tcgetattr(&self.inside).expect("a terminal");
        modes.local_modes |= LocalModes::TOSTOP;
        tcsetattr(&self.inside, OptionalActions::Now, &modes).expect("a terminal");
    }

    /// Waits until `text` was written to it.
    pub fn wait_for(&self, text: &str) {
        wait_until(text, || {
            let written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
            String::from_utf8_lossy(&written)
                .contains(text)
                .then_some(())
        });
    }
}

/// The inside of the terminal at `path`, which does not become the caller's own.
pub(crate) fn open(path: &str) -> OwnedFd {
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty()).expect("a terminal")
}

/// Reads what is written until nobody has the terminal open any more, as otherwise writers would
/// wait.
fn collect(mut outside: File, written: Arc<Mutex<Vec<u8>>>) {
    thread::spawn(move || {
        let mut piece = [0; 4096];
        while let Ok(length @ 1..) = outside.read(&mut piece) {
            let mut written = written.lock().unwrap_or_else(PoisonError::into_inner);
            written.extend_from_slice(&piece[..length]);
        }
    });
}
