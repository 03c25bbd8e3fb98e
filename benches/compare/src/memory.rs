//! How much memory daemon mode takes: groups of one process and of two that have answered some
//! hundred requests.
//!
//! Only one server runs at a time. What two of them map counts half for each, and so would flatter
//! both.

use anyhow::{Context, ensure};
use comfy_table::presets::ASCII_MARKDOWN;
use comfy_table::{CellAlignment, Table};
use procfs::process::Process as ProcProcess;
use testkit::{Httpd, Process, Site};

use crate::cases::CASES;
use crate::interrupt::Interrupt;
use crate::results::median;
use crate::server::mpm_settings;
use crate::target::{Modules, Target};

/// How many requests are answered before.
const REQUESTS: usize = 300;

/// The interpreters that serve the application.
const APPLICATION_GROUPS: [(&str, &str); 2] =
    [("main", "%{GLOBAL}"), ("a sub-interpreter", "hello")];

/// How many processes a group has, and how many threads each of them: what there is without these
/// options, the least, and what speed is measured with.
const SHAPES: [(usize, usize); 3] = [(1, 15), (1, 1), (2, 8)];

const COLUMNS: [&str; 6] = [
    "processes × threads",
    "interpreter",
    "target",
    "PSS of a process, MiB",
    "RSS of a process, MiB",
    "PSS of all processes, MiB",
];

/// The memory of a server's processes, in KiB.
struct Memory {
    /// The proportional set size of each process of the group.
    shares: Vec<f64>,
    /// How much of it each has mapped, whoever shares it.
    resident: Vec<f64>,
    /// The proportional set sizes of all processes together, those of httpd included.
    total: f64,
}

/// Measures the targets, `rounds` times each in turn, and shows the medians.
pub(crate) fn table(
    targets: &[Target],
    modules: &Modules,
    rounds: u32,
    interrupt: &Interrupt,
) -> anyhow::Result<Table> {
    let mut table = Table::new();
    table.load_preset(ASCII_MARKDOWN).set_header(COLUMNS);
    for column in table.column_iter_mut().skip(3) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    for shape in SHAPES {
        for (interpreter, group) in APPLICATION_GROUPS {
            let mut all: Vec<Vec<Memory>> = targets.iter().map(|_| Vec::new()).collect();
            for _ in 0..rounds {
                for (target, memory) in targets.iter().zip(&mut all) {
                    interrupt.check()?;
                    memory.push(measure(*target, modules, shape, group)?);
                }
            }
            for (target, memory) in targets.iter().zip(&all) {
                table.add_row(row(shape, interpreter, *target, memory));
            }
        }
    }
    Ok(table)
}

fn row(
    (processes, threads): (usize, usize),
    interpreter: &str,
    target: Target,
    memory: &[Memory],
) -> [String; COLUMNS.len()] {
    let of_each = |sizes: fn(&Memory) -> &[f64]| {
        let sizes: Vec<_> = memory.iter().flat_map(sizes).copied().collect();
        let median = median(sizes.into_iter()).unwrap_or(f64::NAN);
        format!("{:.1}", median / 1024.0)
    };
    [
        format!("{processes} × {threads}"),
        interpreter.to_owned(),
        target.title().to_owned(),
        of_each(|memory| &memory.shares),
        of_each(|memory| &memory.resident),
        of_each(|memory| std::slice::from_ref(&memory.total)),
    ]
}

fn measure(
    target: Target,
    modules: &Modules,
    (processes, threads): (usize, usize),
    group: &str,
) -> anyhow::Result<Memory> {
    let hello = &CASES[0];
    let site = Site::new()
        .config(&mpm_settings(1))
        .script("hello.wsgi", hello.script)
        .subject(&modules.of(target)?)
        .config(&format!(
            "WSGISocketPrefix ${{ROOT}}/logs/wsgi
             WSGIDaemonProcess group processes={processes} threads={threads} display-name=%{{GROUP}}
             WSGIScriptAlias /hello ${{WSGI}}/hello.wsgi process-group=group application-group={group}"
        ));
    let httpd = site.try_start().with_context(|| target.to_string())?;
    for _ in 0..REQUESTS {
        let response = httpd.get("/hello");
        ensure!(response.body == (hello.body)(), "{target} answers wrongly");
    }
    memory_of(&httpd, processes)
}

fn memory_of(httpd: &Httpd, processes: usize) -> anyhow::Result<Memory> {
    let mut all = httpd.process().descendants();
    all.push(httpd.process());
    let workers: Vec<Process> = all.iter().copied().filter(is_worker).collect();
    ensure!(
        workers.len() == processes,
        "the process group has {} processes, not {processes}",
        workers.len()
    );
    let kibibytes = |sizes: fn(Process) -> u64, of: &[Process]| {
        of.iter().map(|it| sizes(*it) as f64).collect::<Vec<_>>()
    };
    Ok(Memory {
        shares: kibibytes(Process::proportional_kib, &workers),
        resident: kibibytes(Process::resident_kib, &workers),
        total: kibibytes(Process::proportional_kib, &all).iter().sum(),
    })
}

/// Whether a process shows the name of the group, as it is told to.
fn is_worker(process: &Process) -> bool {
    let words = ProcProcess::new(process.pid).and_then(|process| process.cmdline());
    words.is_ok_and(|words| {
        words
            .first()
            .is_some_and(|name| name.starts_with("(wsgi:group)"))
    })
}
