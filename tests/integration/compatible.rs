//! The tables of docs/compatibility.md against what the module knows and what applications get: no
//! name is missing, and none is there that does not exist.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use testkit::{Site, is_reference};

use crate::apps::{ENVIRON, environ};
use crate::documented::known_directives;

fn page() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/compatibility.md");
    fs::read_to_string(path).expect("docs/compatibility.md")
}

/// A row of a table.
struct Row {
    name: String,
    /// What it is here.
    here: String,
    /// The files that test it.
    tests: String,
}

/// The table below a heading.
fn table(heading: &str) -> Vec<Row> {
    let page = page();
    let (_, section) = page
        .split_once(&format!("\n### {heading}\n"))
        .unwrap_or_else(|| panic!("no section {heading}"));
    let end = section.find("\n#").unwrap_or(section.len());
    let rows = section.get(..end).unwrap_or_default().lines();
    let row = |line: &str| {
        let (name, rest) = line.strip_prefix("| `")?.split_once("` | ")?;
        let (here, tests) = rest.strip_suffix(" |")?.split_once(" | ")?;
        Some(Row {
            name: name.to_owned(),
            here: here.to_owned(),
            tests: tests.to_owned(),
        })
    };
    rows.filter_map(row).collect()
}

fn names(heading: &str) -> BTreeSet<String> {
    let rows = table(heading);
    let names: BTreeSet<_> = rows.iter().map(|row| row.name.clone()).collect();
    assert_eq!(names.len(), rows.len(), "{heading}: a name is there twice");
    names
}

const HEADINGS: [&str; 5] = [
    "Directives",
    "Options of `WSGIDaemonProcess`",
    "The environ",
    "The module `mod_wsgi`",
    "The module `apache`",
];

#[test]
fn every_entry_says_one_of_three_things_and_names_differences_that_exist() {
    let page = page();
    for Row { name, here, .. } in HEADINGS.into_iter().flat_map(table) {
        let words = ["same", "accepted", "differs"];
        assert!(
            words.iter().any(|word| here.starts_with(word)),
            "{name}: {here}"
        );
        for word in here.split([' ', ',', ';']) {
            let Some(id) = word.strip_prefix('D') else {
                continue;
            };
            if !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_digit()) {
                assert!(page.contains(&format!("\n## D{id} ")), "{name}: D{id}");
            }
        }
    }
}

#[test]
fn every_entry_names_tests_that_speak_of_it() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/integration");
    for Row { name, tests, .. } in HEADINGS.into_iter().flat_map(table) {
        for file in tests.split(", ") {
            let source = fs::read_to_string(directory.join(format!("{file}.rs")));
            let source = source.unwrap_or_else(|error| panic!("{name}: {file}: {error}"));
            let name = name.trim_matches(['<', '>']);
            assert!(source.contains(name), "{file}.rs does not mention {name}");
        }
    }
}

#[test]
fn no_two_differences_have_the_same_id() {
    let page = page();
    let ids = page.lines().filter_map(|line| line.strip_prefix("## D"));
    let ids: Vec<_> = ids
        .filter_map(|heading| heading.split(' ').next())
        .collect();
    let different: BTreeSet<_> = ids.iter().collect();
    assert_eq!(ids.len(), different.len(), "{ids:?}");
}

#[test]
fn every_directive_is_in_the_table() {
    let known: BTreeSet<String> = known_directives()
        .into_keys()
        .map(|name| match name.strip_prefix('<') {
            Some(section) => format!("<{section}>"),
            None => name,
        })
        .collect();
    assert_eq!(names("Directives"), known);
}

#[test]
fn every_option_of_process_groups_is_in_the_table() {
    let options = names("Options of `WSGIDaemonProcess`");
    let known = wsgi_config::daemon_process::OPTIONS;
    let known: BTreeSet<String> = known.iter().map(|&name| name.to_owned()).collect();
    assert_eq!(options, known);
}

/// Answers with the public names of the two modules, in an order of their own.
const MODULES: &str = "
import apache, mod_wsgi

def public(module):
    return ' '.join(sorted(name for name in dir(module) if not name.startswith('_')))

def application(environ, start_response):
    start_response('200 OK', [])
    return [f'{public(mod_wsgi)}\\n{public(apache)}'.encode()]
";

fn site() -> Site {
    Site::new()
        .script("environ.wsgi", ENVIRON)
        .script("modules.wsgi", MODULES)
        .config(
            "WSGISocketPrefix ${ROOT}/logs/wsgi
             WSGIDaemonProcess one threads=2
             WSGIScriptAlias /httpd/ ${WSGI}/ process-group=%{GLOBAL}
             WSGIScriptAlias /group/ ${WSGI}/ process-group=one
             WSGIPassApacheRequest On",
        )
}

#[test]
fn every_key_of_an_environ_is_in_the_table() {
    let server = site().start();
    let documented = names("The environ");
    for mode in ["httpd", "group"] {
        let seen = environ(&server.get(&format!("/{mode}/environ.wsgi/path?query")));
        let unknown: Vec<_> = seen
            .keys()
            .filter(|key| !key.starts_with("HTTP_") && !key.starts_with("__"))
            .filter(|key| !documented.contains(*key))
            .collect();
        assert!(unknown.is_empty(), "{mode}: {unknown:?}");
    }
}

#[test]
fn every_name_in_the_modules_is_in_the_tables() {
    let server = site().start();
    for mode in ["httpd", "group"] {
        let answer = server.get(&format!("/{mode}/modules.wsgi")).text();
        let (mod_wsgi, apache) = answer.split_once('\n').expect("two lines");
        let own = (!is_reference()).then(|| "implementation_version".to_owned());
        let expected = names("The module `mod_wsgi`").into_iter().chain(own);
        let expected: BTreeSet<String> = expected.collect();
        let found = |line: &str| line.split(' ').map(str::to_owned).collect::<BTreeSet<_>>();
        assert_eq!(found(mod_wsgi), expected, "{mode}");
        assert_eq!(found(apache), names("The module `apache`"), "{mode}");
    }
}
