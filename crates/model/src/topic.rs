//! The scheme of device topics, in one place: text to meaning and meaning to text. CoAP and HTTP use the same words as paths.

/// What a device topic means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Channel {
    /// Measurements, up.
    Telemetry,
    /// Things that happened, up.
    Event,
}

impl Channel {
    /// The topic or path of this channel.
    pub const fn topic(self) -> &'static str {
        match self {
            Self::Telemetry => TELEMETRY,
            Self::Event => EVENTS,
        }
    }
}

/// Measurements, device to platform.
pub const TELEMETRY: &str = "v1/telemetry";
/// Things that happened, device to platform.
pub const EVENTS: &str = "v1/events";
/// What was dead-lettered or refused, platform to device.
pub const ERRORS: &str = "v1/errors";
/// The time of day: any message is answered on the same topic.
pub const TIME: &str = "v1/time";
/// Where all of the platform's own device topics begin.
pub const PREFIX: &str = "v1/";

/// What a device may do with a topic that it publishes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Upward {
    /// Goes into the log.
    Channel(Channel),
    /// Asks for the time of day.
    Time,
    /// A topic of the tenant's own space.
    Free,
    /// Under [`PREFIX`], but nothing that a device may publish to.
    Reserved,
}

impl Upward {
    /// What publishing to `topic` means for a device.
    pub fn of(topic: &str) -> Self {
        match topic {
            TELEMETRY => Self::Channel(Channel::Telemetry),
            EVENTS => Self::Channel(Channel::Event),
            TIME => Self::Time,
            _ if topic.starts_with(PREFIX) => Self::Reserved,
            _ => Self::Free,
        }
    }
}

/// The part of the tenant's topic space that a device reaches by default: `dev/{device}/#`.
pub fn device_space(device: &str) -> String {
    format!("dev/{device}/#")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_map_both_ways() {
        for channel in [Channel::Telemetry, Channel::Event] {
            assert_eq!(Upward::of(channel.topic()), Upward::Channel(channel));
        }
        assert_eq!(Upward::of("v1/time"), Upward::Time);
        assert_eq!(Upward::of("v1/twin"), Upward::Reserved);
        assert_eq!(Upward::of("v1telemetry"), Upward::Free);
    }
}
