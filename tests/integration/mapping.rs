//! To which script a URL maps: what the tests of aliases ask and compare.

use testkit::{Httpd, Request, Response, Site};

use crate::apps::{ENVIRON, environ};

/// A URL, and what it must map to: a script below `wsgi/`, and the URL split in two.
pub(crate) type Mapping = (&'static str, &'static str, &'static str, &'static str);

pub(crate) fn check_mappings(server: &Httpd, host: &str, mappings: &[Mapping]) {
    for (url, script, script_name, path_info) in mappings {
        let seen = environ(&ask(server, host, url));
        let script = server.site().text_path(&format!("wsgi/{script}"));
        let found = [
            seen.value("__file__"),
            seen.value("SCRIPT_FILENAME"),
            seen.value("SCRIPT_NAME"),
            seen.value("PATH_INFO"),
        ];
        assert_eq!(found, [&*script, &*script, script_name, path_info], "{url}");
    }
}

pub(crate) fn check_statuses(server: &Httpd, host: &str, statuses: &[(&str, u16)]) {
    for (url, status) in statuses {
        assert_eq!(ask(server, host, url).status, *status, "{url}");
    }
}

fn ask(server: &Httpd, host: &str, url: &str) -> Response {
    server.send(&Request::get(url).header("Host", host))
}

/// A site with the same script under several names.
pub(crate) fn site_with(scripts: &[&str]) -> Site {
    let add = |site: Site, name: &&str| site.script(name, ENVIRON);
    scripts.iter().fold(Site::new(), add)
}
