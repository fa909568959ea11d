//! Conditions on values, as `drover tail --where` takes them: `temp>30`, `state=on`, `alarm!=true`.

use std::cmp::Ordering;
use std::str::FromStr;

use serde_json::Value;

/// The longer ones first, since the shorter begin them.
const OPERATORS: [(&str, Operator); 6] = [
    (">=", |order| order != Ordering::Less),
    ("<=", |order| order != Ordering::Greater),
    ("!=", |order| order != Ordering::Equal),
    (">", |order| order == Ordering::Greater),
    ("<", |order| order == Ordering::Less),
    ("=", |order| order == Ordering::Equal),
];

type Operator = fn(Ordering) -> bool;

/// What a value has to be.
#[derive(Clone, Debug)]
pub struct Condition {
    key: String,
    holds: Operator,
    other: Value,
}

impl Condition {
    /// Whether it holds of a message's values. A key that is not there, or a value of another kind, does not fulfil it.
    pub fn holds(&self, values: &Value) -> bool {
        let order = match (values.get(&self.key), &self.other) {
            (Some(Value::Number(one)), Value::Number(other)) => {
                one.as_f64().zip(other.as_f64()).and_then(|(one, other)| one.partial_cmp(&other))
            }
            (Some(Value::Bool(one)), Value::Bool(other)) => Some(one.cmp(other)),
            (Some(Value::String(one)), Value::String(other)) => Some(one.cmp(other)),
            _ => None,
        };
        order.is_some_and(self.holds)
    }
}

impl FromStr for Condition {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let hint = || format!("{text:?} is no condition: give one like 'temp>30', 'state=on' or 'ok!=true'");
        let at = text.find(['>', '<', '=', '!']).filter(|at| *at > 0).ok_or_else(hint)?;
        let (key, rest) = text.split_at_checked(at).ok_or_else(hint)?;
        let found = OPERATORS.iter().find_map(|(sign, holds)| Some((rest.strip_prefix(sign)?, *holds)));
        let (other, holds) = found.ok_or_else(hint)?;
        let other = other.trim();
        // What is neither a number nor true or false is text, with quotes or without.
        let other = match serde_json::from_str(other) {
            Ok(value @ (Value::Number(_) | Value::Bool(_) | Value::String(_))) => value,
            _ => Value::String(other.to_owned()),
        };
        Ok(Self { key: key.trim().to_owned(), holds, other })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn numbers_words_and_truths_are_compared_with_their_own_kind() {
        let values = json!({"temp": 30.5, "state": "on", "ok": true, "a/b.c": 1});
        let holds = |text: &str| text.parse::<Condition>().unwrap().holds(&values);
        for text in [
            "temp>30",
            "temp >= 30.5",
            "temp<=30.5",
            "temp!=3",
            "state=on",
            "state = \"on\"",
            "ok=true",
            "a/b.c<2",
        ] {
            assert!(holds(text), "{text}");
        }
        for text in ["temp<30", "temp=on", "state!=on", "state>1", "ok=false", "gone=1", "gone!=1"] {
            assert!(!holds(text), "{text}");
        }
    }

    #[test]
    fn what_is_no_condition_is_refused_with_an_example() {
        for text in ["temp", ">3", "", "temp!3"] {
            assert!(text.parse::<Condition>().unwrap_err().contains("'temp>30'"), "{text}");
        }
    }
}
