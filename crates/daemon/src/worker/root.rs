//! Paths of files as they are inside the group's `chroot`.
//!
//! httpd sends paths as it sees them. In a process with another root directory, the path of that
//! directory must be removed from their beginning, and files elsewhere do not exist.

use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};

use control::{Identity, PreloadScript};

/// The root directory of a group; `None` if it is that of the system.
#[derive(Debug)]
pub(super) struct Root(Option<Vec<u8>>);

impl Root {
    /// The root directory of a group.
    pub(super) fn of(identity: &Identity) -> Self {
        let root = identity.chroot.as_ref().map(|root| {
            let mut root = root.as_bytes().to_vec();
            while root.last() == Some(&b'/') {
                root.pop();
            }
            root
        });
        Self(root.filter(|root| !root.is_empty()))
    }

    /// The path of a file as it is inside; `None` if the file is outside.
    pub(super) fn inside<'p>(&self, path: &'p [u8]) -> Option<&'p [u8]> {
        let Some(root) = &self.0 else {
            return Some(path);
        };
        match path.strip_prefix(root.as_slice())? {
            [] => Some(b"/"),
            rest if rest.starts_with(b"/") => Some(rest),
            _ => None,
        }
    }

    /// A variable of the environ as it is inside; `None` if it is a path that is outside.
    pub(super) fn variable<'v>(
        &self,
        (name, value): (&'v [u8], Option<&'v [u8]>),
    ) -> Option<(&'v [u8], Option<&'v [u8]>)> {
        match (name, value) {
            (b"SCRIPT_FILENAME" | b"DOCUMENT_ROOT", Some(path)) => {
                Some((name, Some(self.inside(path)?)))
            }
            // It is empty if there is no handler script.
            (b"mod_wsgi.handler_script", Some(path)) if !path.is_empty() => {
                Some((name, Some(self.inside(path)?)))
            }
            variable => Some(variable),
        }
    }

    /// The scripts that are inside. Those outside are reported when a request needs them.
    pub(super) fn scripts_inside(&self, scripts: Vec<PreloadScript>) -> Vec<PreloadScript> {
        let inside = scripts.into_iter().filter_map(|script| {
            let path = self.inside(script.path.as_bytes())?.to_vec();
            Some(PreloadScript {
                path: std::ffi::OsString::from_vec(path),
                ..script
            })
        });
        inside.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root(path: Option<&str>) -> Root {
        Root::of(&Identity {
            chroot: path.map(Into::into),
            ..Identity::default()
        })
    }

    #[test]
    fn paths_lose_the_root() {
        let root = root(Some("/srv/jail/"));
        let cases: [(&[u8], Option<&[u8]>); 5] = [
            (b"/srv/jail/app.wsgi", Some(b"/app.wsgi")),
            (b"/srv/jail", Some(b"/")),
            (b"/srv/jail/", Some(b"/")),
            (b"/srv/jailhouse/app.wsgi", None),
            (b"/srv/www", None),
        ];
        for (path, expected) in cases {
            assert_eq!(root.inside(path), expected, "{path:?}");
        }
    }

    #[test]
    fn without_another_root_they_stay_as_they_are() {
        for root in [root(None), root(Some("/"))] {
            assert_eq!(root.inside(b"/srv/a"), Some(&b"/srv/a"[..]));
        }
    }

    #[test]
    fn variables_that_name_files_are_those_in_here() {
        let root = root(Some("/srv/jail"));
        let variable = |name: &'static str, value: &'static str| {
            let (_, value) = root.variable((name.as_bytes(), Some(value.as_bytes())))?;
            value
        };
        let here = Some(&b"/a.wsgi"[..]);
        assert_eq!(variable("SCRIPT_FILENAME", "/srv/jail/a.wsgi"), here);
        let handler = "mod_wsgi.handler_script";
        assert_eq!(variable(handler, "/srv/jail/a.wsgi"), here);
        assert_eq!(variable(handler, ""), Some(&b""[..]));
        assert_eq!(variable("DOCUMENT_ROOT", "/srv/www"), None);
        assert_eq!(variable("PATH_INFO", "/srv/www"), Some(&b"/srv/www"[..]));
    }
}
