//! The body of a request, as it is read from the host.
//!
//! Where it ends is for the host to say: input filters may change its length, so `CONTENT_LENGTH`
//! is no more than a hint. A failed read is for ever: later reads fail alike, and never give what
//! would look like the rest of the body. No Python; used with the GIL released.

use super::lines::LineBuffer;
use crate::host::ReadFailure;

/// How much is asked for at a time while looking for the end of a line.
const LINE_READ: usize = 16 * 1024;

/// Where the body comes from: a function that fills a buffer from its start and says how far, zero
/// being the end of the body.
pub(super) trait Source: FnMut(&mut [u8]) -> Result<usize, ReadFailure> {}

impl<F: FnMut(&mut [u8]) -> Result<usize, ReadFailure>> Source for F {}

/// How far the body has been read.
#[derive(Debug, Default)]
pub(super) struct Body {
    /// Read for the sake of a line, and not handed out yet.
    buffer: LineBuffer,
    /// Whether the source was asked for anything.
    begun: bool,
    ended: bool,
    failure: Option<ReadFailure>,
}

impl Body {
    /// Tells the source that the body is wanted, if it does not know: a client may be waiting for
    /// that with `Expect: 100-continue`.
    pub(super) fn begin(&mut self, source: &mut impl Source) -> Result<(), ReadFailure> {
        self.check()?;
        if self.begun {
            return Ok(());
        }
        self.begun = true;
        source(&mut []).map_err(|failure| self.fail(failure))?;
        Ok(())
    }

    /// Fills `target` and returns how far: less than all of it at the end of the body only.
    pub(super) fn fill(
        &mut self,
        target: &mut [u8],
        source: &mut impl Source,
    ) -> Result<usize, ReadFailure> {
        self.check()?;
        let mut filled = self.take_buffered(target);
        while !self.ended {
            let Some(room) = target.get_mut(filled..).filter(|room| !room.is_empty()) else {
                break;
            };
            filled += self.read(room, source)?;
        }
        Ok(filled)
    }

    /// Reads until [`Body::line_length`] has an answer.
    pub(super) fn find_line(
        &mut self,
        limit: usize,
        source: &mut impl Source,
    ) -> Result<(), ReadFailure> {
        self.check()?;
        while self.line_length(limit).is_none() {
            if self.buffer.reserve(LINE_READ).is_err() {
                self.give_up();
                return Err(ReadFailure::NoMemory);
            }
            // The buffer lends its room while `self` is asked to read into it.
            let mut buffer = std::mem::take(&mut self.buffer);
            let read = buffer.extend(LINE_READ, |room| self.read(room, source));
            self.buffer = buffer;
            read?;
        }
        Ok(())
    }

    /// The length of the next line, as far as `limit` and the end of the body let it be; zero at
    /// the end of the body. `None` if the source must be asked first.
    pub(super) fn line_length(&mut self, limit: usize) -> Option<usize> {
        if self.failure.is_some() {
            return None;
        }
        let rest = self.ended.then_some(self.buffer.len());
        self.buffer.line_length(limit).or(rest)
    }

    /// Has every further read fail, as a part of the body is lost.
    pub(super) fn give_up(&mut self) {
        self.buffer = LineBuffer::default();
        self.failure.get_or_insert(ReadFailure::Lost);
    }

    /// Whether all of the body was handed out.
    pub(super) fn is_exhausted(&self) -> bool {
        self.ended && self.buffer.len() == 0 && self.failure.is_none()
    }

    /// Hands out the next `length` bytes of what is buffered.
    pub(super) fn take_line(&mut self, length: usize) -> &[u8] {
        self.buffer.take(length)
    }

    fn take_buffered(&mut self, target: &mut [u8]) -> usize {
        let buffered = self.buffer.take(target.len());
        if let Some(start) = target.get_mut(..buffered.len()) {
            start.copy_from_slice(buffered);
        }
        buffered.len()
    }

    fn read(&mut self, room: &mut [u8], source: &mut impl Source) -> Result<usize, ReadFailure> {
        self.begun = true;
        let read = source(room).map_err(|failure| self.fail(failure))?;
        self.ended = read == 0;
        Ok(read.min(room.len()))
    }

    fn check(&self) -> Result<(), ReadFailure> {
        self.failure.map_or(Ok(()), Err)
    }

    fn fail(&mut self, failure: ReadFailure) -> ReadFailure {
        self.failure = Some(failure);
        failure
    }
}

#[cfg(test)]
mod tests {
    use engine_abi::ReadError;
    use proptest::prelude::*;

    use super::*;

    const GONE: ReadFailure = ReadFailure::Host(ReadError::Disconnected);

    /// A source that gives `pieces` one by one, then ends as `end` says.
    fn source(pieces: &[&[u8]], end: Result<usize, ReadFailure>) -> impl Source {
        let mut left: Vec<u8> = Vec::new();
        let mut pieces: Vec<Vec<u8>> = pieces.iter().rev().map(|piece| piece.to_vec()).collect();
        move |room: &mut [u8]| {
            if room.is_empty() {
                return Ok(0);
            }
            while left.is_empty() {
                match pieces.pop() {
                    Some(piece) => left = piece,
                    None => return end,
                }
            }
            let length = left.len().min(room.len());
            room[..length].copy_from_slice(&left[..length]);
            left.drain(..length);
            Ok(length)
        }
    }

    fn line(body: &mut Body, limit: usize, source: &mut impl Source) -> Vec<u8> {
        body.find_line(limit, source).unwrap();
        let length = body.line_length(limit).unwrap();
        body.take_line(length).to_vec()
    }

    fn fill(body: &mut Body, size: usize, source: &mut impl Source) -> Vec<u8> {
        let mut target = vec![0; size];
        let filled = body.fill(&mut target, source).unwrap();
        target.truncate(filled);
        target
    }

    #[test]
    fn of_a_body_that_was_given_up_nothing_more_is_handed_out() {
        let mut source = source(&[b"ab\nc"], Ok(0));
        let mut body = Body::default();
        assert_eq!(line(&mut body, usize::MAX, &mut source), b"ab\n");
        body.give_up();
        assert!(body.find_line(usize::MAX, &mut source).is_err());
        assert!(body.fill(&mut [0], &mut source).is_err());
    }

    #[test]
    fn a_body_that_was_given_up_at_its_end_is_not_all_handed_out() {
        let mut source = source(&[b"ab"], Ok(0));
        let mut body = Body::default();
        assert_eq!(line(&mut body, usize::MAX, &mut source), b"ab");
        assert!(body.is_exhausted());
        body.give_up();
        assert!(!body.is_exhausted());
    }

    #[test]
    fn reads_and_lines_mix() {
        let mut source = source(&[b"ab", b"c\nde\nf", b"gh\ni"], Ok(0));
        let mut body = Body::default();
        assert_eq!(fill(&mut body, 1, &mut source), b"a");
        assert_eq!(line(&mut body, usize::MAX, &mut source), b"bc\n");
        assert_eq!(fill(&mut body, 4, &mut source), b"de\nf");
        assert_eq!(line(&mut body, 2, &mut source), b"gh");
        assert_eq!(line(&mut body, 2, &mut source), b"\n");
        assert_eq!(line(&mut body, usize::MAX, &mut source), b"i");
        for _ in 0..2 {
            assert_eq!(line(&mut body, usize::MAX, &mut source), b"");
            assert_eq!(fill(&mut body, 5, &mut source), b"");
        }
    }

    #[test]
    fn the_end_is_asked_for_once() {
        let mut asked = 0;
        let mut source = |_: &mut [u8]| {
            asked += 1;
            Ok(0)
        };
        let mut body = Body::default();
        assert_eq!(fill(&mut body, 5, &mut source), b"");
        assert_eq!(fill(&mut body, 5, &mut source), b"");
        assert_eq!(line(&mut body, 5, &mut source), b"");
        assert_eq!(asked, 1);
    }

    #[test]
    fn a_failure_is_for_ever() {
        let mut source = source(&[b"a\nb"], Err(GONE));
        let mut body = Body::default();
        assert_eq!(line(&mut body, usize::MAX, &mut source), b"a\n");
        let failed = Err(GONE);
        assert_eq!(body.find_line(usize::MAX, &mut source), failed);
        assert_eq!(body.find_line(1, &mut source), failed);
        assert_eq!(body.line_length(1), None);
        assert_eq!(body.begin(&mut source), failed);
        assert_eq!(body.fill(&mut [0; 9], &mut source), Err(GONE));
    }

    #[test]
    fn only_the_first_operation_begins_the_body() {
        let mut begun = 0;
        let mut source = |room: &mut [u8]| {
            begun += usize::from(room.is_empty());
            Ok(room.len())
        };
        let mut body = Body::default();
        body.begin(&mut source).unwrap();
        body.begin(&mut source).unwrap();
        fill(&mut body, 3, &mut source);
        body.begin(&mut source).unwrap();
        assert_eq!(begun, 1);
    }

    proptest! {
        #[test]
        fn nothing_is_lost_or_made_up(
            pieces in proptest::collection::vec("[ab\n]{1,9}", 0..20),
            sizes in proptest::collection::vec((any::<bool>(), 1..12_usize), 0..40),
        ) {
            let pieces: Vec<&[u8]> = pieces.iter().map(String::as_bytes).collect();
            let mut source = source(&pieces, Ok(0));
            let mut body = Body::default();
            let mut read = Vec::new();
            for (by_line, size) in sizes {
                let got = if by_line {
                    line(&mut body, size, &mut source)
                } else {
                    fill(&mut body, size, &mut source)
                };
                prop_assert!(got.len() <= size);
                read.extend(got);
            }
            read.extend(fill(&mut body, 1000, &mut source));
            prop_assert_eq!(read, pieces.concat());
        }
    }
}
