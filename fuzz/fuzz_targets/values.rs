//! The words of directives, and the lines of some: each parser reads or refuses every input.

#![no_main]

use libfuzzer_sys::fuzz_target;
use wsgi_config::daemon_process::DaemonProcess;
use wsgi_config::header;
use wsgi_config::import_script::ImportScript;
use wsgi_config::proxies::{Network, TrustedHeader};
use wsgi_config::value;

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
});
