//! Directives that are read and checked, so that a mistake in them is one here too, and that change
//! nothing: what they set is gone, or not there.

use std::ffi::CStr;

use httpd::{Level, Parms, Refusal};
use wsgi_config::{telemetry, value};

use crate::config::hook::Hooks;
use crate::config::remarks::remark;
use crate::config::{DirConfig, ServerConfig};
use crate::log::Id;

/// `WSGISocketRotation`: the sockets of a group stay where they are as long as the group does.
pub(crate) fn socket_rotation(
    _: &mut ServerConfig,
    parms: &Parms<'_>,
    word: &CStr,
) -> Result<(), Refusal> {
    value::flag(word.to_bytes())?;
    let text = "WSGISocketRotation has no effect: a process group keeps its socket over a restart, so \
                nobody loses the way to it.";
    remark(parms, Level::INFO, Id::NONE, text);
    Ok(())
}

/// `WSGIAcceptMutex`: the kernel wakes one process for each request.
pub(crate) fn accept_mutex(
    _: &mut ServerConfig,
    parms: &Parms<'_>,
    word: &CStr,
) -> Result<(), Refusal> {
    value::accept_mutex(word.to_bytes())?;
    let text = "WSGIAcceptMutex has no effect: the kernel wakes one process for each request, so \
                they need no lock.";
    remark(parms, Level::INFO, Id::NONE, text);
    Ok(())
}

/// The option `response-flush-delay` of `WSGIDaemonProcess`: what is flushed leaves at once.
pub(super) fn response_flush_delay(parms: &Parms<'_>) {
    let text = "The option response-flush-delay has no effect: what an application flushes leaves at \
                once, and nothing else does.";
    remark(parms, Level::INFO, Id::NONE, text);
}

/// `WSGIGroupAuthoritative`: `Require` says by itself what follows.
pub(crate) fn group_authoritative(
    _: &mut DirConfig,
    parms: &Parms<'_>,
    word: &CStr,
) -> Result<(), Refusal> {
    value::flag(word.to_bytes())?;
    Hooks::mention_authoritative(parms);
    Ok(())
}

/// `WSGIVerboseDebugging`: `LogLevel` says how much is logged.
pub(crate) fn verbose_debugging(
    _: &mut ServerConfig,
    parms: &Parms<'_>,
    word: &CStr,
) -> Result<(), Refusal> {
    value::flag(word.to_bytes())?;
    let text = "WSGIVerboseDebugging is deprecated and has no effect. 'LogLevel wsgi:info' shows \
                the life of processes and interpreters.";
    remark(parms, Level::INFO, Id::NONE, text);
    Ok(())
}

/// `WSGITelemetryService`: there is no telemetry.
pub(crate) fn telemetry_service(
    _: &mut ServerConfig,
    parms: &Parms<'_>,
    line: &CStr,
) -> Result<(), Refusal> {
    telemetry::service(line.to_bytes())?;
    remark(parms, Level::INFO, Id::NONE, NO_TELEMETRY);
    Ok(())
}

/// `WSGITelemetryOptions`: likewise.
pub(crate) fn telemetry_options(
    _: &mut ServerConfig,
    _: &Parms<'_>,
    line: &CStr,
) -> Result<(), Refusal> {
    telemetry::options(line.to_bytes())?;
    Ok(())
}

const NO_TELEMETRY: &str = "WSGITelemetryService has no effect: this module sends no telemetry. \
                            Ask mod_wsgi.request_metrics() and mod_wsgi.process_metrics() in the \
                            application instead.";
