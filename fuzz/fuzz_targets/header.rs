//! The variable of a header: always a harmless name.

#![no_main]

use libfuzzer_sys::fuzz_target;
use wsgi_config::header::{Credentials, variable};

fuzz_target!(|name: &[u8]| {
    let Some(variable) = variable(name, Credentials::default()) else {
        return;
    };
    let is_name = |byte: &u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || *byte == b'_';
    assert!(variable.iter().all(is_name));
    let secret: [&[u8]; 3] = [
        b"HTTP_PROXY",
        b"HTTP_AUTHORIZATION",
        b"HTTP_PROXY_AUTHORIZATION",
    ];
    assert!(!secret.contains(&variable.as_slice()));
});
