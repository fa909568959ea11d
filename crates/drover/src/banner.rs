//! What `drover up` says once everything serves: where it is, where the secrets are, what to try.

use std::fmt::Write as _;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::Path;

use drover_runtime::Announcement;
use owo_colors::{OwoColorize, Stream};

/// The directory that the command line looks into by itself.
const DEFAULT_DATA_DIR: &str = "drover-data";

/// Writes the banner to stdout, with colour on a terminal.
pub fn show(announcement: &Announcement, data_dir: &Path) {
    // A closed stdout is no reason not to serve.
    let _ = std::io::stdout().write_all(text(announcement, data_dir).as_bytes());
}

fn text(announcement: &Announcement, data_dir: &Path) -> String {
    let mut text = String::new();
    line(&mut text, &format!("\n  {}\n", bold(&format!("Drover {}", env!("CARGO_PKG_VERSION")))));
    for (name, address) in &announcement.addresses {
        line(&mut text, &format!("  {name:<6} {}", bold(&place(name, *address))));
    }
    line(&mut text, "");
    let shown = announcement.data_dir.display();
    line(&mut text, &format!("  data   {shown}"));
    line(&mut text, &format!("  token  {shown}/admin.token"));
    if announcement.data_dir.join("ca.crt").exists() {
        line(&mut text, &format!("  ca     {shown}/ca.crt"));
    }
    let option = if data_dir == Path::new(DEFAULT_DATA_DIR) {
        String::new()
    } else {
        format!(" --data-dir {}", data_dir.display())
    };
    line(
        &mut text,
        &format!("\n  try    {}", bold(&format!("drover device create pump-1 --credential{option}"))),
    );
    line(&mut text, "  stop   Ctrl-C\n");
    text
}

/// The REST API is opened in a browser, the rest typed into clients.
fn place(name: &str, address: SocketAddr) -> String {
    match name {
        "api" => format!("http://{address}/docs"),
        _ => address.to_string(),
    }
}

fn bold(text: &str) -> String {
    text.if_supports_color(Stream::Stdout, |text| text.bold()).to_string()
}

fn line(text: &mut String, line: &str) {
    writeln!(text, "{line}").expect("writing to a string cannot fail");
}
