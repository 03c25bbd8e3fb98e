//! One request and its response on a child's connection, and what the engine may do with it.
//!
//! The handle that the engine gets is a pointer to an [`Exchange`], which it uses until
//! [`Engine::handle`](engine_abi::Engine::handle) returns and not after that. The two directions
//! are halves with a lock each: while one thread waits for the body, another sends or logs. A
//! thread that must not wait for one that is sending leaves its frames in a queue, for whoever is
//! done sending.

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

/// How much waits for a thread that is sending before others wait for it, too, in bytes.
const LONGEST_QUEUE: usize = 1 << 20;

/// A request that is being served.
pub(super) struct Exchange<'c> {
    number: RequestNumber,
    /// The most verbose level that is logged for the request.
    log_level: u8,
    receiving: Mutex<Receiving<'c>>,
    sending: Mutex<Sending<'c>>,
    /// Whole frames that are to be sent once the thread that is sending is done.
    queue: Mutex<Vec<u8>>,
    /// Whether there are any.
    is_queued: AtomicBool,
    /// The connection failed: there is nobody to answer, nor to log for the request.
    broken: AtomicBool,
    /// Where the child may have put the body.
    inbox: Option<Inbox>,
    /// The thread that has the request.
    thread: ThreadId,
}

/// How far a response came that is complete.
pub(super) enum Finish {
    /// The connection broke.
    Broken,
    /// It was sent. The connection can serve another request.
    Sent,
    /// This is left to be sent, because the child is slow.
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

    /// Answers with how the request ended.
    pub(super) fn finish(self, outcome: Outcome) -> Finish {
        let number = self.number;
        self.send_frames(|sending| {
            // Whatever the application made of it, its response is not whole.
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
        // A withheld body never comes; one that was not read to its end is skipped later.
        match (is_broken, out.is_empty()) {
            (true, _) => Finish::Broken,
            (false, true) => Finish::Sent,
            (false, false) => Finish::Unsent(out),
        }
    }

    fn is_broken(&self) -> bool {
        self.broken.load(Ordering::Relaxed)
    }

    /// Sends frames, and what others have left in the queue before them.
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

    /// The same, and has what the child did not take sent while the application goes on.
    fn send_and_go_on(&self, act: impl FnOnce(&mut Sending<'c>) -> Result<(), Broken>) {
        self.send_frames(|sending| {
            act(sending)?;
            sending.lend()
        });
        self.send_queued();
    }

    /// Leaves frames in the queue, and sends it unless a thread is sending, which does so then.
    fn send_in_passing(&self, encode: impl FnOnce(&mut Vec<u8>)) {
        let length = {
            let mut queue = lock(&self.queue);
            encode(&mut queue);
            queue.len()
        };
        self.is_queued.store(true, Ordering::SeqCst);
        // Pairs with those of whoever is sending: it finds the frames, or this thread the turn.
        fence(Ordering::SeqCst);
        if length > LONGEST_QUEUE {
            self.send_and_go_on(Sending::flush);
        }
        self.send_queued();
    }

    /// Sends what is in the queue. Whoever has sent does so once more after that: so whatever is
    /// left there while it was busy has somebody who sends it.
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

    /// Sends a piece of the body if that needs no waiting, neither for the child nor for another
    /// thread.
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
            // What another thread has queued meanwhile is for whoever was sending to send.
            Some(Ok(true)) if !is_queued() => Sent::OK,
            Some(Ok(_)) => Sent::PENDING,
            Some(Err(_)) => {
                self.broken.store(true, Ordering::Relaxed);
                Sent::GONE
            }
        }
    }

    /// Sends a line for the log, unless it is too verbose for it. Returns whether it could be sent.
    /// Does not wait for a thread that is sending.
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
        // Whoever waits for this line may wait for it while the request still runs.
        self.send_in_passing(|queue| ToChild::encode_log(queue, self.number, &line));
        !self.is_broken()
    }
}
