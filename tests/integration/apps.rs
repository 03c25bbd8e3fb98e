//! Small applications that several topics use, and how to read what they answer.

use std::collections::BTreeMap;

use testkit::Response;

/// Answers with its whole environ as JSON. Values that are not strings are shown by `repr`. Two
/// keys are added: `__file__` and `__name__`, of the script.
pub const ENVIRON: &str = r#"
import json

def application(environ, start_response):
    seen = {key: value if isinstance(value, str) else repr(value)
            for key, value in environ.items()}
    seen.update(__file__=__file__, __name__=__name__)
    body = json.dumps(seen).encode()
    start_response('200 OK', [('Content-Type', 'application/json'),
                              ('Content-Length', str(len(body)))])
    return [body]
"#;

/// Answers with the text in it.
pub fn answering(text: &str) -> String {
    format!(
        "def application(environ, start_response):\n    \
         start_response('200 OK', [('Content-Type', 'text/plain')])\n    \
         return [{text:?}.encode()]\n"
    )
}

/// What [`ENVIRON`] answered.
pub fn environ(response: &Response) -> Environ {
    assert_eq!(response.status, 200, "{}", response.text());
    Environ(serde_json::from_slice(&response.body).expect("JSON"))
}

/// An environ as the application saw it.
#[derive(Debug)]
pub struct Environ(BTreeMap<String, String>);

impl Environ {
    /// The value of `key`, or `<absent>`.
    pub fn value(&self, key: &str) -> &str {
        self.0.get(key).map_or("<absent>", String::as_str)
    }

    /// Whether there is such a key.
    pub fn has(&self, key: &str) -> bool {
        self.0.contains_key(key)
    }

    /// All keys.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }
}
