//! A running target: an httpd, and what else it needs to answer.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, ensure};
use procfs::process::Process;
use testkit::{Httpd, Mpm, Request, Site};

use crate::cases::{CASES, Case};
use crate::peer::{self, Kind, Peer};
use crate::target::Target;

/// As in every `httpd.conf` that comes with httpd. Without it httpd looks for a `.htaccess` in each
/// directory on the way to a script, but not for what it passes on to a proxy.
const NO_HTACCESS: &str = "<Directory />\nAllowOverride None\n</Directory>";

/// A target that answers. Dropping it stops its processes.
#[derive(Debug)]
pub(crate) struct Server {
    /// Which target.
    pub(crate) target: Target,
    httpd: Httpd,
    /// What httpd passes everything on to, if it does not answer itself.
    peer: Option<Peer>,
}

impl Server {
    /// What every target's server has: the scripts, the bodies, the load generator's script and
    /// the same MPM.
    pub(crate) fn site(processes: u32) -> Site {
        let site = Site::new()
            .mpm(Mpm::Event)
            .config(&mpm_settings(processes))
            .config(NO_HTACCESS)
            .file("load.lua", include_str!("load.lua"));
        CASES.iter().fold(site, |site, case| {
            site.script(&format!("{}.wsgi", case.name), case.script)
                .file(&format!("wsgi/{}.body", case.name), (case.body)())
        })
    }

    /// Starts httpd on `site`.
    pub(crate) fn start(target: Target, site: Site) -> anyhow::Result<Self> {
        let httpd = site.try_start().with_context(|| target.to_string())?;
        Ok(Self {
            target,
            httpd,
            peer: None,
        })
    }

    /// Starts httpd on `site` before a server of its own, which serves the scripts.
    pub(crate) fn start_behind(
        target: Target,
        site: Site,
        kind: Kind,
        venv: &Path,
    ) -> anyhow::Result<Self> {
        let port = peer::free_port()?;
        let (modules, directive) = kind.proxy(port);
        let site = modules.iter().fold(site, |site, name| site.module(name));
        let site = site
            .script("dispatch.py", include_str!("../apps/dispatch.py"))
            .config(&directive);
        let peer = Peer::start(kind, venv, &site.path("wsgi"), port)?;
        let server = Self::start(target, site)?;
        Ok(Self {
            peer: Some(peer),
            ..server
        })
    }

    /// Checks that the answer to `case` is what every target must answer.
    pub(crate) fn check(&self, case: &Case) -> anyhow::Result<()> {
        let mut request = Request::new(case.method(), &format!("/{}", case.name));
        for (name, value) in case.headers {
            request = request.header(name, value);
        }
        if let Some(length) = case.upload {
            request = request.body(vec![b'x'; length]);
        }
        let response = self.httpd.send(&request);
        ensure!(
            response.status == 200 && response.body == (case.body)(),
            "{} answers the case {} wrongly: status {}, {} bytes\n{}",
            self.target,
            case.name,
            response.status,
            response.body.len(),
            self.httpd.log().text()
        );
        Ok(())
    }

    /// What it says it is: the `Server` header.
    pub(crate) fn software(&self) -> String {
        let response = self.httpd.get("/hello");
        response.header("Server").unwrap_or("?").to_owned()
    }

    /// The URL of `case`.
    pub(crate) fn url(&self, case: &Case) -> String {
        format!("http://{}/{}", self.httpd.address(), case.name)
    }

    /// The script of the load generator.
    pub(crate) fn load_script(&self) -> PathBuf {
        self.httpd.site().path("load.lua")
    }

    /// The CPU time its processes have used so far: user and system, those that have ended
    /// included.
    pub(crate) fn cpu_time(&self) -> anyhow::Result<Duration> {
        let mut parents = vec![self.httpd.process()];
        if let Some(peer) = &self.peer {
            parents.push(peer.process()?);
        }
        let mut ticks = 0;
        for parent in parents {
            for process in parent.descendants().into_iter().chain([parent]) {
                ticks += ticks_of(process.pid)?;
            }
        }
        Ok(Duration::from_secs(ticks) / procfs::ticks_per_second() as u32)
    }
}

/// Processes and their threads, as many at the end as at the start.
pub(crate) fn mpm_settings(processes: u32) -> String {
    let threads = 25 * processes;
    format!(
        "StartServers {processes}\nServerLimit {processes}\nThreadsPerChild 25\n\
         MaxRequestWorkers {threads}\nMinSpareThreads 1\nMaxSpareThreads {threads}\n\
         MaxKeepAliveRequests 0\nLogLevel warn\n"
    )
}

/// The time of a process and of the children it has waited for, in clock ticks.
fn ticks_of(pid: i32) -> anyhow::Result<u64> {
    let stat = Process::new(pid).and_then(|process| process.stat());
    let stat = stat.with_context(|| format!("a process of the server is gone: {pid}"))?;
    let waited_for = stat.cutime.max(0).unsigned_abs() + stat.cstime.max(0).unsigned_abs();
    Ok(stat.utime + stat.stime + waited_for)
}
