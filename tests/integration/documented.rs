//! docs/directives.md against the module's table of directives: each directive has an entry, each
//! entry says where the directive may stand, and its examples and its default are accepted.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use testkit::Site;

/// An entry of the page: what stands below the heading of a directive.
struct Entry {
    name: String,
    text: String,
}

fn entries() -> Vec<Entry> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/directives.md");
    let page = fs::read_to_string(&path).expect("docs/directives.md");
    let sections = page.split("\n## ").skip(1);
    sections
        .map(|section| {
            let (name, text) = section.split_once('\n').expect("a heading and a text");
            // That of a section is written `<Name>` here, and <Name by httpd.
            let name = name.trim_matches('`').trim_end_matches('>');
            Entry {
                name: name.to_owned(),
                text: text.to_owned(),
            }
        })
        .collect()
}

impl Entry {
    /// What follows `- Label: `.
    fn field(&self, label: &str) -> Option<&str> {
        let prefix = format!("- {label}: ");
        self.text
            .lines()
            .find_map(|line| line.strip_prefix(&prefix))
    }

    fn context(&self) -> &str {
        self.field("Context").expect("a context")
    }

    fn is_global(&self) -> bool {
        self.context() == "server config, not within `<VirtualHost>`"
    }

    fn is_for_servers(&self) -> bool {
        self.context().starts_with("server config")
    }

    /// The blocks of configuration.
    fn examples(&self) -> Vec<&str> {
        let blocks = self.text.split("```apache\n").skip(1);
        blocks
            .filter_map(|block| block.split("```").next())
            .collect()
    }

    /// Where it may stand, as httpd says it.
    fn allowed(&self) -> &'static str {
        match (self.context(), self.field("Override")) {
            ("server config, virtual host, directory, .htaccess", Some("FileInfo")) => {
                "anywhere and in .htaccess when AllowOverride includes FileInfo"
            }
            ("server config, virtual host, directory", None) => "anywhere",
            ("directory, .htaccess", Some("AuthConfig")) => {
                "only inside <Directory>, <Files>, <Location>, or <If> and in .htaccess when \
                 AllowOverride includes AuthConfig"
            }
            ("server config, virtual host", None) => {
                "only outside <Directory>, <Files>, <Location>, or <If>"
            }
            (_, None) if self.is_global() => {
                "only outside <Directory>, <Files>, <Location>, or <If>"
            }
            (context, allowed) => panic!("{}: context {context}, {allowed:?}", self.name),
        }
    }
}

fn site() -> Site {
    ["alias", "mime", "authn_core", "authz_user", "auth_basic"]
        .into_iter()
        .fold(Site::new(), Site::module)
}

/// Where each directive of the module may stand, as `httpd -L` tells it.
pub(crate) fn known_directives() -> BTreeMap<String, String> {
    let listing = site().run(&["-L"]);
    assert!(listing.success, "{}", listing.text);
    let mut known = BTreeMap::new();
    let mut name = None;
    for line in listing.text.lines() {
        if !line.starts_with('\t') {
            name = line.strip_suffix(" (mod_wsgi.c)");
        } else if let (Some(name), Some(allowed)) =
            (name, line.strip_prefix("\tAllowed in *.conf "))
        {
            known.insert(name.to_owned(), allowed.to_owned());
        } else if let (Some(name), Some(when)) = (name, line.strip_prefix("\twhen ")) {
            *known.entry(name.to_owned()).or_default() += &format!(" when {when}");
        }
    }
    known
}

#[test]
fn every_directive_is_documented_with_the_place_it_may_stand_in() {
    let known = known_directives();
    let entries = entries();
    let documented: BTreeSet<&str> = entries.iter().map(|entry| entry.name.as_str()).collect();
    assert_eq!(
        documented.len(),
        entries.len(),
        "no directive has two entries"
    );
    let known_names: BTreeSet<&str> = known.keys().map(String::as_str).collect();
    assert_eq!(documented, known_names);
    for entry in &entries {
        let allowed = known.get(&entry.name).map(String::as_str);
        assert_eq!(allowed, Some(entry.allowed()), "{}", entry.name);
    }
}

#[test]
fn every_entry_has_a_syntax_a_default_and_an_example() {
    for entry in entries() {
        let syntax = entry.field("Syntax").unwrap_or_default();
        assert!(
            syntax.starts_with(&format!("`{} ", entry.name)),
            "{}: {syntax}",
            entry.name
        );
        let default = entry.field("Default").expect("a default");
        if !default.starts_with("none") {
            let line = default.trim_matches('`');
            match entry.is_for_servers() {
                true => check_accepted(line),
                false => check_accepted(&format!("<Location />\n{line}\n</Location>")),
            }
            assert!(line.starts_with(&entry.name), "{}: {default}", entry.name);
        }
        let examples = entry.examples();
        assert!(
            examples.iter().any(|example| example.contains(&entry.name)),
            "{}",
            entry.name
        );
    }
}

fn check_accepted(config: &str) {
    let answer = site().config(config).configtest();
    assert!(answer.success, "{config}\n{}", answer.text);
}

#[test]
fn examples_are_accepted() {
    for example in entries().iter().flat_map(Entry::examples) {
        check_accepted(example);
    }
}

#[test]
fn only_global_directives_are_refused_in_virtual_hosts() {
    for entry in entries() {
        for example in entry.examples() {
            let config = format!("<VirtualHost *:*>\n{example}\n</VirtualHost>");
            let answer = site().config(&config).configtest();
            assert_eq!(
                answer.success,
                !entry.is_global(),
                "{config}\n{}",
                answer.text
            );
        }
    }
}
