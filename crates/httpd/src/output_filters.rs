//! The filters that a response passes through, and what that means for it.

use std::ffi::CStr;
use std::iter;

use httpd_sys as sys;

use crate::request::Request;
use crate::text;

impl<'r> Request<'r> {
    /// Whether its first output filter makes or changes content, rather than speak the protocol.
    pub fn has_content_filter(self) -> bool {
        let filter = self.record().output_filters;
        // SAFETY: null, or a filter of this request, whose record is static.
        unsafe {
            !filter.is_null() && (*(*filter).frec).ftype < sys::ap_filter_type_AP_FTYPE_PROTOCOL
        }
    }

    /// Whether a file of the response may be mapped: httpd's `EnableMMAP` does not forbid it, and
    /// nobody reads it but the kernel, when it sends it. Of a file that somebody cuts short
    /// meanwhile the kernel sends no more, where a filter that reads it would end the process with
    /// SIGBUS.
    pub fn may_map_files(self) -> bool {
        self.is_mapping_enabled() && self.output_filters().all(is_blind)
    }

    fn is_mapping_enabled(self) -> bool {
        // SAFETY: core's configuration of a mapped request is of this type.
        let core: &sys::core_dir_config =
            unsafe { &*sys::ap_get_core_module_config(self.record().per_dir_config).cast() };
        i32::try_from(core.enable_mmap()) != Ok(sys::ENABLE_MMAP_OFF)
    }

    /// The names of the filters that the response passes through, in lower case.
    fn output_filters(self) -> impl Iterator<Item = &'r CStr> {
        let mut next = self.record().output_filters;
        iter::from_fn(move || {
            // SAFETY: null, or a filter of this request or its connection, whose record with its
            // name is static.
            unsafe {
                let filter = next.as_ref()?;
                next = filter.next;
                text::borrow((*filter.frec).name)
            }
        })
    }
}

/// Whether an output filter of this name passes files on without reading them: those that httpd
/// itself uses for HTTP/1, and the one that counts bytes.
fn is_blind(filter: &CStr) -> bool {
    const NAMES: [&CStr; 8] = [
        c"byterange",
        c"content_length",
        c"http_header",
        c"http_outerror",
        c"chunk",
        c"old_write",
        c"log_input_output",
        c"core",
    ];
    NAMES.contains(&filter)
}
