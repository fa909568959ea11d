//! How an export is divided: into spans of days of which each has few rows, and a day that has many into ranges of devices.

use arrow_array::RecordBatch;
use arrow_array::cast::AsArray;
use arrow_array::types::{Int64Type, TimestampMicrosecondType};

use super::{moment, quoted};
use crate::arrow_answer::ArrowAnswer;
use crate::client::Client;
use crate::failure::{Failure, Outcome};

/// Rows of a window: few enough for the memory and the time that a query has, many enough that there are few queries. One device may have
/// more in a day.
const WINDOW_ROWS: u64 = 500_000;
const DAY_US: i64 = 86_400_000_000;

/// What there is of one device on one day.
struct Group {
    day_us: i64,
    device: String,
    rows: u64,
}

#[derive(Debug, PartialEq, Eq)]
struct Window {
    /// From the first day until the end of the last.
    days: (i64, i64),
    /// From a device to before another; none for the ends of all.
    devices: (Option<String>, Option<String>),
    rows: u64,
}

/// The windows in their order. Together they have everything in their days, also what arrived after they were made.
#[derive(Debug, Default)]
pub struct Windows(Vec<Window>);

impl Windows {
    /// Asks the server how much there is.
    pub async fn ask(client: &Client, condition: &str) -> Outcome<Self> {
        let sql = format!(
            "SELECT time_bucket('1d', ts) AS day, device, count(*) AS n FROM points WHERE {condition} \
             GROUP BY day, device ORDER BY day, device"
        );
        let mut answer = ArrowAnswer::ask(client, &sql).await?;
        let mut divider = Divider::new(WINDOW_ROWS);
        while let Some(batch) = answer.next().await? {
            for group in groups(&batch)? {
                divider.add(group);
            }
        }
        Ok(divider.finish())
    }

    /// Rows of all.
    pub fn rows(&self) -> u64 {
        self.0.iter().map(|window| window.rows).sum()
    }

    /// A condition for each. There is one at least, so that somebody asks for the columns.
    pub fn conditions(&self) -> impl Iterator<Item = String> {
        let nothing = self.0.is_empty().then(|| "false".to_owned());
        nothing.into_iter().chain(self.0.iter().map(Window::condition))
    }
}

impl Window {
    fn condition(&self) -> String {
        let end = self.days.1.saturating_add(DAY_US);
        let mut condition = format!("ts >= {} AND ts < {}", moment(self.days.0), moment(end));
        for (device, comparison) in [(&self.devices.0, ">="), (&self.devices.1, "<")] {
            if let Some(device) = device {
                condition += &format!(" AND device {comparison} {}", quoted(device));
            }
        }
        condition
    }
}

fn groups(batch: &RecordBatch) -> Outcome<Vec<Group>> {
    let columns = batch.columns();
    let [days, devices, counts] = columns else { return Err(unknown()) };
    let days = days.as_primitive_opt::<TimestampMicrosecondType>().ok_or_else(unknown)?;
    let devices = devices.as_string_opt::<i32>().ok_or_else(unknown)?;
    let counts = counts.as_primitive_opt::<Int64Type>().ok_or_else(unknown)?;
    let group = |row| Group {
        day_us: days.value(row),
        device: devices.value(row).to_owned(),
        rows: counts.value(row).unsigned_abs(),
    };
    Ok((0..counts.len()).map(group).collect())
}

fn unknown() -> Failure {
    Failure::failed("the server's answer has other columns than this version knows")
}

/// Makes windows out of groups, which come by day and device.
struct Divider {
    most: u64,
    windows: Vec<Window>,
    /// Ranges of devices of the day at hand: where each begins, and its rows.
    day: Vec<(String, u64)>,
    day_us: i64,
}

impl Divider {
    fn new(most: u64) -> Self {
        Self { most, windows: Vec::new(), day: Vec::new(), day_us: 0 }
    }

    fn add(&mut self, group: Group) {
        if group.day_us != self.day_us {
            self.end_day();
            self.day_us = group.day_us;
        }
        match self.day.last_mut() {
            Some((_, rows)) if *rows + group.rows <= self.most => *rows += group.rows,
            _ => self.day.push((group.device, group.rows)),
        }
    }

    fn end_day(&mut self) {
        let day = std::mem::take(&mut self.day);
        let day_us = self.day_us;
        if let [(_, rows)] = day.as_slice() {
            match self.windows.last_mut() {
                Some(last) if last.devices == (None, None) && last.rows + rows <= self.most => {
                    last.days.1 = day_us;
                    last.rows += rows;
                }
                _ => {
                    self.windows.push(Window { days: (day_us, day_us), devices: (None, None), rows: *rows });
                }
            }
            return;
        }
        let begins: Vec<String> = day.iter().map(|(device, _)| device.clone()).collect();
        for (index, (_, rows)) in day.into_iter().enumerate() {
            let begin = begins.get(index).filter(|_| index > 0).cloned();
            let devices = (begin, begins.get(index + 1).cloned());
            self.windows.push(Window { days: (day_us, day_us), devices, rows });
        }
    }

    fn finish(mut self) -> Windows {
        self.end_day();
        Windows(self.windows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn divided(groups: &[(i64, &str, u64)]) -> Windows {
        let mut divider = Divider::new(10);
        for (day, device, rows) in groups {
            divider.add(Group { day_us: day * DAY_US, device: (*device).to_owned(), rows: *rows });
        }
        divider.finish()
    }

    fn conditions(groups: &[(i64, &str, u64)]) -> Vec<String> {
        divided(groups).conditions().map(|text| text.replace("to_timestamp_micros", "us")).collect()
    }

    #[test]
    fn days_with_little_go_together() {
        let windows = divided(&[(1, "a", 2), (1, "b", 3), (2, "a", 5), (5, "a", 1)]);
        assert_eq!(windows.rows(), 11);
        assert_eq!(
            windows.conditions().collect::<Vec<_>>(),
            [
                "ts >= to_timestamp_micros(86400000000) AND ts < to_timestamp_micros(259200000000)",
                "ts >= to_timestamp_micros(432000000000) AND ts < to_timestamp_micros(518400000000)",
            ]
        );
    }

    #[test]
    fn a_day_with_much_is_divided_by_devices_without_a_gap() {
        let day = "ts >= us(0) AND ts < us(86400000000)";
        assert_eq!(
            conditions(&[(0, "a", 6), (0, "b", 4), (0, "c", 30), (0, "d", 1)]),
            [
                format!("{day} AND device < 'c'"),
                format!("{day} AND device >= 'c' AND device < 'd'"),
                format!("{day} AND device >= 'd'"),
            ]
        );
    }

    #[test]
    fn nothing_is_asked_for_once() {
        assert_eq!(conditions(&[]), ["false"]);
        assert_eq!(divided(&[]).rows(), 0);
    }
}
