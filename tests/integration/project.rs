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

/// Asserts that none of `packages` (those that exist) depends on any of `forbidden`.
fn keep_apart(packages: &[&str], forbidden: &[&str]) {
    let dependencies = dependencies();
    assert!(
        dependencies.contains_key("mod_wsgi"),
        "this is the workspace"
    );
    for package in packages {
        let Some(reached) = dependencies.get(*package) else {
            continue;
        };
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
        &["engine", "engine-abi", "wire", "daemon", "wsgi-config"],
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
        ],
        &["testkit"],
    );
}

#[test]
fn crates_without_unsafe_say_so() {
    for name in ["testkit", "wsgi-config", "wire"] {
        let path = root().join(format!("crates/{name}/src/lib.rs"));
        if let Ok(source) = fs::read_to_string(&path) {
            assert!(
                source.contains("#![forbid(unsafe_code)]"),
                "{}",
                path.display()
            );
        }
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

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The ids (`D` and two digits) that follow `prefix` in `text`.
fn ids_after(text: &str, prefix: &str) -> BTreeSet<String> {
    let starts = text
        .match_indices(prefix)
        .map(|(start, _)| start + prefix.len());
    let ids = starts.filter_map(|start| text.get(start..start + 3));
    let is_id = |id: &&str| {
        id.strip_prefix('D')
            .is_some_and(|number| number.bytes().all(|b| b.is_ascii_digit()))
    };
    ids.filter(is_id).map(str::to_owned).collect()
}
