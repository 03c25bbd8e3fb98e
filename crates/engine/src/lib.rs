//! The Python engine.
#![allow(dead_code, unused_imports)]
mod host;
mod python;
