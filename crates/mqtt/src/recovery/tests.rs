//! The rules of the fold one by one, and that a checkpoint at any moment changes nothing.
