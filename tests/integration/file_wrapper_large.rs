//! `wsgi.file_wrapper` around files of gigabytes.

use rstest::rstest;
use testkit::{Request, SharedHttpd, ours};

use crate::file_wrapper::{url, wrapping, wraps};
use crate::wsgi_site::{is_daemon_mode, quoted, wsgi_site};

static SERVER: SharedHttpd = SharedHttpd::new(|| wrapping(wsgi_site()));

#[test]
fn a_large_file_arrives_whole() {
    let server = SERVER.borrow();
    let content: Vec<u8> = (0..3_000_017_u32).flat_map(u32::to_le_bytes).collect();
    server.site().write("data/large", &content);
    let code = quoted("start(); r = wrap(open(DIGITS.replace('digits', 'large'), 'rb'))");

    for path in ["", "/sendfile"] {
        let response = server.get(&format!("/wraps.wsgi{path}?{code}"));

        assert!(
            response.body == content,
            "{} bytes came",
            response.body.len()
        );
        assert_eq!(response.header("Content-Length"), Some("12000068"));
    }
}

#[test]
fn a_file_beyond_four_gigabytes_has_its_length_and_its_end() {
    let server = SERVER.borrow();
    // Sparse: it takes no room.
    let code = |position| {
        format!(
            "import tempfile; f = tempfile.TemporaryFile(); f.truncate(5_000_000_000); \
             f.seek(4_999_999_990); f.write(b'x' * 10); f.seek({position}); start(); r = wrap(f)"
        )
    };

    assert_eq!(wraps(&server, &code("4_999_999_990")).text(), "xxxxxxxxxx");

    // The client hangs up. After HEAD, a process group of mod_wsgi would send httpd all of it.
    let mut connection = server.connect();
    connection.send(&Request::get(&url(&code("0"))).to_bytes());
    let head = connection.read_head().expect("a head");
    assert_eq!(head.header("Content-Length"), Some("5000000000"));
    assert_eq!(connection.read_exactly(10), [0; 10]);
}

/// More than httpd has in one piece, which it may split.
#[rstest]
fn a_file_beyond_one_gigabyte_arrives_whole(#[values("", "/sendfile")] path: &str) {
    const LENGTH: usize = (1 << 30) + 20;
    let server = SERVER.borrow();
    let code = format!(
        "import tempfile; f = tempfile.TemporaryFile(); f.write(b'begin'); f.truncate({LENGTH}); \
         f.seek({}); f.write(b'the end'); f.seek(0); start(); r = wrap(f)",
        LENGTH - 7
    );
    let target = format!("/wraps.wsgi{path}?{}", quoted(&code));
    let mut connection = server.connect();
    connection.send(&Request::get(&target).to_bytes());
    let head = connection.read_head().expect("a head");
    assert_eq!(head.status, 200);
    let length = LENGTH.to_string();
    assert_eq!(head.header("Content-Length"), Some(length.as_str()));
    assert_eq!(connection.read_exactly(5), b"begin");
    let mut left = LENGTH - 5 - 7;
    while left > 0 {
        let piece = connection.read_exactly(left.min(1 << 20));
        assert!(!piece.is_empty(), "{left} are missing");
        assert!(piece.iter().all(|byte| *byte == 0), "{left} are to come");
        left -= piece.len();
    }
    assert_eq!(connection.read_exactly(7), b"the end");

    // The connection goes on with the next one.
    connection.send(&Request::get(&url("start(); r = wrap(digits())")).to_bytes());
    assert_eq!(connection.read_response().text(), "0123456789");
}

#[test]
fn httpd_serves_ranges_beyond_one_gigabyte() {
    if is_daemon_mode() && !ours("D124") {
        return;
    }
    let server = SERVER.borrow();
    let code = "import tempfile; f = tempfile.TemporaryFile(); f.truncate(5_000_000_000); \
                f.seek(3_000_000_000); f.write(b'here'); f.seek(0); start(); r = wrap(f)";
    for (range, body) in [
        ("3000000000-3000000003", "here"),
        ("2999999999-3000000000", "\0h"),
        ("-1", "\0"),
    ] {
        let request = Request::get(&url(code)).header("Range", format!("bytes={range}"));
        let response = server.send(&request);
        assert_eq!((response.status, response.text().as_str()), (206, body));
        let part = response.header("Content-Range").unwrap_or_default();
        assert!(part.ends_with("/5000000000"), "{range}: {part}");
    }
}
