//! What the conditions of a query say about devices, keys and time. Only what is sure: the engine checks every row again.

use std::collections::BTreeSet;

use datafusion::logical_expr::expr::InList;
use datafusion::logical_expr::{BinaryExpr, Expr, Operator};
use datafusion::scalar::ScalarValue;

use crate::file::Wanted;

/// The rows that can pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    /// Any of these devices; none means all.
    pub devices: Option<BTreeSet<Box<str>>>,
    /// Any of these keys; none means all.
    pub keys: Option<BTreeSet<Box<str>>>,
    /// First time, inclusive, microseconds since 1970.
    pub from: i64,
    /// Last time, exclusive.
    pub to: i64,
}

impl Filter {
    pub(crate) fn of(conditions: &[Expr]) -> Self {
        let mut filter = Self { devices: None, keys: None, from: i64::MIN, to: i64::MAX };
        conditions.iter().for_each(|condition| filter.narrow(condition));
        filter
    }

    /// Whether an expression says something that this understands.
    pub(crate) fn understands(condition: &Expr) -> bool {
        let all = Self { devices: None, keys: None, from: i64::MIN, to: i64::MAX };
        Self::of(std::slice::from_ref(condition)) != all
    }

    /// Whether no row can pass.
    pub(crate) fn is_empty(&self) -> bool {
        let none = |names: &Option<BTreeSet<Box<str>>>| names.as_ref().is_some_and(BTreeSet::is_empty);
        self.from >= self.to || none(&self.devices) || none(&self.keys)
    }

    pub(crate) fn wanted(&self) -> Wanted {
        let names = |names: &Option<BTreeSet<Box<str>>>| names.iter().flatten().cloned().collect();
        Wanted { devices: names(&self.devices), keys: names(&self.keys), from: self.from, to: self.to }
    }

    fn narrow(&mut self, condition: &Expr) {
        match condition {
            Expr::BinaryExpr(BinaryExpr { left, op: Operator::And, right }) => {
                self.narrow(left);
                self.narrow(right);
            }
            Expr::BinaryExpr(BinaryExpr { left, op: Operator::Or, .. })
                if equalities(condition).is_some() =>
            {
                let (Some(column), Some(names)) = (column_of_equality(left), equalities(condition)) else {
                    return;
                };
                self.any_of(&column, names);
            }
            Expr::BinaryExpr(BinaryExpr { left, op, right }) => match (column(left), column(right)) {
                (Some(name), None) => self.compare(name, *op, right),
                (None, Some(name)) => {
                    if let Some(op) = op.swap() {
                        self.compare(name, op, left);
                    }
                }
                _ => {}
            },
            Expr::InList(InList { expr, list, negated: false }) => {
                let names: Option<BTreeSet<Box<str>>> = list.iter().map(text).collect();
                if let (Some(name), Some(names)) = (column(expr), names) {
                    self.any_of(name, names);
                }
            }
            _ => {}
        }
    }

    fn compare(&mut self, name: &str, op: Operator, value: &Expr) {
        match (name, op) {
            ("device" | "key" | "id", Operator::Eq) => {
                if let Some(text) = text(value) {
                    self.any_of(name, BTreeSet::from([text]));
                }
            }
            ("ts", op) => {
                let Some(ts) = micros(value) else { return };
                match op {
                    Operator::Eq => self.time(ts, ts.saturating_add(1)),
                    Operator::Lt => self.time(i64::MIN, ts),
                    Operator::LtEq => self.time(i64::MIN, ts.saturating_add(1)),
                    Operator::Gt => self.time(ts.saturating_add(1), i64::MAX),
                    Operator::GtEq => self.time(ts, i64::MAX),
                    _ => {}
                }
            }
            _ => {}
        }
    }

    fn time(&mut self, from: i64, to: i64) {
        self.from = self.from.max(from);
        self.to = self.to.min(to);
    }

    fn any_of(&mut self, name: &str, names: BTreeSet<Box<str>>) {
        let known = match name {
            "device" | "id" => &mut self.devices,
            "key" => &mut self.keys,
            _ => return,
        };
        *known = Some(match known.take() {
            Some(known) => known.intersection(&names).cloned().collect(),
            None => names,
        });
    }
}

/// The names of `column = a OR column = b OR …`, all of one column.
fn equalities(condition: &Expr) -> Option<BTreeSet<Box<str>>> {
    let Expr::BinaryExpr(BinaryExpr { left, op, right }) = condition else { return None };
    match op {
        Operator::Or => {
            let same = column_of_equality(left)? == column_of_equality(right)?;
            let mut names = equalities(left).filter(|_| same)?;
            names.extend(equalities(right)?);
            Some(names)
        }
        Operator::Eq => text(right).map(|name| BTreeSet::from([name])),
        _ => None,
    }
}

fn column_of_equality(condition: &Expr) -> Option<String> {
    let Expr::BinaryExpr(BinaryExpr { left, op, .. }) = condition else { return None };
    match op {
        Operator::Or => column_of_equality(left),
        Operator::Eq => column(left).map(str::to_owned),
        _ => None,
    }
}

fn column(expr: &Expr) -> Option<&str> {
    match expr {
        Expr::Column(column) => Some(&column.name),
        _ => None,
    }
}

fn text(expr: &Expr) -> Option<Box<str>> {
    fn of(value: &ScalarValue) -> Option<Box<str>> {
        match value {
            ScalarValue::Dictionary(_, value) => of(value),
            other => other.try_as_str().flatten().map(Into::into),
        }
    }
    match expr {
        Expr::Literal(value, _) => of(value),
        _ => None,
    }
}

/// A time that stands in the query, rounded down to a microsecond. One that is finer is not understood.
fn micros(expr: &Expr) -> Option<i64> {
    match expr {
        Expr::Literal(ScalarValue::TimestampMicrosecond(value, _), _) => *value,
        Expr::Literal(ScalarValue::TimestampNanosecond(Some(value), _), _) if value % 1_000 == 0 => {
            Some(value / 1_000)
        }
        Expr::Literal(ScalarValue::TimestampMillisecond(Some(value), _), _) => value.checked_mul(1_000),
        Expr::Literal(ScalarValue::TimestampSecond(Some(value), _), _) => value.checked_mul(1_000_000),
        _ => None,
    }
}
