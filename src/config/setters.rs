//! Setters of directives that take one word, when all there is to do is to keep what it means.
//!
//! Those that do more are written out, beside their relatives.

use std::convert::Infallible;
use std::ffi::CString;

use crate::config::c_string;

/// Defines such setters: for each directive the name of the setter, which is that of the field, and
/// the function that reads the word. The head says where in a configuration the fields are; they
/// may be optional.
macro_rules! setters {
    (
        |$config:ident: &mut $Config:ty| $place:expr;
        $($(#[$doc:meta])* $name:ident: $read:path;)+
    ) => {
        $(
            $(#[$doc])*
            pub(crate) fn $name(
                $config: &mut $Config,
                _: &::httpd::Parms<'_>,
                word: &::std::ffi::CStr,
            ) -> Result<(), ::httpd::Refusal> {
                $place.$name = $read(word.to_bytes())?.into();
                Ok(())
            }
        )+
    };
}

pub(super) use setters;

/// Reads a word that is kept as written.
pub(super) fn text(word: &[u8]) -> Result<CString, Infallible> {
    Ok(c_string(word))
}
