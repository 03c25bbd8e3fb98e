//! The founding document of `WSGIScriptAlias`, sentence by sentence.

use testkit::Site;

use crate::apps::{ENVIRON, environ};

#[test]
fn a_file_path_is_the_script_for_urls_beginning_with_the_url_path() {
    let server = Site::new()
        .script("name", ENVIRON)
        .config("WSGIScriptAlias /name ${WSGI}/name")
        .start();

    let environ = environ(&server.get("/name"));

    assert_eq!(environ.value("SCRIPT_NAME"), "/name");
    assert_eq!(
        environ.value("__file__"),
        server.site().text_path("wsgi/name")
    );
}
