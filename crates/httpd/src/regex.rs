//! Regular expressions, as httpd has them (PCRE).

use std::ffi::CStr;
use std::mem::MaybeUninit;

use httpd_sys as sys;

use crate::pool::Pool;
use crate::text;

/// How many of the groups of a match are kept: `$0` to `$9`.
const GROUPS: usize = sys::AP_MAX_REG_MATCH as usize;

/// A compiled regular expression.
#[derive(Debug)]
pub struct Regex(sys::ap_regex_t);

// SAFETY: a compiled expression is not changed by matching; httpd itself shares them.
unsafe impl Send for Regex {}
// SAFETY: as above.
unsafe impl Sync for Regex {}

/// Why a regular expression does not compile.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{pattern:?} is no regular expression: {cause}")]
pub struct RegexError {
    pattern: String,
    cause: String,
}

/// Where an expression matched.
#[derive(Clone, Copy, Debug)]
pub struct Captures([sys::ap_regmatch_t; GROUPS]);

impl Captures {
    /// Where the whole match ends.
    pub fn end(&self) -> usize {
        usize::try_from(self.0[0].rm_eo).unwrap_or_default()
    }
}

impl Regex {
    /// Compiles a pattern.
    pub fn compile(pattern: &CStr) -> Result<Self, RegexError> {
        let mut regex = MaybeUninit::<sys::ap_regex_t>::zeroed();
        // SAFETY: the place is writable, the pattern NUL-terminated.
        let code =
            unsafe { sys::ap_regcomp(regex.as_mut_ptr(), pattern.as_ptr(), sys::AP_REG_EXTENDED) };
        // SAFETY: all fields are plain numbers and pointers, zero before the call.
        let regex = unsafe { regex.assume_init() };
        match code {
            0 => Ok(Self(regex)),
            code => Err(RegexError {
                pattern: pattern.to_string_lossy().into_owned(),
                cause: message(code, &regex),
            }),
        }
    }

    /// Looks for the first match in `subject`.
    pub fn find(&self, subject: &CStr) -> Option<Captures> {
        let mut captures = Captures([sys::ap_regmatch_t::default(); GROUPS]);
        // SAFETY: the expression is compiled, the subject NUL-terminated, and the array has as
        // many places as it is said to.
        let code = unsafe {
            sys::ap_regexec(
                &raw const self.0,
                subject.as_ptr(),
                GROUPS,
                captures.0.as_mut_ptr(),
                0,
            )
        };
        (code == 0).then_some(captures)
    }

    /// Replaces `$0` to `$9` in `template` by what they matched in `subject`. `None` stands for a
    /// result that is too long.
    pub fn substitute<'p>(
        pool: Pool<'p>,
        template: &CStr,
        subject: &CStr,
        captures: &Captures,
    ) -> Option<&'p CStr> {
        let mut groups = captures.0;
        // SAFETY: the strings are NUL-terminated; the groups are those of a match of `subject`,
        // or httpd finds none in it. The result is in the pool.
        unsafe {
            text::borrow(sys::ap_pregsub(
                pool.as_ptr(),
                template.as_ptr(),
                subject.as_ptr(),
                GROUPS,
                groups.as_mut_ptr(),
            ))
        }
    }
}

impl Drop for Regex {
    fn drop(&mut self) {
        // SAFETY: compiled by `compile`, freed once.
        unsafe { sys::ap_regfree(&raw mut self.0) }
    }
}

/// What the library says of a pattern it refuses.
fn message(code: i32, regex: &sys::ap_regex_t) -> String {
    let mut buffer = [0; 256];
    // SAFETY: the buffer has the length it is said to have, and is NUL-terminated by the call.
    let text = unsafe {
        sys::ap_regerror(code, regex, buffer.as_mut_ptr(), buffer.len());
        text::borrow(buffer.as_ptr())
    };
    text.unwrap_or_default().to_string_lossy().into_owned()
}
