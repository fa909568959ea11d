//! Functions of time series that SQL lacks, each turned into what DataFusion has: `time_bucket(interval, ts)`,
//! `first(value, ts)`, `last(value, ts)`, `percentile(value, p)`, and the table `time_buckets(interval, from, to)`.

use std::sync::Arc;

use arrow_array::{RecordBatch, TimestampMicrosecondArray};
use datafusion::arrow::datatypes::{DataType, Field, IntervalMonthDayNano, Schema, TimeUnit};
use datafusion::catalog::{TableFunction, TableFunctionArgs, TableFunctionImpl, TableProvider};
use datafusion::common::{Result, plan_err};
use datafusion::datasource::MemTable;
use datafusion::functions::datetime::date_bin;
use datafusion::functions_aggregate::first_last::{first_value_udaf, last_value_udaf};
use datafusion::functions_aggregate::percentile_cont::percentile_cont_udaf;
use datafusion::logical_expr::expr::{AggregateFunction, ScalarFunction, Sort};
use datafusion::logical_expr::function::{AccumulatorArgs, AggregateFunctionSimplification};
use datafusion::logical_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF,
    ScalarUDFImpl, Signature, Volatility, lit,
};
use datafusion::scalar::ScalarValue;

/// What is added to DataFusion's own.
pub(crate) fn scalar() -> Vec<Arc<ScalarUDF>> {
    vec![Arc::new(ScalarUDF::new_from_impl(TimeBucket(Signature::any(2, Volatility::Immutable))))]
}

pub(crate) fn aggregate() -> Vec<Arc<AggregateUDF>> {
    let of = |kind| {
        AggregateUDF::new_from_impl(Ordered { kind, signature: Signature::any(2, Volatility::Immutable) })
    };
    [Kind::First, Kind::Last, Kind::Percentile].map(|kind| Arc::new(of(kind))).into()
}

pub(crate) fn table() -> Arc<TableFunction> {
    Arc::new(TableFunction::new("time_buckets".to_owned(), Arc::new(TimeBuckets)))
}

/// `time_bucket('5m', ts)`: the start of the interval in which a time lies; intervals begin at whole multiples since 1970.
#[derive(Debug, PartialEq, Eq, Hash)]
struct TimeBucket(Signature);

impl ScalarUDFImpl for TimeBucket {
    fn name(&self) -> &'static str {
        "time_bucket"
    }

    fn signature(&self) -> &Signature {
        &self.0
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        match types {
            [_, ts @ DataType::Timestamp(..)] => Ok(ts.clone()),
            [_, other] => plan_err!("time_bucket wants a timestamp as its second argument, not {other}"),
            _ => plan_err!("time_bucket wants two arguments: time_bucket('5m', ts)"),
        }
    }

    fn invoke_with_args(&self, _: ScalarFunctionArgs) -> Result<ColumnarValue> {
        plan_err!("time_bucket wants a constant interval, for instance '5m'")
    }

    fn simplify(&self, mut args: Vec<Expr>, _: &SimplifyContext) -> Result<ExprSimplifyResult> {
        let Some(Expr::Literal(interval, _)) = args.first() else {
            return plan_err!("time_bucket wants a constant interval, for instance '5m'");
        };
        let interval = match interval {
            ScalarValue::IntervalMonthDayNano(_)
            | ScalarValue::IntervalDayTime(_)
            | ScalarValue::IntervalYearMonth(_) => interval.clone(),
            other => match other.try_as_str().flatten() {
                Some(text) => ScalarValue::IntervalMonthDayNano(Some(parse(text)?)),
                None => {
                    return plan_err!(
                        "time_bucket wants an interval as its first argument, for instance '5m'"
                    );
                }
            },
        };
        if let Some(first) = args.first_mut() {
            *first = lit(interval);
        }
        Ok(ExprSimplifyResult::Simplified(Expr::ScalarFunction(ScalarFunction::new_udf(date_bin(), args))))
    }
}

/// An interval such as `30s`, `5m`, `1h`, `7d`, `2w`, also `5 minutes`.
fn parse(text: &str) -> Result<IntervalMonthDayNano> {
    let trimmed = text.trim();
    let digits = trimmed.chars().take_while(char::is_ascii_digit).count();
    let (number, unit) = trimmed.split_at_checked(digits).unwrap_or_default();
    let seconds = match unit.trim() {
        "s" | "sec" | "second" | "seconds" => 1,
        "m" | "min" | "minute" | "minutes" => 60,
        "h" | "hour" | "hours" => 3_600,
        "d" | "day" | "days" => 86_400,
        "w" | "week" | "weeks" => 7 * 86_400,
        _ => 0,
    };
    let nanoseconds = number.parse::<i64>().ok().and_then(|count| count.checked_mul(seconds * 1_000_000_000));
    match nanoseconds {
        Some(nanoseconds) if nanoseconds > 0 => Ok(IntervalMonthDayNano::new(0, 0, nanoseconds)),
        _ => plan_err!("{text:?} is no interval; use for instance '30s', '5m', '1h', '1d', '1w'"),
    }
}

/// Rows of `time_buckets` at the most.
const MAX_BUCKETS: i64 = 1_000_000;

/// `time_buckets('1h', from, to)`: a row for each interval that begins from `from` on and before `to`, in the column `bucket`; joined to
/// an aggregation it fills the gaps.
#[derive(Debug)]
struct TimeBuckets;

impl TableFunctionImpl for TimeBuckets {
    fn call_with_args(&self, args: TableFunctionArgs<'_, '_>) -> Result<Arc<dyn TableProvider>> {
        let [interval, from, to] = args.exprs() else {
            return plan_err!("time_buckets wants an interval and two times: time_buckets('1h', from, to)");
        };
        let interval = match interval {
            Expr::Literal(value, _) => value.try_as_str().flatten(),
            _ => None,
        };
        let Some(interval) = interval else {
            return plan_err!(
                "time_buckets wants a constant interval as its first argument, for instance '1h'"
            );
        };
        let length = parse(interval)?.nanoseconds / 1_000;
        let (from, to) = (time(from)?, time(to)?);
        let first = from.div_euclid(length).saturating_mul(length);
        let first = if first < from { first.saturating_add(length) } else { first };
        if to.saturating_sub(first) / length >= MAX_BUCKETS {
            return plan_err!(
                "time_buckets would have more than {MAX_BUCKETS} rows; ask for a longer interval"
            );
        }
        let starts = std::iter::successors(Some(first), |start| start.checked_add(length));
        let starts: TimestampMicrosecondArray = starts.take_while(|start| *start < to).map(Some).collect();
        let field = Field::new("bucket", timestamp(), true);
        let schema = Arc::new(Schema::new(vec![field]));
        let batch = RecordBatch::try_new(Arc::clone(&schema), vec![Arc::new(starts.with_timezone("UTC"))])?;
        Ok(Arc::new(MemTable::try_new(schema, vec![vec![batch]])?))
    }
}

fn timestamp() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

/// A constant time, in microseconds.
fn time(expr: &Expr) -> Result<i64> {
    let micros = match expr {
        Expr::Literal(value, _) => match value.cast_to(&timestamp())? {
            ScalarValue::TimestampMicrosecond(micros, _) => micros,
            _ => None,
        },
        _ => None,
    };
    match micros {
        Some(micros) => Ok(micros),
        None => plan_err!("time_buckets wants constant times, for instance '2026-01-31T00:00:00Z' or now()"),
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Kind {
    First,
    Last,
    Percentile,
}

/// An aggregate over values in an order.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Ordered {
    kind: Kind,
    signature: Signature,
}

impl AggregateUDFImpl for Ordered {
    fn name(&self) -> &'static str {
        match self.kind {
            Kind::First => "first",
            Kind::Last => "last",
            Kind::Percentile => "percentile",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        match types {
            [value, _] => Ok(value.clone()),
            _ => plan_err!("{} wants two arguments", self.name()),
        }
    }

    fn accumulator(&self, _: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        plan_err!(
            "{} can't be used as a window function; use first_value, last_value or percentile_cont",
            self.name()
        )
    }

    fn simplify(&self) -> Option<AggregateFunctionSimplification> {
        let kind = self.kind;
        Some(Box::new(move |call: AggregateFunction, _: &SimplifyContext| {
            let mut params = call.params;
            let (Some(second), Some(value)) = (params.args.pop(), params.args.pop()) else {
                return plan_err!("two arguments are wanted");
            };
            let ascending = |expr| vec![Sort::new(expr, true, false)];
            let (function, args, order) = match kind {
                Kind::First => (first_value_udaf(), vec![value], ascending(second)),
                Kind::Last => (last_value_udaf(), vec![value], ascending(second)),
                Kind::Percentile => (percentile_cont_udaf(), vec![value.clone(), second], ascending(value)),
            };
            let call = AggregateFunction::new_udf(
                function,
                args,
                params.distinct,
                params.filter,
                order,
                params.null_treatment,
            );
            Ok(Expr::AggregateFunction(call))
        }))
    }
}
