//! The load: one run of `wrk` against one URL.

use std::io::ErrorKind;
use std::process::Command;

use anyhow::{Context, bail, ensure};

use crate::cases::Case;
use crate::measure::Plan;
use crate::server::Server;

/// What came of a run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    /// How many requests were answered.
    pub(crate) requests: f64,
    /// How long that took, in seconds.
    pub(crate) seconds: f64,
    /// The time within which 99 of 100 answers came, in milliseconds.
    pub(crate) p99: f64,
}

impl Load {
    /// Asks `server` for `case` as `plan` says. An answer that is missing or not a success makes
    /// the run a failure: the rate of errors is no rate to compare.
    pub(crate) fn run(plan: Plan, server: &Server, case: &Case) -> anyhow::Result<Self> {
        let output = match wrk(plan, server, case).output() {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                bail!("wrk is not installed; on Debian: apt-get install wrk")
            }
            output => output.context("cannot run wrk")?,
        };
        let text = String::from_utf8_lossy(&output.stdout);
        let load = parse(&text).with_context(|| format!("wrk failed:\n{text}"));
        load.with_context(|| format!("{} was asked for {}", server.target, case.name))
    }
}

fn wrk(plan: Plan, server: &Server, case: &Case) -> Command {
    let mut wrk = Command::new("wrk");
    wrk.arg("--threads=1")
        .arg(format!("--connections={}", plan.connections))
        .arg(format!("--duration={}s", plan.seconds))
        .arg("--timeout=10s")
        .arg("--script")
        .arg(server.load_script());
    for (name, value) in case.headers {
        wrk.arg(format!("--header={name}: {value}"));
    }
    wrk.arg(server.url(case))
        .args(["--", case.method(), &case.upload.unwrap_or(0).to_string()]);
    wrk
}

/// Reads the line that `load.lua` prints: requests, microseconds, the 99th percentile of the
/// latency in microseconds, errors.
fn parse(text: &str) -> anyhow::Result<Load> {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("measured: "))
        .context("it printed no figures")?;
    let figures: Vec<f64> = line.split(' ').map(str::parse).collect::<Result<_, _>>()?;
    let &[requests, duration, p99, errors] = figures.as_slice() else {
        bail!("four figures expected: {line}");
    };
    ensure!(errors == 0.0, "{errors} of {requests} requests failed");
    ensure!(requests > 0.0, "no request was answered");
    Ok(Load {
        requests,
        seconds: duration / 1e6,
        p99: p99 / 1e3,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_figures() {
        let load = parse("Running 2s test\nmeasured: 60000 2000000 1500 0\n").unwrap();
        assert_eq!((load.requests, load.seconds, load.p99), (60000.0, 2.0, 1.5));
    }

    #[test]
    fn errors_are_no_figures() {
        assert!(parse("measured: 60000 2000000 1500 3\n").is_err());
        assert!(parse("unable to connect\n").is_err());
    }
}
