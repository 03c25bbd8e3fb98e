//! The macros of `apr_errno.h`. On Unix each compares with one value, or with the value and the
//! system's own.

use crate::{
    APR_EAGAIN, APR_ECONNABORTED, APR_ECONNRESET, APR_EOF, APR_EPIPE, APR_ETIMEDOUT,
    APR_INCOMPLETE, APR_TIMEUP, apr_status_t,
};

/// `APR_STATUS_IS_TIMEUP`; also true of the system's `ETIMEDOUT`.
pub fn apr_status_is_timeup(status: apr_status_t) -> bool {
    matches!(status, APR_TIMEUP | APR_ETIMEDOUT)
}

/// `APR_STATUS_IS_EOF`, `_INCOMPLETE`, `_ECONNRESET`, `_ECONNABORTED` or `_EPIPE`: the peer is
/// gone, perhaps in the middle of what it was sending.
pub fn apr_status_is_disconnected(status: apr_status_t) -> bool {
    matches!(
        status,
        APR_EOF | APR_INCOMPLETE | APR_ECONNRESET | APR_ECONNABORTED | APR_EPIPE
    )
}

/// `APR_STATUS_IS_EAGAIN`.
pub fn apr_status_is_eagain(status: apr_status_t) -> bool {
    status == APR_EAGAIN
}
