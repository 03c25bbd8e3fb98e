//! Giving back what only the start needed: a process that was forked from httpd would never have had it.

use std::ffi::{c_int, c_void};

/// Forgets what the dynamic linker has read of the libraries: tables of symbols and of relocations, a
/// megabyte of libpython. They stay in the system's cache, but count for this process no more.
///
/// To be called before an application loads libraries of which nobody knows what they do with their pages.
pub(super) fn forget_linking() {
    // SAFETY: asks for a number.
    let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    let Ok(mut page) = usize::try_from(page) else {
        return;
    };
    // SAFETY: the function gets what it expects, and does not unwind.
    unsafe { libc::dl_iterate_phdr(Some(forget_constants), (&raw mut page).cast()) };
}

/// Gives back what was freed, which is much after many modules were read and compiled.
pub(super) fn trim() {
    // SAFETY: only memory that nobody uses is given back.
    unsafe { libc::malloc_trim(0) };
}

/// Forgets the segments of a library that can neither be written nor executed.
unsafe extern "C" fn forget_constants(
    library: *mut libc::dl_phdr_info,
    _: libc::size_t,
    page: *mut c_void,
) -> c_int {
    // SAFETY: the caller has passed the size of a page; the description of the library and its table of
    // segments are there until this returns.
    let (page, base, segments) = unsafe {
        let library = &*library;
        let segments = std::slice::from_raw_parts(library.dlpi_phdr, library.dlpi_phnum.into());
        (*page.cast::<usize>(), library.dlpi_addr as usize, segments)
    };
    for segment in segments {
        if segment.p_type == libc::PT_LOAD && segment.p_flags == libc::PF_R {
            let begin = base + segment.p_vaddr as usize;
            let end = begin + segment.p_memsz as usize;
            let begin = begin & !(page - 1);
            // SAFETY: the segment is there, and has its pages for itself. They are those of a file, as
            // nobody can write to them, and what is to be relocated is in other segments: who reads them
            // again finds the same.
            unsafe { libc::madvise(begin as *mut c_void, end - begin, libc::MADV_DONTNEED) };
        }
    }
    0
}
