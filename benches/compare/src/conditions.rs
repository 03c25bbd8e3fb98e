//! Under which conditions was measured: figures without them mean nothing.

use std::fmt::Write;

use procfs::{CpuInfo, Current, KernelVersion};

use crate::measure::Plan;
use crate::server::Server;

/// The plan, the machine, and what each server says it is; in Markdown.
pub(crate) fn of(plan: Plan, servers: &[Server]) -> anyhow::Result<String> {
    let Plan {
        rounds,
        seconds,
        connections,
        processes,
    } = plan;
    let cpus = CpuInfo::current()?;
    let KernelVersion {
        major,
        minor,
        patch,
    } = KernelVersion::current()?;
    let mut text = format!(
        "Medians of {rounds} rounds of {seconds} s, {connections} connections to {processes} × 25 \
         threads, on {} × {}, Linux {major}.{minor}.{patch}.\n\n",
        cpus.num_cores(),
        cpus.model_name(0).unwrap_or("CPU")
    );
    for server in servers {
        writeln!(text, "- {}: {}", server.target, server.software())?;
    }
    Ok(text)
}
