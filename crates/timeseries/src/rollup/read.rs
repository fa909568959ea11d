//! Reads the rows of a rollup that a query needs.

use std::fs::File;
use std::path::Path;

use parquet::errors::ParquetError;

use super::{Resolution, Rolled, as_part, columns};
use crate::file::{Part, Wanted};
use crate::footers::Footers;
use crate::read::batches;

/// Hands the key and what is known of every wanted time that begins in the range to `take`, until it wants no more.
pub(crate) fn read(
    (dir, footers): (&Path, &Footers),
    (part, resolution): (&Part, Resolution),
    wanted: &Wanted,
    take: &mut dyn FnMut(&str, Rolled) -> bool,
) -> Result<(), ParquetError> {
    let rollup = as_part(part, resolution, 0);
    let file = File::open(dir.join(&*rollup.file))?;
    let row_groups = footers.get(&rollup.file, &file)?.metadata().num_row_groups();
    let rollup = Part { row_groups, ..rollup };
    for batch in batches((dir, footers), &rollup, 0..row_groups, wanted, None)?.into_iter().flatten() {
        let more = columns::each(&batch?, |device, key, start, summary| {
            let is_wanted = wanted.device(device) && wanted.key(key) && wanted.time(start);
            !is_wanted || take(key, Rolled { resolution, start, summary })
        });
        match more {
            Some(true) => {}
            Some(false) => break,
            None => return Err(ParquetError::General("the columns are not those of a rollup".to_owned())),
        }
    }
    Ok(())
}
