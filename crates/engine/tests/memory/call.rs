//! Functions of a script, called beside an application.

use std::ffi::c_void;

use engine_abi::{Bytes, Call, Called, Pair, RequestHandle, Returned, Script, ServerCalls, Slice};

use super::{App, Exchange, start};

/// Functions to be called.
pub struct Calling<'a> {
    app: &'a App,
    functions: Vec<&'a str>,
    arguments: Vec<&'a [u8]>,
    iterate: bool,
    with_server: bool,
    group: &'a str,
}

/// What became of a call.
#[derive(Debug)]
pub struct CallAnswer {
    pub called: Called,
    /// What each function returned: its kind, and what goes with it.
    pub returned: Vec<String>,
    /// The log lines, from `warn` up.
    pub log: Vec<String>,
}

impl App {
    /// Calls for these functions.
    pub fn calling<'a>(&'a self, functions: &[&'a str]) -> Calling<'a> {
        Calling {
            app: self,
            functions: functions.to_vec(),
            arguments: Vec::new(),
            iterate: false,
            with_server: false,
            group: "",
        }
    }
}

impl<'a> Calling<'a> {
    /// With a further argument.
    pub fn argument(mut self, argument: &'a [u8]) -> Self {
        self.arguments.push(argument);
        self
    }

    /// And iterate over the result.
    pub fn iterated(mut self) -> Self {
        self.iterate = true;
        self
    }

    /// With an environ that tells of the server.
    pub fn with_server(mut self) -> Self {
        self.with_server = true;
        self
    }

    /// In this application group.
    pub fn group(mut self, group: &'a str) -> Self {
        self.group = group;
        self
    }

    /// Makes the calls.
    pub fn answer(self) -> CallAnswer {
        let exchange = Exchange::default();
        let mut returned = Vec::new();
        let functions: Vec<_> = self
            .functions
            .iter()
            .map(|&name| Bytes::from(name))
            .collect();
        let arguments: Vec<_> = self.arguments.iter().map(|&a| Bytes::new(a)).collect();
        let call = Call {
            script: Script {
                path: Bytes::from(self.app.path().to_str().unwrap()),
                application_group: Bytes::from(self.group),
                mtime: Script::UNKNOWN_MTIME,
                reload: true,
            },
            functions: Slice::new(&functions),
            environ: Slice::new(ENVIRON),
            arguments: Slice::new(&arguments),
            iterate: self.iterate,
            server: if self.with_server {
                &raw const SERVER
            } else {
                std::ptr::null()
            },
            request_rec: std::ptr::null_mut(),
            take,
            taker: (&raw mut returned).cast(),
        };
        let handle = (&raw const exchange).cast_mut().cast();
        // SAFETY: the call, the exchange and what takes the results live until the call returns.
        let called = unsafe { (start().0.call)(&raw const call, handle) };
        CallAnswer {
            called,
            returned,
            log: exchange.state.into_inner().unwrap().log,
        }
    }
}

const ENVIRON: &[Pair<'_>] = &[
    Pair {
        name: Bytes::new(b"REQUEST_URI"),
        value: Bytes::new(b"/\xe9"),
    },
    Pair {
        name: Bytes::new(b"DOCUMENT_ROOT"),
        value: Bytes::new(b"/\xc3\xa9"),
    },
];

static SERVER: ServerCalls = ServerCalls {
    is_https,
    ssl_variable,
};

unsafe extern "C" fn is_https(_: RequestHandle) -> bool {
    true
}

unsafe extern "C" fn ssl_variable<'n>(_: RequestHandle, name: Bytes<'n>) -> Bytes<'n> {
    match name.or_empty() {
        b"SSL_PROTOCOL" => Bytes::new(b"TLSv1.3 \xe9"),
        _ => Bytes::NONE,
    }
}

unsafe extern "C" fn take(taker: *mut c_void, returned: *const Returned<'_>) {
    // SAFETY: the taker is the vector of `Calling::answer`; what is returned lives until we return.
    let (taken, returned) = unsafe { (&mut *taker.cast::<Vec<String>>(), &*returned) };
    taken.push(shown(returned));
}

fn shown(returned: &Returned<'_>) -> String {
    let kind = match returned.kind {
        Returned::MISSING => "missing",
        Returned::FAILED => "failed",
        Returned::NONE => "none",
        Returned::FALSE => "false",
        Returned::TRUE => "true",
        Returned::TEXT => "text",
        Returned::BROKEN_TEXT => "broken text",
        Returned::BYTES => "bytes",
        Returned::ITEMS => "items",
        Returned::NOT_ITERABLE => "not iterable",
        Returned::OTHER => "other",
        kind => panic!("kind {kind}"),
    };
    let mut text = kind.to_owned();
    if let Some(bytes) = returned.bytes.get() {
        text += &format!(" {}", String::from_utf8_lossy(bytes));
    }
    for item in returned.items.get() {
        text += &format!(", {}", shown(item));
    }
    if !returned.complete {
        text += ", and a failure";
    }
    text
}
