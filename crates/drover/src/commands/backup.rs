//! `drover backup`: the whole installation into a folder while the server runs. Every file is checked against the server's checksum and
//! synced before the manifest makes the folder a backup.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use clap::Args;
use drover_api::archive::{BLOCK, FAILED, Header, padding};
use futures_util::{Stream, StreamExt};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::backup_folder::{Filling, Listed, MANIFEST, Manifest, UNFINISHED, below, hex};
use crate::client::Target;
use crate::failure::{Code, Failure, Outcome};
use crate::output::{Column, Output, field, note};

/// Says how much there will be.
const CONTENTS: &str = "contents.json";
/// Longest silence of the server: it copies its database before it sends.
const SILENCE: Duration = Duration::from_secs(1_800);
/// Longest text of an archive that is kept in memory.
const MAX_TEXT_BYTES: u64 = 256 << 20;

#[derive(Args)]
#[command(after_help = "\
Inside are all tenants' devices, credentials (as the server keeps them), history, sessions and what waits in the log; the server's
settings file when it is in the data directory; and its secrets: the administrator's token and the keys of its certificates, without
which devices would not know the restored server. The folder and its files are for their owner only: keep it as you keep the server.

Everything that was acknowledged before the command began is in it. Needs the administrator's token.
A folder without manifest.json is not a backup; run the command again with the same folder to replace one that was cut off.")]
pub struct BackupArgs {
    /// Folder to make, or an empty one
    #[arg(value_name = "DIR")]
    destination: PathBuf,
}

pub const COLUMNS: &[Column] = &[
    ("FOLDER", |b| field(b, "/folder")),
    ("CREATED", |b| field(b, "/created")),
    ("FILES", |b| field(b, "/files")),
    ("BYTES", |b| field(b, "/size_bytes")),
    ("MADE BY", |b| format!("drover {}", field(b, "/drover"))),
];

pub async fn run(args: BackupArgs, target: &Target, output: Output) -> Outcome {
    let folder = folder(&args.destination)?;
    let client = target.client()?;
    let response = client.begin("/v1/backups").await?;
    let filling = Filling::begin(folder, UNFINISHED)?;
    let archive = Archive { pieces: response.bytes_stream(), rest: Bytes::new() };
    let (manifest, text) = receive(archive, &filling, output).await?;
    filling.finish(Some((MANIFEST, &text)))?;
    warn_of_missing(&manifest);
    output.object(COLUMNS, &summary(folder, &manifest))
}

/// Only folders so far; another place is refused rather than taken for a folder's name.
pub fn folder(place: &Path) -> Outcome<&Path> {
    let text = place.to_string_lossy();
    if !text.contains("://") {
        return Ok(place);
    }
    let message = format!(
        "{text} is no folder: this version keeps backups in folders only; copy one to S3 with a tool for it"
    );
    Err(Failure::new(Code::Usage, message))
}

pub fn summary(folder: &Path, manifest: &Manifest) -> Value {
    json!({
        "folder": folder.to_string_lossy(),
        "created": manifest.created,
        "files": manifest.files.len(),
        "size_bytes": manifest.size_bytes,
        "drover": manifest.drover,
        "missing": manifest.missing,
    })
}

pub fn warn_of_missing(manifest: &Manifest) {
    if !manifest.missing.is_empty() {
        let missing = manifest.missing.join(", ");
        note(&format!(
            "drover: the server lacked these files of history already, so the backup does too: {missing}"
        ));
    }
}

/// Writes what comes; the manifest, which is right, and its text.
async fn receive<S: Pieces>(
    mut archive: Archive<S>,
    filling: &Filling,
    output: Output,
) -> Outcome<(Manifest, Vec<u8>)> {
    let mut bar = output.bytes_bar(0, "waiting for the server's copy");
    bar.enable_steady_tick(Duration::from_millis(100));
    let mut received = BTreeMap::new();
    while let Some(header) = archive.header().await? {
        match header.path.as_str() {
            CONTENTS => {
                let contents = archive.text(&header).await?;
                let contents: Value = serde_json::from_slice(&contents).unwrap_or_default();
                bar.finish_and_clear();
                bar = output.bytes_bar(contents["size_bytes"].as_u64().unwrap_or(0), "backing up");
            }
            FAILED => {
                let reason = archive.text(&header).await?;
                return Err(Failure::failed(format!(
                    "the server says: {}",
                    String::from_utf8_lossy(&reason)
                )));
            }
            MANIFEST => {
                let text = archive.text(&header).await?;
                bar.finish_and_clear();
                let manifest = Manifest::parse(&String::from_utf8_lossy(&text)).map_err(Failure::failed)?;
                check(&manifest.files, &received)?;
                return Ok((manifest, text));
            }
            path => {
                let name = path.to_owned();
                let sha256 = archive.file(&header, filling, &bar).await?;
                received.insert(name, (header.size_bytes, sha256));
            }
        }
    }
    Err(cut_off("it has no manifest"))
}

/// Whether what was written is what the server read.
fn check(files: &[Listed], received: &BTreeMap<String, (u64, String)>) -> Outcome {
    for file in files {
        let found = received.get(&file.path);
        if found.is_none_or(|(size, sha256)| *size != file.size_bytes || *sha256 != file.sha256) {
            return Err(Failure::failed(format!(
                "{} arrived otherwise than it was sent: run it again",
                file.path
            )));
        }
    }
    if files.len() == received.len() {
        return Ok(());
    }
    Err(Failure::failed("files arrived that the manifest does not name: run it again"))
}

fn cut_off(reason: impl std::fmt::Display) -> Failure {
    Failure::failed(format!("the backup was cut off ({reason}); the server's log may say why: run it again"))
}

/// Pieces of an answer.
trait Pieces: Stream<Item = reqwest::Result<Bytes>> + Unpin {}
impl<S: Stream<Item = reqwest::Result<Bytes>> + Unpin> Pieces for S {}

/// An archive as it comes.
struct Archive<S> {
    pieces: S,
    rest: Bytes,
}

impl<S: Pieces> Archive<S> {
    /// At most so many bytes of what comes next; at least one.
    async fn take(&mut self, most: u64) -> Outcome<Bytes> {
        while self.rest.is_empty() {
            let piece = tokio::time::timeout(SILENCE, self.pieces.next()).await;
            let piece = piece.map_err(|_| cut_off("the server is silent"))?;
            self.rest = piece.ok_or_else(|| cut_off("the answer ended early"))?.map_err(cut_off)?;
        }
        let length = usize::try_from(most).unwrap_or(usize::MAX).min(self.rest.len());
        Ok(self.rest.split_to(length))
    }

    async fn exactly(&mut self, length: usize) -> Outcome<Vec<u8>> {
        let mut bytes = Vec::with_capacity(length);
        while bytes.len() < length {
            bytes.extend(self.take((length - bytes.len()) as u64).await?);
        }
        Ok(bytes)
    }

    async fn header(&mut self) -> Outcome<Option<Header>> {
        let bytes = self.exactly(BLOCK).await?;
        let block = bytes.first_chunk::<BLOCK>().ok_or_else(|| cut_off("a header is short"))?;
        Header::decode(block).map_err(cut_off)
    }

    async fn text(&mut self, header: &Header) -> Outcome<Vec<u8>> {
        if header.size_bytes > MAX_TEXT_BYTES {
            return Err(cut_off(format!("{} is too long", header.path)));
        }
        let bytes = self.exactly(usize::try_from(header.size_bytes).unwrap_or(0)).await?;
        self.exactly(padding(header.size_bytes)).await?;
        Ok(bytes)
    }

    /// Writes and syncs a file; its SHA-256.
    async fn file(
        &mut self,
        header: &Header,
        filling: &Filling,
        bar: &indicatif::ProgressBar,
    ) -> Outcome<String> {
        if below(&header.path).is_none() {
            return Err(cut_off(format!("{} is no path of a backup", header.path)));
        }
        let failed = |error| Failure::failed(format!("can't write {}: {error}", header.path));
        let mut file = filling.create(&header.path, 0o600).map_err(failed)?;
        let mut hash = Sha256::new();
        let mut left = header.size_bytes;
        while left > 0 {
            let piece = self.take(left).await?;
            file.write_all(&piece).map_err(failed)?;
            hash.update(&piece);
            left -= piece.len() as u64;
            bar.inc(piece.len() as u64);
        }
        file.sync_all().map_err(failed)?;
        self.exactly(padding(header.size_bytes)).await?;
        Ok(hex(&hash.finalize()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_that_is_no_folder_is_refused() {
        assert!(folder(Path::new("backups/today")).is_ok());
        let refused = folder(Path::new("s3://bucket/prefix")).unwrap_err();
        assert_eq!(refused.code, Code::Usage);
        assert!(refused.message.contains("folders only"), "{refused}");
    }

    #[test]
    fn a_file_that_arrives_otherwise_is_named() {
        let listed = |sha256: &str| Listed {
            path: "VERSION".into(),
            size_bytes: 2,
            sha256: sha256.into(),
            secret: false,
        };
        let received = BTreeMap::from([("VERSION".to_owned(), (2, "aa".to_owned()))]);
        assert!(check(&[listed("aa")], &received).is_ok());
        assert!(check(&[listed("bb")], &received).unwrap_err().message.contains("VERSION"));
        assert!(check(&[], &received).is_err());
    }
}
