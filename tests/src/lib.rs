//! Whole-system scenarios (`tests/`), and the tools `tidy`, `chaos` and `bench`. Here: ordinary MQTT clients as a user runs them.

pub mod ordinary_clients;
