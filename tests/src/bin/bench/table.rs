//! The report: a table for people, JSON for machines.

use std::path::Path;

use comfy_table::Table;
use serde::Serialize;

/// One figure.
#[derive(Debug, Serialize)]
struct Figure {
    what: &'static str,
    unit: &'static str,
    drover: f64,
    /// What the project wants; `at_least` tells the direction.
    bound: Option<f64>,
    at_least: bool,
    beside: Option<Peer>,
}

/// The same figure of a reference peer.
#[derive(Debug, Serialize)]
struct Peer {
    name: &'static str,
    figure: f64,
}

/// All figures so far.
#[derive(Debug, Default)]
pub(crate) struct Report {
    figures: Vec<Figure>,
}

impl Report {
    /// A figure that should be at most `bound`.
    pub(crate) fn at_most(&mut self, what: &'static str, unit: &'static str, drover: f64, bound: f64) {
        self.add(Figure { what, unit, drover, bound: Some(bound), at_least: false, beside: None });
    }

    /// A figure that should be at least `bound`.
    pub(crate) fn at_least(&mut self, what: &'static str, unit: &'static str, drover: f64, bound: f64) {
        self.add(Figure { what, unit, drover, bound: Some(bound), at_least: true, beside: None });
    }

    /// A figure that explains another.
    pub(crate) fn context(&mut self, what: &'static str, unit: &'static str, drover: f64) {
        self.add(Figure { what, unit, drover, bound: None, at_least: false, beside: None });
    }

    /// Sets a reference peer's figure beside the one that was added last under this name.
    pub(crate) fn beside(&mut self, what: &str, name: &'static str, figure: f64) {
        eprintln!("{what}, {name}: {figure:.2}");
        if let Some(ours) = self.figures.iter_mut().rev().find(|ours| ours.what == what) {
            ours.beside = Some(Peer { name, figure });
        }
    }

    fn add(&mut self, figure: Figure) {
        eprintln!("{}: {:.2} {}", figure.what, figure.drover, figure.unit);
        self.figures.push(figure);
    }

    pub(crate) fn print(&self) {
        let mut table = Table::new();
        table.set_header(["what", "unit", "drover", "bound", "met", "beside"]);
        for figure in &self.figures {
            let (bound, met) = match figure.bound {
                None => (String::new(), ""),
                Some(bound) if figure.at_least => (format!(">= {bound}"), yes(figure.drover >= bound)),
                Some(bound) => (format!("<= {bound:.1}"), yes(figure.drover <= bound)),
            };
            let beside = figure.beside.as_ref();
            let beside =
                beside.map(|Peer { name, figure }| format!("{name} {figure:.2}")).unwrap_or_default();
            let drover = format!("{:.2}", figure.drover);
            table.add_row([figure.what, figure.unit, &drover, &bound, met, &beside]);
        }
        println!("{table}");
    }

    pub(crate) fn write(&self, file: &Path) -> anyhow::Result<()> {
        Ok(std::fs::write(file, serde_json::to_vec_pretty(&self.figures)?)?)
    }
}

fn yes(met: bool) -> &'static str {
    if met { "yes" } else { "NO" }
}
