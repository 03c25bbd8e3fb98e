//! The order of measurements: all targets in turn for a case, all cases in turn for a round.

use std::io::{Write, stderr};

use crate::cases::Case;
use crate::interrupt::Interrupt;
use crate::load::Load;
use crate::results::{Results, Sample};
use crate::server::Server;

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    /// How often each target is measured in each case.
    pub(crate) rounds: u32,
    /// How long one measurement lasts.
    pub(crate) seconds: u32,
    /// How many connections ask at the same time.
    pub(crate) connections: u32,
    /// How many processes answer, of 25 threads each.
    pub(crate) processes: u32,
}

/// Measures every server in every case.
pub(crate) fn run(
    plan: Plan,
    cases: &[&'static Case],
    servers: &[Server],
    interrupt: &Interrupt,
) -> anyhow::Result<Results> {
    let mut results = Results::new(cases, servers.iter().map(|server| server.target));
    for round in 1..=plan.rounds {
        for &case in cases {
            write!(stderr(), "round {round} of {}, {}:", plan.rounds, case.name)?;
            for server in in_turn(servers, round) {
                let sample = measure(plan, server, case);
                interrupt.check()?;
                let sample = sample?;
                write!(
                    stderr(),
                    "  {} {:.0}/s",
                    server.target,
                    sample.requests_per_second
                )?;
                results.add(case, server.target, sample);
            }
            writeln!(stderr())?;
        }
    }
    Ok(results)
}

/// The servers, another one first in each round: none always follows the same neighbour.
fn in_turn(servers: &[Server], round: u32) -> impl Iterator<Item = &Server> {
    let first = round as usize % servers.len().max(1);
    servers.iter().cycle().skip(first).take(servers.len())
}

fn measure(plan: Plan, server: &Server, case: &Case) -> anyhow::Result<Sample> {
    let before = server.cpu_time()?;
    let load = Load::run(plan, server, case)?;
    let cpu = server.cpu_time()?.saturating_sub(before);
    Ok(Sample {
        requests_per_second: load.requests / load.seconds,
        p99: load.p99,
        cpu: cpu.as_micros() as f64 / load.requests,
    })
}
