//! Returning memory to the system that only the start of a worker needed. The processes of mod_wsgi
//! are forked from httpd, and share such memory or do not have it.

use std::collections::HashSet;
use std::ffi::c_void;
use std::fs::File;
use std::io::{Read as _, Seek as _};
use std::ops::Range;

/// The lines of `/proc/self/smaps` with the size of the pages of a mapping that were modified: in
/// memory, and in swap. The latter comes last.
const WRITTEN: [&str; 2] = ["Anonymous:", "Swap:"];

/// The read-only mappings of libraries: their code, their constants, and tables that only the
/// dynamic linker reads, which are a megabyte of libpython. Pages of these that are given back stay
/// in the system's page cache, so they are there at once if they are needed again. Until then they
/// do not count as memory of this process.
#[derive(Debug)]
pub(super) struct Libraries {
    /// `/proc/self/smaps`. It is opened once, since it is out of reach in a `chroot`.
    smaps: File,
    /// The first line of each mapping in `smaps`.
    mapped: HashSet<String>,
}

impl Libraries {
    /// The present mappings. To be called before an application maps files of its own. `None` if
    /// they cannot be read; then nothing is given back.
    pub(super) fn mapped() -> Option<Self> {
        let mut smaps = File::open("/proc/self/smaps").ok()?;
        let mapped = unwritten(&read(&mut smaps)?)
            .map(|mapping| mapping.line.to_owned())
            .collect();
        Some(Self { smaps, mapped })
    }

    /// Gives back the mappings that still are as in their files. Code that was modified, by the
    /// breakpoints of a debugger for example, stays.
    fn forget(mut self) {
        let Some(smaps) = read(&mut self.smaps) else {
            return;
        };
        for Mapping { line, range } in unwritten(&smaps) {
            if self.mapped.contains(line) {
                let begin = range.start as *mut c_void;
                // SAFETY: these are unmodified pages of a file in a private read-only mapping, so
                // they are read from the file again when they are needed. Only a debugger could
                // modify them between the look at `smaps` and this call; then its changes would be
                // lost.
                unsafe { libc::madvise(begin, range.len(), libc::MADV_DONTNEED) };
            }
        }
    }
}

/// Gives back memory after the start: the pages of libraries, and freed memory, which is much after
/// many modules were read and compiled.
pub(super) fn give_back(libraries: Option<Libraries>) {
    if let Some(libraries) = libraries {
        libraries.forget();
    }
    // SAFETY: the allocator gives back only memory that is free.
    unsafe { libc::malloc_trim(0) };
}

/// A part of a file that is mapped.
#[derive(Clone, Debug)]
struct Mapping<'s> {
    /// Its first line in `smaps`.
    line: &'s str,
    range: Range<usize>,
}

/// The present content of `smaps`.
fn read(smaps: &mut File) -> Option<String> {
    let mut text = String::new();
    smaps.rewind().ok()?;
    smaps.read_to_string(&mut text).ok()?;
    Some(text)
}

/// The read-only mappings of files without modified pages.
fn unwritten(smaps: &str) -> impl Iterator<Item = Mapping<'_>> {
    let mut current = None;
    smaps.lines().filter_map(move |line| {
        let is_nothing = |name| {
            line.strip_prefix(name)
                .map(|size: &str| size.trim() == "0 kB")
        };
        match WRITTEN.map(is_nothing) {
            [Some(false), _] => current = None,
            [_, Some(is_nothing)] => return current.take().filter(|_| is_nothing),
            _ => {}
        }
        // The first line of a mapping begins with an address, all others with a name and a colon.
        if let Some(range) = range(line) {
            current = is_constant(line).then_some(Mapping { line, range });
        }
        None
    })
}

/// The addresses of a mapping, if this is its first line.
fn range(line: &str) -> Option<Range<usize>> {
    let (begin, end) = line.split_once(' ')?.0.split_once('-')?;
    let address = |digits| usize::from_str_radix(digits, 16).ok();
    Some(address(begin)?..address(end)?)
}

/// Whether this first line is of a private read-only mapping of a file.
fn is_constant(line: &str) -> bool {
    let mut words = line.split_ascii_whitespace().skip(1);
    let (rights, file) = (words.next(), words.nth(3));
    matches!(rights, Some("r--p" | "r-xp")) && file.is_some_and(|file| file.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::os::fd::AsRawFd as _;
    use std::ptr::null_mut;

    use super::*;

    const SIZE: usize = 64 * 1024;

    /// A file as a library that was mapped.
    fn mapped_file() -> &'static mut [u8] {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&[7; SIZE]).unwrap();
        // SAFETY: a new mapping, which nobody else has and which is never taken away, of a file of
        // this size.
        unsafe {
            let begin = libc::mmap(
                null_mut(),
                SIZE,
                libc::PROT_READ,
                libc::MAP_PRIVATE,
                file.as_raw_fd(),
                0,
            );
            assert_ne!(begin, libc::MAP_FAILED);
            std::slice::from_raw_parts_mut(begin.cast(), SIZE)
        }
    }

    fn allow(memory: &mut [u8], rights: i32) {
        // SAFETY: nobody else uses this memory, and it is used as is allowed.
        let failed = unsafe { libc::mprotect(memory.as_mut_ptr().cast(), SIZE, rights) };
        assert_eq!(failed, 0);
    }

    /// How much of the mapping is there.
    fn resident(memory: &[u8]) -> String {
        let smaps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let mut lines = smaps.lines();
        let is_it =
            |line: &&str| range(line).is_some_and(|range| range.start == memory.as_ptr() as usize);
        lines.find(is_it).unwrap();
        let resident = lines.find_map(|line| line.strip_prefix("Rss:")).unwrap();
        resident.trim().to_owned()
    }

    fn sum(memory: &[u8]) -> u64 {
        memory.iter().map(|byte| u64::from(*byte)).sum()
    }

    /// In one test: each would forget what another has mapped.
    #[test]
    fn what_is_as_in_its_file_is_forgotten_and_what_somebody_has_written_stays() {
        let (same, written) = (mapped_file(), mapped_file());
        let libraries = Libraries::mapped().unwrap();
        let later = mapped_file();
        allow(written, libc::PROT_READ | libc::PROT_WRITE);
        written[SIZE / 2] = 8;
        allow(written, libc::PROT_READ);
        assert_eq!(sum(same) + sum(later), 2 * 7 * SIZE as u64);

        libraries.forget();
        assert_eq!(resident(same), "0 kB");
        assert_eq!(sum(same), 7 * SIZE as u64);
        assert_eq!(sum(written), 7 * SIZE as u64 + 1);
        assert_eq!(resident(later), "64 kB", "it is an application's");
    }

    #[test]
    fn only_what_nobody_may_write_to_and_has_a_file_counts() {
        let line = |line: &str| is_constant(line) && range(line) == Some(0x7f00..0x8f00);
        assert!(line(
            "7f00-8f00 r-xp 00001000 fe:00 131 /usr/lib/lib python.so"
        ));
        assert!(line(
            "7f00-8f00 r--p 00001000 fe:00 131     /usr/lib/libpython.so"
        ));
        for other in [
            "7f00-8f00 rw-p 00001000 fe:00 131 /usr/lib/libpython.so",
            "7f00-8f00 r--s 00001000 fe:00 131 /usr/lib/libpython.so",
            "7f00-8f00 r-xp 00000000 00:00 0 [vdso]",
            "7f00-8f00 r--p 00000000 00:00 0",
            "Rss:           64 kB",
        ] {
            assert!(!line(other), "{other}");
        }
    }
}
