//! The buffer for data of a request's body that was read and that the application has not got yet.
//!
//! It finds lines: the host supplies the body in pieces of any size, `readline` wants it up to a
//! newline, and the rest stays for the next call. No Python, no I/O.

use std::collections::TryReserveError;

/// Bytes waiting for the application, oldest first.
#[derive(Debug, Default)]
pub(super) struct LineBuffer {
    data: Vec<u8>,
    /// How many bytes of `data` the application has got.
    taken: usize,
    /// How many bytes of `data` were searched for a newline without finding one; never less than
    /// `taken`.
    searched: usize,
}

impl LineBuffer {
    /// The number of bytes waiting.
    pub(super) fn len(&self) -> usize {
        self.data.len() - self.taken
    }

    /// The length of the next line, including its newline, but at most `limit` bytes. `None` if
    /// more must be read to know it.
    pub(super) fn line_length(&mut self, limit: usize) -> Option<usize> {
        let unsearched = self.data.get(self.searched..).unwrap_or_default();
        let end = match memchr::memchr(b'\n', unsearched) {
            Some(index) => Some(self.searched + index + 1 - self.taken),
            None => {
                self.searched = self.data.len();
                None
            }
        };
        match end {
            Some(length) => Some(length.min(limit)),
            None => (self.len() >= limit).then_some(limit),
        }
    }

    /// Takes the next `length` bytes, or all if there are fewer.
    pub(super) fn take(&mut self, length: usize) -> &[u8] {
        let start = self.taken;
        let end = start.saturating_add(length).min(self.data.len());
        self.taken = end;
        self.searched = self.searched.max(end);
        self.data.get(start..end).unwrap_or_default()
    }

    /// Allocates memory for `size` more bytes.
    pub(super) fn reserve(&mut self, size: usize) -> Result<(), TryReserveError> {
        self.drop_taken();
        self.data.try_reserve(size)
    }

    /// Makes room for `size` more bytes. `fill` writes some of them and returns how many, which are
    /// kept.
    pub(super) fn extend<E>(
        &mut self,
        size: usize,
        fill: impl FnOnce(&mut [u8]) -> Result<usize, E>,
    ) -> Result<usize, E> {
        self.drop_taken();
        let length = self.data.len();
        self.data.resize(length + size, 0);
        let room = self.data.get_mut(length..).unwrap_or_default();
        let filled = fill(room);
        let added = filled.as_ref().map_or(0, |&added| added.min(size));
        self.data.truncate(length + added);
        filled
    }

    fn drop_taken(&mut self) {
        self.data.drain(..self.taken);
        self.searched -= self.taken;
        self.taken = 0;
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use proptest::prelude::*;

    use super::*;

    fn feed(buffer: &mut LineBuffer, piece: &[u8]) {
        let fill = |room: &mut [u8]| {
            room[..piece.len()].copy_from_slice(piece);
            Ok::<_, Infallible>(piece.len())
        };
        let added = buffer.extend(piece.len() + 7, fill).unwrap();
        assert_eq!(added, piece.len());
    }

    fn next_line(buffer: &mut LineBuffer, limit: usize) -> Option<Vec<u8>> {
        let length = buffer.line_length(limit)?;
        Some(buffer.take(length).to_vec())
    }

    #[test]
    fn a_line_may_come_in_pieces() {
        let mut buffer = LineBuffer::default();
        feed(&mut buffer, b"on");
        assert_eq!(next_line(&mut buffer, usize::MAX), None);
        feed(&mut buffer, b"e\ntwo\nth");
        assert_eq!(next_line(&mut buffer, usize::MAX).unwrap(), b"one\n");
        assert_eq!(next_line(&mut buffer, usize::MAX).unwrap(), b"two\n");
        assert_eq!(next_line(&mut buffer, usize::MAX), None);
        assert_eq!(buffer.take(usize::MAX), b"th");
        assert_eq!(buffer.len(), 0);
    }

    #[test]
    fn a_limit_cuts_a_line() {
        let mut buffer = LineBuffer::default();
        feed(&mut buffer, b"abcdef\n");
        assert_eq!(next_line(&mut buffer, 4).unwrap(), b"abcd");
        assert_eq!(next_line(&mut buffer, 4).unwrap(), b"ef\n");
        feed(&mut buffer, b"gh");
        assert_eq!(next_line(&mut buffer, 3), None);
        assert_eq!(next_line(&mut buffer, 2).unwrap(), b"gh");
    }

    #[test]
    fn a_failed_read_leaves_nothing_behind() {
        let mut buffer = LineBuffer::default();
        feed(&mut buffer, b"ab");
        assert_eq!(buffer.extend(10, |_| Err("gone")), Err("gone"));
        assert_eq!(buffer.take(10), b"ab");
    }

    proptest! {
        #[test]
        fn lines_are_those_of_the_whole_body(
            pieces in proptest::collection::vec("[ab\n]{0,9}", 0..20),
        ) {
            let mut buffer = LineBuffer::default();
            let mut lines = Vec::new();
            for piece in &pieces {
                feed(&mut buffer, piece.as_bytes());
                while let Some(line) = next_line(&mut buffer, usize::MAX) {
                    lines.push(line);
                }
            }
            if buffer.len() > 0 {
                lines.push(buffer.take(usize::MAX).to_vec());
            }
            let whole = pieces.concat();
            let expected: Vec<&[u8]> = whole.as_bytes().split_inclusive(|&b| b == b'\n').collect();
            prop_assert_eq!(lines, expected);
        }
    }
}
