//! Rollups: what the samples of each minute, hour and day of a series come to, in files beside a merged one, for range queries that
//! aggregate. A rollup that would not be much smaller than what it sums up is not kept.

mod columns;
mod read;
mod write;

use crate::file::Part;
use crate::summary::Summary;

pub(crate) use read::read;
pub(crate) use write::Rollups;

/// Ending of a rollup's file.
pub(crate) const ENDING: &str = "rollup";

/// The length of the times of a rollup. All of them part a day, and so a merged file, into whole times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Resolution {
    Minute,
    Hour,
    Day,
}

impl Resolution {
    /// The finest first.
    pub(crate) const ALL: [Self; 3] = [Self::Minute, Self::Hour, Self::Day];

    /// Microseconds.
    pub(crate) fn length(self) -> i64 {
        match self {
            Self::Minute => 60_000_000,
            Self::Hour => 3_600_000_000,
            Self::Day => 86_400_000_000,
        }
    }

    /// Its bit in [`Part::rollups`].
    pub(crate) fn bit(self) -> u8 {
        match self {
            Self::Minute => 1,
            Self::Hour => 2,
            Self::Day => 4,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Minute => "1m",
            Self::Hour => "1h",
            Self::Day => "1d",
        }
    }

    /// The file that a point file has beside it.
    pub(crate) fn file(self, of: &str) -> String {
        let stem = of.split_once('.').map_or(of, |(stem, _)| stem);
        format!("{stem}.{}.{ENDING}", self.name())
    }
}

/// The files of the rollups of a point file.
pub(crate) fn files(of: &str, rollups: u8) -> impl Iterator<Item = String> + '_ {
    Resolution::ALL.into_iter().filter(move |it| rollups & it.bit() != 0).map(move |it| it.file(of))
}

/// What a time of a series comes to.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Rolled {
    pub(crate) resolution: Resolution,
    pub(crate) start: i64,
    pub(crate) summary: Summary,
}

/// The part of a point file that stands for a rollup of it, of which all row groups are read.
fn as_part(part: &Part, resolution: Resolution, row_groups: usize) -> Part {
    let file = resolution.file(&part.file).into();
    Part { file, first_row_group: 0, row_groups, ..part.clone() }
}
