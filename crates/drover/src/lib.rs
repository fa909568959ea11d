//! The program `drover`: every service in one process (`up`), the demonstration, and the operator's command line.

mod banner;
pub mod config;
pub mod up;
