//! Whether what one user script says can pass for what another says, once it is remembered.

use std::collections::HashSet;

use httpd::authn_cache;

use crate::config::checks::{Checked, Mistake, report};
use crate::config::hook::{Hooks, Written};
use crate::hook::user::PROVIDER;
use crate::log::Id;

/// Two scripts whose answers mod_authn_socache may not keep apart.
#[derive(Debug, thiserror::Error)]
#[error(
    "{later}: AuthnCacheProvideFor has its answers remembered, and those of {earlier}; give each \
     script an AuthnCacheContext of its own, or a user of one may pass for a user of the other"
)]
struct Mixed<'c> {
    earlier: &'c Written,
    later: &'c Written,
}

impl Mistake for Mixed<'_> {
    fn id(&self) -> Id {
        Id(1470)
    }
}

pub(super) fn check(config: &Checked<'_>) {
    let Some(contexts) = authn_cache::own_contexts(config.base, PROVIDER) else {
        return;
    };
    Hooks::inspect(config.pool, |hooks| {
        let scripts = || hooks.scripts().iter().filter(|it| it.is_of_users());
        let different: HashSet<_> = scripts().map(|script| &script.path).collect();
        // One script may do without.
        if different.len() <= contexts + 1 {
            return;
        }
        let earlier = scripts().next();
        let later = scripts().find(|it| earlier.is_some_and(|first| first.path != it.path));
        if let (Some(earlier), Some(later)) = (earlier, later) {
            report(config.base, Err(Mixed { earlier, later }));
        }
    });
}
