//! The results as a table in Markdown.

use comfy_table::presets::ASCII_MARKDOWN;
use comfy_table::{CellAlignment, Table};

use crate::cases::Case;
use crate::results::Results;
use crate::target::Target;

const COLUMNS: [&str; 9] = [
    "case",
    "target",
    "req/s",
    "±",
    "× reference",
    "p99 ms",
    "CPU µs/req",
    "over null",
    "share of reference's",
];

/// The table: a row for every target in every case.
pub(crate) fn of(results: &Results) -> Table {
    let mut table = Table::new();
    table.load_preset(ASCII_MARKDOWN).set_header(COLUMNS);
    for column in table.column_iter_mut().skip(2) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    for case in &results.cases {
        for target in &results.targets {
            table.add_row(row(results, case, *target));
        }
    }
    table
}

fn row(results: &Results, case: &Case, target: Target) -> [String; COLUMNS.len()] {
    let figures = results.figures(case, target);
    [
        case.title.to_owned(),
        target.title().to_owned(),
        format!("{:.0}", figures.requests_per_second),
        format!("{:.0} %", figures.spread * 100.0),
        or_dash(figures.speed, |speed| format!("{speed:.2}")),
        format!("{:.2}", figures.p99),
        format!("{:.1}", figures.cpu),
        or_dash(figures.cpu_over_null, |cpu| format!("{cpu:+.1}")),
        or_dash(figures.share, |share| format!("{share:.2}")),
    ]
}

fn or_dash(figure: Option<f64>, show: impl FnOnce(f64) -> String) -> String {
    figure.map_or_else(|| "–".to_owned(), show)
}
