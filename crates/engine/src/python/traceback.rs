//! Tracebacks as lines of text.

use super::{Object, Owned, Raised, Result};

/// How many places are told of where `traceback` is of no help, which sums up what repeats itself.
const MOST_PLACES: usize = 100;

impl Raised<'_> {
    /// What `traceback.format_exception` makes of the exception, line by line, without blank
    /// lines. If that fails too, for want of memory or of descriptors perhaps, the bare places.
    pub(crate) fn traceback(&self) -> Vec<String> {
        let lines = formatted(self.value()).map(|pieces| pieces.to_lines());
        lines.unwrap_or_else(|_| self.places())
    }

    /// The places that the exception has passed, without the code there.
    fn places(&self) -> Vec<String> {
        let first = self.value().attribute_named(c"__traceback__").ok();
        let entries = std::iter::successors(first, |entry| entry.attribute_named(c"tb_next").ok());
        let places = entries.map_while(|entry| place(&entry).ok());
        let head = "Traceback (most recent call last):".to_owned();
        let mut lines = vec![head];
        lines.extend(places.take(MOST_PLACES));
        lines.push(self.summary());
        lines
    }

    /// `TYPE: text`, the last line of a traceback.
    pub(crate) fn summary(&self) -> String {
        let kind = self.value().type_name();
        match self.value().str() {
            Ok(text) if text.as_text().is_ok_and(str::is_empty) => kind,
            Ok(text) => format!("{kind}: {}", text.to_text_lossy()),
            Err(_) => kind,
        }
    }
}

fn formatted<'py>(exception: &Object<'py>) -> Result<'py, Owned<'py>> {
    let traceback = exception.py().import(c"traceback")?;
    traceback.call_method_named(c"format_exception", [exception])
}

/// The place of an entry of a traceback; an error where it ends.
fn place<'py>(entry: &Object<'py>) -> Result<'py, String> {
    let code = entry
        .attribute_named(c"tb_frame")?
        .attribute_named(c"f_code")?;
    let file = code.attribute_named(c"co_filename")?.to_text_lossy();
    let line = entry.attribute_named(c"tb_lineno")?.to_text_lossy();
    let function = code.attribute_named(c"co_name")?.to_text_lossy();
    Ok(format!("  File \"{file}\", line {line}, in {function}"))
}

impl Object<'_> {
    /// The lines of a list of strings, each of which may have several; without blank ones.
    pub(crate) fn to_lines(&self) -> Vec<String> {
        let pieces = (0..self.list_length()).filter_map(|index| self.list_item(index));
        pieces
            .flat_map(|piece| {
                let text = piece.to_text_lossy();
                text.lines().map(str::to_owned).collect::<Vec<_>>()
            })
            .filter(|line| !line.trim().is_empty())
            .collect()
    }
}
