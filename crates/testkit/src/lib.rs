//! Harness of the scenarios: a real `drover` in a process and a directory of its own, on free ports; or an environment for parts
//! that a test builds itself, and services that know only what they are told. For tests only.

mod drover;
mod environment;
mod erased;
mod eventually;
mod secrets;

pub use drover::{DataDirectory, Drover, command_line};
pub use environment::{ADMINISTRATOR_TOKEN, environment, tenant};
pub use erased::Erased;
pub use eventually::eventually;
pub use secrets::Secrets;
