//! Words that mean nothing, but that have always been accepted. Remarked while they are read.

use std::ffi::CStr;

use httpd::{Level, Parms};
use wsgi_config::group;
use wsgi_config::nearest::UnknownWord;
use wsgi_config::value::{NumberWarning, OptimizeWarning};

use crate::config::checks::{Checked, Mistake};
use crate::config::hook::Hooks;
use crate::config::remarks::remark;
use crate::log::{self, Id};

/// A word without a meaning.
#[derive(Debug, thiserror::Error)]
pub(in crate::config) enum WordMistake {
    #[error("{directive}: a group of just that name is meant, as {form}")]
    GroupForm {
        directive: String,
        form: UnknownWord,
    },
    #[error("WSGITrustedProxyHeaders: without effect, for {0}")]
    TrustedProxyHeader(UnknownWord),
    #[error("WSGIPythonOptimize: {0}")]
    Optimize(OptimizeWarning),
    #[error("WSGISlowRequests: {0}")]
    SlowRequests(NumberWarning),
}

impl Mistake for WordMistake {
    fn id(&self) -> Id {
        Id(match self {
            Self::GroupForm { .. } => 1034,
            Self::TrustedProxyHeader(_) => 1026,
            Self::Optimize(_) => 1027,
            Self::SlowRequests(_) => 1401,
        })
    }
}

/// Reports a mistake in the directive being read.
pub(in crate::config) fn report_while_reading(parms: &Parms<'_>, mistake: &WordMistake) {
    remark(parms, Level::WARN, mistake.id(), mistake);
}

/// Reports a group whose name, in the directive being read, looks like a form and is none.
pub(in crate::config) fn check_forms<'g>(
    parms: &Parms<'_>,
    groups: impl IntoIterator<Item = &'g CStr>,
) {
    for group in groups {
        if let Some(form) = group::unknown_form(group.to_bytes()) {
            let directive = parms.directive().to_string_lossy().into_owned();
            report_while_reading(parms, &WordMistake::GroupForm { directive, form });
        }
    }
}

/// Tells of directives that are accepted for the sake of old configurations.
pub(super) fn check(config: &Checked<'_>) {
    Hooks::inspect(config.pool, |hooks| {
        if let Some(source) = hooks.authoritative() {
            let text = "WSGIGroupAuthoritative has no effect: it is for Require to say whether \
                        others are asked";
            log::server(
                config.base,
                Level::INFO,
                Id::NONE,
                format_args!("{text} ({source})"),
            );
        }
    });
}
