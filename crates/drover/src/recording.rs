//! The recorded day that the demonstration replays: `demo-data/surfrad-slv16001.csv` as rows of named values.
//! Source and licence stand in `demo-data/README.md`.

use jiff::Timestamp;

use crate::failure::{Failure, Outcome};

const DAY: &str = include_str!("../demo-data/surfrad-slv16001.csv");

/// What the station measured at one time. An absent value was not measured.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// Milliseconds since 1970, as recorded.
    pub millis: i64,
    pub values: Vec<(&'static str, f64)>,
}

/// The whole recorded day, by time.
pub fn rows() -> Outcome<Vec<Row>> {
    parse(DAY)
}

fn parse(text: &'static str) -> Outcome<Vec<Row>> {
    let mut lines = text.lines();
    let keys: Vec<&'static str> = lines.next().unwrap_or_default().split(',').skip(1).collect();
    let row = |(index, line)| {
        row(&keys, line).ok_or_else(|| Failure::failed(format!("row {index} is not a recorded row")))
    };
    lines.enumerate().map(row).collect()
}

fn row(keys: &[&'static str], line: &str) -> Option<Row> {
    let mut fields = line.split(',');
    let millis = fields.next()?.parse::<Timestamp>().ok()?.as_millisecond();
    let fields: Vec<&str> = fields.collect();
    if fields.len() != keys.len() {
        return None;
    }
    let measured = keys.iter().zip(fields).filter(|(_, field)| !field.is_empty());
    let values = measured.map(|(key, field)| Some((*key, field.parse().ok()?))).collect::<Option<_>>()?;
    Some(Row { millis, values })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_recorded_day_has_a_row_a_minute() {
        let rows = rows().unwrap();
        assert_eq!(rows.len(), 1440);
        assert!(rows.windows(2).all(|pair| pair[1].millis - pair[0].millis == 60_000));
        assert!(rows.iter().all(|row| row.values.len() == 19));
    }

    #[test]
    fn what_was_not_measured_is_left_out() {
        let rows = parse("time,a,b\n1970-01-01T00:00:01Z,,2.50\n").unwrap();
        assert_eq!(rows, [Row { millis: 1000, values: vec![("b", 2.5)] }]);
    }

    #[test]
    fn a_broken_row_is_an_error() {
        assert!(parse("time,a\n1970-01-01T00:00:01Z\n").is_err());
        assert!(parse("time,a\n1970-01-01T00:00:01Z,x\n").is_err());
        assert!(parse("time,a\nnever,1\n").is_err());
    }
}
