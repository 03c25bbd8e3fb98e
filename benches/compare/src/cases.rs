//! What is asked for: each case is a request, the application that answers it, and the answer.

/// A case of the comparison.
#[derive(Debug)]
pub(crate) struct Case {
    /// Its name on the command line and in the URL.
    pub(crate) name: &'static str,
    /// What it is, in the table and the chart.
    pub(crate) title: &'static str,
    /// The application.
    pub(crate) script: &'static str,
    /// The headers of the request beside `Host`.
    pub(crate) headers: &'static [(&'static str, &'static str)],
    /// How long the body of the request is; without one the method is GET.
    pub(crate) upload: Option<usize>,
    /// Makes the body of the response, the same from every target.
    pub(crate) body: fn() -> Vec<u8>,
}

/// All cases, in the order in which they are measured and shown.
pub(crate) static CASES: [Case; 7] = [
    Case {
        name: "hello",
        title: "hello, 14 bytes",
        script: include_str!("../apps/hello.wsgi"),
        headers: &[],
        upload: None,
        body: || b"Hello, World!\n".to_vec(),
    },
    Case {
        name: "json",
        title: "10 KiB JSON, 10 headers",
        script: include_str!("../apps/json.wsgi"),
        headers: BROWSER,
        upload: None,
        body: json,
    },
    Case {
        name: "large",
        title: "1 MiB body",
        script: include_str!("../apps/large.wsgi"),
        headers: &[],
        upload: None,
        body: || text(1024 * 1024),
    },
    Case {
        name: "stream",
        title: "64 chunks of 1 KiB",
        script: include_str!("../apps/stream.wsgi"),
        headers: &[],
        upload: None,
        body: || text(64 * 1024),
    },
    Case {
        name: "post",
        title: "64 KiB POST",
        script: include_str!("../apps/post.wsgi"),
        headers: &[("Content-Type", "application/octet-stream")],
        upload: Some(64 * 1024),
        body: || b"65536\n".to_vec(),
    },
    Case {
        name: "file",
        title: "10 MiB file_wrapper",
        script: include_str!("../apps/file.wsgi"),
        headers: &[],
        upload: None,
        body: || text(10 * 1024 * 1024),
    },
    Case {
        name: "cpu",
        title: "CPU-bound",
        script: include_str!("../apps/cpu.wsgi"),
        headers: &[],
        upload: None,
        body: || format!("{}\n", (0..20_000_u64).map(|n| n * n).sum::<u64>()).into_bytes(),
    },
];

impl Case {
    /// The case that is called `name`.
    pub(crate) fn named(name: &str) -> Result<&'static Self, String> {
        CASES.iter().find(|case| case.name == name).ok_or_else(|| {
            let names: Vec<&str> = CASES.iter().map(|case| case.name).collect();
            format!("the cases are {}", names.join(", "))
        })
    }

    /// The method of its request.
    pub(crate) fn method(&self) -> &'static str {
        match self.upload {
            Some(_) => "POST",
            None => "GET",
        }
    }
}

/// What a browser sends beside `Host`, ten headers in all.
const BROWSER: &[(&str, &str)] = &[
    (
        "User-Agent",
        "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
    ),
    ("Accept", "application/json, text/javascript, */*; q=0.01"),
    ("Accept-Language", "en-GB,en;q=0.7,de;q=0.3"),
    ("Accept-Encoding", "gzip, deflate, br, zstd"),
    ("Referer", "http://localhost/dashboard"),
    ("X-Requested-With", "XMLHttpRequest"),
    (
        "Cookie",
        "session=eyJ1c2VyIjoxN30.aG9sYQ.7Zr2m2v8; csrftoken=Qm9uam91cg; theme=dark",
    ),
    ("Cache-Control", "no-cache"),
    ("Sec-Fetch-Mode", "cors"),
];

/// `length` bytes of text.
fn text(length: usize) -> Vec<u8> {
    b"The quick brown fox jumps over the lazy dog.\n"
        .iter()
        .copied()
        .cycle()
        .take(length)
        .collect()
}

/// A list of records, 10 KiB of JSON.
fn json() -> Vec<u8> {
    let record =
        |id| format!(r#"{{"id": {id}, "name": "record", "tags": ["a", "b"], "ok": true}}"#);
    let records: Vec<String> = (1000..1161).map(record).collect();
    format!("[{}]\n", records.join(", ")).into_bytes()
}
