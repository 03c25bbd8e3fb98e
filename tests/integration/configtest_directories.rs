//! `apachectl configtest` about process groups: directories that are out of reach, limits that are
//! too small.

use testkit::ours;

use crate::configtest::{site, warnings};

/// A user of Debian's without a home directory.
const HOMELESS: &str = "nobody";

#[test]
fn a_directory_that_a_group_cannot_go_to_is_a_warning() {
    if !ours("D04") {
        return;
    }
    for (options, told) in [
        ("home=${ROOT}/none", Some("home of")),
        ("chroot=${ROOT}/none", Some("chroot of")),
        ("home=${WSGI}/a.wsgi", Some("is not a directory")),
        ("home=${ROOT}/closed", Some("/closed")),
        ("user=stranger", Some("/nonexistent")),
        ("home=${ROOT}", None),
        ("", None),
    ] {
        let options = options.replace("stranger", HOMELESS);
        let site = site()
            .file("closed/file", "")
            .config(&format!("WSGIDaemonProcess one {options}"))
            .config("WSGIScriptAlias /x ${WSGI}/a.wsgi process-group=one");
        site.set_mode("closed", 0o700);
        let answer = site.configtest();
        assert!(answer.success, "{}", answer.text);
        let found = warnings(&answer.text, "WSGI1032");
        assert_eq!(found.len(), usize::from(told.is_some()), "{}", answer.text);
        for (warning, told) in found.iter().zip(told) {
            assert!(warning.contains(told), "{warning}");
        }
    }
}

#[test]
fn directories_of_sockets_and_modules_are_looked_at() {
    if !ours("D04") {
        return;
    }
    let group = "WSGIDaemonProcess one";
    for (lines, told) in [
        ("WSGISocketPrefix ${ROOT}/none/wsgi", "WSGI1035"),
        ("WSGISocketPrefix ${ROOT}/closed/wsgi", "WSGI1035"),
        ("WSGISocketPrefix ${WSGI}/a.wsgi/wsgi", "WSGI1035"),
        ("python-path=${WSGI}:${ROOT}/none", "WSGI1036"),
        ("python-path=${ROOT}/closed", "WSGI1036"),
        ("python-path=lib", "WSGI1036"),
        ("\nWSGIPythonPath ${ROOT}/none", "WSGI1036"),
        ("memory-limit=512", "WSGI1037"),
        ("virtual-memory-limit=1024", "WSGI1037"),
        (
            "python-path=${WSGI}:${WSGI}/a.wsgi memory-limit=536870912",
            "",
        ),
        ("\nWSGIPythonPath none\nWSGIRestrictEmbedded On", ""),
        ("home=${ROOT} python-path=wsgi", ""),
        ("home=${ROOT} python-path=none", "WSGI1036"),
        ("WSGISocketPrefix ${ROOT}/closed/", "WSGI1035"),
    ] {
        let lines = if lines.starts_with("WSGI") {
            format!("{group}\n{lines}")
        } else {
            format!("{group} {lines}")
        };
        let site = site()
            .file("closed/file", "")
            .config(&lines)
            .config("WSGIScriptAlias /x ${WSGI}/a.wsgi process-group=one");
        site.set_mode("closed", 0o700);
        let answer = site.configtest();
        assert!(answer.success, "{lines}: {}", answer.text);
        let found = warnings(&answer.text, "WSGI10");
        assert_eq!(
            found.len(),
            usize::from(!told.is_empty()),
            "{lines}: {}",
            answer.text
        );
        assert!(
            found.iter().all(|warning| warning.contains(told)),
            "{lines}: {found:?}"
        );
    }
}
