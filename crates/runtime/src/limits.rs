//! What the operating system allows the process.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Every connection is an open file: takes as many as the administrator allows, and returns how many (none: unlimited).
pub fn raise_open_files() -> Option<u64> {
    let limit = getrlimit(Resource::Nofile);
    if limit.current == limit.maximum {
        return limit.current;
    }
    match setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum }) {
        Ok(()) => limit.maximum,
        Err(error) => {
            tracing::warn!("open files stay limited to {:?}: {error}", limit.current);
            limit.current
        }
    }
}
