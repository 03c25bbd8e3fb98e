//! Measures the module against its peers.
//!
//! Boots every target in a private httpd of its own, all with the same configuration, and takes
//! turns: round by round, case by case, `wrk` asks each target for a few seconds. Whatever else
//! the machine does meanwhile hits all targets alike, and medians over the rounds drop what hits
//! only one. `docs/performance.md` says how to read the result.
//!
//! ```text
//! cargo run --release -p compare
//! ```

#![forbid(unsafe_code)]

mod cases;
mod chart;
mod conditions;
mod interrupt;
mod load;
mod measure;
mod memory;
mod peer;
mod results;
mod server;
mod table;
mod target;

use std::fs;
use std::io::{Write, stdout};
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Parser;

use crate::cases::{CASES, Case};
use crate::interrupt::Interrupt;
use crate::measure::Plan;
use crate::server::Server;
use crate::target::{Modules, Target};

/// Measures the module against mod_wsgi and a null C handler.
#[derive(Parser)]
struct Options {
    /// How often each target is measured in each case; the medians are shown.
    #[arg(long, default_value = "5")]
    rounds: NonZeroU32,
    /// How long each measurement lasts.
    #[arg(long, default_value = "2")]
    seconds: NonZeroU32,
    /// How many connections ask at the same time.
    #[arg(long, default_value = "16")]
    connections: NonZeroU32,
    /// How many processes of 25 threads each httpd has. With more than one, chance decides how the
    /// connections spread over them, and so how much of the time they wait for one GIL.
    #[arg(long, default_value = "1")]
    processes: NonZeroU32,
    /// What is asked for: hello, json, large, stream, post, file, cpu. All by default.
    #[arg(long, value_delimiter = ',', value_parser = Case::named)]
    cases: Vec<&'static Case>,
    /// Who is asked. All by default, but for what `--peers` would be needed for.
    #[arg(long, value_delimiter = ',', value_enum)]
    targets: Vec<Target>,
    /// Measure how much memory daemon mode takes instead of how fast it is.
    #[arg(long)]
    memory: bool,
    #[command(flatten)]
    modules: Modules,
    /// Where the chart goes.
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/performance.svg"))]
    svg: PathBuf,
}

fn main() -> anyhow::Result<()> {
    let mut options = Options::parse();
    let interrupt = Interrupt::catch()?;
    if options.memory {
        return measure_memory(&options, &interrupt);
    }
    if options.cases.is_empty() {
        options.cases = CASES.iter().collect();
    }
    if options.targets.is_empty() {
        options.targets = options.modules.available();
    }
    let plan = Plan {
        rounds: options.rounds.get(),
        seconds: options.seconds.get(),
        connections: options.connections.get(),
        processes: options.processes.get(),
    };
    let servers = start(&options, &interrupt)?;
    let results = measure::run(plan, &options.cases, &servers, &interrupt)?;
    let conditions = conditions::of(plan, &servers)?;
    writeln!(stdout(), "{conditions}\n{}", table::of(&results))?;
    write(&options.svg, &chart::of(&results))
}

fn measure_memory(options: &Options, interrupt: &Interrupt) -> anyhow::Result<()> {
    let targets = match options.targets.as_slice() {
        [] => &[Target::ReferenceDaemon, Target::OursDaemon],
        targets => targets,
    };
    let table = memory::table(targets, &options.modules, options.rounds.get(), interrupt)?;
    writeln!(stdout(), "{table}")?;
    Ok(())
}

/// Boots the targets and has each show that it answers every case right.
fn start(options: &Options, interrupt: &Interrupt) -> anyhow::Result<Vec<Server>> {
    options
        .targets
        .iter()
        .map(|&target| {
            interrupt.check()?;
            let server = target.start(&options.modules, options.processes.get())?;
            options
                .cases
                .iter()
                .try_for_each(|case| server.check(case))?;
            Ok(server)
        })
        .collect()
}

fn write(path: &Path, chart: &str) -> anyhow::Result<()> {
    fs::write(path, chart).with_context(|| format!("cannot write {}", path.display()))?;
    writeln!(
        stdout(),
        "\nThe chart is in {}.",
        path.canonicalize()?.display()
    )?;
    Ok(())
}
