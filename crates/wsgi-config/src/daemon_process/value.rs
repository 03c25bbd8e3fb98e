//! The value of an option of a process group, read as what it has to be.

use std::ops::RangeInclusive;
use std::time::Duration;

use crate::daemon_process::{CpuScheduling, DaemonProcessError};
use crate::value::{flag, positive_seconds};
use crate::words::{OptionWord, lossy};

/// The value of an option.
pub(super) struct Value<'w> {
    pub(super) word: &'w OptionWord<'w>,
}

impl Value<'_> {
    pub(super) fn text(&self) -> Result<Vec<u8>, DaemonProcessError> {
        self.maybe_text()
            .ok_or_else(|| self.refused("a value is needed"))
    }

    /// Empty means that nothing was said.
    pub(super) fn maybe_text(&self) -> Option<Vec<u8>> {
        Some(self.word.value.clone()).filter(|text| !text.is_empty())
    }

    /// That of a variable of the environment, which is set also where it is empty.
    pub(super) fn variable(&self) -> Vec<u8> {
        self.word.value.clone()
    }

    /// What stands between commas, which may be nothing.
    pub(super) fn list(&self) -> Vec<Vec<u8>> {
        let names = self.word.value.split(|byte| *byte == b',');
        names
            .filter(|name| !name.is_empty())
            .map(<[u8]>::to_vec)
            .collect()
    }

    pub(super) fn absolute_path(&self) -> Result<Vec<u8>, DaemonProcessError> {
        let path = self.text()?;
        if path.starts_with(b"/") {
            Ok(path)
        } else {
            Err(self.refused("an absolute path is needed"))
        }
    }

    pub(super) fn flag(&self) -> Result<bool, DaemonProcessError> {
        flag(&self.word.value).map_err(|_| self.refused("it must be On or Off"))
    }

    pub(super) fn octal(&self) -> Result<u32, DaemonProcessError> {
        let digits = std::str::from_utf8(&self.word.value).unwrap_or_default();
        u32::from_str_radix(digits, 8)
            .ok()
            .filter(|mask| *mask <= 0o7777 && !digits.starts_with('+'))
            .ok_or_else(|| self.refused("an octal number such as 0027 is needed"))
    }

    pub(super) fn interval(&self) -> Result<f64, DaemonProcessError> {
        positive_seconds(&self.word.value).ok_or_else(|| {
            self.refused("a number of seconds greater than 0 is needed, such as 0.005")
        })
    }

    /// 0 changes nothing.
    pub(super) fn priority(&self) -> Result<Option<i32>, DaemonProcessError> {
        let range = -20..=20;
        let priority: i32 = self
            .parsed()
            .filter(|priority| range.contains(priority))
            .ok_or_else(|| self.refused("a whole number from -20 to 20 is needed"))?;
        Ok(Some(priority).filter(|priority| *priority != 0))
    }

    pub(super) fn scheduling(&self) -> Result<CpuScheduling, DaemonProcessError> {
        match self.word.value.as_slice() {
            b"batch" => Ok(CpuScheduling::Batch),
            b"other" => Ok(CpuScheduling::Other),
            _ => Err(self.refused("it must be batch or other")),
        }
    }

    pub(super) fn seconds(&self) -> Result<Option<Duration>, DaemonProcessError> {
        // A longer time than a century is as good as none, and cannot overflow any clock.
        let seconds: Option<u64> = self.limit(0)?;
        Ok(seconds.map(|seconds| Duration::from_secs(seconds.min(100 * 366 * 86_400))))
    }

    /// A number of at least `least`, or 0 for none.
    pub(super) fn limit(&self, least: u64) -> Result<Option<u64>, DaemonProcessError> {
        match self.parsed::<u64>() {
            Some(0) => Ok(None),
            Some(number) if number >= least => Ok(Some(number)),
            _ if least == 0 => Err(self.refused("a whole number is needed; 0 switches it off")),
            _ => Err(self.refused(&format!(
                "a whole number of at least {least} is needed, or 0 for the default"
            ))),
        }
    }

    pub(super) fn whole<N: TryFrom<u64>>(
        &self,
        range: RangeInclusive<u64>,
    ) -> Result<N, DaemonProcessError> {
        self.parsed::<u64>()
            .filter(|number| range.contains(number))
            .and_then(|number| N::try_from(number).ok())
            .ok_or_else(|| {
                self.refused(&match range.end() {
                    &u64::MAX => format!("a whole number of at least {} is needed", range.start()),
                    end => format!("a whole number from {} to {end} is needed", range.start()),
                })
            })
    }

    fn parsed<N: std::str::FromStr>(&self) -> Option<N> {
        std::str::from_utf8(&self.word.value).ok()?.parse().ok()
    }

    fn refused(&self, allowed: &str) -> DaemonProcessError {
        DaemonProcessError::Value {
            option: lossy(self.word.key),
            value: lossy(&self.word.value),
            allowed: allowed.to_owned(),
        }
    }
}
