//! Paths as they are below the group's own root directory, its `chroot`.
//!
//! httpd names files as it sees them. For a process that has another root directory the beginning
//! of their paths is gone, and what lies elsewhere does not exist.

use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};

use control::{Identity, PreloadScript};

/// A root directory; none where it is that of everybody.
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

    /// The path of a file as it is in here; `None` if it lies outside.
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

    /// A variable of the environ as it is in here; `None` for one that has no meaning here.
    pub(super) fn variable<'v>(
        &self,
        (name, value): (&'v [u8], Option<&'v [u8]>),
    ) -> Option<(&'v [u8], Option<&'v [u8]>)> {
        match (name, value) {
            (b"SCRIPT_FILENAME" | b"DOCUMENT_ROOT", Some(path)) => {
                Some((name, Some(self.inside(path)?)))
            }
            // Empty where there is none.
            (b"mod_wsgi.handler_script", Some(path)) if !path.is_empty() => {
                Some((name, Some(self.inside(path)?)))
            }
            variable => Some(variable),
        }
    }

    /// The scripts that are in here. Those that are not are told of when somebody asks for them.
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
