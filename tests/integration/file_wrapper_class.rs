//! The class `FileWrapper`, which `wsgi.file_wrapper` is, and classes that are made of it.

use testkit::{SharedHttpd, ours};

use crate::file_wrapper::{wrapping, wraps};
use crate::wsgi_site::{CALCULATOR, calculate, wsgi_site};

static SERVER: SharedHttpd =
    SharedHttpd::new(|| wrapping(wsgi_site()).script("calculate.wsgi", CALCULATOR));

#[test]
fn a_subclass_is_sent_alike_and_closed_its_own_way() {
    let server = SERVER.borrow();
    let mark = server.log().mark();
    let code = "class Own(wrap):\n  def close(self):\n    log('own close', self.filelike.closed)\n    \
         super().close()\nstart(); r = Own(digits())";

    let response = wraps(&server, code);

    assert_eq!(response.text(), "0123456789");
    assert_eq!(response.header("Content-Length"), Some("10"));
    server.log().wait_for(mark, "own close False");
}

#[test]
fn a_subclass_may_say_what_is_wrapped() {
    let server = SERVER.borrow();
    for (own, wrapped, body) in [
        ("digits()", "io.BytesIO(b'memory')", "0123456789"),
        ("io.BytesIO(b'memory')", "digits()", "memory"),
        ("property(lambda self: self.other)", "digits()", "other"),
    ] {
        let code = format!(
            "class Own(wrap):\n  filelike = {own}\n  other = io.BytesIO(b'other')\n\
             start(); r = Own({wrapped})"
        );
        assert_eq!(wraps(&server, &code).text(), body, "{code}");
    }
}

/// What stands in for another object, as `wrapt.ObjectProxy` does.
const PROXY: &str = "class Proxy:\n  def __init__(self, it): self.it = it\n  \
     __class__ = property(lambda self: type(self.it))\n  \
     def __getattr__(self, name): return getattr(self.it, name)\n  \
     def __iter__(self): return iter([b'iterated'])\n";

#[test]
fn what_stands_in_for_one_is_sent_alike() {
    let server = SERVER.borrow();
    for (own, made, body) in [
        ("", "Proxy(wrap(digits()))", "0123456789"),
        (
            "filelike = digits()",
            "Own(wrap(io.BytesIO()))",
            "0123456789",
        ),
        ("filelike = io.BytesIO()", "Own(wrap(digits()))", "iterated"),
        (
            "__class__ = property(lambda self: 1 / 0)",
            "Own(wrap(digits()))",
            "iterated",
        ),
    ] {
        let code = format!("{PROXY}class Own(Proxy):\n  {own}\n  pass\nstart(); r = {made}");
        let response = wraps(&server, &code);
        assert_eq!(response.text(), body, "{code}");
    }
}

#[test]
fn a_file_that_only_the_wrapper_has_is_sent() {
    // mod_wsgi lets it go before it sends it, and sends nothing.
    if !ours("D128") {
        return;
    }
    let server = SERVER.borrow();
    let code = "class Own(wrap):\n  filelike = property(lambda self: digits())\n\
                start(); r = Own(io.BytesIO(b'memory'))";
    assert_eq!(wraps(&server, code).text(), "0123456789");
}

#[test]
fn the_class_behaves_as_documented() {
    let server = SERVER.borrow();
    for (code, answer) in [
        ("FileWrapper()", "TypeError: "),
        ("FileWrapper(io.BytesIO(), -1)", "ValueError: "),
        ("FileWrapper(io.BytesIO(), 'x')", "TypeError: "),
        (
            "f = FileWrapper(filelike=io.BytesIO(b'abc'), blksize=2); r = list(f)",
            "[b'ab', b'c']",
        ),
        (
            "b = io.BytesIO(b'abc'); f = FileWrapper(b); r = f.filelike is b, f.blksize",
            "(True, 8192)",
        ),
        (
            "f = FileWrapper(io.BytesIO(b'abc'), 2); f.blksize = 3",
            "AttributeError: ",
        ),
        (
            "f = FileWrapper(io.BytesIO(b'abc'), 2); f.filelike = 3",
            "AttributeError: ",
        ),
        (
            "f = FileWrapper(io.BytesIO(b'ab')); r = iter(f) is f, next(f)",
            "(True, b'ab')",
        ),
        (
            "b = io.BytesIO(); f = FileWrapper(b); f.close(); f.close(); r = b.closed",
            "True",
        ),
        (
            "f = FileWrapper(io.BytesIO()); f.close(); f.filelike",
            "ValueError: ",
        ),
        (
            "f = FileWrapper(io.BytesIO()); f.close(); list(f)",
            "ValueError: ",
        ),
        (
            "f = FileWrapper(io.BytesIO()); f.close(); r = f.blksize",
            "8192",
        ),
        ("list(FileWrapper(io.StringIO('abc')))", "TypeError: "),
        ("list(FileWrapper(1))", "AttributeError: "),
        (
            "class C:\n  def close(self): 1 / 0\nFileWrapper(C()).close()",
            "None",
        ),
        (
            "class F(FileWrapper):\n  blksize = 1\nr = list(F(io.BytesIO(b'ab')))",
            "[b'a', b'b']",
        ),
        (
            "class F(FileWrapper):\n  blksize = 'x'\nlist(F(io.BytesIO(b'ab')))",
            "TypeError: ",
        ),
        (
            "import mod_wsgi; r = FileWrapper is mod_wsgi.FileWrapper",
            "True",
        ),
        (
            "r = isinstance(FileWrapper, type), FileWrapper.__module__",
            "(True, 'mod_wsgi')",
        ),
    ] {
        let got = calculate(&server, "/calculate.wsgi", code);
        assert!(got.starts_with(answer), "{code}: {got}");
    }
}

#[test]
fn a_file_like_without_close_is_closed_in_silence() {
    if !ours("D45") {
        return;
    }
    let server = SERVER.borrow();
    let code = "r = FileWrapper(object()).close()";

    assert_eq!(calculate(&server, "/calculate.wsgi", code), "None");
}
