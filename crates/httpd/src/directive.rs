//! Directives: the rows of a module's command table, and the call of their setters.
//!
//! A directive changes either what is configured for a server or what is configured for a
//! directory. The kind of its row decides which of the two its setter gets, so a `.htaccess` file,
//! which is read while requests are served, can never reach the configuration of a server.

use std::error::Error;
use std::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::fmt;
use std::marker::PhantomData;
use std::mem;
use std::ptr;

use httpd_sys as sys;

use crate::log::Log;
use crate::module::{self, Module};
use crate::panic;
use crate::pool::Pool;
use crate::text;

/// Sets what a directive says. The string is one word, or the rest of the line, as [`Args`] says.
pub type Setter<C> = fn(&mut C, &Parms<'_>, &CStr) -> Result<(), Refusal>;

/// What a section does, before and after the directives inside.
#[derive(Debug)]
pub struct Section<C> {
    /// Before them.
    pub open: Setter<C>,
    /// After them.
    pub close: fn(&mut C),
}

/// What a directive takes.
#[derive(Clone, Copy, Debug)]
pub enum Args {
    /// One word.
    One,
    /// Whatever the line says; the setter gets it whole.
    Line,
}

/// Where a directive of directories is allowed, besides server, virtual host and directory.
#[derive(Clone, Copy, Debug)]
pub enum Allowed {
    /// In `.htaccess`, with `AllowOverride FileInfo`.
    FileInfo,
    /// In directories and, with `AllowOverride AuthConfig`, in `.htaccess`; not in servers.
    AuthConfig,
    /// Not in `.htaccess`.
    NotHtaccess,
}

/// Why a directive is refused; httpd shows it, behind the directive's name, as an error of the
/// configuration.
#[derive(Debug)]
pub struct Refusal(String);

impl Refusal {
    /// Refuses with this message.
    pub fn new(message: impl fmt::Display) -> Self {
        Self(message.to_string())
    }
}

impl<E: Error> From<E> for Refusal {
    fn from(error: E) -> Self {
        Self::new(error)
    }
}

/// A row of the command table.
#[repr(transparent)]
#[derive(Clone, Copy)]
pub struct Directive<M> {
    raw: sys::command_rec,
    module: PhantomData<M>,
}

impl<M: Module> Directive<M> {
    /// A directive that is allowed in the base server only.
    pub const fn global(
        name: &'static CStr,
        args: Args,
        setter: Setter<M::ServerConfig>,
        help: &'static CStr,
    ) -> Self {
        let data = setter as *const c_void;
        Self::row(name, args, set_global::<M>, data, sys::RSRC_CONF, help)
    }

    /// A section that is allowed in the base server only; its name begins with `<`. `open` gets
    /// what follows the name, with the `>` that ends it; then the directives inside are carried out
    /// as if they stood in place of the section; then `close` is called, also when one of them was
    /// refused.
    pub const fn section(
        name: &'static CStr,
        section: &'static Section<M::ServerConfig>,
        help: &'static CStr,
    ) -> Self {
        let data = ptr::from_ref(section).cast();
        Self::row(
            name,
            Args::Line,
            set_section::<M>,
            data,
            sys::RSRC_CONF,
            help,
        )
    }

    /// A directive that is allowed in servers, the base server and virtual hosts.
    pub const fn server(
        name: &'static CStr,
        args: Args,
        setter: Setter<M::ServerConfig>,
        help: &'static CStr,
    ) -> Self {
        let data = setter as *const c_void;
        Self::row(name, args, set_server::<M>, data, sys::RSRC_CONF, help)
    }

    /// A directive that is allowed in directories, and where else `allowed` says.
    pub const fn directory(
        name: &'static CStr,
        allowed: Allowed,
        args: Args,
        setter: Setter<M::DirConfig>,
        help: &'static CStr,
    ) -> Self {
        let overrides = match allowed {
            Allowed::FileInfo => sys::OR_FILEINFO,
            Allowed::AuthConfig => sys::OR_AUTHCFG,
            Allowed::NotHtaccess => sys::ACCESS_CONF | sys::RSRC_CONF,
        };
        let data = setter as *const c_void;
        Self::row(name, args, set_directory::<M>, data, overrides, help)
    }

    /// A row for httpd. `data` is the setter, which `adapter` must find in it.
    const fn row(
        name: &'static CStr,
        args: Args,
        adapter: Adapter,
        data: *const c_void,
        overrides: c_int,
        help: &'static CStr,
    ) -> Self {
        let (args_how, func) = match args {
            Args::One => (
                sys::cmd_how_TAKE1,
                sys::cmd_func {
                    take1: Some(adapter),
                },
            ),
            Args::Line => (
                sys::cmd_how_RAW_ARGS,
                sys::cmd_func {
                    raw_args: Some(adapter),
                },
            ),
        };
        let raw = sys::command_rec {
            name: name.as_ptr(),
            func,
            cmd_data: data.cast_mut(),
            req_override: overrides,
            args_how,
            errmsg: help.as_ptr(),
        };
        Self {
            raw,
            module: PhantomData,
        }
    }
}

impl<M> fmt::Debug for Directive<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // SAFETY: rows are made with names that live for ever.
        let name = unsafe { text::borrow(self.raw.name) };
        f.debug_tuple("Directive").field(&name).finish()
    }
}

/// The command table of a module.
#[repr(C)]
#[derive(Debug)]
pub struct Directives<M, const N: usize> {
    rows: [Directive<M>; N],
    /// What ends the table for httpd: a row without a name.
    end: Directive<M>,
}

// SAFETY: the rows are constants: strings that live for ever, and functions.
unsafe impl<M: Send + Sync, const N: usize> Sync for Directives<M, N> {}

impl<M: Module, const N: usize> Directives<M, N> {
    /// A table of these rows.
    pub const fn new(rows: [Directive<M>; N]) -> Self {
        let raw = sys::command_rec {
            name: ptr::null(),
            func: sys::cmd_func { no_args: None },
            cmd_data: ptr::null_mut(),
            req_override: 0,
            args_how: sys::cmd_how_RAW_ARGS,
            errmsg: ptr::null(),
        };
        let end = Directive {
            raw,
            module: PhantomData,
        };
        Self { rows, end }
    }

    pub(crate) const fn as_ptr(&self) -> *const sys::command_rec {
        ptr::from_ref(self).cast()
    }
}

/// Tells the servers of a configuration apart while it is read. There is no way from it to the
/// server: a setter that changes the server's configuration must not see it by another way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServerId(usize);

impl ServerId {
    pub(crate) fn of(server: *const sys::server_rec) -> Self {
        Self(server.addr())
    }
}

/// The circumstances of a directive that is being read.
#[derive(Debug)]
pub struct Parms<'p> {
    raw: &'p sys::cmd_parms,
    log: Log<'p>,
}

impl<'p> Parms<'p> {
    /// The directive's name, as the configuration spells it.
    pub fn directive(&self) -> &'p CStr {
        // SAFETY: httpd sets both before it calls a setter; they outlive the call.
        unsafe {
            let written = self.raw.directive.as_ref();
            let name = written.map_or((*self.raw.cmd).name, |written| written.directive);
            text::borrow(name).unwrap_or_default()
        }
    }

    /// The pool that the configuration lives in.
    pub fn pool(&self) -> Pool<'p> {
        // SAFETY: httpd sets it before it calls a setter.
        unsafe { Pool::from_raw(self.raw.pool) }
    }

    /// Whether the directive is inside a `<VirtualHost>`.
    pub fn is_virtual(&self) -> bool {
        // SAFETY: a directive is read for a server.
        unsafe { (*self.raw.server).is_virtual != 0 }
    }

    /// Which server the directive is read for.
    pub fn server_id(&self) -> ServerId {
        ServerId::of(self.raw.server)
    }

    /// The `ServerName` the server has been given so far.
    pub fn hostname(&self) -> Option<&'p CStr> {
        self.hostname_of(self.server_id())
    }

    /// The `ServerName` that this server or a virtual host before it has been given so far. While
    /// virtual hosts are read each is put in front of those before it (`virtualhost_section` of
    /// httpd's core).
    pub fn hostname_of(&self, id: ServerId) -> Option<&'p CStr> {
        let mut server: *const sys::server_rec = self.raw.server;
        while !server.is_null() {
            // SAFETY: as in `is_virtual`, for each server of the list; the string outlives the
            // reading of the configuration.
            unsafe {
                if ServerId::of(server) == id {
                    return text::borrow((*server).server_hostname);
                }
                server = (*server).next;
            }
        }
        None
    }

    /// The file the directive is in.
    pub fn file(&self) -> Option<&'p CStr> {
        // SAFETY: as in `directive`.
        unsafe {
            self.raw
                .directive
                .as_ref()
                .and_then(|written| text::borrow(written.filename))
        }
    }

    /// The line it is on; 0 if it is on none, as with `httpd -c`.
    pub fn line(&self) -> u32 {
        // SAFETY: as in `directive`.
        let line = unsafe {
            self.raw
                .directive
                .as_ref()
                .map_or(0, |written| written.line_num)
        };
        u32::try_from(line).unwrap_or_default()
    }

    /// The log of the server the directive is read for.
    pub fn log(&self) -> Log<'p> {
        self.log
    }
}

type Adapter =
    unsafe extern "C" fn(*mut sys::cmd_parms, *mut c_void, *const c_char) -> *const c_char;

unsafe extern "C" fn set_global<M: Module>(
    parms: *mut sys::cmd_parms,
    dir: *mut c_void,
    word: *const c_char,
) -> *const c_char {
    // SAFETY: httpd calls this as the function of a row of `Directive::global`.
    unsafe {
        let misplaced = sys::ap_check_cmd_context(parms, sys::GLOBAL_ONLY as c_uint);
        if misplaced.is_null() {
            set_server::<M>(parms, dir, word)
        } else {
            misplaced
        }
    }
}

/// What is said of a directive whose own code panics.
const BUG: *const c_char = c"failed because of a bug in the module; see the error log".as_ptr();

unsafe extern "C" fn set_section<M: Module>(
    parms: *mut sys::cmd_parms,
    _dir: *mut c_void,
    words: *const c_char,
) -> *const c_char {
    // SAFETY: httpd calls this as the function of a row of `Directive::section`, so the row's data
    // is a section of the server's configuration, and `RSRC_CONF` lets it happen only while httpd,
    // alone, reads its configuration. Ours is borrowed before and after the directives inside are
    // carried out, which borrow it themselves, not meanwhile.
    unsafe {
        let misplaced = sys::ap_check_cmd_context(parms, sys::GLOBAL_ONLY as c_uint);
        if !misplaced.is_null() {
            return misplaced;
        }
        let section = &*(*(*parms).cmd).cmd_data.cast::<Section<M::ServerConfig>>();
        let config = || module::server_config_being_read::<M>((*(*parms).server).module_config);
        let refused = set::<M, M::ServerConfig>(parms, words, section.open, config);
        if !refused.is_null() {
            return refused;
        }
        let inside = (*(*parms).directive).first_child;
        let refused = sys::ap_walk_config(inside, parms, (*parms).context);
        let closed = panic::guard(BUG, || {
            (section.close)(&mut *config());
            ptr::null()
        });
        if refused.is_null() { closed } else { refused }
    }
}

unsafe extern "C" fn set_server<M: Module>(
    parms: *mut sys::cmd_parms,
    _dir: *mut c_void,
    word: *const c_char,
) -> *const c_char {
    // SAFETY: httpd calls this as the function of a row for servers, so the row's data is a setter
    // for them, and `RSRC_CONF` lets it happen only while httpd, alone, reads its configuration:
    // nobody else looks at the server's.
    unsafe {
        let setter = setter_in::<M::ServerConfig>(parms);
        set::<M, M::ServerConfig>(parms, word, setter, || {
            module::server_config_being_read::<M>((*(*parms).server).module_config)
        })
    }
}

unsafe extern "C" fn set_directory<M: Module>(
    parms: *mut sys::cmd_parms,
    dir: *mut c_void,
    word: *const c_char,
) -> *const c_char {
    // SAFETY: httpd calls this as the function of a row for directories, so the row's data is a
    // setter for them; and with the configuration of one that it made with the module's own
    // function and that nobody uses before its directives are read.
    unsafe {
        let setter = setter_in::<M::DirConfig>(parms);
        set::<M, M::DirConfig>(parms, word, setter, || dir.cast())
    }
}

/// The setter in the row that `parms` names.
///
/// # Safety
///
/// - `parms` must be what httpd passes to the function of a row, whose data must be a `Setter<C>`.
unsafe fn setter_in<C>(parms: *mut sys::cmd_parms) -> Setter<C> {
    // SAFETY: it is what the caller promises.
    unsafe { mem::transmute::<*mut c_void, Setter<C>>((*(*parms).cmd).cmd_data) }
}

/// Calls a setter.
///
/// # Safety
///
/// - `parms` and `word` must be what httpd passes to the function of a row.
/// - `config` must return a valid configuration that nobody else looks at during the call.
unsafe fn set<M: Module, C>(
    parms: *mut sys::cmd_parms,
    word: *const c_char,
    setter: Setter<C>,
    config: impl FnOnce() -> *mut C,
) -> *const c_char {
    panic::guard(BUG, || {
        // SAFETY: all of it is what the caller promises.
        let (raw, word, config) = unsafe {
            let word = text::borrow(word).unwrap_or_default();
            (&*parms, word, &mut *config())
        };
        // SAFETY: a directive is read for a server, which outlives the reading.
        let log = unsafe { Log::of_server_raw::<M>(raw.server) };
        let parms = Parms { raw, log };
        match setter(config, &parms, word) {
            Ok(()) => ptr::null(),
            Err(Refusal(message)) => {
                let directive = parms.directive().to_bytes();
                let end: &[u8] = if directive.starts_with(b"<") {
                    b">"
                } else {
                    b""
                };
                parms
                    .pool()
                    .join(&[directive, end, b": ", message.as_bytes()])
                    .as_ptr()
            }
        }
    })
}
