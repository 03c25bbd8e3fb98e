//! Matching a path: no input panics, and what is matched is a whole part of the path.

#![no_main]

use libfuzzer_sys::fuzz_target;
use wsgi_config::url::{match_prefix, rest_after, rest_below};

// The input is the location, a newline, and the path.
fuzz_target!(|input: &[u8]| {
    let mut parts = input.splitn(2, |&byte| byte == b'\n');
    let (Some(location), Some(path)) = (parts.next(), parts.next()) else {
        return;
    };
    let Some(consumed) = match_prefix(location, path) else {
        return;
    };
    assert!(consumed > 0 && consumed <= path.len());
    assert_eq!(match_prefix(location, &path[..consumed]), Some(consumed));
    assert!(path.ends_with(rest_below(location, path).expect("it matches")));
    assert!(path.ends_with(rest_after(path, consumed).expect("something is consumed")));
});
