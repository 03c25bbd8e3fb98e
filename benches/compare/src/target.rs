//! Who is compared, and what each needs to be started.
//!
//! A target is one httpd with one module, or with mod_proxy before a [`Peer`](crate::peer::Peer).

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fmt};

use anyhow::{Context, bail, ensure};
use clap::{Args, ValueEnum};
use testkit::Site;

use crate::cases::{CASES, Case};
use crate::peer::Kind;
use crate::server::Server;

/// A target of the comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Target {
    /// A handler in C that answers fixed bytes: what httpd and the kernel cost.
    Null,
    /// mod_wsgi 6.1.1, embedded.
    Reference,
    /// This module, embedded.
    Ours,
    /// mod_wsgi 6.1.1, in a process group.
    ReferenceDaemon,
    /// This module, in a process group.
    OursDaemon,
    /// gunicorn behind mod_proxy_http.
    Gunicorn,
    /// uWSGI behind mod_proxy_uwsgi.
    Uwsgi,
    /// granian behind mod_proxy_http.
    Granian,
}

/// Where the measured modules are.
#[derive(Args, Debug)]
pub(crate) struct Modules {
    /// This module, as `apxs/build` leaves it.
    #[arg(
        long,
        env = "MOD_WSGI_SO",
        default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/dist/mod_wsgi.so")
    )]
    module: PathBuf,
    /// The mod_wsgi to compare with; by default the one `mod_wsgi-express` tells of.
    #[arg(long, env = "MOD_WSGI_REFERENCE_SO")]
    reference: Option<PathBuf>,
    /// A virtual environment in which gunicorn, uwsgi and granian are installed.
    #[arg(long, env = "MOD_WSGI_PEERS")]
    peers: Option<PathBuf>,
}

impl Target {
    /// All of them, in the order of the table.
    pub(crate) const ALL: [Self; 8] = [
        Self::Null,
        Self::Reference,
        Self::Ours,
        Self::ReferenceDaemon,
        Self::OursDaemon,
        Self::Gunicorn,
        Self::Uwsgi,
        Self::Granian,
    ];

    /// The mod_wsgi that it is compared with: the one in the same mode, and in daemon mode for
    /// servers behind mod_proxy.
    pub(crate) fn reference(self) -> Self {
        match self {
            Self::Null | Self::Reference | Self::Ours => Self::Reference,
            _ => Self::ReferenceDaemon,
        }
    }

    /// Its name in the table and the chart.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Null => "null C handler",
            Self::Reference => "mod_wsgi 6.1.1",
            Self::Ours => "this module",
            Self::ReferenceDaemon => "mod_wsgi 6.1.1, daemon",
            Self::OursDaemon => "this module, daemon",
            Self::Gunicorn => "gunicorn",
            Self::Uwsgi => "uWSGI",
            Self::Granian => "granian",
        }
    }

    /// Starts it.
    pub(crate) fn start(self, modules: &Modules, processes: u32) -> anyhow::Result<Server> {
        let site = Server::site(processes);
        let site = match self {
            Self::Null => null_handler(site)?,
            Self::Reference => serving(site, &modules.reference()?, "%{GLOBAL}"),
            Self::Ours => serving(site, modules.ours()?, "%{GLOBAL}"),
            Self::ReferenceDaemon => in_group(site, &modules.reference()?),
            Self::OursDaemon => in_group(site, modules.ours()?),
            Self::Gunicorn | Self::Uwsgi | Self::Granian => site.without_subject(),
        };
        match self.peer() {
            Some(kind) => Server::start_behind(self, site, kind, modules.peers()?),
            None => Server::start(self, site),
        }
    }

    fn peer(self) -> Option<Kind> {
        match self {
            Self::Gunicorn => Some(Kind::Gunicorn),
            Self::Uwsgi => Some(Kind::Uwsgi),
            Self::Granian => Some(Kind::Granian),
            _ => None,
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.title())
    }
}

impl Modules {
    /// The targets that there is everything for.
    pub(crate) fn available(&self) -> Vec<Target> {
        let targets = Target::ALL.into_iter();
        targets
            .filter(|target| target.peer().is_none() || self.peers.is_some())
            .collect()
    }

    /// The module of a target in daemon mode.
    pub(crate) fn of(&self, target: Target) -> anyhow::Result<PathBuf> {
        match target {
            Target::ReferenceDaemon => self.reference(),
            Target::OursDaemon => Ok(self.ours()?.to_owned()),
            _ => bail!("{target} has no process group"),
        }
    }

    fn peers(&self) -> anyhow::Result<&Path> {
        self.peers
            .as_deref()
            .context("--peers must name a virtual environment with gunicorn, uwsgi and granian")
    }

    fn ours(&self) -> anyhow::Result<&Path> {
        let path = &self.module;
        ensure!(
            path.exists(),
            "no module at {}: run apxs/build first",
            path.display()
        );
        Ok(path)
    }

    fn reference(&self) -> anyhow::Result<PathBuf> {
        let path = match &self.reference {
            Some(path) => path.clone(),
            None => installed_reference()?,
        };
        ensure!(path.exists(), "no mod_wsgi at {}", path.display());
        Ok(path)
    }
}

/// Asks `mod_wsgi-express` for the module that it was installed with.
fn installed_reference() -> anyhow::Result<PathBuf> {
    let output = Command::new("mod_wsgi-express")
        .arg("module-location")
        .output();
    match output {
        Ok(output) if output.status.success() => {
            Ok(String::from_utf8(output.stdout)?.trim().into())
        }
        _ => bail!(
            "no mod_wsgi to compare with. Install it into a virtual environment:\n\
             \n    python3 -m venv target/reference\n    \
             target/reference/bin/pip install mod_wsgi==6.1.1\n    \
             export MOD_WSGI_REFERENCE_SO=$(target/reference/bin/mod_wsgi-express module-location)\n\
             \nor leave it out: --targets null,ours"
        ),
    }
}

/// A process group of two processes with eight threads each, for as many requests as there are
/// connections.
fn in_group(site: Site, module: &Path) -> Site {
    let site = site.config(
        "WSGISocketPrefix ${ROOT}/logs/wsgi
         WSGIDaemonProcess group processes=2 threads=8",
    );
    serving(site, module, "group")
}

/// The scripts, each at its own URL, all in the main interpreter and loaded at the start.
fn serving(site: Site, module: &Path, group: &str) -> Site {
    CASES
        .iter()
        .fold(site.subject(module), |site, Case { name, .. }| {
            site.config(&format!(
                "WSGIScriptAlias /{name} ${{WSGI}}/{name}.wsgi \
             process-group={group} application-group=%{{GLOBAL}}"
            ))
        })
}

/// The null handler, compiled here and now.
fn null_handler(site: Site) -> anyhow::Result<Site> {
    let site = site
        .without_subject()
        .file("null/mod_null.c", include_str!("mod_null.c"));
    let apxs = env::var_os("APXS").unwrap_or_else(|| "apxs".into());
    let output = Command::new(apxs)
        .args(["-c", "mod_null.c"])
        .current_dir(site.path("null"))
        .output();
    let output = match output {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            bail!("apxs is not installed; on Debian: apt-get install apache2-dev")
        }
        output => output.context("cannot run apxs")?,
    };
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success(),
        "apxs cannot compile the null handler:\n{errors}"
    );
    let site = site
        .config("LoadModule null_module ${ROOT}/null/.libs/mod_null.so")
        .config("NullBodies ${WSGI}\n<Location />\nSetHandler null\n</Location>");
    // httpd looks for a file at each URL, and shall find one as it finds the scripts.
    Ok(CASES.iter().fold(site, |site, case| {
        site.file(&format!("www/{}", case.name), "")
    }))
}
