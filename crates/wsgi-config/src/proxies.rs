//! What a proxy in front of this server may say about the client.
//!
//! `WSGITrustedProxyHeaders` names the headers that are believed, `WSGITrustedProxies` the peers
//! that are. A believed header replaces what httpd found out by itself; a header of the same
//! meaning that is not believed is removed, so that the application cannot believe it either.

mod headers;
mod network;

pub use headers::{Environ, Scheme, TrustedHeader, apply};
pub use network::{Network, NetworkError, TrustedProxies};
