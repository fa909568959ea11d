//! `drover man`: the manual pages, one for the program and one for each command.

use std::fs;
use std::path::PathBuf;

use clap::{Args, Command};
use clap_mangen::Man;

use crate::failure::{Failure, Outcome};
use crate::output::{Format, Output};

#[derive(Args)]
#[command(after_help = "Examples:\n  drover man | man -l -\n  drover man --out ~/.local/share/man/man1")]
pub struct ManArgs {
    /// Write the pages of all commands into this folder, which is made if it is not there [default: only drover(1), to standard output]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

pub fn run(args: &ManArgs, mut command: Command, output: Output) -> Outcome {
    command.build();
    let Some(folder) = &args.out else {
        let page = page(&command)?;
        return Output::new(Format::Table).line(String::from_utf8_lossy(&page).trim_end());
    };
    let failed = |error| Failure::failed(format!("can't write to {}: {error}", folder.display()));
    fs::create_dir_all(folder).map_err(failed)?;
    let mut commands = vec![command];
    let mut count = 0_usize;
    while let Some(command) = commands.pop() {
        let name = command.get_display_name().unwrap_or_else(|| command.get_name());
        fs::write(folder.join(format!("{name}.1")), page(&command)?).map_err(failed)?;
        count += 1;
        let below =
            command.get_subcommands().filter(|below| !below.is_hide_set() && below.get_name() != "help");
        commands.extend(below.cloned());
    }
    output.note(&format!("drover: {count} manual pages are in {}", folder.display()));
    Ok(())
}

fn page(command: &Command) -> Outcome<Vec<u8>> {
    let mut page = Vec::new();
    let name = command.get_display_name().unwrap_or_else(|| command.get_name()).to_owned();
    Man::new(command.clone()).title(name).render(&mut page)?;
    Ok(page)
}
