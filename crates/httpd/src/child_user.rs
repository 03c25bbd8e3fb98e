//! Who httpd's children run as.

use std::ffi::CStr;

use httpd_sys as sys;

use crate::text;

/// The user that `User` and `Group` name, for a httpd that root starts.
#[derive(Clone, Copy, Debug)]
pub struct ChildUser {
    /// The user's name, or what was written in its place.
    pub name: &'static CStr,
    /// The user's number.
    pub uid: u32,
    /// The number of the group.
    pub gid: u32,
}

impl ChildUser {
    /// The one that is configured. Only while httpd has a configuration does it mean anything.
    pub fn configured() -> Self {
        // SAFETY: httpd changes the record only while it reads its configuration, on the one
        // thread it has then, and this copies the numbers out of it. The name is in the pool of
        // the configuration or of the process, which hooks do not outlive.
        unsafe {
            Self {
                name: text::borrow(sys::ap_unixd_config.user_name).unwrap_or_default(),
                uid: sys::ap_unixd_config.user_id,
                gid: sys::ap_unixd_config.group_id,
            }
        }
    }
}
