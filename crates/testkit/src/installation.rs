//! The httpd that is installed on this machine, as `apxs -q` describes it.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// Where the installed httpd keeps its program and its modules.
#[derive(Debug)]
pub(crate) struct Installation {
    /// The server program.
    pub(crate) program: PathBuf,
    modules: PathBuf,
}

impl Installation {
    /// Asks `apxs` (or the program that `APXS` names), once.
    pub(crate) fn find() -> &'static Self {
        static FOUND: OnceLock<Installation> = OnceLock::new();
        FOUND.get_or_init(|| Self {
            program: Path::new(&query("SBINDIR")).join(query("PROGNAME")),
            modules: PathBuf::from(query("LIBEXECDIR")),
        })
    }

    /// The directive that loads httpd's module `name`, unless it is compiled in.
    pub(crate) fn load(&self, name: &str) -> String {
        let file = self.modules.join(format!("mod_{name}.so"));
        if !file.exists() {
            // mod_unixd and the like: compiled into the program on some distributions.
            return String::new();
        }
        format!("LoadModule {name}_module {}\n", file.display())
    }
}

/// The directive that loads httpd's module `name`; nothing if that is compiled in. For tests in
/// which the order matters: otherwise [`Site::module`](crate::Site::module) is for it.
pub fn load_module(name: &str) -> String {
    Installation::find().load(name)
}

fn query(variable: &str) -> String {
    let apxs = env::var_os("APXS").unwrap_or_else(|| "apxs".into());
    let output = Command::new(apxs)
        .args(["-q", variable])
        .output()
        .expect("apxs runs; it comes with httpd's development package");
    String::from_utf8(output.stdout)
        .expect("apxs prints UTF-8")
        .trim()
        .to_owned()
}

/// A multi-processing module of httpd.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mpm {
    /// Threads, with idle connections kept by a listener.
    Event,
    /// Threads.
    Worker,
    /// One request at a time in each process.
    Prefork,
}

impl Mpm {
    /// The one `MOD_WSGI_TEST_MPM` names, for tests that do not choose; event by default.
    pub fn from_environment() -> Self {
        match env::var("MOD_WSGI_TEST_MPM").as_deref() {
            Ok("worker") => Self::Worker,
            Ok("prefork") => Self::Prefork,
            Ok("event") | Err(_) => Self::Event,
            Ok(other) => panic!("MOD_WSGI_TEST_MPM={other}: choose event, worker or prefork"),
        }
    }

    /// Its name in `mpm_NAME_module`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Event => "event",
            Self::Worker => "worker",
            Self::Prefork => "prefork",
        }
    }

    /// Limits under which one child serves everything until all its threads are busy.
    pub(crate) fn limits(self) -> &'static str {
        match self {
            Self::Event | Self::Worker => {
                "StartServers 1\nServerLimit 8\nThreadLimit 64\nThreadsPerChild 16\n\
                 MaxRequestWorkers 128\nMinSpareThreads 1\nMaxSpareThreads 128\n"
            }
            Self::Prefork => {
                "StartServers 1\nServerLimit 64\nMaxRequestWorkers 64\n\
                 MinSpareServers 1\nMaxSpareServers 64\n"
            }
        }
    }
}
