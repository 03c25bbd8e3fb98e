//! What CGI variables tell of the server and the client, for those who need it before there is a
//! `subprocess_env`.

use std::ffi::{CStr, c_char};
use std::ptr;

use httpd_sys as sys;

use crate::request::Request;
use crate::text;

impl<'r> Request<'r> {
    /// `SERVER_SIGNATURE`: the line below pages that the server makes; empty unless it is wanted.
    pub fn server_signature(self) -> &'r CStr {
        // SAFETY: the request is valid; the string is in its pool, or a constant.
        unsafe { text::borrow(sys::ap_psignature(c"".as_ptr(), self.as_ptr())) }.unwrap_or_default()
    }

    /// `SERVER_SOFTWARE`: as much as `ServerTokens` allows.
    pub fn server_software(self) -> &'r CStr {
        // SAFETY: the banner is made before there are requests, and lives as long as the
        // configuration.
        unsafe { text::borrow(sys::ap_get_server_banner()) }.unwrap_or_default()
    }

    /// `SERVER_NAME`: the server's name by the rules of `UseCanonicalName`, fit for HTML.
    pub fn server_name_escaped(self) -> &'r CStr {
        self.escaped(sys::ap_get_server_name_for_url)
    }

    /// The same, but that an IPv6 address has no brackets, as it has in a URL.
    pub fn server_name_bare(self) -> &'r CStr {
        self.escaped(sys::ap_get_server_name)
    }

    /// What one of httpd's functions for a server's name says, fit for HTML.
    fn escaped(
        self,
        name: unsafe extern "C" fn(*mut sys::request_rec) -> *const c_char,
    ) -> &'r CStr {
        // SAFETY: the request is valid, which is all that these functions ask for; both strings are
        // in its pool, or live longer.
        unsafe {
            let name = name(self.as_ptr());
            text::borrow(sys::ap_escape_html2(self.pool().as_ptr(), name, 0)).unwrap_or_default()
        }
    }

    /// `SERVER_ADDR`
    pub fn server_address(self) -> Option<&'r CStr> {
        // SAFETY: the request has a connection, whose strings live longer.
        unsafe { text::borrow((*(*self.as_ptr()).connection).local_ip) }
    }

    /// `SERVER_ADMIN`
    pub fn server_admin(self) -> Option<&'r CStr> {
        // SAFETY: the request has a server, whose strings live longer.
        unsafe { text::borrow((*(*self.as_ptr()).server).server_admin) }
    }

    /// `DOCUMENT_ROOT`
    pub fn document_root(self) -> Option<&'r CStr> {
        // SAFETY: the request is valid; the string is in its pool, or lives longer.
        unsafe { text::borrow(sys::ap_document_root(self.as_ptr())) }
    }

    /// `REMOTE_ADDR`: the address of the client, of which a module may know better than the
    /// connection.
    pub fn client_address(self) -> Option<&'r CStr> {
        // SAFETY: the string is in the request's pool, or lives longer.
        unsafe { text::borrow((*self.as_ptr()).useragent_ip) }
    }

    /// `REMOTE_PORT`: that of the connection, for nobody knows the port of a client behind a proxy.
    pub fn client_port(self) -> u16 {
        // SAFETY: a request has a connection, whose address lives longer, if it has one.
        let address = unsafe { (*(*self.as_ptr()).connection).client_addr.as_ref() };
        address.map_or(0, |address| address.port)
    }

    /// `REMOTE_HOST`: the name of the client, if `HostnameLookups` has it looked up.
    pub fn client_host(self) -> Option<&'r CStr> {
        let record = self.as_ptr();
        // SAFETY: the request is valid, and so is its connection; the string lives as long as that.
        unsafe {
            let connection = (*record).connection;
            if !ptr::eq((*record).useragent_addr, (*connection).client_addr) {
                // The connection's name would be that of a proxy.
                return None;
            }
            text::borrow(sys::ap_get_remote_host(
                connection,
                (*record).per_dir_config.cast(),
                sys::REMOTE_HOST,
                ptr::null_mut(),
            ))
        }
    }
}
