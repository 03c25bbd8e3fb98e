//! A configuration as it is written: the directives that httpd has read.
//!
//! Only before it carries them out, in the hook `pre_config`, is there anything to see of
//! directives that no module knows. Sections that do not count (`<IfModule>`, `<IfDefine>`,
//! `<IfVersion>`) are gone by then, and so are directives that httpd carries out as it reads them,
//! such as `LoadModule`.

use std::ffi::CStr;
use std::iter;

use httpd_sys as sys;

use crate::text;

/// A directive as it is written.
#[derive(Clone, Copy, Debug)]
pub struct Written<'c> {
    raw: &'c sys::ap_directive_t,
}

impl<'c> Written<'c> {
    /// All directives of the configuration, in their order, those in sections behind their section.
    ///
    /// # Safety
    ///
    /// - Throughout `'c`, httpd neither carries directives out nor throws them away: it is in the
    ///   hook `pre_config` or in one behind that, or this is a child.
    pub(crate) unsafe fn all() -> impl Iterator<Item = Self> {
        // SAFETY: httpd sets it when it has read a configuration, on the thread this is.
        let first = unsafe { sys::ap_conftree };
        // SAFETY: null, or the first directive of a tree that the caller says is left alone.
        let first = unsafe { first.as_ref() }.map(|raw| Self { raw });
        iter::successors(first, |written| written.following())
    }

    /// Its name; that of a section begins with `<`.
    pub fn name(self) -> &'c CStr {
        // SAFETY: the tree and its strings live throughout 'c.
        unsafe { text::borrow(self.raw.directive) }.unwrap_or_default()
    }

    /// The words behind its name, without the quotes around them.
    pub(crate) fn words(self) -> impl Iterator<Item = &'c [u8]> {
        // SAFETY: as in `name`.
        let arguments = unsafe { text::borrow(self.raw.args) }.unwrap_or_default();
        let words = arguments.to_bytes().split(u8::is_ascii_whitespace);
        let is_quote = |byte: &u8| matches!(byte, b'"' | b'\'');
        words.map(move |word| {
            let start = word.iter().position(|byte| !is_quote(byte));
            let end = word.iter().rposition(|byte| !is_quote(byte));
            match (start, end) {
                (Some(start), Some(end)) => &word[start..=end],
                _ => &[],
            }
        })
    }

    /// The file it is in.
    pub fn file(self) -> &'c CStr {
        // SAFETY: as in `name`.
        unsafe { text::borrow(self.raw.filename) }.unwrap_or_default()
    }

    /// The line it is on.
    pub fn line(self) -> u32 {
        u32::try_from(self.raw.line_num).unwrap_or_default()
    }

    /// The first one in it, else the one after it, else the one after the section it is in.
    fn following(self) -> Option<Self> {
        self.related(self.raw.first_child).or_else(|| {
            let sections = iter::successors(Some(self), |inner| inner.related(inner.raw.parent));
            sections
                .filter_map(|inner| inner.related(inner.raw.next))
                .next()
        })
    }

    fn related(self, raw: *const sys::ap_directive_t) -> Option<Self> {
        // SAFETY: the pointers in a directive are null or lead to others of the same tree.
        unsafe { raw.as_ref() }.map(|raw| Self { raw })
    }
}
