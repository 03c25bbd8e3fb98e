//! The results as a chart: bars for requests in a second and for CPU time, each case on a scale
//! of its own on which the reference is 1, so that cases of very different weight can be seen
//! together. The labels are the absolute figures; a bar that is too long is shown broken.

use crate::cases::Case;
use crate::results::{Figures, Results};
use crate::target::Target;

const WIDTH: usize = 960;
const PANELS: [Panel; 2] = [
    Panel {
        left: 180,
        title: "requests per second (longer is better)",
        figure: |figures| figures.requests_per_second,
        label: |value| thousands(value),
    },
    Panel {
        left: 580,
        title: "CPU time per request (shorter is better)",
        figure: |figures| figures.cpu,
        label: |value| microseconds(value),
    },
];
/// How long the bar of the reference is.
const UNIT: f64 = 70.0;
/// How long a bar can be; beyond it is room for the labels.
const LONGEST: f64 = 4.5 * UNIT;
const TOP: usize = 84;
const BAR: usize = 15;
const GAP: usize = 16;

/// A group of bars for each case.
struct Panel {
    left: usize,
    title: &'static str,
    figure: fn(&Figures) -> f64,
    label: fn(f64) -> String,
}

/// The chart as an SVG document.
pub(crate) fn of(results: &Results) -> String {
    let height = TOP + results.cases.len() * group_height(results) + GAP;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" \
         font-family=\"sans-serif\" font-size=\"12\" fill=\"#222\">\n\
         <rect width=\"{WIDTH}\" height=\"{height}\" fill=\"#fff\"/>\n"
    );
    svg += &legend(results);
    for (index, case) in results.cases.iter().enumerate() {
        let y = TOP + index * group_height(results) + results.targets.len() * BAR / 2 + 4;
        svg += &text(170, y, "text-anchor=\"end\"", case.title);
    }
    for panel in &PANELS {
        svg += &text(panel.left, TOP - 18, "font-weight=\"bold\"", panel.title);
        svg += &bars(results, panel);
    }
    svg + "</svg>\n"
}

fn group_height(results: &Results) -> usize {
    results.targets.len() * BAR + GAP
}

fn legend(results: &Results) -> String {
    let mut svg = String::new();
    for (index, target) in results.targets.iter().enumerate() {
        let x = PANELS[0].left + index * 150;
        svg += &rectangle(x, 22, 12.0, colour(*target));
        svg += &text(x + 18, 33, "", target.title());
    }
    svg
}

fn bars(results: &Results, panel: &Panel) -> String {
    let figure = |case: &Case, target| (panel.figure)(&results.figures(case, target));
    let mut svg = String::new();
    for (group, case, index, target) in all_bars(results) {
        let value = figure(case, target);
        let length = value / figure(case, base(results)) * UNIT;
        let y = TOP + group * group_height(results) + index * BAR;
        svg += &bar(panel.left, y, length, colour(target));
        let end = panel.left + length.min(LONGEST) as usize + 5;
        svg += &text(end, y + 11, "font-size=\"11\"", &(panel.label)(value));
    }
    svg
}

fn bar(x: usize, y: usize, length: f64, colour: &str) -> String {
    if length <= LONGEST {
        return rectangle(x, y, length, colour);
    }
    let gap = x + LONGEST as usize - 14;
    rectangle(x, y, LONGEST, colour) + &rectangle(gap, y, 4.0, "#fff")
}

/// Every bar of a panel: the number of the group and its case, the number in it and its target.
fn all_bars(results: &Results) -> impl Iterator<Item = (usize, &Case, usize, Target)> {
    results.cases.iter().enumerate().flat_map(|(group, case)| {
        let targets = results.targets.iter().enumerate();
        targets.map(move |(bar, target)| (group, *case, bar, *target))
    })
}

/// The target whose bars have length 1: the reference if it was measured.
fn base(results: &Results) -> Target {
    let reference = results
        .targets
        .iter()
        .find(|target| **target == Target::Reference);
    *reference
        .or(results.targets.first())
        .unwrap_or(&Target::Reference)
}

fn colour(target: Target) -> &'static str {
    match target {
        Target::Null => "#b8bec6",
        Target::Reference => "#e08a3c",
        Target::Ours => "#2f6fb0",
        Target::ReferenceDaemon => "#efc08f",
        Target::OursDaemon => "#8fb3d9",
        Target::Gunicorn => "#7a9e7e",
        Target::Uwsgi => "#a3b86c",
        Target::Granian => "#c9a66b",
    }
}

fn rectangle(x: usize, y: usize, width: f64, colour: &str) -> String {
    let height = BAR - 2;
    format!(
        "<rect x=\"{x}\" y=\"{y}\" width=\"{width:.1}\" height=\"{height}\" fill=\"{colour}\"/>\n"
    )
}

fn text(x: usize, y: usize, attributes: &str, content: &str) -> String {
    format!("<text x=\"{x}\" y=\"{y}\" {attributes}>{content}</text>\n")
}

fn thousands(value: f64) -> String {
    if value < 10_000.0 {
        format!("{value:.0}")
    } else {
        format!("{:.1}k", value / 1000.0)
    }
}

fn microseconds(value: f64) -> String {
    if value < 10_000.0 {
        format!("{value:.0} µs")
    } else {
        format!("{:.1} ms", value / 1000.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cases::CASES;
    use crate::results::Sample;

    fn chart(rates: [f64; 2]) -> String {
        let targets = [Target::Reference, Target::Ours];
        let mut results = Results::new(&[&CASES[0]], targets.into_iter());
        for (target, requests_per_second) in targets.into_iter().zip(rates) {
            let sample = Sample {
                requests_per_second,
                p99: 1.0,
                cpu: 50.0,
            };
            results.add(&CASES[0], target, sample);
        }
        of(&results)
    }

    #[test]
    fn the_bar_of_the_reference_is_the_unit() {
        let svg = chart([10_000.0, 20_000.0]);
        assert!(
            svg.contains("width=\"70.0\" height=\"13\" fill=\"#e08a3c\""),
            "{svg}"
        );
        assert!(
            svg.contains("width=\"140.0\" height=\"13\" fill=\"#2f6fb0\""),
            "{svg}"
        );
        assert!(svg.contains(">20.0k</text>"), "{svg}");
    }

    #[test]
    fn a_bar_that_is_too_long_is_broken() {
        let svg = chart([1_000.0, 20_000.0]);
        assert!(
            svg.contains("width=\"315.0\" height=\"13\" fill=\"#2f6fb0\""),
            "{svg}"
        );
        assert!(
            svg.contains("width=\"4.0\" height=\"13\" fill=\"#fff\""),
            "{svg}"
        );
    }
}
