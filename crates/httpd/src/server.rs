//! Servers: the base server and its virtual hosts.

use std::ffi::CStr;
use std::marker::PhantomData;
use std::os::fd::BorrowedFd;
use std::ptr::NonNull;
use std::time::Duration;

use httpd_sys as sys;

use crate::directive::ServerId;
use crate::module::{self, Module};
use crate::pool::Pool;
use crate::text;

/// The base server or a virtual host, as configured, during `'s`.
#[repr(transparent)]
#[derive(Clone, Copy, Debug)]
pub struct Server<'s> {
    raw: NonNull<sys::server_rec>,
    lifetime: PhantomData<&'s sys::server_rec>,
}

impl<'s> Server<'s> {
    /// Wraps a server of httpd's.
    ///
    /// # Safety
    ///
    /// `raw` must point to a server, with its configuration complete, that lives throughout `'s`.
    pub unsafe fn from_raw(raw: *mut sys::server_rec) -> Self {
        Self {
            // SAFETY: the caller passes a server, which is not null.
            raw: unsafe { NonNull::new_unchecked(raw) },
            lifetime: PhantomData,
        }
    }

    /// The pointer, for httpd's own functions.
    pub fn as_ptr(self) -> *mut sys::server_rec {
        self.raw.as_ptr()
    }

    /// What the module's directives say in this server, merged with the base server's.
    pub fn config<M: Module>(self) -> &'s M::ServerConfig {
        // SAFETY: the vector is that of a complete server that lives for 's.
        unsafe { module::server_config::<M>((*self.as_ptr()).module_config) }
    }

    /// Which of the servers it is, as directives were told while they were read.
    pub fn id(self) -> ServerId {
        ServerId::of(self.as_ptr())
    }

    /// Whether this is a virtual host.
    pub fn is_virtual(self) -> bool {
        // SAFETY: the server lives for 's.
        unsafe { (*self.as_ptr()).is_virtual != 0 }
    }

    /// Its `ServerName`, if it has one.
    pub fn hostname(self) -> Option<&'s CStr> {
        // SAFETY: the server lives for 's, as do its strings.
        unsafe { text::borrow((*self.as_ptr()).server_hostname) }
    }

    /// The server after this one: the base server comes first, then the virtual hosts in the
    /// order of the configuration.
    pub fn next(self) -> Option<Self> {
        // SAFETY: servers form a list that lives as long as the configuration does.
        let next = unsafe { (*self.as_ptr()).next };
        (!next.is_null()).then(|| {
            // SAFETY: not null, and as complete and long-lived as this one.
            unsafe { Self::from_raw(next) }
        })
    }

    /// This server and all after it.
    pub fn iter(self) -> impl Iterator<Item = Self> {
        std::iter::successors(Some(self), |server| server.next())
    }

    /// Its error log, if that is a file or a program.
    pub fn error_log(self) -> Option<BorrowedFd<'s>> {
        // SAFETY: the server lives for 's, and its log is open as long as it does.
        unsafe {
            let log = (*self.as_ptr()).error_log;
            let mut descriptor = -1;
            let known = !log.is_null()
                && sys::apr_os_file_get(&raw mut descriptor, log) == sys::APR_SUCCESS;
            known.then(|| BorrowedFd::borrow_raw(descriptor))
        }
    }

    /// What `ErrorLog` names, if it or the base server has one.
    pub fn error_log_name(self) -> Option<&'s CStr> {
        // SAFETY: the server lives for 's, and so does what its configuration says.
        unsafe {
            let name = (*self.as_ptr()).error_fname;
            (!name.is_null()).then(|| CStr::from_ptr(name))
        }
    }

    /// `Timeout`: how long it waits for a client, or for others on its behalf.
    pub fn timeout(self) -> Duration {
        // SAFETY: the server lives for 's.
        let micros = unsafe { (*self.as_ptr()).timeout };
        Duration::from_micros(u64::try_from(micros).unwrap_or_default())
    }

    /// The pool of the process httpd runs in: it outlives every configuration.
    pub fn process_pool(self) -> Pool<'s> {
        // SAFETY: httpd sets it at its start and clears it at its end.
        unsafe { Pool::from_raw((*(*self.as_ptr()).process).pool) }
    }
}
