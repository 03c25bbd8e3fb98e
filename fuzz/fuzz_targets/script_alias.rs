//! The arguments of an alias: whatever the line, it is read or refused, and what was read can be
//! written again and reads the same.

#![no_main]

use libfuzzer_sys::fuzz_target;
use wsgi_config::script_alias::{Location, ScriptAlias};

fuzz_target!(|line: &[u8]| {
    let Ok(alias) = ScriptAlias::parse(Location::Prefix, line) else {
        return;
    };
    let mut rewritten = quoted(&alias.location);
    rewritten.push(b' ');
    rewritten.extend(quoted(&alias.target));
    let again = ScriptAlias::parse(Location::Prefix, &rewritten).expect("two quoted words");
    assert_eq!(
        (again.location, again.target),
        (alias.location, alias.target)
    );
});

fn quoted(word: &[u8]) -> Vec<u8> {
    let mut quoted = vec![b'"'];
    for &byte in word {
        if matches!(byte, b'"' | b'\\') {
            quoted.push(b'\\');
        }
        quoted.push(byte);
    }
    quoted.push(b'"');
    quoted
}
