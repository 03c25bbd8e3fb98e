//! A bell: wakes threads that wait in the host for a descriptor, and cannot be woken in another
//! way.
//!
//! It rings by closing one end of a pipe, which is made when the first thread listens. A process
//! that the application forks inherits both ends, and the bell is not heard until that process
//! closes them; so waiting threads must also wake up at intervals.

use std::ffi::c_int;
use std::io::{PipeReader, PipeWriter, pipe};
use std::os::fd::AsRawFd as _;
use std::sync::{Mutex, OnceLock};

use crate::lock::lock;

/// The bell.
#[derive(Debug)]
pub(crate) struct Bell(OnceLock<Option<Ends>>);

#[derive(Debug)]
struct Ends {
    near: PipeReader,
    /// `None` once it has rung.
    far: Mutex<Option<PipeWriter>>,
}

impl Bell {
    /// A bell without listeners.
    pub(crate) const fn new() -> Self {
        Self(OnceLock::new())
    }

    /// A descriptor that becomes readable when the bell rings, and is open as long as the bell
    /// exists; -1 if the system has no more descriptors.
    pub(crate) fn listen(&self) -> c_int {
        let ends = self.0.get_or_init(|| {
            let (near, far) = pipe().ok()?;
            let far = Mutex::new(Some(far));
            Some(Ends { near, far })
        });
        ends.as_ref().map_or(-1, |ends| ends.near.as_raw_fd())
    }

    /// Rings the bell, if any thread listens.
    pub(crate) fn ring(&self) {
        if let Some(Some(ends)) = self.0.get() {
            let mut far = lock(&ends.far);
            *far = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    #[test]
    fn who_listens_is_woken() {
        let bell = Bell::new();
        bell.ring();
        assert!(bell.0.get().is_none(), "nobody has listened");
        assert!(bell.listen() >= 0);
        std::thread::scope(|scope| {
            let mut near = &bell.0.get().unwrap().as_ref().unwrap().near;
            let listener = scope.spawn(move || near.read(&mut [0]).unwrap());
            bell.ring();
            assert_eq!(listener.join().unwrap(), 0);
        });
        bell.ring();
    }
}
