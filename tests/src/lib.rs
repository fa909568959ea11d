//! Whole-system scenarios, and what benchmarks and chaos runs share.

pub mod load;
