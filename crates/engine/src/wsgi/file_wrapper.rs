//! `wsgi.file_wrapper`, PEP 3333's optional platform-specific file handling.
//!
//! Iterating over it reads the wrapped object block by block. If an application returns it and it
//! wraps a real file, it is not iterated over: the host sends the file.

use std::ffi::{CStr, c_int};
use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicBool, AtomicIsize, Ordering};
use std::sync::{Mutex, MutexGuard, TryLockError};

use engine_abi::FileRegion;
use pyo3_ffi as ffi;

use crate::interrupt;
use crate::lock::lock;
use crate::python::{
    Attached, Class, Definition, Instance, Object, Owned, Raised, Result, Stored, Visit,
};

const BLOCK: isize = 8192;

/// A file-like object, as an iterable.
pub(super) struct FileWrapper {
    /// `None` before `__init__`.
    file: Mutex<Option<Stored>>,
    block: AtomicIsize,
    closed: AtomicBool,
}

impl Class for FileWrapper {
    const NAME: &'static CStr = c"mod_wsgi.FileWrapper";
    const DOC: &'static CStr = c"FileWrapper(filelike, blksize=8192)\n--\n\n\
        An iterable over a file-like object, which the server may send in a faster way.";
    const SUBCLASSABLE: bool = true;
    const COLLECTED: bool = true;

    fn define(definition: Definition<Self>) -> Definition<Self> {
        definition
            .constructor(Self::new)
            .initializer(Self::init)
            .getter(c"filelike", c"The object that is wrapped.", Self::filelike)
            .getter(c"blksize", c"How much is read at a time.", Self::blksize)
            .plain_method(
                c"close",
                c"close()\n--\n\nClose the object that is wrapped.",
                Self::close,
            )
            .iter_self()
            .next(Self::next)
    }

    fn traverse(&self, visit: &mut Visit) {
        // The lock is never held while the garbage collector may run.
        let file = match self.file.try_lock() {
            Ok(file) => file,
            Err(TryLockError::Poisoned(file)) => file.into_inner(),
            Err(TryLockError::WouldBlock) => return,
        };
        if let Some(file) = &*file {
            visit.object(file);
        }
    }

    fn clear(&self) {
        let file = self.lock_file().take();
        drop(file);
    }
}

impl FileWrapper {
    fn new<'py>(_: &Object<'py>, _: Option<&Object<'py>>) -> Result<'py, Self> {
        Ok(Self {
            file: Mutex::new(None),
            block: AtomicIsize::new(0),
            closed: AtomicBool::new(false),
        })
    }

    fn init<'py>(
        this: &Instance<'py, Self>,
        arguments: &Object<'py>,
        keywords: Option<&Object<'py>>,
    ) -> Result<'py, ()> {
        let (file, block) = parse(arguments, keywords)?;
        if block < 0 {
            let message = "blksize must not be negative";
            return Err(Raised::value_error(this.py(), message));
        }
        this.block.store(block, Ordering::Relaxed);
        this.closed.store(false, Ordering::Relaxed);
        let previous = this.lock_file().replace(file.into_stored());
        drop(previous);
        Ok(())
    }

    fn filelike<'py>(this: &Instance<'py, Self>) -> Result<'py, Owned<'py>> {
        if this.closed.load(Ordering::Relaxed) {
            return Err(closed(this.py()));
        }
        Ok(this
            .file(this.py())
            .unwrap_or_else(|| this.py().none().owned()))
    }

    fn blksize<'py>(this: &Instance<'py, Self>) -> Result<'py, Owned<'py>> {
        this.py().int(this.block.load(Ordering::Relaxed) as i64)
    }

    fn next<'py>(this: &Instance<'py, Self>) -> Result<'py, Option<Owned<'py>>> {
        // Looked up as attributes, since a subclass may override them.
        let file = this.as_object().attribute_named(c"filelike")?;
        let block = this.as_object().attribute_named(c"blksize")?;
        if !block.is_int() {
            let message = format!("blksize must be an int, not {}", block.type_name());
            return Err(Raised::type_error(this.py(), &message));
        }
        let data = file.call_method_named(c"read", [&block])?;
        match data.as_bytes() {
            Some([]) => Ok(None),
            Some(_) => Ok(Some(data)),
            None => {
                let kind = data.type_name();
                let message = format!("file wrapper read() must return bytes, not {kind}");
                Err(Raised::type_error(this.py(), &message))
            }
        }
    }

    fn close<'py>(this: &Instance<'py, Self>) -> Result<'py, Owned<'py>> {
        let py = this.py();
        if !this.closed.swap(true, Ordering::Relaxed)
            && let Some(file) = this.file(py)
        {
            // A missing `close()`, and what it raises, is ignored, except an interruption.
            interrupt::heed(py, || drop(file.call_method_named(c"close", [])))?;
        }
        Ok(py.none().owned())
    }

    /// If a real file is wrapped: the file object, which must stay alive so that its descriptor
    /// stays open, and the region from its position to its end. `None` if the object is not an
    /// instance of `class`, which is this one, or must be iterated over instead. Raises only
    /// interruptions of the request.
    pub(super) fn region<'py>(
        object: &Object<'py>,
        class: &Object<'py>,
    ) -> Result<'py, Option<(Owned<'py>, FileRegion)>> {
        interrupt::heed(object.py(), || Self::region_if_any(object, class))
    }

    /// Also accepts proxies of an instance, such as those of `wrapt`, since only the attributes are
    /// needed.
    fn region_if_any<'py>(
        object: &Object<'py>,
        class: &Object<'py>,
    ) -> Option<(Owned<'py>, FileRegion)> {
        if !object.claims_to_be(class).ok()? {
            return None;
        }
        let file = object.attribute_named(c"filelike").ok()?;
        let fd = descriptor(&file)?;
        let offset = file.call_method_named(c"tell", []).ok()?;
        let offset = u64::try_from(offset.to_i64().ok()?).ok()?;
        let region = FileRegion {
            fd,
            offset,
            length: regular_size(fd, offset)?.saturating_sub(offset),
        };
        Some((file, region))
    }

    fn file<'py>(&self, py: Attached<'py>) -> Option<Owned<'py>> {
        let file = self.lock_file();
        file.as_ref().map(|file| file.bind(py).owned())
    }

    /// To be held only for a moment: objects taken out must be dropped after unlocking.
    fn lock_file(&self) -> MutexGuard<'_, Option<Stored>> {
        lock(&self.file)
    }
}

/// Runs `f`, which may read from a descriptor, and restores the position of the descriptor, since
/// the application may continue to use its file.
pub(super) fn keeping_position<R>(fd: c_int, f: impl FnOnce() -> R) -> R {
    // SAFETY: the call takes numbers only, and fails for an invalid descriptor.
    let position = unsafe { libc::lseek(fd, 0, libc::SEEK_CUR) };
    let result = f();
    if position >= 0 {
        // SAFETY: as above.
        unsafe { libc::lseek(fd, position, libc::SEEK_SET) };
    }
    result
}

fn closed(py: Attached<'_>) -> Raised<'_> {
    Raised::value_error(py, "I/O operation on closed file")
}

fn parse<'py>(
    arguments: &Object<'py>,
    keywords: Option<&Object<'py>>,
) -> Result<'py, (Owned<'py>, isize)> {
    let keywords = keywords.map_or(std::ptr::null_mut(), Object::as_ptr);
    let mut names = [c"filelike".as_ptr(), c"blksize".as_ptr(), std::ptr::null()];
    let mut file = std::ptr::null_mut();
    let mut block = BLOCK;
    // SAFETY: the arguments are a tuple and a dict or null, and the names end with null. The format
    // stores a borrowed reference in `file` and optionally a `Py_ssize_t` in `block`.
    let parsed = unsafe {
        ffi::PyArg_ParseTupleAndKeywords(
            arguments.as_ptr(),
            keywords,
            c"O|n:FileWrapper".as_ptr(),
            names.as_mut_ptr().cast(),
            &raw mut file,
            &raw mut block,
        )
    };
    if parsed == 0 {
        return Err(Raised::take(arguments.py()));
    }
    // SAFETY: set by a successful parse; the arguments keep it alive.
    let file: &Object<'py> = unsafe { Object::borrow(file) };
    Ok((file.owned(), block))
}

/// The descriptor of a file-like object.
fn descriptor(file: &Object<'_>) -> Option<c_int> {
    // SAFETY: the object is alive and the thread attached.
    let fd = unsafe { ffi::PyObject_AsFileDescriptor(file.as_ptr()) };
    if fd < 0 {
        // Most objects have no descriptor, which is no error here.
        drop(Raised::take_if_any(file.py()));
        return None;
    }
    Some(fd)
}

/// The size of a regular file. `None` for other files, and for files of the kernel as in `/proc`,
/// which have the size 0 and must be read.
fn regular_size(fd: c_int, offset: u64) -> Option<u64> {
    let mut facts = MaybeUninit::<libc::stat>::uninit();
    // SAFETY: if the call succeeds, it has initialised the struct.
    let facts = unsafe {
        if libc::fstat(fd, facts.as_mut_ptr()) != 0 {
            return None;
        }
        facts.assume_init()
    };
    if facts.st_mode & libc::S_IFMT != libc::S_IFREG {
        return None;
    }
    if facts.st_size == 0 && has_byte_at(fd, offset) {
        return None;
    }
    u64::try_from(facts.st_size).ok()
}

/// Whether a file has a byte at this offset.
fn has_byte_at(fd: c_int, offset: u64) -> bool {
    let Ok(offset) = libc::off_t::try_from(offset) else {
        return false;
    };
    let mut byte = [0_u8];
    // SAFETY: the buffer has room for one byte. The call fails for an invalid descriptor.
    unsafe { libc::pread(fd, byte.as_mut_ptr().cast(), 1, offset) == 1 }
}
