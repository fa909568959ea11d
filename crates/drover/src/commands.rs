//! One file for each noun of the command line: its arguments, its call, its columns.

pub mod api_key;
pub mod backup;
pub mod completions;
pub mod configuration;
pub mod context;
pub mod credential;
pub mod deadletters;
pub mod demo;
pub mod device;
pub mod doctor;
pub mod export;
pub mod health;
pub mod ledger;
pub mod login;
pub mod man;
pub mod query;
pub mod restore;
pub mod retention;
pub mod session;
pub mod sim;
pub mod tail;
pub mod telemetry;
pub mod tenant;
pub mod topic;
pub mod watch;

/// Items that a list command shows when no `--limit` is given.
const LIST_LIMIT: usize = 1_000;
