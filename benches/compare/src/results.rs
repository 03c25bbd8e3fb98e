//! What was measured, and the figures that are made of it.

use std::collections::BTreeMap;

use crate::cases::Case;
use crate::target::Target;

/// One measurement of one target in one case.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    /// Answers in a second.
    pub(crate) requests_per_second: f64,
    /// The time within which 99 of 100 answers came, in milliseconds.
    pub(crate) p99: f64,
    /// The CPU time of the target's processes for a request, in microseconds.
    pub(crate) cpu: f64,
}

/// All measurements. Those of different targets in the same case and round belong together.
#[derive(Debug)]
pub(crate) struct Results {
    /// The cases, in the order to show them.
    pub(crate) cases: Vec<&'static Case>,
    /// The targets, in the order to show them.
    pub(crate) targets: Vec<Target>,
    samples: BTreeMap<(&'static str, Target), Vec<Sample>>,
}

/// The figures of a target in a case: medians over the rounds. A relation to another target is
/// the median of the relations in each round, so that a slow moment of the machine, which hits
/// both, does not show.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Figures {
    /// Answers in a second.
    pub(crate) requests_per_second: f64,
    /// How far the best and the worst round are from the middle between them, relative to it.
    pub(crate) spread: f64,
    /// See [`Sample::p99`].
    pub(crate) p99: f64,
    /// See [`Sample::cpu`].
    pub(crate) cpu: f64,
    /// Answers in a second as a multiple of the reference's.
    pub(crate) speed: Option<f64>,
    /// CPU time beyond the null handler's.
    pub(crate) cpu_over_null: Option<f64>,
    /// That as a share of the reference's.
    pub(crate) share: Option<f64>,
}

impl Results {
    /// No measurements yet.
    pub(crate) fn new(cases: &[&'static Case], targets: impl Iterator<Item = Target>) -> Self {
        Self {
            cases: cases.to_vec(),
            targets: targets.collect(),
            samples: BTreeMap::new(),
        }
    }

    /// Adds a measurement of the next round.
    pub(crate) fn add(&mut self, case: &Case, target: Target, sample: Sample) {
        self.samples
            .entry((case.name, target))
            .or_default()
            .push(sample);
    }

    /// The figures of `target` in `case`.
    pub(crate) fn figures(&self, case: &Case, target: Target) -> Figures {
        let median_of = |figure: fn(&Sample) -> f64| {
            median(self.samples(case, target).iter().map(figure)).unwrap_or(f64::NAN)
        };
        let rates = self
            .samples(case, target)
            .iter()
            .map(|sample| sample.requests_per_second);
        let cpu_over_null = self.cpu_over_null(case, target);
        let of_reference = self.cpu_over_null(case, target.reference());
        Figures {
            requests_per_second: median_of(|sample| sample.requests_per_second),
            spread: spread(rates),
            p99: median_of(|sample| sample.p99),
            cpu: median_of(|sample| sample.cpu),
            speed: self.paired(case, target, target.reference(), |one, reference| {
                one.requests_per_second / reference.requests_per_second
            }),
            cpu_over_null,
            share: cpu_over_null
                .zip(of_reference)
                .map(|(one, reference)| one / reference),
        }
    }

    fn cpu_over_null(&self, case: &Case, target: Target) -> Option<f64> {
        if target == Target::Null {
            return None;
        }
        self.paired(case, target, Target::Null, |one, null| one.cpu - null.cpu)
    }

    /// The median of what `relation` makes of each round's measurements of two targets.
    fn paired(
        &self,
        case: &Case,
        one: Target,
        other: Target,
        relation: fn(&Sample, &Sample) -> f64,
    ) -> Option<f64> {
        let rounds = self
            .samples(case, one)
            .iter()
            .zip(self.samples(case, other));
        median(rounds.map(|(one, other)| relation(one, other)))
    }

    fn samples(&self, case: &Case, target: Target) -> &[Sample] {
        self.samples
            .get(&(case.name, target))
            .map_or(&[], Vec::as_slice)
    }
}

/// The middle of `values`, or the mean of the two in the middle.
pub(crate) fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let above = values.len() / 2;
    let below = values.len().checked_sub(1)? / 2;
    Some((values.get(below)? + values.get(above)?) / 2.0)
}

/// How far the extremes of `values` are from the middle between them, relative to it.
fn spread(values: impl Iterator<Item = f64> + Clone) -> f64 {
    let most = values.clone().fold(f64::NAN, f64::max);
    let least = values.fold(f64::NAN, f64::min);
    (most - least) / (most + least)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cases::CASES;

    #[test]
    fn medians() {
        assert_eq!(median([].into_iter()), None);
        assert_eq!(median([3.0, 1.0, 2.0].into_iter()), Some(2.0));
        assert_eq!(median([4.0, 1.0, 2.0, 3.0].into_iter()), Some(2.5));
    }

    #[test]
    fn spreads() {
        assert_eq!(spread([8.0, 12.0, 11.0].into_iter()), 0.2);
        assert_eq!(spread([5.0].into_iter()), 0.0);
    }

    #[test]
    fn relations_are_between_measurements_of_the_same_round() {
        let mut results = Results::new(&[&CASES[0]], Target::ALL.into_iter());
        // The machine is half as fast in the second round, and slower still in the third.
        for slowness in [1.0, 2.0, 5.0] {
            for (target, rate, cpu) in [
                (Target::Null, 30_000.0, 10.0),
                (Target::Reference, 10_000.0, 50.0),
                (Target::Ours, 20_000.0, 20.0),
            ] {
                let sample = Sample {
                    requests_per_second: rate / slowness,
                    p99: slowness,
                    cpu: cpu * slowness,
                };
                results.add(&CASES[0], target, sample);
            }
        }
        let ours = results.figures(&CASES[0], Target::Ours);
        assert_eq!(ours.requests_per_second, 10_000.0);
        assert_eq!(ours.p99, 2.0);
        assert_eq!(ours.speed, Some(2.0));
        assert_eq!(ours.cpu_over_null, Some(20.0));
        assert_eq!(ours.share, Some(0.25));
    }

    #[test]
    fn what_was_not_measured_has_no_relations() {
        let mut results = Results::new(&[&CASES[0]], [Target::Ours].into_iter());
        let sample = Sample {
            requests_per_second: 1.0,
            p99: 1.0,
            cpu: 1.0,
        };
        results.add(&CASES[0], Target::Ours, sample);
        let ours = results.figures(&CASES[0], Target::Ours);
        assert_eq!(
            (ours.speed, ours.cpu_over_null, ours.share),
            (None, None, None)
        );
    }
}
