//! What hooks return, and what APR's functions do.

use std::ffi::c_int;

use httpd_sys as sys;

/// The result of a hook: one of httpd's own, or an HTTP status.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status(pub c_int);

impl Status {
    /// Done; what that means for the hooks that follow depends on the hook.
    pub const OK: Self = Self(sys::OK);
    /// Not mine.
    pub const DECLINED: Self = Self(sys::DECLINED);
    /// A filter has sent the response.
    pub const FILTER_ERROR: Self = Self(sys::AP_FILTER_ERROR);
    /// 200, which is no result of a hook.
    pub const HTTP_OK: Self = Self(sys::HTTP_OK);
    /// 400.
    pub const BAD_REQUEST: Self = Self(sys::HTTP_BAD_REQUEST);
    /// 403.
    pub const FORBIDDEN: Self = Self(sys::HTTP_FORBIDDEN);
    /// 404.
    pub const NOT_FOUND: Self = Self(sys::HTTP_NOT_FOUND);
    /// 408.
    pub const REQUEST_TIME_OUT: Self = Self(sys::HTTP_REQUEST_TIME_OUT);
    /// 411.
    pub const LENGTH_REQUIRED: Self = Self(sys::HTTP_LENGTH_REQUIRED);
    /// 413.
    pub const REQUEST_ENTITY_TOO_LARGE: Self = Self(sys::HTTP_REQUEST_ENTITY_TOO_LARGE);
    /// 500.
    pub const INTERNAL_SERVER_ERROR: Self = Self(sys::HTTP_INTERNAL_SERVER_ERROR);
    /// 501.
    pub const NOT_IMPLEMENTED: Self = Self(sys::HTTP_NOT_IMPLEMENTED);
    /// 502.
    pub const BAD_GATEWAY: Self = Self(sys::HTTP_BAD_GATEWAY);
    /// 503.
    pub const SERVICE_UNAVAILABLE: Self = Self(sys::HTTP_SERVICE_UNAVAILABLE);
    /// 504.
    pub const GATEWAY_TIME_OUT: Self = Self(sys::HTTP_GATEWAY_TIME_OUT);

    /// Whether it is that of an error: 400 or above.
    pub fn is_error(self) -> bool {
        self.0 >= sys::HTTP_BAD_REQUEST
    }
}

/// Why a function of APR, or a filter, failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", text(*.0))]
pub struct AprStatus(pub sys::apr_status_t);

impl From<std::io::Error> for AprStatus {
    /// On Unix, the errors of the system are APR's.
    fn from(error: std::io::Error) -> Self {
        Self(error.raw_os_error().unwrap_or(sys::APR_EGENERAL))
    }
}

impl AprStatus {
    /// A number is larger than APR can take.
    pub const OUT_OF_RANGE: Self = Self(sys::APR_ERANGE);

    /// A filter has sent another response.
    pub const FILTER_ERROR: Self = Self(sys::AP_FILTER_ERROR);

    /// Whether the other side is gone, perhaps in the middle of what it was sending.
    pub fn is_disconnected(self) -> bool {
        sys::errno::apr_status_is_disconnected(self.0)
    }

    /// Whether the other side has done nothing for too long.
    pub fn is_time_up(self) -> bool {
        sys::errno::apr_status_is_timeup(self.0)
    }

    /// Turns the status of a call into a result.
    pub fn check(status: sys::apr_status_t) -> Result<(), Self> {
        match status {
            sys::APR_SUCCESS => Ok(()),
            failure => Err(Self(failure)),
        }
    }
}

/// What the system says of its own errors, or else the number.
fn text(status: sys::apr_status_t) -> String {
    match status {
        1..sys::APR_OS_START_ERROR => std::io::Error::from_raw_os_error(status).to_string(),
        _ => format!("APR status {status}"),
    }
}
