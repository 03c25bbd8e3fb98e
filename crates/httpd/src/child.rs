//! Child processes of the parent that are not httpd's own.

use std::ffi::{c_int, c_void};

use httpd_sys as sys;

use crate::panic;
use crate::pool::Pool;
use crate::process;
use crate::server::Server;

/// What is called when a process died: the pool it was watched with, the base server, and the
/// number of the signal that killed it, or else its exit status. httpd does not tell which.
pub type OnDeath = fn(Pool<'_>, Server<'_>, u32);

/// A process that is watched.
struct Watch {
    pool: *mut sys::apr_pool_t,
    on_death: OnDeath,
}

/// Has httpd, which waits for all children of the parent, tell when this one died. It is forgotten
/// when the pool is cleared. In the parent only.
pub fn watch(pool: Pool<'_>, pid: u32, on_death: OnDeath) {
    let watch = pool.place(Watch {
        pool: pool.as_ptr(),
        on_death,
    });
    let process = pool.place(sys::apr_proc_t {
        pid: i32::try_from(pid).unwrap_or_default(),
        ..Default::default()
    });
    // SAFETY: APR keeps both addresses. What is there lives as long as the pool, and when that is
    // cleared the registration ends.
    unsafe {
        sys::apr_proc_other_child_register(
            process,
            Some(maintain),
            std::ptr::from_mut(watch).cast(),
            std::ptr::null_mut(),
            pool.as_ptr(),
        );
    }
}

/// What httpd calls when something happens to a watched process.
unsafe extern "C" fn maintain(reason: c_int, data: *mut c_void, status: c_int) {
    panic::guard((), || {
        if !matches!(reason, sys::APR_OC_REASON_DEATH | sys::APR_OC_REASON_LOST) {
            return;
        }
        // SAFETY: registered by `watch`, with a `Watch` that lives as long as the registration.
        let watch = unsafe { &*data.cast::<Watch>() };
        // SAFETY: the process is dead; APR would otherwise call again for the same one.
        unsafe { sys::apr_proc_other_child_unregister(data) };
        // SAFETY: the registration ends with this pool, so the pool is still there.
        let pool = unsafe { Pool::from_raw(watch.pool) };
        let status = u32::from_ne_bytes(status.to_ne_bytes());
        process::with_base_server(|server| (watch.on_death)(pool, server, status));
    });
}
