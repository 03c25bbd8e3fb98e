//! Places: how many requests may be on their way to this worker, as children see it in the table.
//!
//! A child that sends a request over an idle connection reserves a place first; if none is free,
//! the request waits in the listen queue. If all threads are busy, a thread that has finished takes
//! the next request of that queue before it gives its place back, so no request with a reserved
//! place overtakes the queue. If requests are short, there are spare places for requests that wait
//! in this worker for a moment.

use std::sync::atomic::Ordering;
use std::time::Duration;

use control::MOST_SPARE;
use wire::{Rejection, ToWorker};

use super::Server;
use super::conversation::{Next, reject};
use super::turn::Turn;
use crate::worker::connection::Connection;
use crate::worker::monitor;

impl Server {
    /// Takes a place for a request, unless its child has reserved one, or the thread still has one.
    pub(super) fn occupy(&self, is_reserved: bool, turn: &mut Turn<'_>) {
        let has_place = std::mem::replace(&mut turn.has_place, true);
        match (is_reserved, has_place) {
            (false, false) => self.slot.occupy(),
            // The request needs only one of the two.
            (true, true) => self.slot.vacate(),
            _ => {}
        }
    }

    /// Uses the place for the next connection in the queue if all other threads are busy, or else
    /// gives it back. If some are not, other requests wait for the GIL or in this worker, and come
    /// first.
    pub(super) fn hand_on(&self, turn: &mut Turn<'_>) {
        let is_last = self.active.load(Ordering::SeqCst) + 1 >= self.group.threads;
        if is_last && turn.next.is_none() && self.is_open() {
            turn.next = self.admit();
        }
        turn.has_place = turn.next.is_some();
        if !turn.has_place {
            self.slot.vacate();
        }
    }

    /// Corrects the number of places that are taken: a child may have died between two steps, or
    /// another worker may have changed it wrongly. To be called at intervals: the number is
    /// corrected if nothing has changed since the last call.
    pub(in crate::worker) fn count_places(&self) {
        if !self.has_slot() {
            return;
        }
        let served = self.served.load(Ordering::Relaxed);
        let active = self.active.load(Ordering::SeqCst);
        let Some(slot) = self.slot.get() else {
            return;
        };
        let places = slot.active();
        let is_idle = self.counted.swap(served, Ordering::Relaxed) == served;
        let is_unchanged = self.places.swap(places, Ordering::Relaxed) == places;
        // If it has changed, a place may be reserved for a request that is on its way.
        if is_idle && is_unchanged && self.is_open() {
            self.slot.correct(places, active);
        }
    }

    /// Notes how long a request took, and sets the number of spare places accordingly. There are
    /// none if `queue-timeout` requires more precision than [`Server::send_away`] has.
    pub(super) fn note_duration(&self, duration: Duration) {
        let spare = self.lead.note(duration);
        let limit = self.group.life.queue_timeout;
        if limit.is_none_or(|limit| limit >= 4 * monitor::PERIOD)
            && self.is_open()
            && let Some(slot) = self.slot.get()
        {
            slot.set_spare(spare);
        }
    }

    /// Rejects requests that wait here behind others that take unexpectedly long: they then wait in
    /// the queue of the group, where any worker finds them. To be called at intervals.
    pub(in crate::worker) fn send_away(&self) {
        if !self.has_slot() || self.is_draining() || !self.lead.is_deserted() {
            return;
        }
        if let Some(slot) = self.slot.get() {
            slot.set_spare(0);
        }
        for _ in 0..self.group.threads.saturating_add(MOST_SPARE) {
            let Some(token) = self.poller.known_caller() else {
                return;
            };
            if let Some(mut connection) = self.poller.take(token)
                && self.turn_away(&mut connection)
            {
                self.go_on(token, connection);
            }
        }
    }

    /// Rejects the request that has arrived on a connection. Returns whether the connection can be
    /// kept.
    pub(super) fn turn_away(&self, connection: &mut Connection) -> bool {
        let mut frame = connection.ready_frame();
        while let Ok(Some(arrived)) = frame {
            let request = arrived.request();
            match arrived.decode() {
                Ok(ToWorker::Request(head)) if self.group.secret.is(head.secret) => {
                    connection.last = request;
                    if head.has_place && connection.ticket().redeem() {
                        self.slot.vacate();
                    }
                    if let Next::Close = reject(connection, request, Rejection::Busy) {
                        return false;
                    }
                }
                Ok(ToWorker::Request(_)) | Err(_) => return false,
                Ok(_) if request != connection.last => return false,
                Ok(_) => {}
            }
            frame = connection.buffered_frame();
        }
        frame.is_ok()
    }
}
