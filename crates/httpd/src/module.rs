//! The module's record, which httpd loads, and the configuration the module keeps with each
//! server and each directory.
//!
//! One `unsafe impl` of [`Module`] ties a module to its types of configuration. All that follows
//! from it, from the creation of a configuration to the look at it during a request, is safe.

use std::cell::UnsafeCell;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::marker::PhantomData;

use httpd_sys as sys;
use httpd_sys::module_record::standard20_module_stuff;

use crate::directive::Directives;
use crate::hook::Hooks;
use crate::panic;
use crate::pool::Pool;

/// What a module is made of.
///
/// # Safety
///
/// [`Module::record`] must return the record that httpd loads, made by [`Record::new`] for this
/// module: by its number httpd stores, and we find, the configuration.
pub unsafe trait Module: Sized + Send + Sync + 'static {
    /// What its directives say in a server.
    type ServerConfig: Config;
    /// What its directives say in a directory, a location, a file, or a `.htaccess` file.
    type DirConfig: Config;

    /// Its record.
    fn record() -> &'static Record<Self>;

    /// Says which hooks it has.
    fn register_hooks(hooks: &Hooks<'_, Self>);
}

/// What directives say in one place. The default is what they say when there are none.
pub trait Config: Default + Send + Sync + 'static {
    /// What applies in a place that is inside another: what `inner` leaves open is as in `outer`.
    fn merged(outer: &Self, inner: &Self) -> Self;
}

/// The record of a module. httpd writes to it while it has but one thread.
#[repr(transparent)]
#[derive(Debug)]
pub struct Record<M> {
    raw: UnsafeCell<sys::module>,
    module: PhantomData<M>,
}

// SAFETY: httpd changes the record only while it loads and unloads modules, in the parent's only
// thread; and so does nobody else.
unsafe impl<M: Send + Sync> Sync for Record<M> {}

impl<M: Module> Record<M> {
    /// The record of a module whose C file, had it one, were `name`.
    pub const fn new<const N: usize>(
        name: &'static CStr,
        directives: &'static Directives<M, N>,
    ) -> Self {
        let raw = sys::module {
            create_dir_config: Some(create_dir_config::<M>),
            merge_dir_config: Some(merge::<M::DirConfig>),
            create_server_config: Some(create_server_config::<M>),
            merge_server_config: Some(merge::<M::ServerConfig>),
            cmds: directives.as_ptr(),
            register_hooks: Some(register_hooks::<M>),
            ..standard20_module_stuff(name)
        };
        Self {
            raw: UnsafeCell::new(raw),
            module: PhantomData,
        }
    }

    /// The number httpd gave the module, by which configurations and log levels are found.
    pub fn index(&self) -> c_int {
        // SAFETY: nobody writes while modules run; see the `Sync` impl.
        unsafe { (*self.raw.get()).module_index }
    }

    /// The path of the module's file, as `LoadModule` found it, is that of whatever defines this
    /// address.
    pub fn address(&self) -> *const c_void {
        self.raw.get().cast_const().cast()
    }

    fn as_ptr(&self) -> *const sys::module {
        self.raw.get()
    }
}

/// The module's configuration in a vector of a server.
///
/// # Safety
///
/// `vector` must be the vector of a server that lives throughout `'a`, past the reading of the
/// configuration.
pub(crate) unsafe fn server_config<'a, M: Module>(
    vector: *const sys::ap_conf_vector_t,
) -> &'a M::ServerConfig {
    // SAFETY: by the promise of `Module`, what is found under the record's number is ours, made
    // by `create_server_config::<M>` or `merge`; nobody changes it once configuration is read.
    unsafe { &*config_in::<M>(vector).cast() }
}

/// The module's configuration in a vector of a directory.
///
/// # Safety
///
/// `vector` must be the vector of a request that has been mapped, and live throughout `'a`.
pub(crate) unsafe fn dir_config<'a, M: Module>(
    vector: *const sys::ap_conf_vector_t,
) -> &'a M::DirConfig {
    // SAFETY: as in `server_config`.
    unsafe { &*config_in::<M>(vector).cast() }
}

/// Our place in a vector. Every vector that is in use has one: httpd starts from the defaults of
/// all modules.
///
/// # Safety
///
/// `vector` must be a vector of the running server.
unsafe fn config_in<M: Module>(vector: *const sys::ap_conf_vector_t) -> *mut c_void {
    // SAFETY: passes on what the caller promises.
    let config = unsafe { sys::ap_get_module_config(vector, M::record().as_ptr()) };
    assert!(
        !config.is_null(),
        "httpd has no configuration for the module here"
    );
    config
}

/// The configuration a setter may change, if the vector has one.
///
/// # Safety
///
/// `vector` must be that of the server whose directives are being read.
pub(crate) unsafe fn server_config_being_read<M: Module>(
    vector: *const sys::ap_conf_vector_t,
) -> *mut M::ServerConfig {
    // SAFETY: passes on what the caller promises.
    unsafe { config_in::<M>(vector).cast() }
}

unsafe extern "C" fn create_dir_config<M: Module>(
    pool: *mut sys::apr_pool_t,
    _dir: *mut c_char,
) -> *mut c_void {
    // SAFETY: httpd calls this with the pool that the result shall live in.
    unsafe { create::<M::DirConfig>(pool) }
}

unsafe extern "C" fn create_server_config<M: Module>(
    pool: *mut sys::apr_pool_t,
    _server: *mut sys::server_rec,
) -> *mut c_void {
    // SAFETY: httpd calls this with the pool that the result shall live in.
    unsafe { create::<M::ServerConfig>(pool) }
}

/// # Safety
///
/// `pool` must be a pool that this thread may use.
unsafe fn create<C: Config>(pool: *mut sys::apr_pool_t) -> *mut c_void {
    panic::guard(std::ptr::null_mut(), || {
        // SAFETY: passes on what the caller promises.
        let pool = unsafe { Pool::from_raw(pool) };
        std::ptr::from_mut(pool.place(C::default())).cast()
    })
}

unsafe extern "C" fn merge<C: Config>(
    pool: *mut sys::apr_pool_t,
    outer: *mut c_void,
    inner: *mut c_void,
) -> *mut c_void {
    panic::guard(std::ptr::null_mut(), || {
        // SAFETY: httpd merges what the create and merge functions of the same record returned,
        // which are of type `C`, and passes the pool that the result shall live in.
        let (pool, outer, inner) = unsafe {
            (
                Pool::from_raw(pool),
                &*outer.cast::<C>(),
                &*inner.cast::<C>(),
            )
        };
        std::ptr::from_mut(pool.place(C::merged(outer, inner))).cast()
    })
}

unsafe extern "C" fn register_hooks<M: Module>(pool: *mut sys::apr_pool_t) {
    panic::guard((), || {
        // SAFETY: httpd passes the configuration's pool, which lives until the hooks are gone.
        let hooks = unsafe { Hooks::new(Pool::from_raw(pool)) };
        M::register_hooks(&hooks);
    });
}
