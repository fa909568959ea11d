//! Where a record belongs: stream, partition, shard, and its position in the log.

use std::fmt;

use xxhash_rust::xxh3::Xxh3;

/// Virtual partitions, for the life of an installation.
pub const PARTITIONS: u16 = 256;

/// A sort of record, kept apart from the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Stream {
    /// Measurements.
    Telemetry,
    /// Things that happened.
    Events,
    /// State of MQTT sessions.
    Sessions,
    /// Commands to devices and their replies.
    Commands,
    /// What could not be processed.
    DeadLetters,
}

impl Stream {
    /// Every stream.
    pub const ALL: [Self; 5] =
        [Self::Telemetry, Self::Events, Self::Sessions, Self::Commands, Self::DeadLetters];

    /// The name, as in directories and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Telemetry => "telemetry",
            Self::Events => "events",
            Self::Sessions => "sessions",
            Self::Commands => "commands",
            Self::DeadLetters => "deadletter",
        }
    }

    /// Position in [`Self::ALL`].
    pub(crate) const fn index(self) -> usize {
        self as usize
    }
}

impl fmt::Display for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One of the parts of a stream that are written and read apart from each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Shard(pub u16);

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Index of a frame in its stream and shard; the first is 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Offset(pub u64);

impl Offset {
    /// The one after this.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The partition of a device's records, out of [`PARTITIONS`].
pub fn partition_of(tenant: &str, device: &str) -> u8 {
    let mut hash = Xxh3::new();
    hash.update(tenant.as_bytes());
    hash.update(b":");
    hash.update(device.as_bytes());
    hash.digest().to_le_bytes()[0]
}

/// The shard of a partition, when there are `shards` of them (at least 1).
pub fn shard_of(partition: u8, shards: u16) -> Shard {
    Shard(u16::from(partition) % shards.max(1))
}

/// Positions that one frame takes up in [`sequence`].
pub(crate) const POSITIONS_PER_FRAME: u64 = 1024;

/// A record's position in its stream and shard: grows with the log, and is the same at every reading.
pub const fn sequence(offset: Offset, index: u16) -> u64 {
    offset.0.saturating_mul(POSITIONS_PER_FRAME).saturating_add(index as u64)
}

#[cfg(test)]
mod tests {
    use xxhash_rust::xxh3::xxh3_64;

    use super::*;

    #[test]
    fn a_partition_is_the_hash_of_tenant_and_device() {
        let expected = u8::try_from(xxh3_64(b"acme:pump-7") % 256).unwrap();
        assert_eq!(partition_of("acme", "pump-7"), expected);
        assert_eq!(shard_of(255, 4), Shard(3));
        assert_eq!(shard_of(7, 0), Shard(0));
        assert_eq!(sequence(Offset(2), 5), 2053);
    }
}
