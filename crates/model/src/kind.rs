//! What sort of failure an error is. Mapped once per protocol.

/// The sort of a failure, the same in every service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The request is wrong in itself.
    Invalid,
    /// Nobody is known by these credentials.
    Unauthenticated,
    /// Known, but not allowed.
    Denied,
    /// No such thing.
    NotFound,
    /// A thing of that name is there already.
    Exists,
    /// It changed since the caller read it.
    Conflict,
    /// A bound was reached; later it may work.
    Exhausted,
    /// Not answered in time.
    Timeout,
    /// A part that is needed is away; later it may work.
    Unavailable,
    /// A fault of ours. Its detail stays in the log.
    Internal,
}
