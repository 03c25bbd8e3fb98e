//! Connections to clients.

use std::ffi::CStr;
use std::marker::PhantomData;
use std::os::fd::{BorrowedFd, RawFd};
use std::ptr::NonNull;
use std::time::Duration;

use httpd_sys as sys;
use nix::libc::linger;
use nix::sys::socket::{setsockopt, sockopt};

use crate::server::Server;
use crate::ssl;
use crate::text;

/// A client's connection, or one of the streams in it.
#[repr(transparent)]
#[derive(Clone, Copy, Debug)]
pub struct Connection<'c> {
    raw: NonNull<sys::conn_rec>,
    lifetime: PhantomData<&'c sys::conn_rec>,
}

impl<'c> Connection<'c> {
    /// Wraps a connection of httpd's.
    ///
    /// # Safety
    ///
    /// - `raw` must point to a connection that lives throughout `'c`.
    /// - Only the calling thread may use it during `'c`.
    pub unsafe fn from_raw(raw: *mut sys::conn_rec) -> Self {
        Self {
            // SAFETY: the caller passes a connection, which is not null.
            raw: unsafe { NonNull::new_unchecked(raw) },
            lifetime: PhantomData,
        }
    }

    /// The pointer, for httpd's own functions.
    pub fn as_ptr(self) -> *mut sys::conn_rec {
        self.raw.as_ptr()
    }

    /// The server that listens where it came in: not that of a request's `Host`.
    pub fn base_server(self) -> Server<'c> {
        // SAFETY: a connection has a base server, which outlives it.
        unsafe { Server::from_raw((*self.as_ptr()).base_server) }
    }

    /// The name of the server's end, as `Listen` gives it.
    pub fn local_hostname(self) -> Option<&'c CStr> {
        // SAFETY: null, or an address that lives as long as the connection.
        unsafe { text::borrow((*self.as_ptr()).local_addr.as_ref()?.hostname) }
    }

    /// The port of the server's end.
    pub fn local_port(self) -> u16 {
        // SAFETY: a connection has a local address; it lives for 'c.
        unsafe {
            let address = (*self.as_ptr()).local_addr;
            if address.is_null() {
                0
            } else {
                (*address).port
            }
        }
    }

    /// The id that error log lines of this connection carry, once one was needed.
    pub fn log_id(self) -> Option<&'c CStr> {
        // SAFETY: the connection lives for 'c, and so does its id, which is in its pool.
        unsafe { text::borrow((*self.as_ptr()).log_id) }
    }

    /// Whether it broke, or nothing more shall be sent on it.
    pub fn is_aborted(self) -> bool {
        // SAFETY: the connection lives for 'c.
        unsafe { (*self.as_ptr()).aborted != 0 }
    }

    /// Lets the connection end with the request being handled.
    pub fn close_after_request(self) {
        // SAFETY: the connection lives for 'c and is used by this thread only.
        unsafe { (*self.as_ptr()).keepalive = sys::ap_conn_keepalive_e_AP_CONN_CLOSE }
    }

    /// Whether it is already certain that the connection is closed after the request in progress.
    pub fn is_closed_after_request(self) -> bool {
        // SAFETY: as in `is_aborted`.
        unsafe { (*self.as_ptr()).keepalive == sys::ap_conn_keepalive_e_AP_CONN_CLOSE }
    }

    /// Breaks the connection off: the client sees an error instead of an end.
    pub fn reset(self) {
        // SAFETY: the connection lives for 'c and is used by this thread only.
        unsafe { (*self.as_ptr()).aborted = 1 };
        if let Some(descriptor) = self.socket() {
            // To linger for no time at all is not to send what is left, but a reset. If that cannot
            // be set, the connection ends as any other does.
            let at_once = linger {
                l_onoff: 1,
                l_linger: 0,
            };
            let _ = setsockopt(&descriptor, sockopt::Linger, &at_once);
        }
    }

    /// The client's socket, if this is a connection and not a stream of one.
    pub fn own_socket(self) -> Option<BorrowedFd<'c>> {
        if self.is_stream() {
            None
        } else {
            self.socket()
        }
    }

    /// Whether httpd has closed the client's socket under the thread that serves it, as it does in
    /// a child that is to end at once.
    ///
    /// Descriptors that are opened then get the numbers of such sockets, and a thread that waits in
    /// `poll` for one of these waits on.
    pub fn is_closed(self) -> bool {
        !self.is_stream() && self.descriptor().is_some_and(|descriptor| descriptor < 0)
    }

    /// Whether this is a stream of a connection, as HTTP/2 has them.
    fn is_stream(self) -> bool {
        // SAFETY: the connection lives for 'c.
        unsafe { !(*self.as_ptr()).master.is_null() }
    }

    fn socket(self) -> Option<BorrowedFd<'c>> {
        let descriptor = self.descriptor().filter(|&descriptor| descriptor >= 0)?;
        // SAFETY: the connection lives for 'c, and its socket is open as long as it does: httpd
        // closes it under this thread only in a child that ends at once (see `is_closed`). There
        // the number may become that of another socket. The callers only wait for what it names, or
        // have a connection reset, which harms nobody in a process whose connections all end; they
        // read and write through httpd, which knows that it is closed.
        Some(unsafe { BorrowedFd::borrow_raw(descriptor) })
    }

    /// That of the socket, if there is one; -1 once it is closed.
    fn descriptor(self) -> Option<RawFd> {
        let socket = self.apr_socket()?;
        let mut descriptor = -1;
        // SAFETY: the socket lives as long as the connection, for 'c; the place is writable.
        let status = unsafe { sys::apr_os_sock_get(&raw mut descriptor, socket.as_ptr()) };
        (status == sys::APR_SUCCESS).then_some(descriptor)
    }

    /// What httpd knows of the socket, if it keeps one: it need not for a connection that some
    /// other module makes.
    fn apr_socket(self) -> Option<NonNull<sys::apr_socket_t>> {
        // SAFETY: the connection lives for 'c.
        NonNull::new(unsafe { sys::ap_get_conn_socket(self.as_ptr()) })
    }

    /// Limits how long the client may take nothing of what is sent, until the value returned is
    /// dropped. Streams share a connection, whose limit stays.
    pub fn limit_waiting(self, limit: Duration) -> WaitingLimit<'c> {
        let before = self.own_socket().and_then(|_| self.timeout());
        if before.is_some() {
            let limit = i64::try_from(limit.as_micros()).unwrap_or(i64::MAX);
            self.set_timeout(limit);
        }
        WaitingLimit {
            connection: self,
            before,
        }
    }

    /// How long the client may be silent; `None` if for ever.
    pub fn patience(self) -> Option<Duration> {
        let micros = self.timeout().and_then(|micros| u64::try_from(micros).ok());
        micros.map(Duration::from_micros)
    }

    fn timeout(self) -> Option<i64> {
        let socket = self.apr_socket()?;
        let mut timeout = 0;
        // SAFETY: as in `descriptor`.
        let status = unsafe { sys::apr_socket_timeout_get(socket.as_ptr(), &raw mut timeout) };
        (status == sys::APR_SUCCESS).then_some(timeout)
    }

    fn set_timeout(self, timeout: i64) {
        if let Some(socket) = self.apr_socket() {
            // SAFETY: as in `descriptor`. A socket with a time limit does not fail to get another.
            unsafe { sys::apr_socket_timeout_set(socket.as_ptr(), timeout) };
        }
    }

    /// Whether mod_ssl, where it is loaded, encrypts it.
    pub fn is_https(self) -> bool {
        ssl::is_https(self)
    }
}

/// Puts back what [`Connection::limit_waiting`] changed.
#[derive(Debug)]
pub struct WaitingLimit<'c> {
    connection: Connection<'c>,
    before: Option<i64>,
}

impl Drop for WaitingLimit<'_> {
    fn drop(&mut self) {
        if let Some(before) = self.before {
            self.connection.set_timeout(before);
        }
    }
}
