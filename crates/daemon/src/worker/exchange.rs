//! One request and its response on a child's connection, and what the engine may do with it.
//!
//! The handle that the engine gets is a pointer to an [`Exchange`], which it uses until
//! [`Engine::handle`](engine_abi::Engine::handle) returns and not after that. The two directions
//! are halves with a lock each: while one thread waits for the body, another sends or logs. A
//! thread that must not wait for another that is sending leaves its frames in a queue; the sending
//! thread sends them when it is done.

mod client;
mod handle;
mod receiving;
mod sending;

use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::sync::{Mutex, PoisonError, TryLockError};
use std::thread::ThreadId;

use control::Inbox;
use engine_abi::{Level, LogLine, Outcome, Part, Sent};
use wire::{MAX_DATA, RequestHead, RequestNumber, ToChild};

use super::connection::{Broken, Connection};
use super::flusher::Flusher;
use super::lock;
use super::outbox::Outbox;
use receiving::{Body, Receiving};
use sending::{Sending, encode_outcome};

pub(super) use handle::{await_body, log, log_level, read_body, send, try_send};

/// How long the queue may get, in bytes, before threads wait for the sending one after all.
const LONGEST_QUEUE: usize = 1 << 20;

/// A request that is being served.
pub(super) struct Exchange<'c> {
    number: RequestNumber,
    /// The most verbose level that is logged for the request.
    log_level: u8,
    receiving: Mutex<Receiving<'c>>,
    sending: Mutex<Sending<'c>>,
    /// Whole frames to be sent once the sending thread is done.
    queue: Mutex<Vec<u8>>,
    /// Whether there are frames in the queue.
    is_queued: AtomicBool,
    /// Whether the connection failed: responses and log lines cannot be sent.
    broken: AtomicBool,
    /// The part of the window in which the child may have put the body.
    inbox: Option<Inbox>,
    /// The thread that serves the request.
    thread: ThreadId,
}

/// What became of a complete response.
pub(super) enum Finish {
    /// The connection broke.
    Broken,
    /// It was sent, and the connection can serve another request.
    Sent,
    /// The child is slow: this part is still to be sent.
    Unsent(Outbox),
}

impl<'c> Exchange<'c> {
    /// The exchange for the request that was just received on `connection`.
    pub(super) fn new(
        connection: &'c mut Connection,
        number: RequestNumber,
        head: &RequestHead<'_>,
        flusher: &'c Flusher,
    ) -> Self {
        let body = if head.body_on_demand {
            Body::Withheld
        } else {
            Body::Coming
        };
        let mut window = std::mem::take(&mut connection.window);
        window.begin(head.has_window);
        let inbox = window.inbox();
        Self {
            number,
            log_level: head.log_level,
            sending: Mutex::new(Sending::new(
                connection,
                flusher,
                head.content_length,
                window,
            )),
            receiving: Mutex::new(Receiving::new(connection, body)),
            queue: Mutex::default(),
            is_queued: AtomicBool::new(false),
            broken: AtomicBool::new(false),
            inbox,
            thread: std::thread::current().id(),
        }
    }

    /// Ends the response, with how the request ended.
    pub(super) fn finish(self, outcome: Outcome) -> Finish {
        let number = self.number;
        self.send_frames(|sending| {
            // The application's later output was dropped, so the response is not complete.
            let is_cut = sending.is_client_lost();
            let outcome = if is_cut {
                Outcome::truncated()
            } else {
                outcome
            };
            encode_outcome(sending.out.frames(), number, outcome);
            sending.flush()
        });
        let is_broken = self.is_broken();
        let sending = self.sending.into_inner();
        let sending = sending.unwrap_or_else(PoisonError::into_inner);
        let receiving = self.receiving.into_inner();
        let receiving = receiving.unwrap_or_else(PoisonError::into_inner);
        let (window, out) = sending.end();
        receiving.end(window);
        // A body that was not read to its end is skipped when the next frames are read.
        match (is_broken, out.is_empty()) {
            (true, _) => Finish::Broken,
            (false, true) => Finish::Sent,
            (false, false) => Finish::Unsent(out),
        }
    }

    fn is_broken(&self) -> bool {
        self.broken.load(Ordering::Relaxed)
    }

    /// Sends frames, after those that other threads have left in the queue.
    fn send_frames(&self, act: impl FnOnce(&mut Sending<'c>) -> Result<(), Broken>) {
        self.use_half(&mut lock(&self.sending), act);
    }

    fn use_half(
        &self,
        sending: &mut Sending<'c>,
        act: impl FnOnce(&mut Sending<'c>) -> Result<(), Broken>,
    ) {
        let mut result = sending.take_back();
        if self.is_queued.swap(false, Ordering::AcqRel) {
            sending.out.frames().append(&mut lock(&self.queue));
        }
        if !self.is_broken() {
            result = result.and_then(|()| act(sending));
        }
        if result.is_err() {
            self.broken.store(true, Ordering::Relaxed);
        }
        if self.is_broken() {
            sending.out.clear();
        }
    }

    /// Like [`send_frames`](Self::send_frames). What the child does not take is sent while the
    /// application goes on.
    fn send_and_go_on(&self, act: impl FnOnce(&mut Sending<'c>) -> Result<(), Broken>) {
        self.send_frames(|sending| {
            act(sending)?;
            sending.lend()
        });
        self.send_queued();
    }

    /// Puts frames into the queue. Sends the queue, unless a thread is sending: that one does it
    /// then.
    fn send_in_passing(&self, encode: impl FnOnce(&mut Vec<u8>)) {
        let length = {
            let mut queue = lock(&self.queue);
            encode(&mut queue);
            queue.len()
        };
        self.is_queued.store(true, Ordering::SeqCst);
        // Pairs with the fence of the sending thread: either that thread sees the frames, or this
        // one gets the lock.
        fence(Ordering::SeqCst);
        if length > LONGEST_QUEUE {
            self.send_and_go_on(Sending::flush);
        }
        self.send_queued();
    }

    /// Sends the queue. Each thread that has sent something calls this afterwards, so frames that
    /// were put into the queue meanwhile are not forgotten.
    fn send_queued(&self) {
        loop {
            fence(Ordering::SeqCst);
            if !self.is_queued.load(Ordering::Acquire) {
                return;
            }
            let mut sending = match self.sending.try_lock() {
                Ok(sending) => sending,
                Err(TryLockError::Poisoned(sending)) => sending.into_inner(),
                Err(TryLockError::WouldBlock) => return,
            };
            self.use_half(&mut sending, |sending| {
                sending.flush()?;
                sending.lend()
            });
        }
    }

    fn send(&self, part: &Part<'_>) -> Sent {
        let mut is_wanted = true;
        self.send_and_go_on(|sending| {
            is_wanted = !part.head.is_null() || !sending.has_lost_client();
            match is_wanted {
                true => sending.part(self.number, part),
                false => Ok(()),
            }
        });
        if !is_wanted || self.is_broken() {
            Sent::GONE
        } else {
            Sent::OK
        }
    }

    /// Sends a piece of the response's body if that is possible without waiting for the child or
    /// for another thread.
    fn try_send(&self, part: &Part<'_>) -> Sent {
        let size: usize = part.data.get().iter().map(|it| it.or_empty().len()).sum();
        let is_piece = part.head.is_null() && part.file.is_null() && part.flush;
        let is_queued = || self.is_queued.load(Ordering::Acquire);
        if !is_piece || size > MAX_DATA || is_queued() || self.is_broken() {
            return Sent::REFUSED;
        }
        let sent = match self.sending.try_lock() {
            Ok(_) if self.is_broken() => None,
            Ok(mut sending) => match sending.has_lost_client() {
                true => None,
                false => sending.try_piece(self.number, part.data.get()),
            },
            Err(_) => None,
        };
        fence(Ordering::SeqCst);
        match sent {
            None => Sent::REFUSED,
            // Another thread has queued frames meanwhile, which this one has to send.
            Some(Ok(true)) if !is_queued() => Sent::OK,
            Some(Ok(_)) => Sent::PENDING,
            Some(Err(_)) => {
                self.broken.store(true, Ordering::Relaxed);
                Sent::GONE
            }
        }
    }

    /// Sends a line for the log, unless the log level excludes it. Returns false if the connection
    /// is broken. Does not wait for a thread that is sending.
    pub(super) fn log(&self, line: &LogLine<'_>) -> bool {
        if line.level > Level::Notice && line.level as u8 > self.log_level {
            return true;
        }
        let line = wire::LogLine {
            level: line.level as u8,
            id: line.id,
            names_script: line.names_script,
            file: line.file.or_empty(),
            line: line.line,
            text: line.text.or_empty(),
        };
        // Sent at once: somebody may watch the log while the request runs.
        self.send_in_passing(|queue| ToChild::encode_log(queue, self.number, &line));
        !self.is_broken()
    }
}
