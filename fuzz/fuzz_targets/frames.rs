//! Whatever a peer sends, in whatever pieces: no panic, and no more memory than the limits allow.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wire::{Decoder, ToChild, ToWorker};

fuzz_target!(|input: (u8, &[u8])| {
    let (step, bytes) = input;
    let (mut worker, mut child) = (Decoder::new(), Decoder::new());
    let (mut worker_is_open, mut child_is_open) = (true, true);
    for piece in bytes.chunks(usize::from(step).max(1)) {
        worker.feed(piece);
        child.feed(piece);
        while worker_is_open {
            match worker.next::<ToWorker<'_>>() {
                Ok(Some((_, frame))) => drop(format!("{frame:?}")),
                Ok(None) => break,
                Err(_) => worker_is_open = false,
            }
        }
        while child_is_open {
            match child.next::<ToChild<'_>>() {
                Ok(Some((_, frame))) => drop(format!("{frame:?}")),
                Ok(None) => break,
                Err(_) => child_is_open = false,
            }
        }
    }
});
