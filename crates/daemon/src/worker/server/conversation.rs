//! What is said over a connection: a greeting, then one frame after the other, each of which is
//! answered by the thread that the poller gave it to.

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

/// How much a connection takes that its child has not read yet, in bytes, where `send-buffer-size`
/// says nothing and the system allows it (`net.core.wmem_max`): most responses in one go.
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
        // On Linux a socket has not the sizes of the one that it was accepted from.
        let buffers = self.group.buffers;
        let buffers = SocketBuffers {
            send: buffers.send.or(Some(SEND_BUFFER)),
            ..buffers
        };
        // If the system refuses, its own sizes will do; the parent has said so.
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
                    // Somebody waits for this thread, and others can serve this child.
                    Next::GoOn if turn.next.is_some() => return self.go_on(token, connection),
                    // What has not arrived yet is for the poller to wait for.
                    Next::GoOn => connection.buffered_frame(),
                    Next::Close => return,
                    Next::Send(rest) => {
                        // If it cannot be watched it is closed, which the child notices.
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

    /// Lets a connection that has nothing to do any more wait for its next request.
    pub(super) fn go_on(&self, token: u64, mut connection: Connection) {
        if self.is_open() {
            connection.rest();
            self.poller.put(token, connection);
        }
    }

    /// Answers a frame.
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
                // Before it is looked whether the worker leaves, so that one that leaves waits for
                // it.
                turn.begin();
                let next = self.take(connection, frame.request(), head, turn.thread);
                if !matches!(next, Next::Send(_)) {
                    turn.end();
                }
                self.hand_on(turn);
                next
            }
            // What the application left unread of the last request's body.
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

/// What is to be done with a connection after a frame was answered.
pub(super) enum Next {
    /// It waits for the next frame.
    GoOn,
    /// It is of no more use.
    Close,
    /// This is to be sent first. The request counts as active until somebody does.
    Send(Outbox),
}

/// Says that a request was not run. Its child closes the connection then, for the body of the
/// request may still be on its way; so nothing else is to be done here.
pub(super) fn reject(connection: &mut Connection, number: RequestNumber, why: Rejection) -> Next {
    let mut out = Vec::new();
    ToChild::encode_rejected(&mut out, number, why);
    match connection.write(&out) {
        Ok(()) => Next::GoOn,
        Err(_) => Next::Close,
    }
}
