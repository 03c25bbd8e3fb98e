//! Calls of functions that decide about a request, apart from any application.

use std::ffi::c_void;

use crate::{Bytes, Pair, RequestHandle, Script, Slice};

/// Functions of a script to be called on behalf of a request, beside any application: those that
/// say who may enter, and where the request is to go.
///
/// They are called one after the other with the same arguments: the environ, which is one dict for
/// all of them, then [`Call::arguments`]. The last that is called is the first that is there and
/// returns anything but `None`, a `bytes` or a `str` of Latin-1.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    /// The script. It is not asked whether it wants to be loaded anew (`reload_required`).
    pub script: Script<'a>,
    /// The names of the functions.
    pub functions: Slice<'a, Bytes<'a>>,
    /// The environ as far as it is made of strings. The engine adds `wsgi.errors`.
    pub environ: Slice<'a, Pair<'a>>,
    /// Further arguments, each a `str` of these bytes taken as Latin-1.
    pub arguments: Slice<'a, Bytes<'a>>,
    /// Whether what is returned is to be iterated over; see [`Returned::ITEMS`].
    pub iterate: bool,
    /// What the environ tells of the server, with the versions of both; null if nothing.
    pub server: *const ServerCalls,
    /// The `request_rec`, for `apache.request_rec`, or null if the script may not have it.
    pub request_rec: *mut c_void,
    /// Takes what each function returned, in their order, once all are over. Gets `taker` back.
    pub take: unsafe extern "C" fn(taker: *mut c_void, returned: *const Returned<'_>),
    /// What `take` gets.
    pub taker: *mut c_void,
}

/// What a script that is called can ask the server until it returns. Like the functions of a
/// [`Host`](crate::Host), these may be called from any thread, one at a time for a request.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct ServerCalls {
    /// `mod_ssl.is_https`: whether the connection is encrypted.
    pub is_https: unsafe extern "C" fn(request: RequestHandle) -> bool,
    /// `mod_ssl.var_lookup`: a variable of mod_ssl. What is returned is valid as long as the
    /// request's handle, whatever the signature says.
    pub ssl_variable:
        for<'n> unsafe extern "C" fn(request: RequestHandle, name: Bytes<'n>) -> Bytes<'n>,
}

/// What a function returned.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Returned<'a> {
    /// One of the constants of this type.
    pub kind: u32,
    /// What the kind says.
    pub bytes: Bytes<'a>,
    /// With [`Returned::ITEMS`]: the items.
    pub items: Slice<'a, Returned<'a>>,
    /// With [`Returned::ITEMS`]: whether these are all, or the iteration failed after them.
    pub complete: bool,
}

impl Returned<'_> {
    /// The script has no such function.
    pub const MISSING: u32 = 0;
    /// The function raised an exception, which is in the log.
    pub const FAILED: u32 = 1;
    /// `None`
    pub const NONE: u32 = 2;
    /// `False`, the object.
    pub const FALSE: u32 = 3;
    /// `True`, the object.
    pub const TRUE: u32 = 4;
    /// A `str`; `bytes` are its UTF-8.
    pub const TEXT: u32 = 5;
    /// A `str` with lone surrogates, which no encoding has.
    pub const BROKEN_TEXT: u32 = 6;
    /// A `bytes`; `bytes` is its content.
    pub const BYTES: u32 = 7;
    /// An iterable, with [`Call::iterate`]: anything that can be iterated over, `str` and `bytes`
    /// included. `items` are what it gave, each of one of the other kinds.
    pub const ITEMS: u32 = 8;
    /// Something that cannot be iterated over, with [`Call::iterate`]. The exception is in the log,
    /// and `bytes` the name of the type.
    pub const NOT_ITERABLE: u32 = 9;
    /// Anything else; `bytes` is the name of its type.
    pub const OTHER: u32 = 10;
}

/// Whether functions could be called.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Called(pub i32);

impl Called {
    /// They were; [`Call::take`] has what they returned.
    pub const OK: Self = Self(0);
    /// The script could not be loaded; the cause is in the log.
    pub const NOT_LOADED: Self = Self(1);
    /// There is no interpreter for the application group, or the engine has a fault, which the log
    /// tells; or Python is ending.
    pub const FAILED: Self = Self(2);
}
