//! Process groups, application groups and callables: names, and the forms that stand for one.

use std::borrow::Cow;

use crate::nearest::{UnknownWord, nearest};

/// The name of a group as written: literal, or to be found out for each request.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Group(Vec<u8>);

/// What the forms of a group's name stand for, in one request.
pub trait Surroundings {
    /// The `ServerName` of the virtual host, and the port.
    fn server(&self) -> HostPort<'_>;
    /// The host that the client asked for, and the port.
    fn requested_host(&self) -> HostPort<'_>;
    /// The URL of the application: the path without the part that is the application's own.
    fn script_name(&self) -> Cow<'_, [u8]>;
    /// A note of the request, else a variable of it (`SetEnv`), else of the process.
    fn variable(&self, name: &[u8]) -> Option<Cow<'_, [u8]>>;
}

/// A host and a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPort<'a> {
    /// The name.
    pub host: Cow<'a, [u8]>,
    /// The port.
    pub port: u16,
}

impl HostPort<'_> {
    /// `host`, or `host:port` for a port that is not one of the usual two.
    fn name(&self) -> Vec<u8> {
        match self.port {
            80 | 443 => self.host.to_vec(),
            port => [&self.host, format!(":{port}").as_bytes()].concat(),
        }
    }
}

/// A group's name as text, by which processes know each other's groups: bytes that are not UTF-8
/// are escaped, so that names that differ in these do not become one.
pub fn text(name: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(name) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => Cow::Owned(name.escape_ascii().to_string()),
    }
}

const GLOBAL: &[u8] = b"%{GLOBAL}";
/// A group for each application; what applies where nothing is said.
pub const RESOURCE: &[u8] = b"%{RESOURCE}";
const SERVER: &[u8] = b"%{SERVER}";
const HOST: &[u8] = b"%{HOST}";

impl Group {
    /// Reads a name; `None` if it is empty. `%{GLOBAL}` is the group without a name.
    pub fn parse(written: &[u8]) -> Option<Self> {
        match written {
            b"" => None,
            GLOBAL => Some(Self::global()),
            _ => Some(Self(written.to_vec())),
        }
    }

    /// `%{GLOBAL}`: httpd's own processes, or the main interpreter.
    pub fn global() -> Self {
        Self(Vec::new())
    }

    /// The name, unless it may depend on the request; empty for `%{GLOBAL}`.
    pub fn as_static(&self) -> Option<&[u8]> {
        let is_static = !self.0.windows(2).any(|pair| pair == b"%{");
        is_static.then_some(self.0.as_slice())
    }

    /// The name as written, save that `%{GLOBAL}` is empty.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Of a name that looks like a form and is none, what the forms are: it stands for itself.
pub fn unknown_form(written: &[u8]) -> Option<UnknownWord> {
    const FORMS: [&str; 5] = [
        "%{GLOBAL}",
        "%{RESOURCE}",
        "%{SERVER}",
        "%{HOST}",
        "%{ENV:NAME}",
    ];
    let is_known = FORMS.iter().any(|form| form.as_bytes() == written)
        || variable_name(written).is_some_and(|name| !name.is_empty());
    // The signs around it are the same for all, and say nothing of which is meant.
    let text = String::from_utf8_lossy(written);
    let word = word_of_form(&text);
    let words = FORMS.map(word_of_form);
    let meant = match word.contains(':') {
        true => Some("ENV:NAME"),
        false => nearest(word, &words),
    };
    let meant = FORMS
        .into_iter()
        .find(|form| Some(word_of_form(form)) == meant);
    // Without the signs at its beginning it is a name like any other, unless it is just that word.
    let is_form = written.starts_with(b"%{") || word.len() < written.len() && words.contains(&word);
    (is_form && !is_known).then(|| UnknownWord::meant(written, &FORMS, meant))
}

/// What a form has between its signs, or signs like these.
fn word_of_form(form: &str) -> &str {
    form.trim_matches(|sign| "%${}()".contains(sign))
}

/// The name of a group in a request, from the name as written; empty for `%{GLOBAL}`.
///
/// A form counts only if it is the whole name. What a variable holds may be a form in its turn,
/// but not another variable. A variable that does not exist leaves the name as written.
pub fn resolve<'a>(written: &'a [u8], request: &impl Surroundings) -> Cow<'a, [u8]> {
    match variable_name(written) {
        None => expand(written, request),
        Some(name) => match request.variable(name) {
            None => Cow::Borrowed(written),
            Some(value) => Cow::Owned(expand(&value, request).into_owned()),
        },
    }
}

/// The application group of a hook script in a request. There is no application yet, so its URL and
/// its variables stand for nothing.
pub fn resolve_for_hook<'a>(written: &'a [u8], request: &impl Surroundings) -> Cow<'a, [u8]> {
    match written {
        RESOURCE => Cow::Borrowed(written),
        _ => expand(written, request),
    }
}

/// Expands every form but `%{ENV:…}`.
fn expand<'a>(name: &'a [u8], request: &impl Surroundings) -> Cow<'a, [u8]> {
    match name {
        GLOBAL => Cow::Borrowed(b""),
        SERVER => Cow::Owned(request.server().name()),
        HOST => Cow::Owned(request.requested_host().name()),
        RESOURCE => {
            let server = request.server().name();
            Cow::Owned([&server, &b"|"[..], &request.script_name()].concat())
        }
        literal => Cow::Borrowed(literal),
    }
}

/// The name of the callable that is used when none is given.
pub const DEFAULT_CALLABLE: &[u8] = b"application";

/// The callable's name in a request, from what `WSGICallableObject` says: literal, or
/// `%{ENV:name}`. Whatever else starts with `%` stands for the default.
pub fn callable<'a>(written: &'a [u8], request: &impl Surroundings) -> Cow<'a, [u8]> {
    if !written.starts_with(b"%") {
        return Cow::Borrowed(written);
    }
    variable_name(written)
        .and_then(|name| request.variable(name))
        .map_or(Cow::Borrowed(DEFAULT_CALLABLE), |value| {
            Cow::Owned(value.into_owned())
        })
}

fn variable_name(written: &[u8]) -> Option<&[u8]> {
    written.strip_prefix(b"%{ENV:")?.strip_suffix(b"}")
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Request {
        port: u16,
    }

    impl Surroundings for Request {
        fn server(&self) -> HostPort<'_> {
            HostPort {
                host: Cow::Borrowed(b"www.example.com"),
                port: self.port,
            }
        }

        fn requested_host(&self) -> HostPort<'_> {
            HostPort {
                host: Cow::Borrowed(b"example.com"),
                port: self.port,
            }
        }

        fn script_name(&self) -> Cow<'_, [u8]> {
            Cow::Borrowed(b"/blog")
        }

        fn variable(&self, name: &[u8]) -> Option<Cow<'_, [u8]>> {
            let value: &[u8] = match name {
                b"LITERAL" => b"blog",
                b"FORM" => b"%{SERVER}",
                b"NESTED" => b"%{ENV:LITERAL}",
                b"MAIN" => b"%{GLOBAL}",
                b"EMPTY" => b"",
                _ => return None,
            };
            Some(Cow::Borrowed(value))
        }
    }

    fn resolved(written: &str, port: u16) -> String {
        let name = resolve(written.as_bytes(), &Request { port });
        String::from_utf8(name.into_owned()).unwrap()
    }

    #[test]
    fn forms_stand_for_names() {
        let cases = [
            ("blog", "blog"),
            ("%{GLOBAL}", ""),
            ("%{SERVER}", "www.example.com:8080"),
            ("%{HOST}", "example.com:8080"),
            ("%{RESOURCE}", "www.example.com:8080|/blog"),
            ("%{ENV:LITERAL}", "blog"),
            ("%{ENV:FORM}", "www.example.com:8080"),
            ("%{ENV:NESTED}", "%{ENV:LITERAL}"),
            ("%{ENV:MAIN}", ""),
            ("%{ENV:EMPTY}", ""),
            ("%{ENV:ABSENT}", "%{ENV:ABSENT}"),
            ("%{global}", "%{global}"),
            ("%{SERVER}x", "%{SERVER}x"),
            ("x%{SERVER}", "x%{SERVER}"),
            ("%{ENV:LITERAL", "%{ENV:LITERAL"),
            ("%{NONSENSE}", "%{NONSENSE}"),
        ];
        for (written, name) in cases {
            assert_eq!(resolved(written, 8080), name, "{written}");
        }
    }

    #[test]
    fn what_looks_like_a_form_is_told_with_the_one_that_was_meant() {
        for (written, meant) in [
            ("%{global}", Some("%{GLOBAL}")),
            ("%{GLOBAL", Some("%{GLOBAL}")),
            ("{GLOBAL}", Some("%{GLOBAL}")),
            ("%GLOBAL", Some("%{GLOBAL}")),
            ("${SERVER}", Some("%{SERVER}")),
            ("%{ENV:}", Some("%{ENV:NAME}")),
            ("%{EVN:X}", Some("%{ENV:NAME}")),
            ("%{SCRIPT}", None),
        ] {
            let told = unknown_form(written.as_bytes()).map(|unknown| unknown.to_string());
            let expected = match meant {
                Some(meant) => format!("\"{written}\" (did you mean \"{meant}\"?) is not one of"),
                None => format!("\"{written}\" is not one of"),
            };
            let told = told.expect(written);
            assert!(told.starts_with(&expected), "{told}");
        }
        for name in [
            "%{GLOBAL}",
            "%{ENV:X}",
            "GLOBAL",
            "100%",
            "{own}",
            "%own",
            "",
        ] {
            assert_eq!(unknown_form(name.as_bytes()), None, "{name}");
        }
    }

    #[test]
    fn a_hook_has_no_application_and_no_variables() {
        for (written, name) in [
            ("auth", "auth"),
            ("%{GLOBAL}", ""),
            ("%{SERVER}", "www.example.com:8080"),
            ("%{HOST}", "example.com:8080"),
            ("%{RESOURCE}", "%{RESOURCE}"),
            ("%{ENV:LITERAL}", "%{ENV:LITERAL}"),
        ] {
            let resolved = resolve_for_hook(written.as_bytes(), &Request { port: 8080 });
            assert_eq!(&*resolved, name.as_bytes(), "{written}");
        }
    }

    #[test]
    fn usual_ports_are_not_part_of_the_name() {
        for port in [80, 443] {
            assert_eq!(resolved("%{SERVER}", port), "www.example.com");
        }
        assert_eq!(resolved("%{RESOURCE}", 80), "www.example.com|/blog");
    }

    #[test]
    fn only_variables_are_expanded_in_callables() {
        let cases = [
            ("app", "app"),
            ("%{ENV:LITERAL}", "blog"),
            ("%{ENV:FORM}", "%{SERVER}"),
            ("%{ENV:ABSENT}", "application"),
            ("%{SERVER}", "application"),
            ("%x", "application"),
        ];
        for (written, name) in cases {
            assert_eq!(
                &*callable(written.as_bytes(), &Request { port: 80 }),
                name.as_bytes()
            );
        }
    }
}
