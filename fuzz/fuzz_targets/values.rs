//! The words of directives, and the lines of some: each parser reads or refuses every input.

#![no_main]

use libfuzzer_sys::fuzz_target;
use wsgi_config::daemon_process::DaemonProcess;
use wsgi_config::handler_script::HandlerScript;
use wsgi_config::header;
use wsgi_config::hook_script::HookScript;
use wsgi_config::import_script::ImportScript;
use wsgi_config::proxies::{Network, TrustedHeader};
use wsgi_config::value;
use wsgi_config::verdict::{self, Answer, Membership};

fuzz_target!(|word: &[u8]| {
    let _ = value::flag(word).map_err(|error| error.to_string());
    let _ = value::map_head(word).map_err(|error| error.to_string());
    let _ = value::hash_seed(word).map_err(|error| error.to_string());
    let (level, _) = value::optimize(word);
    assert!(level >= 0);
    let _ = TrustedHeader::parse(word).map_err(|error| error.to_string());
    let _ = Network::parse(word).map_err(|error| error.to_string());
    let _ = header::content_length(word);
    let _ = DaemonProcess::parse(word).map_err(|error| error.to_string());
    let _ = ImportScript::parse(word).map_err(|error| error.to_string());
    let _ = HandlerScript::parse(word).map_err(|error| error.to_string());
    let _ = HookScript::parse(word).map_err(|error| error.to_string());
    check_membership(word);
});

/// Whatever the words of a `Require` are, nobody is in a group without being in one.
fn check_membership(required: &[u8]) {
    let groups = |items| Answer::Items {
        items,
        complete: true,
    };
    let of_none = verdict::membership(&groups(Vec::new()), required, "script");
    assert_eq!(of_none, Ok(Membership::OfNone));
    let same = vec![Answer::Bytes(required.to_vec())];
    let _ = verdict::membership(&groups(same), required, "script");
}
