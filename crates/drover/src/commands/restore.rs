//! `drover restore`: a data directory out of a backup. Everything is checked before anything is written; a directory that is not complete
//! says so to `drover up`. Needs no server.

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Args;
use drover_runtime::data_dir::RESTORING;

use super::backup::{COLUMNS, folder, summary, warn_of_missing};
use crate::backup_folder::{Filling, Listed, Manifest, check};
use crate::client::Target;
use crate::failure::{Code, Failure, Outcome};
use crate::output::Output;

/// The file without which `drover up` takes a directory for a new one; written last.
const VERSION: &str = "VERSION";

#[derive(Args)]
#[command(after_help = "\
The data directory must be absent or empty. Run the command again to go on after it was cut off; until then `drover up` refuses the
directory. The restored server is the same installation: same certificates, tokens and devices; do not let it run beside the first.

Example:
  drover restore backups/today --data-dir /var/lib/drover")]
pub struct RestoreArgs {
    /// Folder that `drover backup` made
    #[arg(value_name = "DIR")]
    from: PathBuf,
    /// Only say whether the backup is whole
    #[arg(long)]
    check: bool,
}

pub fn run(args: &RestoreArgs, target: &Target, output: Output) -> Outcome {
    let from = folder(&args.from)?;
    let into = match &target.data_dir {
        None if !args.check => {
            return Err(Failure::new(Code::Usage, "say where to restore it to: --data-dir DIR"));
        }
        directory => directory.clone(),
    };
    let manifest = Manifest::read(from)?;
    verify(from, &manifest, output)?;
    warn_of_missing(&manifest);
    if let Some(into) = into.filter(|_| !args.check) {
        copy(from, &manifest, &into, output)?;
        output.note(&format!("drover: restored; start it with `drover up --data-dir {}`", into.display()));
    }
    output.object(COLUMNS, &summary(from, &manifest))
}

fn verify(from: &Path, manifest: &Manifest, output: Output) -> Outcome {
    let bar = output.bytes_bar(manifest.size_bytes, "checking");
    for file in &manifest.files {
        check(from, file, &mut |bytes| {
            bar.inc(bytes.len() as u64);
            Ok(())
        })?;
    }
    bar.finish_and_clear();
    Ok(())
}

fn copy(from: &Path, manifest: &Manifest, into: &Path, output: Output) -> Outcome {
    let filling = Filling::begin(into, RESTORING)?;
    let bar = output.bytes_bar(manifest.size_bytes, "restoring");
    let (version, others): (Vec<&Listed>, Vec<_>) =
        manifest.files.iter().partition(|file| file.path == VERSION);
    for file in others.into_iter().chain(version) {
        let failed =
            |error| Failure::failed(format!("can't write {}/{}: {error}", into.display(), file.path));
        let mode = if file.secret { 0o600 } else { 0o644 };
        let mut copy = filling.create(&file.path, mode).map_err(failed)?;
        check(from, file, &mut |bytes| {
            bar.inc(bytes.len() as u64);
            copy.write_all(bytes)
        })?;
        copy.sync_all().map_err(failed)?;
    }
    filling.finish(None)?;
    bar.finish_and_clear();
    Ok(())
}
