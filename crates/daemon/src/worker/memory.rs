//! Returning memory to the system that only the start of a worker needed. A process that is forked
//! from httpd, as those of mod_wsgi are, does not have it, or shares it with all others.

use std::collections::HashSet;
use std::ffi::c_void;
use std::fs::File;
use std::io::{Read as _, Seek as _};
use std::ops::Range;

/// How `/proc/self/smaps` begins the lines that tell how much of a mapping is not as it is in the
/// file any more: in memory, and swapped out. The latter comes last.
const WRITTEN: [&str; 2] = ["Anonymous:", "Swap:"];

/// What the dynamic linker has mapped of the libraries: their code, their constants, and tables
/// that it alone reads, a megabyte of libpython's. The system keeps all of it in its cache, so
/// whoever needs some again has it at once. Until then it does not count for this process.
#[derive(Debug)]
pub(super) struct Libraries {
    /// What is mapped and how much of it is there. It is opened once: where the group has a root
    /// directory of its own, there is none of that name.
    smaps: File,
    /// How `smaps` begins each of the mappings.
    mapped: HashSet<String>,
}

impl Libraries {
    /// Those that are mapped now: before an application maps files of which nobody knows what they
    /// are. `None` if the system does not tell, and nothing can be given back.
    pub(super) fn mapped() -> Option<Self> {
        let mut smaps = File::open("/proc/self/smaps").ok()?;
        let mapped = unwritten(&read(&mut smaps)?)
            .map(|mapping| mapping.line.to_owned())
            .collect();
        Some(Self { smaps, mapped })
    }

    /// Forgets them where they are as in their files. Code into which somebody has written, be it
    /// the breakpoints of a tool that traces, stays as it is.
    fn forget(mut self) {
        let Some(smaps) = read(&mut self.smaps) else {
            return;
        };
        for Mapping { line, range } in unwritten(&smaps) {
            if self.mapped.contains(line) {
                let begin = range.start as *mut c_void;
                // SAFETY: these are pages of a file, as nobody has written to them: whoever reads
                // them again finds the same. That somebody writes to them after the system was
                // asked, which takes a debugger that comes in this millisecond, loses what was
                // written, and no more.
                unsafe { libc::madvise(begin, range.len(), libc::MADV_DONTNEED) };
            }
        }
    }
}

/// Gives back what the start has left: the libraries that were mapped before it, and what was
/// freed, which is much after many modules were read and compiled.
pub(super) fn give_back(libraries: Option<Libraries>) {
    if let Some(libraries) = libraries {
        libraries.forget();
    }
    // SAFETY: only memory that nobody uses is given back.
    unsafe { libc::malloc_trim(0) };
}

/// A part of a file that is mapped.
#[derive(Clone, Debug)]
struct Mapping<'s> {
    /// How `smaps` begins it.
    line: &'s str,
    range: Range<usize>,
}

/// What `smaps` says now.
fn read(smaps: &mut File) -> Option<String> {
    let mut text = String::new();
    smaps.rewind().ok()?;
    smaps.read_to_string(&mut text).ok()?;
    Some(text)
}

/// The mappings of files that nobody may write to and nobody has written to.
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
        // All other lines have a name and a colon where this one has an address.
        if let Some(range) = range(line) {
            current = is_constant(line).then_some(Mapping { line, range });
        }
        None
    })
}

/// Where a mapping lies, if this line begins one.
fn range(line: &str) -> Option<Range<usize>> {
    let (begin, end) = line.split_once(' ')?.0.split_once('-')?;
    let address = |digits| usize::from_str_radix(digits, 16).ok();
    Some(address(begin)?..address(end)?)
}

/// Whether a mapping is of a file, for this process alone, and may not be written to.
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
