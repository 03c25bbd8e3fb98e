//! What directives say in a directory, a location, a file, or a `.htaccess` file; and, as the
//! outermost such place, in a server.
//!
//! httpd merges these for every request, on the request's thread, so they are cheap to copy.

use std::ffi::{CStr, CString};
use std::sync::Arc;

use httpd::{Config, Parms, Refusal};
use wsgi_config::group::Group;
use wsgi_config::proxies::{Network, TrustedHeader, TrustedProxies};
use wsgi_config::value::{self, MapHead};
use wsgi_config::words::Words;

use crate::config::c_string;
use crate::config::checks::{self, WordMistake, check_forms};
use crate::config::groups::Groups;
use crate::config::handler::{HandlerScript, Handlers};
use crate::config::hook::HookScript;
use crate::config::setters::setters;

/// What is said in one place; `None` where nothing is.
#[derive(Clone, Debug, Default)]
pub(crate) struct DirConfig {
    pub(crate) handlers: Option<Arc<Handlers>>,
    /// As written, save that `%{GLOBAL}` is empty.
    pub(crate) process_group: Option<Arc<CStr>>,
    /// The process groups that may be used; empty stands for httpd's own processes.
    pub(crate) restrict_process: Option<Arc<Vec<CString>>>,
    /// As written, save that `%{GLOBAL}` is empty.
    pub(crate) application_group: Option<Arc<CStr>>,
    /// As written.
    pub(crate) callable_object: Option<Arc<CStr>>,
    pub(crate) dispatch_script: Option<Arc<HookScript>>,
    pub(crate) access_script: Option<Arc<HookScript>>,
    pub(crate) auth_user_script: Option<Arc<HookScript>>,
    pub(crate) auth_group_script: Option<Arc<HookScript>>,
    pub(crate) script_reloading: Option<bool>,
    pub(crate) pass_authorization: Option<bool>,
    pub(crate) chunked_request: Option<bool>,
    pub(crate) map_head_to_get: Option<MapHead>,
    pub(crate) error_override: Option<bool>,
    pub(crate) ignore_activity: Option<bool>,
    pub(crate) enable_sendfile: Option<bool>,
    pub(crate) pass_apache_request: Option<bool>,
    pub(crate) trusted_proxy_headers: Option<Arc<Vec<TrustedHeader>>>,
    pub(crate) trusted_proxies: Option<Arc<TrustedProxies>>,
}

impl Config for DirConfig {
    /// What is said inside replaces, piece by piece, what is said outside; lists as a whole, but
    /// handlers one by one.
    fn merged(outer: &Self, inner: &Self) -> Self {
        let handlers = match (&outer.handlers, &inner.handlers) {
            (Some(outer), Some(inner)) => Some(Arc::new(Handlers::merged(outer, inner))),
            (outer, inner) => or(inner, outer),
        };
        Self {
            handlers,
            process_group: or(&inner.process_group, &outer.process_group),
            restrict_process: or(&inner.restrict_process, &outer.restrict_process),
            application_group: or(&inner.application_group, &outer.application_group),
            callable_object: or(&inner.callable_object, &outer.callable_object),
            dispatch_script: or(&inner.dispatch_script, &outer.dispatch_script),
            access_script: or(&inner.access_script, &outer.access_script),
            auth_user_script: or(&inner.auth_user_script, &outer.auth_user_script),
            auth_group_script: or(&inner.auth_group_script, &outer.auth_group_script),
            script_reloading: inner.script_reloading.or(outer.script_reloading),
            pass_authorization: inner.pass_authorization.or(outer.pass_authorization),
            chunked_request: inner.chunked_request.or(outer.chunked_request),
            map_head_to_get: inner.map_head_to_get.or(outer.map_head_to_get),
            error_override: inner.error_override.or(outer.error_override),
            ignore_activity: inner.ignore_activity.or(outer.ignore_activity),
            enable_sendfile: inner.enable_sendfile.or(outer.enable_sendfile),
            pass_apache_request: inner.pass_apache_request.or(outer.pass_apache_request),
            trusted_proxy_headers: or(&inner.trusted_proxy_headers, &outer.trusted_proxy_headers),
            trusted_proxies: or(&inner.trusted_proxies, &outer.trusted_proxies),
        }
    }
}

fn or<T: ?Sized>(inner: &Option<Arc<T>>, outer: &Option<Arc<T>>) -> Option<Arc<T>> {
    inner.as_ref().or(outer.as_ref()).cloned()
}

/// `WSGIHandlerScript`.
pub(crate) fn handler_script(
    config: &mut DirConfig,
    parms: &Parms<'_>,
    line: &CStr,
) -> Result<(), Refusal> {
    let handler = HandlerScript::parse(parms, line)?;
    Arc::make_mut(config.handlers.get_or_insert_default()).add(handler);
    Ok(())
}

/// `WSGIApplicationGroup`.
pub(crate) fn application_group(
    config: &mut DirConfig,
    parms: &Parms<'_>,
    name: &CStr,
) -> Result<(), Refusal> {
    check_forms(parms, [name]);
    config.application_group =
        Group::parse(name.to_bytes()).map(|group| c_string(group.as_bytes()).into());
    Ok(())
}

/// `WSGIProcessGroup`.
pub(crate) fn process_group(
    config: &mut DirConfig,
    parms: &Parms<'_>,
    name: &CStr,
) -> Result<(), Refusal> {
    check_forms(parms, [name]);
    let group = Group::parse(name.to_bytes()).map(|group| c_string(group.as_bytes()));
    if let Some(group) = &group {
        Groups::mention_for_place(parms, group);
    }
    config.process_group = group.map(Arc::from);
    Ok(())
}

/// `WSGIRestrictProcess`: the whole list, which may be empty.
pub(crate) fn restrict_process(
    config: &mut DirConfig,
    parms: &Parms<'_>,
    names: &CStr,
) -> Result<(), Refusal> {
    let names = Words::new(names.to_bytes());
    let groups = names.map(|name| {
        if name == b"%{GLOBAL}" {
            c"".into()
        } else {
            c_string(name)
        }
    });
    let groups: Vec<CString> = groups.collect();
    for group in &groups {
        Groups::choose(parms, group, true);
    }
    config.restrict_process = Some(Arc::new(groups));
    Ok(())
}

/// `WSGICallableObject`.
pub(crate) fn callable_object(
    config: &mut DirConfig,
    _: &Parms<'_>,
    name: &CStr,
) -> Result<(), Refusal> {
    config.callable_object = Some(name.into());
    Ok(())
}

/// `WSGITrustedProxyHeaders`: adds to what was said in the same place. A name that means nothing
/// has no effect; without a name there is a list all the same, and it replaces that of the place
/// around.
pub(crate) fn trusted_proxy_headers(
    config: &mut DirConfig,
    parms: &Parms<'_>,
    names: &CStr,
) -> Result<(), Refusal> {
    let headers = Arc::make_mut(config.trusted_proxy_headers.get_or_insert_default());
    for name in Words::new(names.to_bytes()) {
        match TrustedHeader::parse(&name) {
            Ok(header) => headers.push(header),
            Err(unknown) => {
                checks::report_while_reading(parms, &WordMistake::TrustedProxyHeader(unknown));
            }
        }
    }
    Ok(())
}

/// `WSGITrustedProxies`: adds to what was said in the same place. Where that is nothing, as may
/// come of a variable of the configuration, nobody is trusted.
pub(crate) fn trusted_proxies(
    config: &mut DirConfig,
    _: &Parms<'_>,
    networks: &CStr,
) -> Result<(), Refusal> {
    let trusted = Arc::make_mut(config.trusted_proxies.get_or_insert_default());
    for network in Words::new(networks.to_bytes()) {
        trusted.push(Network::parse(&network)?);
    }
    Ok(())
}

/// `WSGIDispatchScript`.
pub(crate) fn dispatch_script(
    config: &mut DirConfig,
    parms: &Parms<'_>,
    line: &CStr,
) -> Result<(), Refusal> {
    config.dispatch_script = Some(Arc::new(HookScript::parse(parms, line)?));
    Groups::leave_to_requests(parms);
    Ok(())
}

/// Defines the setter of a script that says who may enter.
macro_rules! entry_script {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        pub(crate) fn $name(
            config: &mut DirConfig,
            parms: &Parms<'_>,
            line: &CStr,
        ) -> Result<(), Refusal> {
            config.$name = Some(Arc::new(HookScript::parse(parms, line)?));
            Ok(())
        }
    };
}

entry_script!(
    /// `WSGIAccessScript`.
    access_script
);
entry_script!(
    /// `WSGIAuthUserScript`.
    auth_user_script
);
entry_script!(
    /// `WSGIAuthGroupScript`.
    auth_group_script
);

setters! {
    |config: &mut DirConfig| config;
    /// `WSGIMapHEADToGET`.
    map_head_to_get: value::map_head;
    /// `WSGIScriptReloading`.
    script_reloading: value::flag;
    /// `WSGIPassAuthorization`.
    pass_authorization: value::flag;
    /// `WSGIChunkedRequest`.
    chunked_request: value::flag;
    /// `WSGIEnableSendfile`.
    enable_sendfile: value::flag;
    /// `WSGIErrorOverride`.
    error_override: value::flag;
    /// `WSGIIgnoreActivity`.
    ignore_activity: value::flag;
    /// `WSGIPassApacheRequest`.
    pass_apache_request: value::flag;
}
