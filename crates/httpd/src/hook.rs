//! Hooks: where httpd calls the module.
//!
//! A hook is a plain function over the safe types. Each kind of hook has one adapter, generic over
//! that function, which httpd gets: it wraps the pointers, catches panics (the hook then fails, and
//! the request with it), and unwraps the result.

use std::ffi::{CStr, c_char, c_int};
use std::marker::PhantomData;
use std::ptr;

use httpd_sys as sys;

use crate::log::Log;
use crate::module::Module;
use crate::panic;
use crate::pool::Pool;
use crate::request::Request;
use crate::server::Server;
use crate::status::Status;
use crate::written::Written;

/// Where in the sequence of the hooks of all modules one stands.
#[derive(Clone, Copy, Debug)]
pub struct Order {
    after: &'static [&'static CStr],
    before: &'static [&'static CStr],
    position: c_int,
}

impl Order {
    /// Where most are.
    pub const MIDDLE: Self = Self::at(sys::APR_HOOK_MIDDLE);
    /// Behind all others.
    pub const REALLY_LAST: Self = Self::at(sys::APR_HOOK_REALLY_LAST);

    const fn at(position: c_int) -> Self {
        Self {
            after: &[],
            before: &[],
            position,
        }
    }

    pub(crate) const fn position(self) -> c_int {
        self.position
    }

    /// After these modules.
    pub const fn after(self, after: &'static [&'static CStr]) -> Self {
        Self { after, ..self }
    }

    /// Before these modules.
    pub const fn before(self, before: &'static [&'static CStr]) -> Self {
        Self { before, ..self }
    }
}

/// What a module registers its hooks with.
#[derive(Debug)]
pub struct Hooks<'p, M> {
    pool: Pool<'p>,
    module: PhantomData<M>,
}

/// The pools and the server of a configuration that has been read.
#[derive(Clone, Copy, Debug)]
pub struct Configured<'c> {
    /// Lives as long as the configuration.
    pub pool: Pool<'c>,
    /// The base server.
    pub server: Server<'c>,
}

impl<'p, M: Module> Hooks<'p, M> {
    pub(crate) fn new(pool: Pool<'p>) -> Self {
        Self {
            pool,
            module: PhantomData,
        }
    }

    /// Called when a configuration has been read and its directives have not been carried out, but
    /// for those that httpd carries out as it reads them. There is no server yet, only its log.
    pub fn pre_config<F>(&self, _hook: F, order: Order)
    where
        F: Fn(Log<'_>, &mut dyn Iterator<Item = Written<'_>>) -> Status + Copy + 'static,
    {
        let (after, before) = self.neighbours(order);
        // SAFETY: as in `post_config`.
        unsafe { sys::ap_hook_pre_config(Some(pre_config::<M, F>), after, before, order.position) }
    }

    /// Called when a configuration has been read.
    pub fn post_config<F>(&self, _hook: F, order: Order)
    where
        F: Fn(Configured<'_>) -> Status + Copy + 'static,
    {
        let (after, before) = self.neighbours(order);
        // SAFETY: the adapter has the hook's signature; the lists live until the hooks are gone.
        unsafe { sys::ap_hook_post_config(Some(post_config::<F>), after, before, order.position) }
    }

    /// Called when httpd was asked only to test its configuration, and has read it.
    pub fn test_config<F>(&self, _hook: F, order: Order)
    where
        F: Fn(Pool<'_>, Server<'_>) + Copy + 'static,
    {
        let (after, before) = self.neighbours(order);
        // SAFETY: as in `post_config`.
        unsafe { sys::ap_hook_test_config(Some(server::<F>), after, before, order.position) }
    }

    /// Called in each child, as it starts.
    pub fn child_init<F>(&self, _hook: F, order: Order)
    where
        F: Fn(Pool<'_>, Server<'_>) + Copy + 'static,
    {
        let (after, before) = self.neighbours(order);
        // SAFETY: as in `post_config`.
        unsafe { sys::ap_hook_child_init(Some(server::<F>), after, before, order.position) }
    }

    /// Called in the parent when a child has ended, with its process id, which no other child of
    /// httpd has had since.
    pub fn child_ended<F>(&self, _hook: F, order: Order)
    where
        F: Fn(u32) + Copy + 'static,
    {
        let (after, before) = self.neighbours(order);
        // SAFETY: as in `post_config`.
        unsafe {
            sys::ap_hook_child_status(Some(child_status::<F>), after, before, order.position);
        }
    }

    /// Called every few seconds in the parent while children serve, with a pool that lives as long
    /// as the configuration.
    pub fn monitor<F>(&self, _hook: F, order: Order)
    where
        F: Fn(Pool<'_>, Server<'_>) + Copy + 'static,
    {
        let (after, before) = self.neighbours(order);
        // SAFETY: as in `post_config`.
        unsafe { sys::ap_hook_monitor(Some(monitor::<F>), after, before, order.position) }
    }

    /// Maps the URL of a request to a file.
    pub fn translate_name<F>(&self, _hook: F, order: Order)
    where
        F: Fn(Request<'_>) -> Status + Copy + 'static,
    {
        let (after, before) = self.neighbours(order);
        // SAFETY: as in `post_config`.
        unsafe {
            sys::ap_hook_translate_name(Some(request_hook::<F>), after, before, order.position)
        }
    }

    /// Answers a request.
    pub fn handler<F>(&self, _hook: F, order: Order)
    where
        F: Fn(Request<'_>) -> Status + Copy + 'static,
    {
        let (after, before) = self.neighbours(order);
        // SAFETY: as in `post_config`.
        unsafe { sys::ap_hook_handler(Some(request_hook::<F>), after, before, order.position) }
    }

    pub(crate) fn pool(&self) -> Pool<'p> {
        self.pool
    }

    pub(crate) fn neighbours(&self, order: Order) -> (*const *const c_char, *const *const c_char) {
        (self.names(order.after), self.names(order.before))
    }

    /// A list of names as httpd wants it: with a null pointer at its end.
    fn names(&self, names: &[&CStr]) -> *const *const c_char {
        let pointers = names.iter().map(|name| name.as_ptr()).chain([ptr::null()]);
        self.pool.collect(names.len() + 1, pointers).as_ptr()
    }
}

/// The one value of the type of a function or of a closure that captures nothing.
pub(crate) fn the_one<F: Copy + 'static>() -> F {
    const {
        assert!(
            size_of::<F>() == 0,
            "a hook is a function, it captures nothing"
        )
    };
    // SAFETY: `F` has no bytes, so any aligned non-null address holds a value of it. A value
    // exists, since one was passed when the hook was registered; this is a copy of it.
    unsafe { ptr::NonNull::<F>::dangling().read() }
}

unsafe extern "C" fn pre_config<M: Module, F>(
    _pool: *mut sys::apr_pool_t,
    _log_pool: *mut sys::apr_pool_t,
    _temp_pool: *mut sys::apr_pool_t,
) -> c_int
where
    F: Fn(Log<'_>, &mut dyn Iterator<Item = Written<'_>>) -> Status + Copy + 'static,
{
    panic::guard(Status::INTERNAL_SERVER_ERROR, || {
        // SAFETY: the server that httpd is making, or null. It outlives the hook.
        let log = unsafe { Log::of_server_raw::<M>(sys::ap_server_conf) };
        // SAFETY: this is the hook.
        let mut written = unsafe { Written::all() };
        the_one::<F>()(log, &mut written)
    })
    .0
}

unsafe extern "C" fn post_config<F: Fn(Configured<'_>) -> Status + Copy + 'static>(
    pool: *mut sys::apr_pool_t,
    _log_pool: *mut sys::apr_pool_t,
    _temp_pool: *mut sys::apr_pool_t,
    server: *mut sys::server_rec,
) -> c_int {
    panic::guard(Status::INTERNAL_SERVER_ERROR, || {
        // SAFETY: these are the hook's arguments; httpd keeps them alive until it returns.
        let configured = unsafe {
            Configured {
                pool: Pool::from_raw(pool),
                server: Server::from_raw(server),
            }
        };
        the_one::<F>()(configured)
    })
    .0
}

unsafe extern "C" fn server<F: Fn(Pool<'_>, Server<'_>) + Copy + 'static>(
    pool: *mut sys::apr_pool_t,
    server: *mut sys::server_rec,
) {
    panic::guard((), || {
        // SAFETY: these are the hook's arguments; httpd keeps them alive until it returns.
        let (pool, server) = unsafe { (Pool::from_raw(pool), Server::from_raw(server)) };
        the_one::<F>()(pool, server);
    });
}

unsafe extern "C" fn child_status<F: Fn(u32) + Copy + 'static>(
    _server: *mut sys::server_rec,
    pid: sys::pid_t,
    _generation: sys::ap_generation_t,
    _slot: c_int,
    state: sys::mpm_child_status,
) {
    panic::guard((), || {
        let pid = u32::try_from(pid).ok();
        let has_ended = state == sys::mpm_child_status_MPM_CHILD_EXITED;
        if let Some(pid) = pid.filter(|_| has_ended) {
            the_one::<F>()(pid);
        }
    });
}

unsafe extern "C" fn monitor<F: Fn(Pool<'_>, Server<'_>) + Copy + 'static>(
    pool: *mut sys::apr_pool_t,
    base: *mut sys::server_rec,
) -> c_int {
    // SAFETY: passes the hook's own arguments on.
    unsafe { server::<F>(pool, base) };
    // Others may have something to do, too.
    Status::DECLINED.0
}

pub(crate) unsafe extern "C" fn request_hook<F: Fn(Request<'_>) -> Status + Copy + 'static>(
    request: *mut sys::request_rec,
) -> c_int {
    panic::guard(Status::INTERNAL_SERVER_ERROR, || {
        // SAFETY: this is the hook's argument; httpd keeps it alive until the hook returns, and
        // processes it on this thread.
        let request = unsafe { Request::from_raw(request) };
        the_one::<F>()(request)
    })
    .0
}
