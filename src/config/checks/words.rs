//! Words that mean nothing, but that have always been accepted. Remarked while they are read.

use httpd::{Level, Parms};
use wsgi_config::nearest::UnknownWord;
use wsgi_config::value::{NumberWarning, OptimizeWarning};

use crate::config::checks::{Checked, Mistake};
use crate::config::hook::Hooks;
use crate::config::remarks::remark;
use crate::log::{self, Id};

/// A word without a meaning.
#[derive(Debug, thiserror::Error)]
pub(in crate::config) enum WordMistake {
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
