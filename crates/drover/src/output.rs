//! What commands print: tables for people, JSON and YAML for programs. A table has borders on a terminal and none in a pipe.

use std::io::{self, IsTerminal, Write};

use clap::ValueEnum;
use comfy_table::{ContentArrangement, Table, presets};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value;

use crate::failure::{Failure, Outcome};

/// The form of the output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    #[default]
    Table,
    Json,
    Yaml,
}

/// A column: its title, and its text for an item.
pub type Column = (&'static str, fn(&Value) -> String);

/// Where a command prints, and how.
#[derive(Clone, Copy, Debug)]
pub struct Output {
    pub format: Format,
    terminal: bool,
    quiet: bool,
}

impl Output {
    pub fn new(format: Format) -> Self {
        Self { format, terminal: io::stdout().is_terminal(), quiet: false }
    }

    /// Without anything beside the output, errors excepted.
    #[must_use]
    pub fn quiet(self, quiet: bool) -> Self {
        Self { quiet, ..self }
    }

    pub fn is_quiet(&self) -> bool {
        self.quiet
    }

    /// Says something beside the output, unless that is to be quiet.
    pub fn note(&self, text: &str) {
        if !self.quiet {
            note(text);
        }
    }

    /// A bar on standard error for work of so many bytes; it shows nothing in a pipe, and when the output is quiet.
    pub fn bytes_bar(&self, total: u64, doing: &'static str) -> ProgressBar {
        self.bar(total, doing, "{msg} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta}")
    }

    /// The same for so many points.
    pub fn points_bar(&self, total: u64, doing: &'static str) -> ProgressBar {
        self.bar(total, doing, "{msg} {wide_bar} {human_pos}/{human_len} points {per_sec} {eta}")
    }

    fn bar(&self, total: u64, doing: &'static str, template: &str) -> ProgressBar {
        if self.quiet {
            return ProgressBar::hidden();
        }
        let style = ProgressStyle::with_template(template).expect("the template is right");
        ProgressBar::new(total).with_style(style).with_message(doing)
    }

    /// The same for work of so many pieces.
    pub fn count_bar(&self, total: u64, doing: &'static str) -> ProgressBar {
        if self.quiet {
            return ProgressBar::hidden();
        }
        let template = "{msg} {wide_bar} {human_pos}/{human_len} {eta}";
        let style = ProgressStyle::with_template(template).expect("the template is right");
        ProgressBar::new(total).with_style(style).with_message(doing)
    }

    /// Prints items: a row each, or one JSON or YAML array.
    pub fn list(&self, columns: &[Column], items: Vec<Value>) -> Outcome {
        if self.format != Format::Table {
            return self.value(&Value::Array(items));
        }
        let titles: Vec<String> = columns.iter().map(|(title, _)| (*title).to_owned()).collect();
        let rows = items.iter().map(|item| columns.iter().map(|(_, text)| text(item)).collect()).collect();
        self.rows(&titles, rows)
    }

    /// Prints one thing: a line a column, or the JSON or YAML object as the API gave it.
    pub fn object(&self, columns: &[Column], item: &Value) -> Outcome {
        if self.format != Format::Table {
            return self.value(item);
        }
        self.rows(&[], columns.iter().map(|(title, text)| vec![title.to_lowercase(), text(item)]).collect())
    }

    /// Prints a table whose columns are known only now. Not for JSON or YAML.
    pub fn rows(&self, titles: &[String], rows: Vec<Vec<String>>) -> Outcome {
        if rows.is_empty() {
            self.note("drover: there are none");
        }
        if self.terminal {
            let mut table = Table::new();
            table
                .load_style(presets::UTF8_HORIZONTAL_ONLY)
                .set_content_arrangement(ContentArrangement::Dynamic);
            if !titles.is_empty() {
                table.set_header(titles);
            }
            table.add_rows(rows);
            return self.line(&table.trim_fmt());
        }
        let titles = (!titles.is_empty()).then(|| titles.to_vec());
        self.line(&aligned(titles.into_iter().chain(rows).collect()))
    }

    /// Prints a value as JSON or YAML.
    pub fn value(&self, value: &Value) -> Outcome {
        let text = match self.format {
            Format::Yaml => {
                serde_yaml_ng::to_string(value).map_err(|error| Failure::failed(error.to_string()))?
            }
            Format::Json | Format::Table => format!("{value:#}\n"),
        };
        self.write(&text)
    }

    /// Prints one of many values that come one by one: a line of JSON, or a YAML document.
    pub fn stream_item(&self, value: &Value) -> Outcome {
        match self.format {
            Format::Yaml => {
                self.write("---\n")?;
                self.value(value)
            }
            Format::Json | Format::Table => self.line(&value.to_string()),
        }
    }

    /// Prints a line of text.
    pub fn line(&self, text: &str) -> Outcome {
        if text.is_empty() {
            return Ok(());
        }
        self.write(&format!("{text}\n"))
    }

    pub fn colours(&self) -> bool {
        self.terminal
    }

    /// A reader that has gone (`| head`) ends the command without a complaint.
    fn write(&self, text: &str) -> Outcome {
        let mut out = io::stdout().lock();
        match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => std::process::exit(0),
            other => Ok(other?),
        }
    }
}

/// Says something beside the output.
pub fn note(text: &str) {
    // Where standard error is closed there is nobody to tell.
    _ = writeln!(io::stderr().lock(), "{text}");
}

/// Columns padded to the widest cell, two spaces between, none at the ends of lines.
fn aligned(rows: Vec<Vec<String>>) -> String {
    let mut widths: Vec<usize> = Vec::new();
    for row in &rows {
        widths.resize(widths.len().max(row.len()), 0);
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let lines = rows.into_iter().map(|row| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// The text of a field; empty when it is absent.
pub fn field(item: &Value, pointer: &str) -> String {
    item.pointer(pointer).map(plain).unwrap_or_default()
}

/// Characters of a text whose length its sender chooses that a table shows; JSON and YAML have it whole.
const SHOWN: usize = 40;

/// A text as a cell that does not stretch its column.
pub fn shortened(text: &str) -> String {
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

/// A JSON value as a cell: strings without quotes, and with control characters spelled out, since devices choose the text and a
/// terminal would obey it.
pub fn plain(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.chars().fold(String::new(), |mut cell, letter| {
            if letter.is_control() {
                cell.extend(letter.escape_default());
            } else {
                cell.push(letter);
            }
            cell
        }),
        Value::Object(pairs) => {
            let pairs = pairs.iter().map(|(key, value)| format!("{key}={}", plain(value)));
            pairs.collect::<Vec<_>>().join(" ")
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_cell_never_commands_the_terminal() {
        assert_eq!(plain(&json!("a\u{1b}[31m\nb ä")), "a\\u{1b}[31m\\nb ä");
    }

    #[test]
    fn a_long_text_is_cut_in_a_table() {
        assert_eq!(shortened("abc"), "abc");
        assert_eq!(shortened(&"ü".repeat(100)).chars().count(), SHOWN + 1);
    }

    #[test]
    fn piped_columns_line_up_without_trailing_spaces() {
        let rows = vec![
            vec!["ID".into(), "LABELS".into()],
            vec!["größer".into(), String::new()],
            vec!["a".into(), "x=1".into()],
        ];
        assert_eq!(aligned(rows), "ID      LABELS\ngrößer\na       x=1");
    }

    #[test]
    fn a_cell_is_the_value_as_a_person_writes_it() {
        assert_eq!(plain(&json!({"a": "b", "n": 1.5})), "a=b n=1.5");
        assert_eq!(plain(&json!("text")), "text");
        assert_eq!(field(&json!({"a": {"b": true}}), "/a/b"), "true");
        assert_eq!(field(&json!({}), "/a"), "");
    }
}
