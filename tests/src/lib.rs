//! Whole-system scenarios (`tests/`), the tools `tidy`, `chaos` and `bench` (`src/bin/`), and what several of these share.

pub mod load;
pub mod ordinary_clients;
