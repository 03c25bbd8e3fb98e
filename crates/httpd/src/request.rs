//! Requests: what the client asked for, where it was mapped to, what is answered.

use std::ffi::{CStr, c_char, c_int};
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::ptr::NonNull;

use httpd_sys as sys;

use crate::connection::Connection;
use crate::module::{self, Module};
use crate::pool::Pool;
use crate::process;
use crate::server::Server;
use crate::status::{AprStatus, Status};
use crate::table::Table;
use crate::text;

/// A request that is being processed during `'r`, on this thread.
///
/// The lifetime is invariant, as that of the request's tables is.
#[repr(transparent)]
#[derive(Clone, Copy, Debug)]
pub struct Request<'r> {
    raw: NonNull<sys::request_rec>,
    lifetime: PhantomData<fn(&'r ()) -> &'r ()>,
    one_thread: PhantomData<*mut ()>,
}

/// How httpd numbers HTTP/1.1, the first protocol in which every response has an end of its own.
const HTTP_1_1: c_int = 1001;
const HTTP_2: c_int = 2000;

/// The httpd that introduced `CGIVar`; the configuration of core has no place for it before.
const CGI_VAR_SINCE: [u32; 3] = [2, 4, 21];

/// The note of a request whose body nobody is to read.
const REFUSED_BODY: &CStr = c"mod_wsgi.refused_body";

/// What kind of file a request was mapped to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileType {
    /// There is no such file.
    Missing,
    /// A directory.
    Directory,
    /// Anything else.
    Other,
}

/// Life of a request: its records and what they lead to.
impl<'r> Request<'r> {
    /// Wraps a request of httpd's.
    ///
    /// # Safety
    ///
    /// - `raw` must point to a request that is processed throughout `'r`.
    /// - Only the calling thread may use it, or any wrapper of it, at any one time.
    pub unsafe fn from_raw(raw: *mut sys::request_rec) -> Self {
        Self {
            // SAFETY: the caller passes a request, which is not null.
            raw: unsafe { NonNull::new_unchecked(raw) },
            lifetime: PhantomData,
            one_thread: PhantomData,
        }
    }

    /// The pointer, for httpd's own functions.
    pub fn as_ptr(self) -> *mut sys::request_rec {
        self.raw.as_ptr()
    }

    /// A look at the record. It must not last: httpd changes the record behind it.
    pub(crate) fn record(&self) -> &sys::request_rec {
        // SAFETY: the request lives for 'r and is used by this thread only, which does not call
        // into httpd while it holds this.
        unsafe { self.raw.as_ref() }
    }

    /// The request's pool.
    pub fn pool(self) -> Pool<'r> {
        // SAFETY: the pool is cleared after the request has been processed.
        unsafe { Pool::from_raw(self.record().pool) }
    }

    /// The server it was sent to.
    pub fn server(self) -> Server<'r> {
        // SAFETY: a request has a server, which outlives it.
        unsafe { Server::from_raw(self.record().server) }
    }

    /// The connection it came on.
    pub fn connection(self) -> Connection<'r> {
        // SAFETY: a request has a connection, which outlives it and is processed by its thread.
        unsafe { Connection::from_raw(self.record().connection) }
    }

    /// Whether it is made for another, into whose response its own goes: an include of a page.
    pub fn is_included(self) -> bool {
        !self.record().main.is_null()
    }

    /// Whether it is the one that the client sent, neither redirected within httpd nor made for
    /// another.
    fn is_initial(self) -> bool {
        !self.is_included() && self.previous().is_none()
    }

    /// The request that the client sent: this one, or that for whose response it is made.
    fn outermost(self) -> Self {
        let mut request = self;
        while let Some(raw) = NonNull::new(request.record().main) {
            request.raw = raw;
        }
        request
    }

    /// What the module's directives say for the place the request was mapped to.
    pub fn config<M: Module>(self) -> &'r M::DirConfig {
        // SAFETY: the vector is that of a mapped request; its values live at least as long.
        unsafe { module::dir_config::<M>(self.record().per_dir_config) }
    }
}

/// What was asked for.
impl<'r> Request<'r> {
    /// Borrows a string of the record.
    fn text(self, string: *const c_char) -> Option<&'r CStr> {
        // SAFETY: strings of the record are in the request's pool, or live longer.
        unsafe { text::borrow(string) }
    }

    /// The method: `GET`.
    pub fn method(self) -> &'r CStr {
        self.text(self.record().method).unwrap_or_default()
    }

    /// Has no cache keep the response, nor that which it goes into: mod_cache looks at this at the
    /// end of one.
    pub fn forbid_caching(self) {
        let mut next = Some(self.raw);
        while let Some(raw) = next {
            // SAFETY: the request is valid, and so are those for whose responses it is made; this
            // thread uses them.
            next = unsafe {
                (*raw.as_ptr()).no_cache = 1;
                NonNull::new((*raw.as_ptr()).main)
            };
        }
    }

    /// Whether only the head of the response is wanted.
    pub fn is_head(self) -> bool {
        self.record().header_only != 0
    }

    /// The request line, as it was sent.
    pub fn request_line(self) -> Option<&'r CStr> {
        self.text(self.record().the_request)
    }

    /// The URL's path, decoded.
    pub fn uri(self) -> &'r CStr {
        self.text(self.record().uri).unwrap_or_default()
    }

    /// What follows the `?` in the URL.
    pub fn args(self) -> Option<&'r CStr> {
        self.text(self.record().args)
    }

    /// The protocol: `HTTP/1.1`.
    pub fn protocol(self) -> &'r CStr {
        self.text(self.record().protocol).unwrap_or_default()
    }

    /// When it was received, in microseconds since the epoch.
    pub fn time(self) -> i64 {
        self.record().request_time
    }

    /// The headers the client sent.
    pub fn headers_in(self) -> Table<'r> {
        // SAFETY: tables of a request live as long as its pool and are used by its thread.
        unsafe { Table::from_raw(self.record().headers_in) }
    }

    /// The port of the server, by the rules of `UseCanonicalName`.
    pub fn server_port(self) -> u16 {
        // SAFETY: the request is valid.
        unsafe { sys::ap_get_server_port(self.as_ptr()) }
    }

    /// The name of the host the client asked for, without port.
    pub fn hostname(self) -> Option<&'r CStr> {
        self.text(self.record().hostname)
    }

    /// The id its error log lines carry; it is made if there is none yet.
    pub fn log_id(self) -> Option<&'r CStr> {
        if self.record().log_id.is_null() {
            let connection = self.connection().as_ptr();
            // SAFETY: both are valid; a hook sets the field, to a string in the request's pool.
            unsafe {
                let slot = &raw mut (*self.as_ptr()).log_id;
                sys::ap_run_generate_log_id(connection, self.as_ptr(), slot);
            }
        }
        self.text(self.record().log_id)
    }
}

/// Where it was mapped to.
impl<'r> Request<'r> {
    /// The name of the handler, if one is set.
    pub fn handler(self) -> Option<&'r CStr> {
        self.text(self.record().handler)
    }

    /// Sets the handler.
    pub fn set_handler(self, name: &'static CStr) {
        // SAFETY: the request is valid, the name is for ever.
        unsafe { (*self.as_ptr()).handler = name.as_ptr() }
    }

    /// The file it was mapped to.
    pub fn filename(self) -> Option<&'r CStr> {
        self.text(self.record().filename)
    }

    /// Maps it to a file, whose name these pieces make together.
    pub fn set_filename(self, name: &[&[u8]]) {
        let name = self.pool().join(name);
        // SAFETY: the request is valid, and the name lives as long. httpd changes it in place, but
        // only between hooks; what a hook has borrowed of its request ends with it.
        unsafe { (*self.as_ptr()).filename = name.as_ptr().cast_mut() }
    }

    /// Maps it to a regular file, and sets what the URL's path has behind that, so that
    /// `ap_directory_walk` need not look for the file segment by segment: it takes a record of the
    /// file and a path behind it as given. That path is to be without empty segments and dots, as
    /// httpd would leave it. For the `translate_name` phase.
    ///
    /// Returns `false`, with nothing changed, if there is no such regular file, if httpd would find
    /// the whole too long, or if a `<Directory>` section could be for the file itself: httpd
    /// applies that only where nothing follows behind the file. Nor is it for what comes of another
    /// request: httpd asks nobody again whether that may enter, if it has walked to the same file
    /// for that request and need not walk anew.
    pub fn set_file(self, name: &[u8], path_info: &[u8]) -> bool {
        /// What apr adds to the length of a path (`apr_filepath_merge`).
        const MARGIN: usize = 4;
        if !self.is_initial() {
            return false;
        }
        let (name, path_info) = (self.pool().copy(name), self.pool().copy(path_info));
        let length = name.count_bytes() + path_info.count_bytes();
        if length + MARGIN > sys::APR_PATH_MAX as usize || self.has_directory_section(name) {
            return false;
        }
        let Some(finfo) = self.look_up(name) else {
            return false;
        };
        if finfo.filetype != sys::apr_filetype_e_APR_REG {
            return false;
        }
        // SAFETY: the request is valid, and both paths live as long; for their being changed see
        // `set_filename`.
        unsafe {
            (*self.as_ptr()).filename = name.as_ptr().cast_mut();
            (*self.as_ptr()).finfo = finfo;
            (*self.as_ptr()).path_info = path_info.as_ptr().cast_mut();
        }
        true
    }

    /// Whether a `<Directory>` section may be for this path, were it that of a directory: one that
    /// names it, or any pattern of that depth. Sections with regular expressions are for files as
    /// well.
    fn has_directory_section(self, path: &CStr) -> bool {
        let path = path.to_bytes();
        // What sections name ends in a slash.
        let depth = path.iter().filter(|byte| **byte == b'/').count() + 1;
        // SAFETY: core's configuration of a server is of this type, its sections are of the other,
        // as `ap_directory_walk` knows them, and all of them live as long as the server.
        let mut sections = unsafe {
            let core = sys::ap_get_core_module_config((*self.record().server).module_config);
            let sections = (*core.cast::<sys::core_server_config>()).sec_dir;
            let count = usize::try_from((*sections).nelts).unwrap_or_default();
            let first = (*sections).elts.cast::<*mut sys::ap_conf_vector_t>();
            (0..count).map(move |index| {
                let section = sys::ap_get_core_module_config(*first.add(index));
                &*section.cast::<sys::core_dir_config>()
            })
        };
        let is_for_path = |section: &sys::core_dir_config| {
            if !section.r.is_null() || section.d_components as usize != depth {
                return false;
            }
            // SAFETY: a section for directories of that depth has a path, which is NUL-terminated.
            let named = unsafe { CStr::from_ptr(section.d) }.to_bytes();
            section.d_is_fnmatch() != 0 || named.strip_suffix(b"/") == Some(path)
        };
        sections.any(is_for_path)
    }

    /// What httpd wants to know of a file, if there is one of this name.
    fn look_up(self, name: &'r CStr) -> Option<sys::apr_finfo_t> {
        let mut finfo = MaybeUninit::zeroed();
        let wanted = sys::APR_FINFO_MIN as sys::apr_int32_t;
        // SAFETY: the name is NUL-terminated, and it and the pool live as long as the request, as
        // long as the record may be used. apr only fills that.
        let status = unsafe {
            sys::apr_stat(
                finfo.as_mut_ptr(),
                name.as_ptr(),
                wanted,
                self.pool().as_ptr(),
            )
        };
        // SAFETY: it is filled, and all zeros, as which it began, is a valid value, too.
        AprStatus::check(status)
            .is_ok()
            .then(|| unsafe { finfo.assume_init() })
    }

    /// What follows, in the URL's path, the part that names the file.
    pub fn path_info(self) -> Option<&'r CStr> {
        self.text(self.record().path_info)
    }

    /// Where in the URL's path the extra path begins.
    pub fn path_info_start(self, path_info: &CStr) -> usize {
        // SAFETY: both strings are NUL-terminated.
        let start = unsafe { sys::ap_find_path_info(self.uri().as_ptr(), path_info.as_ptr()) };
        usize::try_from(start).unwrap_or_default()
    }

    /// What kind of file it was mapped to.
    pub fn file_type(self) -> FileType {
        match self.record().finfo.filetype {
            sys::apr_filetype_e_APR_NOFILE => FileType::Missing,
            sys::apr_filetype_e_APR_DIR => FileType::Directory,
            _ => FileType::Other,
        }
    }

    /// When the file was last changed, in microseconds since the epoch, if httpd knows.
    pub fn file_mtime(self) -> Option<i64> {
        let finfo = &self.record().finfo;
        let known = finfo.valid & sys::APR_FINFO_MTIME != 0;
        known.then_some(finfo.mtime)
    }

    /// Whether `AcceptPathInfo Off` applies.
    pub fn rejects_path_info(self) -> bool {
        self.record().used_path_info == sys::AP_REQ_REJECT_PATH_INFO
    }

    /// Whether `Options ExecCGI` applies.
    pub fn allows_exec_cgi(self) -> bool {
        // SAFETY: the request is valid.
        unsafe { sys::ap_allow_options(self.as_ptr()) & sys::OPT_EXECCGI != 0 }
    }

    /// `LimitRequestBody`; 0 is no limit.
    pub fn limit_request_body(self) -> i64 {
        // SAFETY: the request is valid.
        unsafe { sys::ap_get_limit_req_body(self.as_ptr()) }
    }

    /// Notes from one module to another.
    pub fn notes(self) -> Table<'r> {
        // SAFETY: as in `headers_in`.
        unsafe { Table::from_raw(self.record().notes) }
    }

    /// Variables for scripts and programs that run on behalf of the request.
    pub fn subprocess_env(self) -> Table<'r> {
        // SAFETY: as in `headers_in`.
        unsafe { Table::from_raw(self.record().subprocess_env) }
    }

    /// Adds the CGI variables that all handlers need to [`Self::subprocess_env`].
    pub fn add_common_vars(self) {
        // SAFETY: the request is valid.
        unsafe { sys::ap_add_common_vars(self.as_ptr()) }
    }

    /// What `CGIVar` says of a variable, if anything.
    pub fn cgi_var_rule(self, variable: &CStr) -> Option<&'r CStr> {
        if !process::runs_on(CGI_VAR_SINCE) {
            return None;
        }
        // SAFETY: core's configuration of a mapped request is of this type, and since that
        // version it has the field: null, or a hash from strings to strings.
        unsafe {
            let core: *const sys::core_dir_config =
                sys::ap_get_core_module_config(self.record().per_dir_config).cast();
            let rules = (*core).cgi_var_rules;
            if rules.is_null() {
                return None;
            }
            let key = variable.as_ptr().cast();
            let length = sys::APR_HASH_KEY_STRING as sys::apr_ssize_t;
            text::borrow(sys::apr_hash_get(rules, key, length).cast())
        }
    }
}

/// The response's head.
impl<'r> Request<'r> {
    /// The status of the response, as far as it has one.
    pub fn status(self) -> Status {
        Status(self.record().status)
    }

    /// Sets the status of the response, and the line it is sent as, reason included.
    pub fn set_status(self, status: c_int, line: Option<&'r CStr>) {
        // SAFETY: the request is valid, the line lives as long.
        unsafe {
            (*self.as_ptr()).status = status;
            (*self.as_ptr()).status_line = text::as_ptr_or_null(line);
        }
    }

    /// The line that the status is sent as, if one was set.
    pub fn status_line(self) -> Option<&'r CStr> {
        self.text(self.record().status_line)
    }

    /// Sets when the response was last changed, to the latest of the dates that are given; for
    /// HTTP no time in the future. What is no date changes nothing in that.
    pub fn set_last_modified(self, date: &CStr) {
        // SAFETY: the request is valid, the date NUL-terminated.
        unsafe {
            sys::ap_update_mtime(self.as_ptr(), sys::apr_date_parse_http(date.as_ptr()));
            sys::ap_set_last_modified(self.as_ptr());
        }
    }

    /// Answers with what the same server has at `location`, as if a `GET` for that had come. The
    /// handler must return [`Status::OK`] then. The body of the request is not for that any more.
    pub fn redirect_internally(self, location: &CStr) {
        self.headers_in().unset(c"Content-Length");
        self.headers_in().unset(c"Transfer-Encoding");
        // SAFETY: the request is valid; the method is for ever, the location NUL-terminated and
        // parsed before this returns.
        unsafe {
            (*self.as_ptr()).method = c"GET".as_ptr();
            (*self.as_ptr()).method_number = sys::M_GET as c_int;
            sys::ap_internal_redirect_handler(location.as_ptr(), self.as_ptr());
        }
    }

    /// Sets the content type of the response, and with it the filters that depend on it.
    pub fn set_content_type(self, content_type: &'r CStr) {
        // SAFETY: the request is valid, the string lives as long.
        unsafe { sys::ap_set_content_type(self.as_ptr(), content_type.as_ptr()) }
    }

    /// Sets the length of the response.
    pub fn set_content_length(self, length: i64) {
        // SAFETY: the request is valid.
        unsafe { sys::ap_set_content_length(self.as_ptr(), length) }
    }

    /// The headers of the response.
    pub fn headers_out(self) -> Table<'r> {
        // SAFETY: as in `headers_in`.
        unsafe { Table::from_raw(self.record().headers_out) }
    }

    /// Those that are also sent with an error response.
    pub fn err_headers_out(self) -> Table<'r> {
        // SAFETY: as in `headers_in`.
        unsafe { Table::from_raw(self.record().err_headers_out) }
    }

    /// Whether it is only by the end of the connection that the client knows where the response
    /// ends, or that of the page it goes into. To be asked once the head has been sent.
    pub fn ends_with_connection(self) -> bool {
        let sent = self.outermost();
        let record = sent.record();
        record.proto_num < HTTP_2
            && record.chunked == 0
            && !sent.is_bodiless()
            && !sent.headers_out().contains(c"Content-Length")
    }

    /// Whether httpd has sent the head of the response, or that of the page it goes into.
    pub fn is_head_sent(self) -> bool {
        self.outermost().record().sent_bodyct != 0
    }

    /// Has the rest of the response go past the filters that change its content, as httpd does for
    /// an error document.
    pub fn leave_content_filters(self) {
        // SAFETY: the request is this thread's, and its protocol's filters live as long as it does.
        unsafe { (*self.as_ptr()).output_filters = (*self.as_ptr()).proto_output_filters };
    }

    /// Whether the response has no body, by its method or its status.
    pub fn is_bodiless(self) -> bool {
        let record = self.record();
        record.header_only != 0 || matches!(record.status, 204 | 304)
    }

    /// Has a response of unknown length sent in chunks, so that its end tells whether it is whole.
    /// httpd decides so by itself, but not where it will close the connection after it: for a
    /// client that has announced a body and not sent it, or whose body could not be read. Elsewhere
    /// it is left to httpd, for a filter may yet state a length. To be called before the head is
    /// sent. A response that goes into a page is not framed by itself.
    pub fn send_in_chunks(self) {
        if (self.expects_continue() || self.connection().is_closed_after_request())
            && self.record().proto_num == HTTP_1_1
            && !self.is_included()
            && !self.is_bodiless()
            && !self.headers_out().contains(c"Content-Length")
            // What httpd takes for a reason to answer as if in HTTP/1.0.
            && !self.subprocess_env().contains(c"downgrade-1.0")
        {
            // SAFETY: the request is valid; httpd sets the field likewise.
            unsafe { (*self.as_ptr()).chunked = 1 };
        }
    }

    /// Whether the request's head announces a body, and nobody has refused it.
    pub fn has_body(self) -> bool {
        let headers = self.headers_in();
        let is_announced = headers.contains(c"Transfer-Encoding")
            || headers
                .get(c"Content-Length")
                .is_some_and(|length| length != c"0");
        is_announced && !self.has_refused_body()
    }

    /// Has nobody read the body any more: not the document for the error that comes of it either,
    /// to which httpd redirects the request.
    pub fn refuse_body(self) {
        self.notes().set(REFUSED_BODY, c"1");
    }

    /// Whether the body was refused, if need be before httpd redirected the request to here.
    fn has_refused_body(self) -> bool {
        std::iter::successors(Some(self), |request| request.previous())
            .any(|request| request.notes().contains(REFUSED_BODY))
    }

    /// The status that the request had before anybody answered it: 200, or that of the error whose
    /// document it is for.
    pub fn status_before(self) -> Status {
        self.previous().map_or(Status::HTTP_OK, Self::status)
    }

    /// The request that httpd has redirected to this one.
    fn previous(self) -> Option<Self> {
        let previous = NonNull::new(self.record().prev)?;
        // SAFETY: a request lives as long as those that it was redirected to, whose pool is its own
        // (`internal_internal_redirect` in httpd), and is used by the same thread.
        Some(unsafe { Self::from_raw(previous.as_ptr()) })
    }

    /// Whether the client waits to be told to send the body.
    pub fn expects_continue(self) -> bool {
        self.record().expecting_100 != 0
    }

    /// Whether nothing of the body is to be read: it was refused, or the client waits to be told to
    /// send it, and will not be, as the request has failed already and this is the document for the
    /// error. httpd's own input filter tells nobody then either. To be asked before the response
    /// has a status.
    pub fn is_body_withheld(self) -> bool {
        let has_failed = !(200..300).contains(&self.status().0);
        self.has_refused_body() || self.expects_continue() && has_failed
    }
}
