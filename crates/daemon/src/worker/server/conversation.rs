//! The frames on a connection: a greeting, then one frame after the other, each of which is handled
//! by the thread that took the connection from the poller.

use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::time::Instant;

use control::SocketBuffers;
use nix::sys::socket::{getsockopt, sockopt};
use wire::{Greeting, OwnedFrame, Rejection, RequestNumber, ToChild, ToWorker};

use super::Server;
use super::turn::Turn;
use crate::log::Level;
use crate::worker::connection::{Broken, Connection, SOON};
use crate::worker::outbox::Outbox;

/// The send buffer of a connection, in bytes, unless `send-buffer-size` is set, as far as the
/// system allows it (`net.core.wmem_max`). Most responses fit into it.
const SEND_BUFFER: usize = 1 << 20;

impl Server {
    /// Greets the other end of a new connection; `None` if it is gone.
    pub(super) fn greet(&self, stream: UnixStream) -> io::Result<Option<Connection>> {
        let peer = getsockopt(&stream, sockopt::PeerCredentials)?.uid();
        if peer != 0 && peer != self.group.identity.peer_uid {
            let owner = self.group.identity.peer_uid;
            let text =
                format!("it comes from uid {peer}, and only uid {owner} and root may connect");
            return Err(io::Error::other(text));
        }
        stream.set_nonblocking(true)?;
        // On Linux an accepted socket does not inherit the buffer sizes of the listening one.
        let buffers = self.group.buffers;
        let buffers = SocketBuffers {
            send: buffers.send.or(Some(SEND_BUFFER)),
            ..buffers
        };
        // If the system refuses, its default sizes are used; the parent has logged that.
        let _ = buffers.set_send(stream.as_fd());
        let _ = buffers.set_receive(stream.as_fd());
        let ticket = self.slot.issue();
        let greeting = Greeting {
            pid: std::process::id(),
            slot: self.slot.number(),
            incarnation: self.slot.incarnation(),
            ticket: ticket.number(),
        };
        let mut connection = Connection::new(stream, self.group.life.socket_timeout, ticket);
        let mut hello = Vec::new();
        ToChild::encode_hello(&mut hello, greeting);
        Ok(connection.write(&hello).is_ok().then_some(connection))
    }

    /// Serves the requests that have arrived on a connection.
    pub(super) fn take_up(&self, token: u64, mut connection: Connection, turn: &mut Turn<'_>) {
        let deadline = Instant::now() + SOON;
        let mut next = connection.ready_frame();
        loop {
            next = match next {
                Ok(Some(frame)) => match self.answer(&mut connection, &frame, turn) {
                    // The thread has its next connection already; another can serve this one.
                    Next::GoOn if turn.next.is_some() => return self.go_on(token, connection),
                    // The poller waits for frames that have not arrived yet.
                    Next::GoOn => connection.buffered_frame(),
                    Next::Close => return,
                    Next::Send(rest) => {
                        // On failure the connection is closed, which the child notices.
                        let _ = self.flusher.take(token, connection, rest);
                        return turn.end();
                    }
                },
                Ok(None) if connection.expects_more(deadline) => connection.ready_frame(),
                Ok(None) => return self.go_on(token, connection),
                Err(Broken::Closed | Broken::TimedOut) => return,
            };
        }
    }

    /// Puts an idle connection back to the poller, or closes it if no more requests are taken.
    pub(super) fn go_on(&self, token: u64, mut connection: Connection) {
        if self.is_open() {
            connection.rest();
            self.poller.put(token, connection);
        }
    }

    /// Handles a frame.
    fn answer(&self, connection: &mut Connection, frame: &OwnedFrame, turn: &mut Turn<'_>) -> Next {
        match frame.decode() {
            Ok(ToWorker::Request(head)) if !self.group.secret.is(head.secret) => {
                self.log.line(
                    Level::Alert,
                    34,
                    format_args!(
                        "A request to process group '{}' has a wrong secret, so it is not httpd's; it is refused.",
                        self.group.name
                    ),
                );
                Next::Close
            }
            Ok(ToWorker::Request(head)) => {
                connection.last = frame.request();
                let is_reserved = head.has_place && connection.ticket().redeem();
                self.occupy(is_reserved, turn);
                // Before the check whether the worker drains, so that a worker that drains waits
                // for this request.
                turn.begin();
                let next = self.take(connection, frame.request(), head, turn.thread);
                if !matches!(next, Next::Send(_)) {
                    turn.end();
                }
                self.hand_on(turn);
                next
            }
            // The part of the last request's body that the application left unread.
            Ok(
                ToWorker::Body(_)
                | ToWorker::BodyPlaced(_)
                | ToWorker::BodyEnd
                | ToWorker::BodyError(_),
            ) if frame.request() == connection.last => Next::GoOn,
            Ok(_) | Err(_) => Next::Close,
        }
    }
}

/// What to do with a connection after a frame was handled.
pub(super) enum Next {
    /// Wait for the next frame.
    GoOn,
    /// Close it.
    Close,
    /// Send this first. The request counts as active until that is done.
    Send(Outbox),
}

/// Tells the child that a request was not run. The child then closes the connection, since the body
/// of the request may still be on its way.
pub(super) fn reject(connection: &mut Connection, number: RequestNumber, why: Rejection) -> Next {
    let mut out = Vec::new();
    ToChild::encode_rejected(&mut out, number, why);
    match connection.write(&out) {
        Ok(()) => Next::GoOn,
        Err(_) => Next::Close,
    }
}
