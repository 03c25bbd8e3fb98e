//! What the project promises about itself: which crate may depend on which, and that each
//! deliberate difference a test names is documented, and the other way round.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The normal and build dependencies of each package, all the way down, by name.
fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
    // Offline: what the other platforms need is not downloaded and not of interest.
    let platform = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let options = ["--offline", "--filter-platform", &platform];
    let metadata = MetadataCommand::new()
        .manifest_path(root().join("Cargo.toml"))
        .other_options(options.map(str::to_owned))
        .exec()
        .expect("cargo metadata");
    let names = metadata
        .workspace_packages()
        .into_iter()
        .map(|package| package.name.to_string());
    names
        .map(|name| (name.clone(), reachable(&metadata, &name)))
        .collect()
}

fn reachable(metadata: &Metadata, from: &str) -> BTreeSet<String> {
    let resolve = metadata.resolve.as_ref().expect("a resolved graph");
    let name_of = |id: &cargo_metadata::PackageId| metadata[id].name.to_string();
    let mut found = BTreeSet::new();
    let mut open = vec![from.to_owned()];
    while let Some(name) = open.pop() {
        let node = resolve.nodes.iter().find(|node| name_of(&node.id) == name);
        for dependency in node.into_iter().flat_map(|node| &node.deps) {
            let is_built_in = dependency
                .dep_kinds
                .iter()
                .any(|kind| kind.kind != DependencyKind::Development);
            let name = name_of(&dependency.pkg);
            if is_built_in && found.insert(name.clone()) {
                open.push(name);
            }
        }
    }
    found
}

/// Asserts that none of `packages` depends on any of `forbidden`.
fn keep_apart(packages: &[&str], forbidden: &[&str]) {
    let dependencies = dependencies();
    for package in packages {
        let reached = dependencies
            .get(*package)
            .unwrap_or_else(|| panic!("there is no package {package}"));
        for name in forbidden {
            assert!(
                !reached.contains(*name),
                "{package} must not depend on {name}"
            );
        }
    }
}

#[test]
fn what_runs_python_knows_no_httpd() {
    keep_apart(
        &[
            "engine",
            "engine-abi",
            "wire",
            "control",
            "daemon",
            "preload",
            "wsgi-config",
        ],
        &["httpd", "httpd-sys", "mod_wsgi"],
    );
}

#[test]
fn what_runs_in_httpd_knows_no_python() {
    keep_apart(
        &[
            "mod_wsgi",
            "httpd",
            "httpd-sys",
            "engine-abi",
            "wsgi-config",
        ],
        &["pyo3", "pyo3-ffi", "pyo3-build-config", "engine"],
    );
}

#[test]
fn processes_of_groups_know_python_by_its_engine_only() {
    keep_apart(
        &["daemon", "preload", "wire", "control"],
        &["pyo3", "pyo3-ffi", "pyo3-build-config", "engine"],
    );
}

#[test]
fn module_and_engine_share_the_abi_and_no_other_crate_of_ours() {
    let dependencies = dependencies();
    let ours = |package: &str| -> BTreeSet<_> {
        let reached = dependencies[package].iter();
        reached
            .filter(|name| dependencies.contains_key(*name))
            .collect()
    };
    let (of_module, of_engine) = (ours("mod_wsgi"), ours("engine"));
    let shared: Vec<_> = of_module.intersection(&of_engine).collect();
    assert_eq!(shared, [&"engine-abi"]);
}

#[test]
fn pure_crates_do_no_input_or_output() {
    keep_apart(
        &["wire", "wsgi-config"],
        &["libc", "rustix", "nix", "mio", "tokio"],
    );
}

#[test]
fn test_support_stays_out_of_the_product() {
    keep_apart(
        &[
            "mod_wsgi",
            "httpd",
            "httpd-sys",
            "engine",
            "engine-abi",
            "daemon",
            "preload",
        ],
        &["testkit"],
    );
}

#[test]
fn crates_without_unsafe_say_so() {
    for name in ["testkit", "wsgi-config", "wire"] {
        let path = root().join(format!("crates/{name}/src/lib.rs"));
        let source = read(&path);
        assert!(
            source.contains("#![forbid(unsafe_code)]"),
            "{}",
            path.display()
        );
    }
}

#[test]
fn every_difference_is_documented_and_tested() {
    let documented = ids_after(&read(&root().join("docs/compatibility.md")), "\n## ");
    let mut used = BTreeSet::new();
    for file in fs::read_dir(root().join("tests/integration"))
        .expect("a directory")
        .flatten()
    {
        if file
            .path()
            .extension()
            .is_some_and(|extension| extension == "rs")
        {
            // Spelt in two parts, so that this line is not a use of a difference.
            used.extend(ids_after(&read(&file.path()), concat!("ours", "(\"")));
        }
    }
    assert_eq!(used, documented);
}

/// The ids that mod_wsgi's own documentation gives for what it logs at `warn` and above.
const IDS_OF_THE_REFERENCE: [u16; 84] = [
    1, 2, 3, 11, 12, 15, 25, 30, 32, 33, 34, 41, 43, 46, 49, 50, 51, 52, 55, 56, 57, 58, 59, 60,
    65, 75, 79, 81, 82, 83, 84, 87, 89, 97, 98, 100, 101, 102, 103, 105, 106, 107, 108, 109, 110,
    112, 115, 116, 117, 119, 121, 122, 123, 124, 132, 134, 135, 136, 137, 138, 139, 140, 141, 143,
    144, 145, 149, 150, 151, 152, 153, 174, 175, 176, 177, 178, 179, 190, 198, 199, 200, 201, 202,
    210,
];

#[test]
fn every_id_of_the_reference_is_explained() {
    let page = read(&root().join("docs/errors.md"));
    let missing: Vec<u16> = IDS_OF_THE_REFERENCE
        .into_iter()
        .filter(|id| !page.contains(&format!("WSGI{id:04}")))
        .collect();
    assert!(missing.is_empty(), "not in docs/errors.md: {missing:?}");
}

/// What is logged by tests is looked up when it is logged; this finds the ids that no test
/// provokes.
#[test]
fn every_id_in_the_source_is_explained() {
    let page = read(&root().join("docs/errors.md"));
    let mut found = BTreeSet::new();
    for place in ["src", "crates/engine/src", "crates/daemon/src"] {
        for source in sources(&root().join(place)) {
            found.extend(ids_in(&read(&source)));
        }
    }
    assert!(found.contains(&134) && found.contains(&87), "{found:?}");
    let missing: Vec<u16> = found
        .into_iter()
        .filter(|id| !page.contains(&format!("WSGI{id:04}")))
        .collect();
    assert!(missing.is_empty(), "not in docs/errors.md: {missing:?}");
}

fn sources(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).expect("a directory").flatten();
    entries
        .flat_map(|entry| match entry.path() {
            path if path.is_dir() => sources(&path),
            path => vec![path],
        })
        .collect()
}

/// The ids in a source file, as they are written there: in an `Id`, behind a level or a status, or
/// as what a mistake comes to.
fn ids_in(source: &str) -> Vec<u16> {
    let code: String = source
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .flat_map(|line| [line.trim(), " "])
        .collect();
    let behind = [
        "Id(",
        "Level::Crit, ",
        "Level::Error, ",
        "Level::Warn, ",
        "_ERROR, ",
        "FORBIDDEN, ",
        "NOT_FOUND, ",
        "BAD_REQUEST, ",
        "UNAVAILABLE, ",
        "_REQUIRED, ",
        "IMPLEMENTED, ",
        "} => ",
        "(_) => ",
    ];
    behind
        .into_iter()
        .flat_map(|before| code.match_indices(before))
        .filter_map(|(at, before)| {
            let rest = code.get(at + before.len()..)?;
            let end = rest.find(|c: char| !c.is_ascii_digit())?;
            let (digits, behind) = rest.split_at(end);
            // A range is none.
            digits.parse().ok().filter(|_| !behind.starts_with('.'))
        })
        .filter(|id| *id > 0)
        .collect()
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The ids (`D` and two digits) that follow `prefix` in `text`.
fn ids_after(text: &str, prefix: &str) -> BTreeSet<String> {
    let starts = text
        .match_indices(prefix)
        .map(|(start, _)| start + prefix.len());
    let ids = starts.filter_map(|start| {
        let number = text.get(start..)?.strip_prefix('D')?;
        let end = number.find(|char: char| !char.is_ascii_digit())?;
        (end > 0).then(|| format!("D{}", &number[..end]))
    });
    ids.collect()
}
