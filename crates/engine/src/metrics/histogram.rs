//! How often something took how long.

/// The number of buckets of a histogram.
const BUCKETS: usize = 65;

/// The buckets below the last one: each doubling from a millisecond on is cut into four equal
/// parts. The last one has all the rest, from 65.536 seconds on, and the first also what is
/// shorter.
const LAST: usize = BUCKETS - 1;

/// Times, in microseconds.
#[derive(Clone, Debug)]
pub(crate) struct Histogram {
    count: u64,
    total: u64,
    range: Option<(u64, u64)>,
    buckets: [u32; BUCKETS],
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            count: 0,
            total: 0,
            range: None,
            buckets: [0; BUCKETS],
        }
    }
}

impl Histogram {
    /// Adds a time. One that a changed clock has made negative counts as none at all.
    pub(super) fn add(&mut self, micros: i64) {
        let micros = u64::try_from(micros).unwrap_or_default();
        self.count += 1;
        self.total = self.total.saturating_add(micros);
        let (least, most) = self.range.unwrap_or((micros, micros));
        self.range = Some((least.min(micros), most.max(micros)));
        if let Some(bucket) = self.buckets.get_mut(bucket_of(micros)) {
            *bucket = bucket.saturating_add(1);
        }
    }

    /// The mean, in seconds; zero if there is none.
    pub(crate) fn mean(&self) -> f64 {
        if self.count == 0 {
            return 0.0;
        }
        self.total as f64 / self.count as f64 / 1e6
    }

    /// The shortest and the longest.
    pub(crate) fn range(&self) -> Option<(u64, u64)> {
        self.range
    }

    /// How many there are in each bucket.
    pub(crate) fn buckets(&self) -> &[u32; BUCKETS] {
        &self.buckets
    }
}

fn bucket_of(micros: u64) -> usize {
    let millis = micros / 1000;
    let Some(octave) = millis.checked_ilog2() else {
        return 0;
    };
    // A quarter of an octave of 2^n milliseconds is 250 * 2^n microseconds.
    let into = micros - (1000 << octave);
    let quarter = into / (250 << octave);
    let octave = usize::try_from(octave).unwrap_or(LAST);
    let quarter = usize::try_from(quarter).unwrap_or_default();
    (4 * octave + quarter).min(LAST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_quarters_of_octaves_from_a_millisecond() {
        for (micros, bucket) in [
            (0, 0),
            (999, 0),
            (1_000, 0),
            (1_249, 0),
            (1_250, 1),
            (1_999, 3),
            (2_000, 4),
            (10_500, 13),
            (103_014, 26),
            (65_535_999, 63),
            (65_536_000, 64),
            (u64::MAX, 64),
        ] {
            assert_eq!(bucket_of(micros), bucket, "{micros}");
        }
    }

    #[test]
    fn means_and_ranges_are_of_what_was_added() {
        let mut times = Histogram::default();
        assert_eq!((times.mean(), times.range()), (0.0, None));
        times.add(3_000);
        times.add(-5);
        times.add(9_000);
        assert!((times.mean() - 0.004).abs() < 1e-9, "{times:?}");
        assert_eq!(times.range(), Some((0, 9_000)));
        assert_eq!(times.buckets().iter().sum::<u32>(), 3);
    }
}
