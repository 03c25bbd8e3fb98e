//! `wsgi.file_wrapper`.

use crate::memory::{Answer, Asked, answer_of};

/// An application that answers with what an expression over `F`, the wrapper, gives or raises.
fn evaluating(expression: &str) -> String {
    answer_of(&format!(
        "
import io

class Reader:
    def __init__(self, data): self.data = data
    def read(self, size): return self.data

def application(environ, start_response):
    F = environ['wsgi.file_wrapper']
    f = io.BytesIO(b'0123456789')
    w = F(f, 3)
    class Sub(F):
        def __init__(self, *arguments): F.__init__(self, f)
        blksize = 7
    class Bare(F):
        def __init__(self, *arguments): pass
    class Odd(F):
        blksize = 'x'
    try:
        answer = {expression}
    except Exception as error:
        answer = '%s: %s' % (type(error).__name__, error)
    start_response('200 OK', [])
    return [repr(answer).encode()]
"
    ))
    .text()
}

#[test]
fn wrapping_a_file_like_object() {
    let cases = [
        (
            "F()",
            "TypeError: FileWrapper() missing required argument 'filelike'",
        ),
        ("F(f, -1)", "ValueError: blksize must not be negative"),
        ("F(f, 'x')", "TypeError"),
        (
            "F(f, 1, 2)",
            "TypeError: FileWrapper() takes at most 2 arguments (3 given)",
        ),
        ("F(filelike=f, blksize=4).blksize", "4"),
        ("F(f).blksize", "8192"),
        ("w.filelike is f", "True"),
        ("setattr(w, 'blksize', 1)", "AttributeError"),
        ("setattr(w, 'other', 1)", "AttributeError"),
        ("iter(w) is w", "True"),
        ("list(w)", "[b'012', b'345', b'678', b'9']"),
        ("[list(w), list(w)][1]", "[]"),
        (
            "next(F(Reader('text')))",
            "TypeError: file wrapper read() must return bytes, not str",
        ),
        ("next(F(object()))", "AttributeError"),
        (
            "[w.close(), w.close(), f.closed, w.blksize]",
            "[None, None, True, 3]",
        ),
        (
            "[w.close(), next(w)]",
            "ValueError: I/O operation on closed file",
        ),
        (
            "[w.close(), w.filelike]",
            "ValueError: I/O operation on closed file",
        ),
        ("F(object()).close()", "None"),
        ("F(None).filelike", "None"),
        ("list(Sub(1, 2, 3))", "[b'0123456', b'789']"),
        ("Bare(1, 2, 3).filelike", "None"),
        ("next(Bare())", "AttributeError"),
        ("next(Odd(f))", "TypeError: blksize must be an int, not str"),
        ("[w.__init__(io.BytesIO(b'z')), list(w)]", "[None, [b'z']]"),
        (
            "(F.__module__, F.__qualname__)",
            "('mod_wsgi', 'FileWrapper')",
        ),
    ];
    for (expression, expected) in cases {
        let answer = evaluating(expression);
        assert!(
            answer.contains(expected),
            "{expression}\n{answer}\n{expected}"
        );
    }
}

#[test]
fn cycles_are_collected() {
    let answer = answer_of(
        "
import gc, io

class File(io.BytesIO):
    def __del__(self): gone.append(True)

gone = []

def application(environ, start_response):
    file = File()
    file.wrapper = environ['wsgi.file_wrapper'](file)
    del file
    gc.collect()
    start_response('200 OK', [])
    return [repr(gone).encode()]
",
    );
    assert_eq!(answer.text(), "[True]");
}

/// An application that returns an expression over `F`, the wrapper, and `f`, a file of ten bytes.
fn sending(headers: &str, expression: &str) -> Asked {
    Asked::new(&format!(
        "
import os, tempfile

class Custom:
    def __init__(self, file, position):
        self.file, self.position = file, position
    def fileno(self): return self.file.fileno()
    def read(self, size): return self.file.read(size)
    def tell(self):
        if isinstance(self.position, Exception): raise self.position
        return self.position

def at(file, position):
    file.seek(position)
    return file

def application(environ, start_response):
    F = environ['wsgi.file_wrapper']
    f = tempfile.TemporaryFile()
    f.write(b'0123456789')
    f.seek(0)
    class Sub(F): pass
    write = start_response('200 OK', {headers})
    return {expression}
"
    ))
}

fn region(answer: &Answer) -> Option<(u64, u64)> {
    answer.parts.iter().find_map(|part| part.file)
}

#[test]
fn a_real_file_is_for_the_host_to_send() {
    let cases = [
        ("F(f)", (0, 10), "0123456789"),
        ("F(at(f, 3))", (3, 7), "3456789"),
        ("Sub(f, 2)", (0, 10), "0123456789"),
        ("F(Custom(f, 4))", (4, 6), "456789"),
        ("F(open(os.dup(f.fileno())))", (0, 10), "0123456789"),
    ];
    for (expression, expected, body) in cases {
        let answer = sending("[]", expression).answer();
        assert_eq!(answer.text(), body, "{expression}");
        assert_eq!(region(&answer), Some(expected), "{expression}");
        assert_eq!(answer.parts.len(), 1, "{expression}");
        let length = ("Content-Length".to_owned(), body.len().to_string());
        assert_eq!(answer.head().headers, [length], "{expression}");
    }
}

#[test]
fn beyond_its_end_a_file_is_empty() {
    let answer = sending("[]", "F(Custom(f, 400))").answer();
    assert_eq!(answer.text(), "");
    assert_eq!(region(&answer), None);
    let length = ("Content-Length".to_owned(), "0".to_owned());
    assert_eq!(answer.head().headers, [length]);
}

#[test]
fn anything_else_is_iterated_over() {
    let cases = [
        ("F(__import__('io').BytesIO(b'0123456789'))", "0123456789"),
        ("F(Custom(f, -1))", "0123456789"),
        ("F(Custom(f, 'x'))", "0123456789"),
        ("F(Custom(f, KeyError()))", "0123456789"),
        ("(write(b'x'), F(f))[1]", "x0123456789"),
    ];
    for (expression, body) in cases {
        let answer = sending("[]", expression).answer();
        assert_eq!(answer.text(), body, "{expression}");
        assert_eq!(region(&answer), None, "{expression}");
    }
    let device = sending("[]", "F(Custom(open('/dev/null', 'rb'), 0))").answer();
    assert_eq!(device.text(), "");
    assert_eq!(region(&device), None);
}

#[test]
fn the_stated_length_decides_how_much_of_the_file() {
    let answer = sending("[('Content-Length', '4')]", "F(at(f, 3))").answer();
    assert_eq!(answer.text(), "3456");
    assert_eq!(region(&answer), Some((3, 4)));
    let answer = sending("[('Content-Length', '0')]", "F(f)").answer();
    assert_eq!(answer.text(), "");
    let answer = sending("[('Content-Length', '400')]", "F(at(f, 3))").answer();
    answer.assert_truncated("393 byte(s) shorter than its Content-Length");
    assert_eq!(answer.data(), b"3456789");
}

#[test]
fn the_file_is_closed_and_stays_where_it_was() {
    let answer = answer_of(
        "
import sys, tempfile

class File:
    def __init__(self):
        self.file = tempfile.TemporaryFile(buffering=0)
        self.file.write(b'0123456789')
        self.file.seek(4)
    def fileno(self): return self.file.fileno()
    def tell(self): return 2
    def close(self): print('closed at', self.file.tell(), file=sys.stderr)

def application(environ, start_response):
    start_response('200 OK', [])
    return environ['wsgi.file_wrapper'](File())
",
    );
    assert_eq!(answer.text(), "23456789");
    assert_eq!(answer.log, ["closed at 4"]);
}

#[test]
fn a_closed_wrapper_is_an_error() {
    for expression in [
        "(lambda w: (w.close(), w)[1])(F(f))",
        "(lambda w: (f.close(), w)[1])(F(f))",
    ] {
        sending("[]", expression)
            .answer()
            .assert_refused("ValueError: ");
    }
    let answer = answer_of(
        "
def application(environ, start_response):
    return environ['wsgi.file_wrapper'](open('/etc/passwd', 'rb'))
",
    );
    answer.assert_refused("RuntimeError: start_response() must be called before");
}
