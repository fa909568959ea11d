//! Harness of the scenarios: a real `drover` in a process and a directory of its own, on free ports. For tests only.

mod drover;
mod eventually;

pub use drover::{DataDirectory, Drover};
pub use eventually::eventually;
