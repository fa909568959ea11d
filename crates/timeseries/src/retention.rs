//! How long points are kept: rules by tenant and key. Of the rules of a tenant that match a key the most specific one counts: a name
//! before a pattern, of patterns the one with more letters that are not `*`, last what is said for all. A point that is older is
//! hidden, a merge leaves it out, and a file that has only such points goes as a whole.

use std::sync::Arc;
use std::time::Duration;

use drover_model::Timestamp;
use hashbrown::HashMap;

use crate::file::Part;

/// What matches every key.
const ALL: &str = "*";

/// How long points of some keys are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetentionRule {
    /// Name of a key, in which `*` stands for any text.
    pub keys: Box<str>,
    /// None: for ever.
    pub keep: Option<Duration>,
}

impl RetentionRule {
    fn matches(&self, key: &str) -> bool {
        matches(self.keys.as_bytes(), key.as_bytes())
    }

    /// The one that counts when both match a key comes first.
    pub fn by_precedence(&self, other: &Self) -> std::cmp::Ordering {
        self.order().cmp(&other.order())
    }

    fn order(&self) -> (bool, std::cmp::Reverse<usize>, &str) {
        let letters = self.keys.bytes().filter(|byte| *byte != b'*').count();
        (self.keys.contains('*'), std::cmp::Reverse(letters), &self.keys)
    }
}

/// Whether a text matches a pattern.
fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut at, mut from) = (0, 0);
    // Where the last `*` stands, and where what comes behind it was last looked for.
    let mut star: Option<(usize, usize)> = None;
    while from < text.len() {
        match (pattern.get(at), star) {
            (Some(b'*'), _) => {
                star = Some((at, from));
                at += 1;
            }
            (Some(byte), _) if Some(byte) == text.get(from) => {
                at += 1;
                from += 1;
            }
            (_, Some((behind, looked))) => {
                star = Some((behind, looked + 1));
                at = behind + 1;
                from = looked + 1;
            }
            (_, None) => return false,
        }
    }
    pattern.get(at..).unwrap_or_default().iter().all(|byte| *byte == b'*')
}

/// The rules of all tenants.
#[derive(Debug, Clone, Default)]
pub struct Retention {
    /// For keys, and tenants, of which nothing else is said. None: for ever.
    pub default: Option<Duration>,
    /// By tenant.
    pub rules: HashMap<Box<str>, Vec<RetentionRule>>,
}

/// The rules in force, and the time by which they are measured.
#[derive(Debug, Default)]
pub(crate) struct InForce {
    tenants: HashMap<Box<str>, Arc<[RetentionRule]>>,
    /// Of tenants without rules of their own.
    others: Option<Arc<[RetentionRule]>>,
    now: i64,
}

impl InForce {
    /// Puts other rules in force.
    pub(crate) fn set(&mut self, retention: &Retention) {
        let default = RetentionRule { keys: ALL.into(), keep: retention.default };
        let ordered = |rules: &[RetentionRule]| -> Option<Arc<[RetentionRule]>> {
            let mut rules = rules.to_vec();
            if !rules.iter().any(|rule| &*rule.keys == ALL) {
                rules.push(default.clone());
            }
            rules.sort_by(RetentionRule::by_precedence);
            rules.iter().any(|rule| rule.keep.is_some()).then(|| rules.into())
        };
        // One whose points are kept for ever must not fall to the default.
        let of_tenant = |rules: &[RetentionRule]| ordered(rules).unwrap_or_default();
        let rules = retention.rules.iter();
        self.tenants = rules.map(|(tenant, rules)| (tenant.clone(), of_tenant(rules))).collect();
        self.others = ordered(&[]);
    }

    pub(crate) fn pass(&mut self, now: Timestamp) {
        self.now = now.as_micros();
    }

    /// What holds for a tenant; none when everything is kept.
    pub(crate) fn of(&self, tenant: &str) -> Option<Kept> {
        let rules = self.tenants.get(tenant).or(self.others.as_ref()).filter(|rules| !rules.is_empty())?;
        let cuts = rules.iter().map(|rule| cut(rule, self.now));
        let (first, last) =
            cuts.fold((i64::MAX, i64::MIN), |(first, last), cut| (first.min(cut), last.max(cut)));
        Some(Kept { rules: Arc::clone(rules), now: self.now, first, last })
    }
}

fn cut(rule: &RetentionRule, now: i64) -> i64 {
    rule.keep.map_or(i64::MIN, |keep| now.saturating_sub(i64::try_from(keep.as_micros()).unwrap_or(i64::MAX)))
}

/// What of one tenant's points is kept, as of one moment.
#[derive(Debug, Clone)]
pub(crate) struct Kept {
    rules: Arc<[RetentionRule]>,
    now: i64,
    /// Before this nothing is kept, whatever its key.
    first: i64,
    /// From here on everything is.
    last: i64,
}

impl Kept {
    /// From when on points of a key are kept.
    pub(crate) fn from(&self, key: &str) -> i64 {
        self.rules.iter().find(|rule| rule.matches(key)).map_or(i64::MIN, |rule| cut(rule, self.now))
    }

    pub(crate) fn has(&self, key: &str, ts: i64) -> bool {
        ts >= self.last || (ts >= self.first && ts >= self.from(key))
    }

    /// Whether all rows of a part are kept.
    pub(crate) fn has_all(&self, part: &Part) -> bool {
        part.min_ts >= self.last
    }

    /// Whether none is.
    pub(crate) fn has_none(&self, part: &Part) -> bool {
        part.max_ts < self.first
    }

    /// Names the rules by which everything that ends at `max_ts` is too old; 0 when there are none.
    pub(crate) fn trimmed(&self, max_ts: i64) -> i64 {
        let passed = self.rules.iter().filter(|rule| cut(rule, self.now) > max_ts);
        // FNV-1a, which is the same in every version of this program.
        let hash = passed.flat_map(|rule| rule.keys.bytes().chain([b'\n'])).fold(None, |hash, byte| {
            let hash: u64 = hash.unwrap_or(0xcbf2_9ce4_8422_2325);
            Some((hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
        });
        hash.map_or(0, u64::cast_signed)
    }

    /// Whether a merged part is worth writing anew, since rules have passed over all of it that had not when it was written.
    pub(crate) fn is_due(&self, part: &Part) -> bool {
        let passed = self.trimmed(part.max_ts);
        passed != 0 && passed != part.trimmed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(keys: &str, keep_us: u64) -> RetentionRule {
        let keep = (keep_us > 0).then(|| Duration::from_micros(keep_us));
        RetentionRule { keys: keys.into(), keep }
    }

    fn in_force(default_us: u64, rules: &[(&str, u64)]) -> InForce {
        let mut in_force = InForce::default();
        let rules = rules.iter().map(|(keys, keep)| rule(keys, *keep)).collect();
        let default = rule(ALL, default_us).keep;
        in_force.set(&Retention { default, rules: [("t".into(), rules)].into_iter().collect() });
        in_force.pass(Timestamp::from_micros(1_000));
        in_force
    }

    #[test]
    fn a_star_stands_for_any_text() {
        for (pattern, text, is_match) in [
            ("debug.*", "debug.a", true),
            ("debug.*", "debug", false),
            ("*.debug", "a.b.debug", true),
            ("a*b*c", "a.b.b.c", true),
            ("a*b*c", "a.b.b.d", false),
            ("*", "", true),
            ("temp", "temp", true),
            ("temp", "temperature", false),
        ] {
            assert_eq!(matches(pattern.as_bytes(), text.as_bytes()), is_match, "{pattern} {text}");
        }
    }

    #[test]
    fn the_most_specific_rule_counts() {
        let kept = in_force(300, &[("a*", 100), ("a.b", 0), ("a.*", 200)]).of("t").unwrap();
        let from = ["a.b", "a.c", "ax", "b"].map(|key| kept.from(key));
        assert_eq!(from, [i64::MIN, 800, 900, 700]);
        assert!(!kept.has("ax", 899) && kept.has("ax", 900) && kept.has("a.b", 0));
    }

    #[test]
    fn a_tenant_may_keep_for_ever_what_others_do_not() {
        let in_force = in_force(300, &[("*", 0)]);
        assert!(in_force.of("t").is_none());
        assert_eq!(in_force.of("u").unwrap().from("k"), 700);
        assert!(self::in_force(0, &[]).of("u").is_none());
    }
}
