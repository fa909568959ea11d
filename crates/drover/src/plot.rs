//! A line chart of series as text: drawn into a buffer, so that it needs no terminal. Colours only where they are wanted.

use owo_colors::{AnsiColors, OwoColorize};
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Color, Style};
use ratatui::symbols::Marker;
use ratatui::widgets::{Axis, Chart, Dataset, GraphType, Widget};

use crate::period;

/// Lines that are told apart.
pub const MAX_LINES: usize = 6;
const COLOURS: [(Color, AnsiColors); MAX_LINES] = [
    (Color::Cyan, AnsiColors::Cyan),
    (Color::Yellow, AnsiColors::Yellow),
    (Color::Green, AnsiColors::Green),
    (Color::Magenta, AnsiColors::Magenta),
    (Color::Blue, AnsiColors::Blue),
    (Color::Red, AnsiColors::Red),
];
const SIGNS: [char; MAX_LINES] = ['*', '+', 'o', 'x', '#', '@'];
const HEIGHT: u16 = 20;

/// A name and its points: milliseconds since 1970, value.
pub type Line = (String, Vec<(f64, f64)>);

/// The chart and its legend, `width` columns wide. At most [`MAX_LINES`] lines are drawn; without points it is empty.
pub fn chart(lines: &[Line], width: u16, colours: bool) -> String {
    let points = || lines.iter().take(MAX_LINES).flat_map(|(_, points)| points);
    let (Some(x), Some(y)) = (bounds(points().map(|point| point.0)), bounds(points().map(|point| point.1)))
    else {
        return String::new();
    };
    let datasets = lines.iter().zip(COLOURS).zip(SIGNS).map(|(((_, points), (colour, _)), sign)| {
        let marker = if colours { Marker::Braille } else { Marker::Custom(sign) };
        let dataset = Dataset::default().data(points).graph_type(GraphType::Line);
        dataset.marker(marker).style(Style::default().fg(colour))
    });
    let times = [x[0], f64::midpoint(x[0], x[1]), x[1]].map(time);
    let values = [y[0], f64::midpoint(y[0], y[1]), y[1]].map(|value| format!("{value:.2}"));
    let area = Rect::new(0, 0, width.max(60), HEIGHT);
    let mut buffer = Buffer::empty(area);
    Chart::new(datasets.collect())
        .x_axis(Axis::default().bounds(x).labels(times))
        .y_axis(Axis::default().bounds(y).labels(values))
        .legend_position(None)
        .render(area, &mut buffer);
    let mut text: String = (0..HEIGHT).map(|row| row_text(&buffer, row, colours)).collect();
    for (((name, _), (_, colour)), sign) in lines.iter().zip(COLOURS).zip(SIGNS) {
        let sign = if colours { "━".color(colour).to_string() } else { sign.to_string() };
        text.push_str(&format!("  {sign} {name}"));
    }
    text
}

fn row_text(buffer: &Buffer, row: u16, colours: bool) -> String {
    let cells = (0..buffer.area.width).filter_map(|column| buffer.cell((column, row)));
    let mut line = String::new();
    for cell in cells {
        let colour = COLOURS.iter().find(|(colour, _)| colours && *colour == cell.fg);
        match colour {
            Some((_, colour)) => line.push_str(&cell.symbol().color(*colour).to_string()),
            None => line.push_str(cell.symbol()),
        }
    }
    format!("{}\n", line.trim_end())
}

/// The smallest and the largest number, apart even when they are the same.
fn bounds(numbers: impl Iterator<Item = f64>) -> Option<[f64; 2]> {
    let finite = numbers.filter(|number| number.is_finite());
    let (low, high) = finite.fold(None, |found: Option<(f64, f64)>, number| {
        Some(found.map_or((number, number), |(low, high)| (low.min(number), high.max(number))))
    })?;
    Some(if high > low { [low, high] } else { [low - 1.0, high + 1.0] })
}

#[expect(clippy::cast_possible_truncation, reason = "milliseconds of this age are exact")]
fn time(millis: f64) -> String {
    let text = period::show_millis(millis as i64);
    text.split('.').next().unwrap_or_default().replace('T', " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_told_apart_with_and_without_colours() {
        let line = |name: &str, slope: f64| {
            (name.to_owned(), (0..50).map(|at| (f64::from(at) * 60_000.0, f64::from(at) * slope)).collect())
        };
        let lines = [line("up", 1.0), line("down", -1.0)];
        let plain = chart(&lines, 80, false);
        assert!(plain.contains('*') && plain.contains('+') && plain.contains("* up  + down"), "{plain}");
        assert!(plain.contains("1970-01-01 00:00:00") && plain.contains("49.00"), "{plain}");
        assert!(!plain.contains('\u{1b}') && chart(&lines, 80, true).contains('\u{1b}'));
        assert!(plain.lines().all(|line| line.chars().count() <= 80));
    }

    #[test]
    fn one_point_is_a_chart_and_none_is_nothing() {
        assert!(chart(&[("a".to_owned(), vec![(0.0, 5.0)])], 80, false).contains('*'));
        assert!(chart(&[("a".to_owned(), vec![])], 80, false).is_empty());
    }
}
