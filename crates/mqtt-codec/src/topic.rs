//! Topic names and topic filters (MQTT 5, 4.7 and 4.8): what is valid, what matches, and what lies within what.

#[cfg(test)]
mod tests;

/// The longest topic name or filter, in bytes (MQTT 5, 4.7.3).
pub const MAX_TOPIC_BYTES: usize = 65_535;

const SHARE_PREFIX: &str = "$share/";

/// Why a text is no topic name or no topic filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TopicError {
    #[error("topic is empty")]
    Empty,
    #[error("topic is longer than 65,535 bytes")]
    TooLong,
    #[error("topic contains the character U+0000")]
    Nul,
    #[error("topic name contains a wildcard")]
    WildcardInName,
    #[error("wildcard # is not alone in the last level")]
    MultiLevelWildcard,
    #[error("wildcard + is not alone in its level")]
    SingleLevelWildcard,
    #[error("shared subscription has no group name or no filter, or a wildcard in the group name")]
    Share,
}

fn check_length(text: &str) -> Result<(), TopicError> {
    match text.len() {
        0 => Err(TopicError::Empty),
        1..=MAX_TOPIC_BYTES => Ok(()),
        _ => Err(TopicError::TooLong),
    }
}

/// A valid topic name: what a message is published to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TopicName<'a>(&'a str);

impl<'a> TopicName<'a> {
    /// Checks a topic name: 1 to 65,535 bytes, no wildcard, no U+0000.
    pub fn parse(text: &'a str) -> Result<Self, TopicError> {
        check_length(text)?;
        // Without an early end the compiler looks at many bytes at once.
        let refused = text.bytes().fold(false, |refused, byte| refused | matches!(byte, 0 | b'+' | b'#'));
        match refused {
            false => Ok(Self(text)),
            true if text.contains('\0') => Err(TopicError::Nul),
            true => Err(TopicError::WildcardInName),
        }
    }

    /// The name as text.
    pub const fn as_str(self) -> &'a str {
        self.0
    }

    /// The levels between the slashes; a level may be empty.
    pub fn levels(self) -> impl Iterator<Item = &'a str> {
        self.0.split('/')
    }
}

/// A valid topic filter: what a client subscribes to, possibly shared in a group.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TopicFilter {
    group: Option<Box<str>>,
    filter: Box<str>,
}

impl TopicFilter {
    /// Checks a filter as SUBSCRIBE and UNSUBSCRIBE carry it, and splits `$share/<group>/<filter>`.
    pub fn parse(text: &str) -> Result<Self, TopicError> {
        check_length(text)?;
        if text.contains('\0') {
            return Err(TopicError::Nul);
        }
        let (group, filter) = match text.strip_prefix(SHARE_PREFIX) {
            None => (None, text),
            Some(shared) => {
                let (group, filter) = shared.split_once('/').ok_or(TopicError::Share)?;
                if group.is_empty() || filter.is_empty() || group.contains(['+', '#']) {
                    return Err(TopicError::Share);
                }
                (Some(group.into()), filter)
            }
        };
        check_wildcards(filter)?;
        Ok(Self { group, filter: filter.into() })
    }

    /// The filter itself, without `$share/<group>/`.
    pub fn filter(&self) -> &str {
        &self.filter
    }

    /// The group of a shared subscription (MQTT 5, 4.8.2).
    pub fn group(&self) -> Option<&str> {
        self.group.as_deref()
    }

    /// Whether the filter has a `+` or a `#`.
    pub fn has_wildcard(&self) -> bool {
        self.filter.contains(['+', '#'])
    }

    /// The levels of the filter between the slashes; a level may be empty.
    pub fn levels(&self) -> impl Iterator<Item = &str> {
        self.filter.split('/')
    }

    /// Whether a message to this topic is for this filter.
    pub fn matches(&self, topic: TopicName<'_>) -> bool {
        matches(&self.filter, topic.as_str())
    }
}

fn check_wildcards(filter: &str) -> Result<(), TopicError> {
    let mut levels = filter.split('/').peekable();
    while let Some(level) = levels.next() {
        if level.contains('#') && (level != "#" || levels.peek().is_some()) {
            return Err(TopicError::MultiLevelWildcard);
        }
        if level.contains('+') && level != "+" {
            return Err(TopicError::SingleLevelWildcard);
        }
    }
    Ok(())
}

/// Whether a valid filter (without `$share/<group>/`) matches a valid topic name (MQTT 5, 4.7.1 and 4.7.2).
pub fn matches(filter: &str, topic: &str) -> bool {
    let (mut filter, mut topic) = (filter.as_bytes(), topic.as_bytes());
    if matches!(filter, [b'+' | b'#', ..]) && topic.first() == Some(&b'$') {
        return false;
    }
    loop {
        // A topic has no wildcards, so what both have in common has none either.
        let common = filter.iter().zip(topic).take_while(|(wanted, found)| wanted == found).count();
        filter = filter.get(common..).unwrap_or_default();
        topic = topic.get(common..).unwrap_or_default();
        match (filter, topic) {
            ([b'#', ..], _) => return true,
            ([b'+', rest @ ..], _) => {
                filter = rest;
                let level = topic.iter().position(|&byte| byte == b'/').unwrap_or(topic.len());
                topic = topic.get(level..).unwrap_or_default();
            }
            // `a/#` also matches its parent `a`.
            (rest, []) => return rest.is_empty() || rest == b"/#",
            _ => return false,
        }
    }
}

/// Whether every topic that `filter` matches is matched by `allowed` too. Both are valid filters without
/// `$share/<group>/`.
pub fn is_within(filter: &str, allowed: &str) -> bool {
    if matches!(allowed.as_bytes(), [b'+' | b'#', ..]) && filter.starts_with('$') {
        return false;
    }
    // As a whole filter `#` has no parent level to match, so it says the same as `+/#`.
    if filter == "#" {
        return matches!(allowed, "#" | "+/#");
    }
    let mut allowed_levels = allowed.split('/');
    for level in filter.split('/') {
        match allowed_levels.next() {
            Some("#") => return true,
            Some("+") if level != "#" => {}
            Some(allowed_level) if allowed_level == level => {}
            _ => return false,
        }
    }
    // What is left of `allowed` must match nothing more: `a` lies within `a/#`.
    match allowed_levels.next() {
        None => true,
        Some(level) => level == "#",
    }
}
