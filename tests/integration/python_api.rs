//! The names of the module `mod_wsgi`, and that docs/python.md tells of them all.

use std::collections::BTreeSet;

use rstest::rstest;
use testkit::{is_reference, ours};

use crate::wsgi_site::{Mode, app};

const PAGE: &str = include_str!("../../docs/python.md");

/// The names in the first column of the page's first table.
fn documented() -> BTreeSet<String> {
    let section = PAGE.split("\n## ").nth(1).expect("a section");
    let cells = section
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split(" | ").next());
    let names = cells.flat_map(|cell| cell.split("`, `"));
    names
        .map(|name| {
            name.trim_end_matches('`')
                .split('(')
                .next()
                .unwrap_or_default()
        })
        .map(str::to_owned)
        .collect()
}

fn answer(mode: Mode, name: &str, expression: &str) -> String {
    let server = mode.server();
    let source = format!(
        "import apache, mod_wsgi, sys
def application(environ, start_response):
    start_response('200 OK', [])
    return [str({expression}).encode()]
"
    );
    server.get(&app(&server, name, &source)).text()
}

#[rstest]
fn every_name_is_documented(#[values(Mode::Embedded, Mode::Daemon)] mode: Mode) {
    let names = answer(
        mode,
        "names",
        "' '.join(name for name in dir(mod_wsgi) if not name.startswith('__'))",
    );
    let mut names: BTreeSet<String> = names.split(' ').map(str::to_owned).collect();
    if is_reference() {
        names.insert("implementation_version".to_owned());
    }
    assert_eq!(names, documented());
}

#[rstest]
fn our_own_version_stands_beside_the_compatible_one(
    #[values(Mode::Embedded, Mode::Daemon)] mode: Mode,
) {
    assert_eq!(answer(mode, "version", "mod_wsgi.version"), "(6, 1, 1)");
    if ours("D81") {
        let own = answer(mode, "own", "mod_wsgi.implementation_version");
        assert_eq!(own, env!("CARGO_PKG_VERSION"));
    }
}

#[rstest]
fn apache_tells_of_httpd(#[values(Mode::Embedded, Mode::Daemon)] mode: Mode) {
    let names = "sorted(name for name in dir(apache) if not name.startswith('__'))";
    assert_eq!(
        answer(mode, "apache", names),
        "['build_date', 'description', 'maximum_processes', 'mpm_name', 'threads_per_process', \
         'version']"
    );
    let facts = answer(
        mode,
        "facts",
        "(apache.version[:2], 'Apache/2.4' in apache.description, apache.maximum_processes > 0, \
          apache.threads_per_process, apache is sys.modules['apache'])",
    );
    assert_eq!(facts, "((2, 4), True, True, 16, True)");
}
