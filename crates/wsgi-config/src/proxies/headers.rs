//! Believing headers, and removing those that are not believed.

use crate::nearest::UnknownWord;
use crate::proxies::TrustedProxies;

/// The variables of a request, by name.
pub trait Environ {
    /// The value of a variable.
    fn variable(&self, name: &str) -> Option<Vec<u8>>;
    /// Gives it a value.
    fn set(&mut self, name: &str, value: &[u8]);
    /// Removes it.
    fn remove(&mut self, name: &str);
}

/// A header that a proxy may be trusted with.
#[derive(Clone, Copy, Debug)]
pub struct TrustedHeader(&'static Known);

/// What a believed header says of the scheme.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// It is `https`.
    Https,
    /// It is `http`.
    Http,
    /// Nothing that is understood; but whether this connection is encrypted does not matter.
    Unrecognised,
}

/// What a header is about. Headers of one category contradict each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Category {
    Client,
    Host,
    Server,
    Port,
    ScriptName,
    Scheme,
}

/// How a header's value is used.
#[derive(Clone, Copy, Debug)]
enum Effect {
    /// A chain of addresses, of which one is the client.
    ForwardedFor,
    /// The value of a variable.
    Sets(&'static str),
    /// The value of `SCRIPT_NAME`, and the mount point.
    MountPoint,
    /// The name of the scheme.
    SchemeName,
    /// Whether the scheme is `https`.
    SchemeFlag,
}

#[derive(Debug)]
struct Known {
    name: &'static str,
    variable: &'static str,
    category: Category,
    effect: Effect,
}

const fn known(
    name: &'static str,
    variable: &'static str,
    category: Category,
    effect: Effect,
) -> Known {
    Known {
        name,
        variable,
        category,
        effect,
    }
}

#[rustfmt::skip]
static KNOWN: &[Known] = &[
    known("X-Forwarded-For", "HTTP_X_FORWARDED_FOR", Category::Client, Effect::ForwardedFor),
    known("X-Client-IP", "HTTP_X_CLIENT_IP", Category::Client, Effect::Sets("REMOTE_ADDR")),
    known("X-Real-IP", "HTTP_X_REAL_IP", Category::Client, Effect::Sets("REMOTE_ADDR")),
    known("X-Forwarded-Host", "HTTP_X_FORWARDED_HOST", Category::Host, Effect::Sets("HTTP_HOST")),
    known("X-Host", "HTTP_X_HOST", Category::Host, Effect::Sets("HTTP_HOST")),
    known("X-Forwarded-Server", "HTTP_X_FORWARDED_SERVER", Category::Server, Effect::Sets("SERVER_NAME")),
    known("X-Forwarded-Port", "HTTP_X_FORWARDED_PORT", Category::Port, Effect::Sets("SERVER_PORT")),
    known("X-Script-Name", "HTTP_X_SCRIPT_NAME", Category::ScriptName, Effect::MountPoint),
    known("X-Forwarded-Script-Name", "HTTP_X_FORWARDED_SCRIPT_NAME", Category::ScriptName, Effect::MountPoint),
    known("X-Forwarded-Proto", "HTTP_X_FORWARDED_PROTO", Category::Scheme, Effect::SchemeName),
    known("X-Forwarded-Scheme", "HTTP_X_FORWARDED_SCHEME", Category::Scheme, Effect::SchemeName),
    known("X-Scheme", "HTTP_X_SCHEME", Category::Scheme, Effect::SchemeName),
    known("X-Forwarded-HTTPS", "HTTP_X_FORWARDED_HTTPS", Category::Scheme, Effect::SchemeFlag),
    known("X-Forwarded-SSL", "HTTP_X_FORWARDED_SSL", Category::Scheme, Effect::SchemeFlag),
    known("X-HTTPS", "HTTP_X_HTTPS", Category::Scheme, Effect::SchemeFlag),
];

impl TrustedHeader {
    /// The header called `name`, in any case.
    ///
    /// # Errors
    ///
    /// For a header that means nothing here. The directive accepts it all the same, without effect.
    pub fn parse(name: &[u8]) -> Result<Self, UnknownWord> {
        KNOWN
            .iter()
            .find(|header| header.name.as_bytes().eq_ignore_ascii_case(name))
            .map(Self)
            .ok_or_else(|| {
                let names: Vec<_> = KNOWN.iter().map(|header| header.name).collect();
                UnknownWord::new(name, &names)
            })
    }
}

impl PartialEq for TrustedHeader {
    fn eq(&self, other: &Self) -> bool {
        self.0.name == other.0.name
    }
}

impl Eq for TrustedHeader {}

/// Applies what trusted proxies say to the variables of a request. Of several believed headers of
/// one category the last one configured wins. Without `proxies` every peer is trusted.
///
/// Returns what was said of the scheme, or `None` if nothing was.
pub fn apply(
    headers: &[TrustedHeader],
    proxies: Option<&TrustedProxies>,
    environ: &mut impl Environ,
) -> Option<Scheme> {
    let is_trusted = proxies.is_none_or(|proxies| {
        let peer = environ.variable("REMOTE_ADDR");
        peer.is_some_and(|peer| proxies.contains(&peer))
    });
    let mut believed = Vec::new();
    let mut scheme = None;
    for &TrustedHeader(header) in headers.iter().filter(|_| is_trusted) {
        if let Some(value) = environ.variable(header.variable) {
            believed.retain(|other: &&Known| other.category != header.category);
            believed.push(header);
            // What is no scheme takes nothing back.
            scheme = match (header.effect.apply(&value, proxies, environ), scheme) {
                (Some(Scheme::Unrecognised) | None, Some(earlier)) => Some(earlier),
                (said, _) => said,
            };
        }
    }
    remove_others(headers, &believed, environ);
    scheme
}

/// Removes all headers about what `configured` headers are about, except the believed ones.
fn remove_others(configured: &[TrustedHeader], believed: &[&Known], environ: &mut impl Environ) {
    for header in KNOWN {
        let is_decided = configured.iter().any(|c| c.0.category == header.category);
        let is_believed = believed.iter().any(|b| b.name == header.name);
        if is_decided && !is_believed {
            environ.remove(header.variable);
        }
    }
}

impl Effect {
    fn apply(
        self,
        value: &[u8],
        proxies: Option<&TrustedProxies>,
        environ: &mut impl Environ,
    ) -> Option<Scheme> {
        match self {
            Self::ForwardedFor => forwarded_for(value, proxies, environ),
            Self::Sets(variable) => environ.set(variable, value),
            Self::MountPoint => {
                environ.set("SCRIPT_NAME", value);
                environ.set("mod_wsgi.mount_point", value);
            }
            Self::SchemeName => return Some(scheme_name(value)),
            Self::SchemeFlag => return Some(scheme_flag(value)),
        }
        None
    }
}

/// Finds the client in a chain to which every proxy has appended the address it saw.
///
/// Whoever appended the last address is the peer. As long as an address is that of a trusted
/// proxy, what stands before it can be believed as well; so the client is the last address that
/// is not one of a trusted proxy. Anything before that is the client's own invention.
fn forwarded_for(value: &[u8], proxies: Option<&TrustedProxies>, environ: &mut impl Environ) {
    let chain: Vec<&[u8]> = value
        .split(|&byte| byte == b',')
        .map(<[u8]>::trim_ascii)
        .filter(|address| !address.is_empty())
        .collect();
    let Some(proxies) = proxies else {
        if let Some(first) = chain.first() {
            environ.set("REMOTE_ADDR", first);
        }
        return;
    };
    let trusted = chain
        .iter()
        .rev()
        .take_while(|address| proxies.contains(address))
        .count();
    let client = chain.len().saturating_sub(trusted + 1);
    if let Some((first, _)) = chain.get(client..).and_then(<[_]>::split_first) {
        environ.set("REMOTE_ADDR", first);
        let believed = chain.get(client..).unwrap_or_default().join(&b", "[..]);
        environ.set("HTTP_X_FORWARDED_FOR", &believed);
    }
}

fn scheme_name(value: &[u8]) -> Scheme {
    if value.eq_ignore_ascii_case(b"https") {
        Scheme::Https
    } else if value.eq_ignore_ascii_case(b"http") {
        Scheme::Http
    } else {
        Scheme::Unrecognised
    }
}

fn scheme_flag(value: &[u8]) -> Scheme {
    let is_in = |words: [&[u8]; 3]| words.iter().any(|word| word.eq_ignore_ascii_case(value));
    if is_in([b"on", b"true", b"1"]) {
        Scheme::Https
    } else if is_in([b"off", b"false", b"0"]) {
        Scheme::Http
    } else {
        Scheme::Unrecognised
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::proxies::Network;

    type Variables = BTreeMap<String, String>;

    impl Environ for Variables {
        fn variable(&self, name: &str) -> Option<Vec<u8>> {
            self.get(name).map(|value| value.clone().into_bytes())
        }

        fn set(&mut self, name: &str, value: &[u8]) {
            self.insert(name.to_owned(), String::from_utf8(value.to_vec()).unwrap());
        }

        fn remove(&mut self, name: &str) {
            BTreeMap::remove(self, name);
        }
    }

    fn variables(pairs: &[(&str, &str)]) -> Variables {
        pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    }

    fn headers(names: &str) -> Vec<TrustedHeader> {
        names
            .split(' ')
            .map(|name| TrustedHeader::parse(name.as_bytes()).unwrap())
            .collect()
    }

    fn trusted() -> TrustedProxies {
        let mut proxies = TrustedProxies::default();
        proxies.push(Network::parse(b"10.0.0.0/8").unwrap());
        proxies
    }

    /// `REMOTE_ADDR` and `HTTP_X_FORWARDED_FOR` after a chain came from a peer.
    fn forwarded(peer: &str, chain: &str, proxies: Option<&TrustedProxies>) -> (String, String) {
        let mut environ = variables(&[("REMOTE_ADDR", peer), ("HTTP_X_FORWARDED_FOR", chain)]);
        apply(&headers("X-Forwarded-For"), proxies, &mut environ);
        let value = |name| environ.get(name).cloned().unwrap_or_default();
        (value("REMOTE_ADDR"), value("HTTP_X_FORWARDED_FOR"))
    }

    #[test]
    fn every_peer_is_trusted_when_no_proxies_are_named() {
        let cases = [
            ("1.1.1.1", "1.1.1.1", "1.1.1.1"),
            ("1.1.1.1, 2.2.2.2", "1.1.1.1", "1.1.1.1, 2.2.2.2"),
            (" , 1.1.1.1 ,2.2.2.2", "1.1.1.1", " , 1.1.1.1 ,2.2.2.2"),
            (" , ", "9.9.9.9", " , "),
        ];
        for (chain, client, header) in cases {
            let found = forwarded("9.9.9.9", chain, None);
            assert_eq!(found, (client.to_owned(), header.to_owned()), "{chain}");
        }
    }

    #[test]
    fn the_client_is_the_last_address_that_no_proxy_has() {
        let cases = [
            ("1.1.1.1", "1.1.1.1", "1.1.1.1"),
            ("6.6.6.6, 1.1.1.1", "1.1.1.1", "1.1.1.1"),
            ("1.1.1.1, 10.0.0.2", "1.1.1.1", "1.1.1.1, 10.0.0.2"),
            (
                "6.6.6.6,1.1.1.1,,10.0.0.2, 10.0.0.3",
                "1.1.1.1",
                "1.1.1.1, 10.0.0.2, 10.0.0.3",
            ),
            ("10.0.0.2, 10.0.0.3", "10.0.0.2", "10.0.0.2, 10.0.0.3"),
            ("10.0.0.2, evil, 10.0.0.3", "evil", "evil, 10.0.0.3"),
        ];
        for (chain, client, header) in cases {
            let found = forwarded("10.0.0.1", chain, Some(&trusted()));
            assert_eq!(found, (client.to_owned(), header.to_owned()), "{chain}");
        }
    }

    #[test]
    fn an_untrusted_peer_is_not_believed() {
        let found = forwarded("9.9.9.9", "1.1.1.1", Some(&trusted()));
        assert_eq!(found, ("9.9.9.9".to_owned(), String::new()));
    }

    #[test]
    fn the_last_configured_header_of_a_category_wins_and_the_others_go() {
        let mut environ = variables(&[
            ("REMOTE_ADDR", "9.9.9.9"),
            ("HTTP_X_REAL_IP", "1.1.1.1"),
            ("HTTP_X_CLIENT_IP", "2.2.2.2"),
            ("HTTP_X_FORWARDED_FOR", "3.3.3.3"),
            ("HTTP_X_FORWARDED_HOST", "evil"),
        ]);
        apply(&headers("X-Client-IP X-Real-IP"), None, &mut environ);
        let expected = [
            ("REMOTE_ADDR", "1.1.1.1"),
            ("HTTP_X_REAL_IP", "1.1.1.1"),
            ("HTTP_X_FORWARDED_HOST", "evil"),
        ];
        assert_eq!(environ, variables(&expected));
    }

    #[test]
    fn each_category_sets_its_variables() {
        let mut environ = variables(&[
            ("HTTP_X_FORWARDED_HOST", "www"),
            ("HTTP_X_FORWARDED_SERVER", "server"),
            ("HTTP_X_FORWARDED_PORT", "8443"),
            ("HTTP_X_SCRIPT_NAME", "/mnt"),
        ]);
        let all = "X-Forwarded-Host X-Forwarded-Server X-Forwarded-Port X-Script-Name";
        assert_eq!(apply(&headers(all), None, &mut environ), None);
        let set = [
            ("HTTP_HOST", "www"),
            ("SERVER_NAME", "server"),
            ("SERVER_PORT", "8443"),
            ("SCRIPT_NAME", "/mnt"),
            ("mod_wsgi.mount_point", "/mnt"),
        ];
        for (name, value) in set {
            assert_eq!(environ.get(name).map(String::as_str), Some(value), "{name}");
        }
    }

    #[test]
    fn schemes_have_many_names() {
        let cases = [
            (
                "X-Forwarded-Proto",
                "HTTP_X_FORWARDED_PROTO",
                "HTTPS",
                Scheme::Https,
            ),
            (
                "X-Forwarded-Scheme",
                "HTTP_X_FORWARDED_SCHEME",
                "http",
                Scheme::Http,
            ),
            ("X-Scheme", "HTTP_X_SCHEME", "on", Scheme::Unrecognised),
            (
                "X-Forwarded-HTTPS",
                "HTTP_X_FORWARDED_HTTPS",
                "On",
                Scheme::Https,
            ),
            ("X-Forwarded-SSL", "HTTP_X_FORWARDED_SSL", "0", Scheme::Http),
            ("X-HTTPS", "HTTP_X_HTTPS", "https", Scheme::Unrecognised),
        ];
        for (header, variable, value, scheme) in cases {
            let mut environ = variables(&[(variable, value)]);
            assert_eq!(
                apply(&headers(header), None, &mut environ),
                Some(scheme),
                "{header}"
            );
            assert_eq!(apply(&headers(header), None, &mut Variables::new()), None);
        }
    }

    #[test]
    fn headers_are_known_in_any_case_and_others_are_answered() {
        assert_eq!(headers("x-FORWARDED-for"), headers("X-Forwarded-For"));
        let error = TrustedHeader::parse(b"X-Forwared-For")
            .unwrap_err()
            .to_string();
        let message = "\"X-Forwared-For\" (did you mean \"X-Forwarded-For\"?) is not one of";
        assert!(error.starts_with(message), "{error}");
    }
}
