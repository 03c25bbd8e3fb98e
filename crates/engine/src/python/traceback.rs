//! Tracebacks as lines of text.

use super::{Object, Owned, Raised, Result};

impl Raised<'_> {
    /// What `traceback.format_exception` makes of the exception, line by line, without blank
    /// lines. If that fails too, the last line alone.
    pub(crate) fn traceback(&self) -> Vec<String> {
        let lines = formatted(self.value()).map(|pieces| pieces.to_lines());
        lines.unwrap_or_else(|_| vec![self.summary()])
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
