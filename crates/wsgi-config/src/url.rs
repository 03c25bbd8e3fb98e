//! Matching a URL path against an alias, by the rules of httpd's `Alias`.

use std::borrow::Cow;

/// How many bytes of `path` the alias at `location` takes, or `None` if it does not match.
///
/// A run of slashes matches any other run of slashes; every other byte matches itself. The match
/// ends where a segment of the path ends, unless the location itself ends in a slash. The path is
/// `r->uri`: decoded, and absolute.
pub fn match_prefix(location: &[u8], path: &[u8]) -> Option<usize> {
    let (mut wanted, mut rest) = (location, path);
    while let [byte, ..] = wanted {
        if *byte == b'/' {
            if !rest.starts_with(b"/") {
                return None;
            }
            wanted = skip_slashes(wanted);
            rest = skip_slashes(rest);
        } else {
            rest = rest.strip_prefix(std::slice::from_ref(byte))?;
            wanted = wanted.get(1..)?;
        }
    }
    let segment_ends = location.ends_with(b"/") || rest.is_empty() || rest.starts_with(b"/");
    let consumed = path.len() - rest.len();
    (segment_ends && consumed > 0).then_some(consumed)
}

/// What of `path` goes behind the target of an alias at `location`, or `None` if that does not
/// match.
///
/// The location `/` takes nothing off the path, so that `/ /w/app.wsgi` maps `/a` to
/// `/w/app.wsgi/a`.
pub fn rest_below<'a>(location: &[u8], path: &'a [u8]) -> Option<&'a [u8]> {
    let consumed = match_prefix(location, path)?;
    if location == b"/" {
        Some(path)
    } else {
        path.get(consumed..)
    }
}

/// The same for a pattern whose match ends `consumed` bytes into the path. A match of nothing but
/// the first slash takes nothing off the path, either; one that ends where the path begins is none.
pub fn rest_after(path: &[u8], consumed: usize) -> Option<&[u8]> {
    match path.split_at_checked(consumed)? {
        (b"", _) => None,
        (b"/", _) => Some(path),
        (_, rest) => Some(rest),
    }
}

/// Whether httpd's normalisation of the path `target` + `rest` would change nothing: it drops empty
/// segments and resolves those of dots (`apr_filepath_merge`), which the system may resolve
/// otherwise where `target` leads through a link.
pub fn is_path_info(target: &[u8], rest: &[u8]) -> bool {
    let is_plain = |segment: &[u8]| !matches!(segment, b"" | b"." | b"..");
    let (Some(target), Some(rest)) = (target.strip_prefix(b"/"), rest.strip_prefix(b"/")) else {
        return false;
    };
    let rest = rest
        .strip_suffix(b"/")
        .filter(|rest| !rest.is_empty())
        .unwrap_or(rest);
    let is_slash = |byte: &u8| *byte == b'/';
    target.split(is_slash).all(is_plain) && (rest.is_empty() || rest.split(is_slash).all(is_plain))
}

/// A path with each run of slashes made one.
pub fn collapse_slashes(path: &[u8]) -> Cow<'_, [u8]> {
    if !path.windows(2).any(|pair| pair == b"//") {
        return Cow::Borrowed(path);
    }
    let mut collapsed = path.to_vec();
    collapsed.dedup_by(|a, b| *a == b'/' && *b == b'/');
    Cow::Owned(collapsed)
}

/// Whether every path that the alias at `later` matches is already matched at `earlier`.
///
/// That is so if `later` itself, as a path, is matched: the match ends at a boundary between
/// segments, and stays there whatever follows.
pub fn shadows(earlier: &[u8], later: &[u8]) -> bool {
    match_prefix(earlier, later).is_some()
}

/// The same, where the later alias is for what a regular expression matches: as far as its
/// beginning tells.
pub fn shadows_pattern(earlier: &[u8], pattern: &[u8]) -> bool {
    skip_slashes(earlier).is_empty() && earlier.starts_with(b"/")
        || directories_before(pattern).is_some_and(|later| shadows(earlier, later))
}

/// The directories that all URL paths begin with that a regular expression matches, if it says so.
fn directories_before(pattern: &[u8]) -> Option<&[u8]> {
    let anchored = pattern.strip_prefix(b"^")?;
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"/-_~".contains(byte);
    let plain = anchored.iter().take_while(|byte| is_plain(byte)).count();
    // What stands before another branch, or may be there or not, tells nothing of the whole.
    let plain = (!pattern.contains(&b'|')).then_some(anchored.get(..plain)?)?;
    let slash = plain.iter().rposition(|&byte| byte == b'/')?;
    let is_optional = plain.get(slash + 1..)?.is_empty()
        && anchored
            .get(slash + 1)
            .is_some_and(|next| b"?*{".contains(next));
    (!is_optional).then_some(plain.get(..=slash)?)
}

fn skip_slashes(path: &[u8]) -> &[u8] {
    let slashes = path.iter().take_while(|&&byte| byte == b'/').count();
    path.get(slashes..).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn matched(location: &str, path: &str) -> Option<usize> {
        match_prefix(location.as_bytes(), path.as_bytes())
    }

    #[test]
    fn a_pattern_is_shadowed_where_all_it_matches_is() {
        for (earlier, pattern) in [
            ("/", "^/a"),
            ("/", "a|b"),
            ("/a", "^/a/([^/]+)"),
            ("/a/", "^/a/b"),
            ("/a", "^/a/b?c"),
        ] {
            let is_shadowed = shadows_pattern(earlier.as_bytes(), pattern.as_bytes());
            assert!(is_shadowed, "{earlier} {pattern}");
        }
        for (earlier, pattern) in [
            ("/a", "/a/b"),
            ("/a", "^/a"),
            ("/a", "^/ab/c"),
            ("/a", "^/a/?b"),
            ("/a", "^/a/b|^/c"),
            ("/a", "^/a.b/"),
            ("/a", "^(?i)/a/b"),
            ("/b", "^/a/b"),
            ("", "^/a/b/c"),
        ] {
            let is_shadowed = shadows_pattern(earlier.as_bytes(), pattern.as_bytes());
            assert!(!is_shadowed, "{earlier} {pattern}");
        }
    }

    #[test]
    fn runs_of_slashes_are_made_one() {
        let cases = [
            ("", ""),
            ("/a/b", "/a/b"),
            ("//a///b/", "/a/b/"),
            ("//", "/"),
        ];
        for (path, expected) in cases {
            assert_eq!(&*collapse_slashes(path.as_bytes()), expected.as_bytes());
        }
    }

    #[test]
    fn what_httpd_would_change_or_split_elsewhere_is_no_path_info_yet() {
        let cases = [
            ("/w/app.wsgi", "/", true),
            ("/w/app.wsgi", "/a/b.c/...", true),
            ("/w/app.wsgi", "/a/", true),
            ("/w/app.wsgi", "", false),
            ("/w/app.wsgi", "x", false),
            ("/w/app.wsgi", "//", false),
            ("/w/app.wsgi", "/a//b", false),
            ("/w/app.wsgi", "/a//", false),
            ("/w/app.wsgi", "/./a", false),
            ("/w/app.wsgi", "/a/..", false),
            ("/w/app.wsgi/", "/a", false),
            ("/w//app.wsgi", "/a", false),
            ("/w/link/../app.wsgi", "/a", false),
            ("/w/./app.wsgi", "/a", false),
            ("/", "/a", false),
            ("w/app.wsgi", "/a", false),
            ("", "/a", false),
        ];
        for (target, rest, expected) in cases {
            let found = is_path_info(target.as_bytes(), rest.as_bytes());
            assert_eq!(found, expected, "{target} {rest}");
        }
    }

    #[test]
    fn a_location_matches_whole_segments() {
        let cases = [
            ("/", "/", Some(1)),
            ("/", "/a/b", Some(1)),
            ("/name", "/name", Some(5)),
            ("/name", "/name/", Some(5)),
            ("/name", "/name/x", Some(5)),
            ("/name", "/namex", None),
            ("/name", "/Name", None),
            ("/name", "/", None),
            ("/name/", "/name", None),
            ("/name/", "/name/x", Some(6)),
            ("/a/b", "/a//b", Some(5)),
            ("/a//b", "/a/b", Some(4)),
            ("/a", "///a/b", Some(4)),
            ("/a/", "/a///b", Some(5)),
            ("x", "/x", None),
            ("/caf\u{e9}", "/caf\u{e9}/x", Some(6)),
            ("", "/x", None),
            ("", "", None),
        ];
        for (location, path, consumed) in cases {
            assert_eq!(matched(location, path), consumed, "{location} {path}");
        }
    }

    #[test]
    fn the_rest_of_the_path_follows_the_target() {
        let cases = [
            ("/", "/w/app.wsgi", "/a/b", "/w/app.wsgi/a/b"),
            ("/", "/w/app.wsgi", "//a", "/w/app.wsgi//a"),
            ("/name", "/w/app.wsgi", "/name", "/w/app.wsgi"),
            ("/name", "/w/app.wsgi", "/name/x", "/w/app.wsgi/x"),
            ("/name/", "/w/app.wsgi", "/name/x", "/w/app.wsgix"),
            ("/s/", "/w/dir/", "/s/a.wsgi/p", "/w/dir/a.wsgi/p"),
            ("/s", "/w/dir", "/s/a.wsgi", "/w/dir/a.wsgi"),
            ("/s/", "/w/dir/", "/s/", "/w/dir/"),
        ];
        for (location, target, path, file) in cases {
            let rest = rest_below(location.as_bytes(), path.as_bytes()).unwrap();
            assert_eq!(
                [target.as_bytes(), rest].concat(),
                file.as_bytes(),
                "{location} {path}"
            );
        }
    }

    #[test]
    fn the_rest_of_a_pattern_is_what_follows_its_match() {
        let cases = [
            ("/x/foo/bar", 6, Some("/bar")),
            ("/x/foo", 6, Some("")),
            ("/x", 1, Some("/x")),
            ("//x", 1, Some("//x")),
            ("//x", 2, Some("x")),
            ("/x", 0, None),
            ("/x", 3, None),
        ];
        for (path, consumed, rest) in cases {
            assert_eq!(
                rest_after(path.as_bytes(), consumed),
                rest.map(str::as_bytes),
                "{path}"
            );
        }
    }

    #[test]
    fn an_alias_hides_what_lies_below_it() {
        let cases = [
            ("/", "/x", true),
            ("/x", "/x", true),
            ("/x", "//x", true),
            ("/x", "/x/y", true),
            ("/x", "/x/", true),
            ("/x/", "/x/y", true),
            ("/x/", "/x/", true),
            ("/x/", "/x", false),
            ("/x/y", "/x", false),
            ("/x", "/xy", false),
            ("/X", "/x", false),
        ];
        for (earlier, later, hidden) in cases {
            let (earlier_bytes, later_bytes) = (earlier.as_bytes(), later.as_bytes());
            assert_eq!(
                shadows(earlier_bytes, later_bytes),
                hidden,
                "{earlier} {later}"
            );
        }
    }

    /// Paths over a small alphabet, so that prefixes and runs of slashes are frequent.
    fn path() -> impl Strategy<Value = Vec<u8>> {
        prop::collection::vec(prop::sample::select(b"//ab.".to_vec()), 0..12).prop_map(|tail| {
            let mut path = vec![b'/'];
            path.extend(tail);
            path
        })
    }

    proptest! {
        #[test]
        fn slash_runs_do_not_matter(location in path(), path in path()) {
            let as_is = match_prefix(&location, &path).is_some();
            prop_assert_eq!(as_is, match_prefix(&collapse_slashes(&location), &collapse_slashes(&path)).is_some());
        }

        #[test]
        fn on_collapsed_paths_a_match_is_a_prefix_at_a_boundary(location in path(), path in path()) {
            let (location, path) = (collapse_slashes(&location), collapse_slashes(&path));
            let expected = path.strip_prefix(&location[..]).is_some_and(|rest| {
                location.ends_with(b"/") || rest.is_empty() || rest.starts_with(b"/")
            });
            prop_assert_eq!(match_prefix(&location, &path), expected.then_some(location.len()));
        }

        #[test]
        fn the_matched_part_matches_alone(location in path(), path in path()) {
            if let Some(consumed) = match_prefix(&location, &path) {
                prop_assert!(consumed <= path.len());
                prop_assert_eq!(match_prefix(&location, &path[..consumed]), Some(consumed));
            }
        }

        #[test]
        fn a_shadowed_alias_matches_nothing_of_its_own(
            earlier in path(), later in path(), path in path(),
        ) {
            if shadows(&earlier, &later) && match_prefix(&later, &path).is_some() {
                prop_assert!(match_prefix(&earlier, &path).is_some());
            }
        }

        #[test]
        fn an_alias_that_is_not_shadowed_matches_something_of_its_own(
            earlier in path(), later in path(),
        ) {
            if !shadows(&earlier, &later) {
                let mut longer = later.clone();
                longer.extend(b"ab");
                let is_own = |path: &[u8]| {
                    match_prefix(&later, path).is_some() && match_prefix(&earlier, path).is_none()
                };
                prop_assert!(is_own(&later) || is_own(&longer));
            }
        }
    }
}
