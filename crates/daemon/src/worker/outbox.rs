//! Frames on their way to a child that may be slow to take them.
//!
//! A child takes frames as fast as its client takes the response. While it keeps up, large data is
//! sent without being copied. If the child is slow, what it did not take is kept here, up to the
//! group's `response-buffer-size`: so the application goes on, and its thread is free once the
//! response is complete. The [`Flusher`](super::flusher::Flusher) sends what is kept, while the
//! application goes on and after that.

use std::io::IoSlice;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use wire::{FRAME_HEAD, MAX_DATA, RequestNumber, ToChild};

use super::connection::{Broken, Line, try_write};

/// How long a thread waits in total for the child to take a response before the rest is kept. A
/// child that is only busy needs less, and the data need not be copied.
const PATIENCE: Duration = Duration::from_millis(20);

/// How much of a response is collected, in bytes, before it is sent without a flush.
const COLLECT: usize = 128 << 10;

/// From this length on, in bytes, data is sent from where it is instead of being collected.
const LARGE: usize = 16 << 10;

/// How much data goes into one system call, in bytes: more than a socket takes at once.
const LOAD: usize = 1 << 20;

/// The memory for data that is kept for slow children, in bytes.
#[derive(Debug)]
pub(super) struct Spool {
    /// The limit for one response.
    each: usize,
    /// The limit for all together.
    all: usize,
    /// How much is kept.
    kept: AtomicUsize,
}

/// The part of a spool that an outbox or a window uses.
#[derive(Debug)]
pub(super) struct Share {
    spool: Arc<Spool>,
    size: usize,
}

/// The frames of one response that were not sent yet.
#[derive(Debug)]
pub(super) struct Outbox {
    frames: Vec<u8>,
    /// How much of them was sent.
    sent: usize,
    /// How long it may still wait for the child.
    patience: Duration,
    share: Share,
}

impl Spool {
    /// A spool for `responses` responses of `each` bytes.
    pub(super) fn new(each: usize, responses: u32) -> Self {
        let responses = usize::try_from(responses).unwrap_or(usize::MAX);
        Self {
            each,
            all: each.saturating_mul(responses),
            kept: AtomicUsize::new(0),
        }
    }

    /// Whether anything may be kept.
    pub(super) fn is_open(&self) -> bool {
        self.each > 0 && self.all > 0
    }
}

impl Share {
    /// A share of this size, in bytes, if that much is left.
    pub(super) fn of(spool: &Arc<Spool>, size: usize) -> Option<Self> {
        let mut share = Self {
            spool: spool.clone(),
            size: 0,
        };
        share.resize(size).then_some(share)
    }

    /// Changes the size of the share. Returns whether that much was left.
    fn resize(&mut self, size: usize) -> bool {
        let kept = &self.spool.kept;
        if size > self.size {
            let more = size - self.size;
            let before = kept.fetch_add(more, Ordering::Relaxed);
            if size > self.spool.each || before.saturating_add(more) > self.spool.all {
                kept.fetch_sub(more, Ordering::Relaxed);
                return false;
            }
        } else {
            kept.fetch_sub(self.size - size, Ordering::Relaxed);
        }
        self.size = size;
        true
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.spool.kept.fetch_sub(self.size, Ordering::Relaxed);
    }
}

impl Outbox {
    /// An empty one.
    pub(super) fn new(spool: &Arc<Spool>) -> Self {
        Self {
            frames: Vec::with_capacity(1024),
            sent: 0,
            patience: PATIENCE,
            share: Share {
                spool: spool.clone(),
                size: 0,
            },
        }
    }

    /// The frames. Those that are to be sent are appended here.
    pub(super) fn frames(&mut self) -> &mut Vec<u8> {
        &mut self.frames
    }

    /// Whether everything was sent.
    pub(super) fn is_empty(&self) -> bool {
        self.sent == self.frames.len()
    }

    /// Whether it keeps frames that were to be sent, but that a slow child has not taken.
    pub(super) fn is_kept(&self) -> bool {
        self.share.size > 0
    }

    /// Moves everything into a new outbox.
    pub(super) fn take(&mut self) -> Self {
        let empty = Self {
            frames: Vec::new(),
            sent: 0,
            patience: self.patience,
            share: Share {
                spool: self.share.spool.clone(),
                size: 0,
            },
        };
        std::mem::replace(self, empty)
    }

    /// Sends data in frames, or collects it if it is small.
    pub(super) fn push_data(
        &mut self,
        line: &Line,
        number: RequestNumber,
        data: &[u8],
    ) -> Result<(), Broken> {
        for load in data.chunks(LOAD) {
            if load.len() >= LARGE && self.share.size == 0 {
                self.send_borrowed(line, number, load)?;
            } else {
                ToChild::encode_data(&mut self.frames, number, load, false);
                if self.unsent() >= COLLECT {
                    self.flush(line)?;
                }
            }
        }
        Ok(())
    }

    /// Sends what the child takes. What it does not take within [`PATIENCE`] is kept; if too much
    /// is kept already, this waits for the child.
    pub(super) fn flush(&mut self, line: &Line) -> Result<(), Broken> {
        while !self.send_some(line.stream())? {
            if self.wait_a_moment(line)? {
                continue;
            }
            if self.share.resize(self.unsent()) {
                return Ok(());
            }
            line.wait_to_send()?;
        }
        Ok(())
    }

    /// Sends everything, however long that takes.
    pub(super) fn flush_all(&mut self, line: &Line) -> Result<(), Broken> {
        while !self.send_some(line.stream())? {
            line.wait_to_send()?;
        }
        Ok(())
    }

    /// Sends as much as the child takes at once. Returns whether that is everything.
    pub(super) fn send_some(&mut self, stream: &UnixStream) -> Result<bool, Broken> {
        while !self.is_empty() {
            let rest = self.frames.get(self.sent..).unwrap_or_default();
            let Some(count) = try_write(stream, &[IoSlice::new(rest)])? else {
                self.forget_sent();
                return Ok(false);
            };
            self.sent += count;
        }
        self.clear();
        Ok(true)
    }

    /// Sends the collected frames and then the data, which is copied only if the child does not
    /// take it.
    fn send_borrowed(
        &mut self,
        line: &Line,
        number: RequestNumber,
        data: &[u8],
    ) -> Result<(), Broken> {
        let heads: Vec<[u8; FRAME_HEAD]> = data
            .chunks(MAX_DATA)
            .map(|piece| ToChild::data_head(number, piece.len()))
            .collect();
        let frames = std::mem::take(&mut self.frames);
        let mut parts = Vec::with_capacity(1 + 2 * heads.len());
        parts.push(IoSlice::new(frames.get(self.sent..).unwrap_or_default()));
        for (head, piece) in heads.iter().zip(data.chunks(MAX_DATA)) {
            parts.extend([IoSlice::new(head), IoSlice::new(piece)]);
        }
        self.sent = 0;
        let mut rest = parts.as_mut_slice();
        IoSlice::advance_slices(&mut rest, 0);
        while !rest.is_empty() {
            match line.try_write(rest)? {
                Some(count) => IoSlice::advance_slices(&mut rest, count),
                None if self.wait_a_moment(line)? => {}
                None => {
                    rest.iter()
                        .for_each(|part| self.frames.extend_from_slice(part));
                    return self.flush(line);
                }
            }
        }
        self.frames = frames;
        self.clear();
        Ok(())
    }

    /// Waits until the child takes more, if some of [`PATIENCE`] is left. Returns whether it was.
    fn wait_a_moment(&mut self, line: &Line) -> Result<bool, Broken> {
        if self.patience.is_zero() {
            return Ok(false);
        }
        let begin = Instant::now();
        line.wait_to_send_for(self.patience)?;
        let waited = begin.elapsed().max(Duration::from_millis(1));
        self.patience = self.patience.saturating_sub(waited);
        Ok(true)
    }

    fn unsent(&self) -> usize {
        self.frames.len() - self.sent
    }

    /// Empties it: all was sent, or the connection is broken.
    pub(super) fn clear(&mut self) {
        self.frames.clear();
        self.frames.shrink_to(2 * COLLECT);
        self.sent = 0;
        // This cannot fail: the share does not grow.
        self.share.resize(0);
    }

    /// Frees the memory of frames that were sent, once they are more than the rest, which has to be
    /// moved.
    fn forget_sent(&mut self) {
        if self.sent > self.unsent() {
            self.frames.drain(..self.sent);
            self.sent = 0;
            if self.share.size > 0 {
                self.frames.shrink_to(2 * self.frames.len());
                self.share.resize(self.frames.len());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::os::unix::net::UnixStream;

    use control::Table;

    use super::super::connection::Connection;
    use super::super::own_slot::OwnSlot;
    use super::*;

    fn pair() -> (Connection, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let slot = Arc::new(OwnSlot::new(Table::new(1).unwrap(), 0));
        (Connection::new(ours, None, slot.issue()), theirs)
    }

    fn data(length: usize) -> Vec<u8> {
        (0..=u8::MAX).cycle().take(length).collect()
    }

    /// The data that the frames carry.
    fn unframed(bytes: &[u8]) -> Vec<u8> {
        let mut decoder = wire::Decoder::new();
        decoder.feed(bytes);
        let mut all = Vec::new();
        while let Some((number, frame)) = decoder.next::<ToChild<'_>>().unwrap() {
            let ToChild::Data { data, .. } = frame else {
                panic!("{frame:?}");
            };
            assert_eq!(number, 7);
            all.extend_from_slice(data);
        }
        all
    }

    #[test]
    fn what_a_slow_child_does_not_take_is_kept_up_to_the_limit() {
        let (connection, _child) = pair();
        let spool = Arc::new(Spool::new(4 << 20, 1));
        let mut outbox = Outbox::new(&spool);
        outbox
            .push_data(connection.line(), 7, &data(3 << 20))
            .unwrap();
        assert!(!outbox.is_empty());
        let kept = spool.kept.load(Ordering::Relaxed);
        assert!((2 << 20..4 << 20).contains(&kept), "{kept}");
        drop(outbox);
        assert_eq!(spool.kept.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn responses_share_the_spool() {
        let spool = Arc::new(Spool::new(1000, 2));
        let share = || Share {
            spool: spool.clone(),
            size: 0,
        };
        let (mut one, mut two, mut three) = (share(), share(), share());
        assert!(!one.resize(1001), "more than each");
        assert!(one.resize(1000) && two.resize(900));
        assert!(!three.resize(101), "more than all");
        assert!(three.resize(100));
        assert!(one.resize(0) && three.resize(1000));
    }

    #[test]
    fn everything_arrives_in_order_whoever_is_slow() {
        for length in [0, 1, LARGE, LOAD - 1, LOAD, 5 << 20] {
            let (connection, mut child) = pair();
            let spool = Arc::new(Spool::new(1 << 20, 1));
            let reader = std::thread::spawn(move || {
                let mut all = Vec::new();
                child.read_to_end(&mut all).unwrap();
                all
            });
            let mut outbox = Outbox::new(&spool);
            let sent = data(length);
            for piece in [&b"before"[..], &sent, b"behind"] {
                outbox.push_data(connection.line(), 7, piece).unwrap();
            }
            outbox.flush_all(connection.line()).unwrap();
            drop(connection);
            let expected = [b"before", &sent[..], b"behind"].concat();
            assert!(unframed(&reader.join().unwrap()) == expected, "{length}");
        }
    }
}
