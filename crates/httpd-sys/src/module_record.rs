//! `STANDARD20_MODULE_STUFF` of `http_config.h`: how the record of a module starts.

use std::ffi::CStr;
use std::ptr;

use crate::{MODULE_MAGIC_COOKIE, MODULE_MAGIC_NUMBER_MAJOR, MODULE_MAGIC_NUMBER_MINOR, module};

/// A record with its version numbers, magic and name filled in, and nothing else. `name` is what
/// `<IfModule>` tests: the module's C file, had it one.
pub const fn standard20_module_stuff(name: &'static CStr) -> module {
    module {
        version: MODULE_MAGIC_NUMBER_MAJOR,
        minor_version: MODULE_MAGIC_NUMBER_MINOR,
        module_index: -1,
        name: name.as_ptr(),
        dynamic_load_handle: ptr::null_mut(),
        next: ptr::null_mut(),
        magic: MODULE_MAGIC_COOKIE as std::ffi::c_ulong,
        rewrite_args: None,
        create_dir_config: None,
        merge_dir_config: None,
        create_server_config: None,
        merge_server_config: None,
        cmds: ptr::null(),
        register_hooks: None,
        flags: 0,
    }
}
