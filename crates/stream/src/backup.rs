//! A backup of the whole installation while it runs: sends the files of a [`Snapshot`] one after the other, then their checksums.

mod snapshot;

use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;
use std::sync::Arc;

use drover_proto::stream::v1::backups_server::Backups;
use drover_proto::stream::v1::{BackupFile, CreateBackupRequest, CreateBackupResponse};
use drover_runtime::{Env, FORMAT_VERSION, Stop, Tasks};
use futures_util::stream::{self, BoxStream, StreamExt};
use serde_json::json;
use sha2::{Digest, Sha256};
use tokio::sync::{Semaphore, mpsc};
use tonic::{Request, Response, Status};

pub(crate) use snapshot::POINTS;
use snapshot::{Entry, Snapshot, Source, Sources};

/// The format of a backup: what `contents.json` and `manifest.json` hold, and where the files stand.
const BACKUP_FORMAT: u32 = 1;
/// Bytes sent at a time.
const PIECE_BYTES: usize = 256 << 10;
/// Pieces that wait for a reader.
const WAITING_PIECES: usize = 4;

type Piece = Result<CreateBackupResponse, Status>;

/// Makes backups, one at a time.
pub(crate) struct Backup {
    sources: Arc<Sources>,
    one: Arc<Semaphore>,
    tasks: Tasks,
    stop: Stop,
}

impl Backup {
    /// Takes away what a backup left behind that was killed.
    ///
    /// # Errors
    /// As the operating system says.
    pub(crate) fn new(env: &Env, points: drover_timeseries::Store) -> io::Result<Self> {
        let sources = Sources {
            db: env.db.clone(),
            log: env.log.clone(),
            points,
            data_dir: env.data_dir.clone(),
            clock: env.clock.clone(),
        };
        sources.clear()?;
        let (tasks, stop) = (env.tasks.clone(), env.stop.clone());
        Ok(Self { sources: Arc::new(sources), one: Arc::new(Semaphore::new(1)), tasks, stop })
    }
}

#[tonic::async_trait]
impl Backups for Backup {
    type CreateBackupStream = BoxStream<'static, Piece>;

    async fn create_backup(
        &self,
        _: Request<CreateBackupRequest>,
    ) -> Result<Response<Self::CreateBackupStream>, Status> {
        let permit = self.one.clone().try_acquire_owned().map_err(|_| {
            Status::unavailable("another backup is being made; try again when it has come to its end")
        })?;
        let (pieces, waiting) = mpsc::channel(WAITING_PIECES);
        let (sources, stop) = (self.sources.clone(), self.stop.clone());
        self.tasks.track(async move {
            let outcome = make(&sources, stop, pieces.clone()).await;
            if let Err(error) = outcome {
                tracing::error!("the backup failed: {error}");
                let _ = pieces.send(Err(Status::internal(format!("the backup failed: {error}")))).await;
            }
            drop(permit);
        });
        let pieces = stream::unfold(waiting, |mut waiting| async { Some((waiting.recv().await?, waiting)) });
        Ok(Response::new(pieces.boxed()))
    }
}

/// Why a backup ended early.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BackupError {
    #[error(transparent)]
    Db(#[from] drover_db::DbError),
    #[error(transparent)]
    Points(#[from] drover_timeseries::StoreError),
    #[error("{path}: {error}")]
    File { path: String, error: io::Error },
    #[error("the server stops")]
    Stopped,
}

/// Takes the snapshot and sends it. That nobody reads any more is no failure.
async fn make(sources: &Sources, stop: Stop, pieces: mpsc::Sender<Piece>) -> Result<(), BackupError> {
    // Cancel-safe: what was begun is taken away with it.
    let snapshot = tokio::select! {
        snapshot = sources.snapshot() => snapshot?,
        () = pieces.closed() => return Ok(()),
        () = stop.drain() => return Err(BackupError::Stopped),
    };
    let sending = tokio::task::spawn_blocking(move || Sending { pieces, stop }.all(&snapshot));
    match sending.await {
        Ok(Ok(())) | Ok(Err(Ended::Unread)) => Ok(()),
        Ok(Err(Ended::Failed(error))) => Err(error),
        Err(_) => Err(BackupError::Stopped),
    }
}

/// What ends the sending early.
enum Ended {
    Unread,
    Failed(BackupError),
}

struct Sending {
    pieces: mpsc::Sender<Piece>,
    stop: Stop,
}

impl Sending {
    fn all(&self, snapshot: &Snapshot) -> Result<(), Ended> {
        let total: u64 = snapshot.entries.iter().map(|entry| entry.size_bytes).sum();
        let head = json!({
            "format": BACKUP_FORMAT,
            "drover": env!("CARGO_PKG_VERSION"),
            "data_format": FORMAT_VERSION,
            "created": snapshot.created.to_string(),
            "size_bytes": total,
            "missing": snapshot.missing,
        });
        self.text("contents.json", &head)?;
        let mut files = Vec::with_capacity(snapshot.entries.len());
        for entry in &snapshot.entries {
            let sha256 = self.entry(entry)?;
            files.push(json!({
                "path": entry.path,
                "size_bytes": entry.size_bytes,
                "sha256": sha256,
                "secret": entry.secret,
            }));
        }
        let mut manifest = head;
        manifest["files"] = files.into();
        self.text("manifest.json", &manifest)
    }

    fn text(&self, path: &str, value: &serde_json::Value) -> Result<(), Ended> {
        let text = format!("{value:#}\n").into_bytes();
        let source = Source::Bytes(text);
        self.entry(&Entry::new(path, false, source).map_err(|error| failed(path, error))?).map(drop)
    }

    /// Sends a file; its SHA-256.
    fn entry(&self, entry: &Entry) -> Result<String, Ended> {
        let file =
            BackupFile { path: entry.path.clone(), size_bytes: entry.size_bytes, secret: entry.secret };
        self.send(CreateBackupResponse { file: Some(file), data: bytes::Bytes::new() })?;
        let mut reader = Reader::open(entry).map_err(|error| failed(&entry.path, error))?;
        let mut hash = Sha256::new();
        let mut left = entry.size_bytes;
        while left > 0 {
            let length = usize::try_from(left).unwrap_or(PIECE_BYTES).min(PIECE_BYTES);
            let mut piece = vec![0; length];
            let read = reader.read(&mut piece).map_err(|error| failed(&entry.path, error))?;
            if read == 0 {
                return Err(failed(&entry.path, io::ErrorKind::UnexpectedEof.into()));
            }
            piece.truncate(read);
            hash.update(&piece);
            left -= read as u64;
            self.send(CreateBackupResponse { file: None, data: piece.into() })?;
        }
        Ok(hex(&hash.finalize()))
    }

    fn send(&self, piece: CreateBackupResponse) -> Result<(), Ended> {
        if self.stop.is_draining() {
            return Err(Ended::Failed(BackupError::Stopped));
        }
        self.pieces.blocking_send(Ok(piece)).map_err(|_| Ended::Unread)
    }
}

fn failed(path: &str, error: io::Error) -> Ended {
    Ended::Failed(BackupError::File { path: path.to_owned(), error })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Reads an entry from its beginning.
enum Reader<'a> {
    File(File),
    Log(&'a drover_backbone::LogFile, u64),
    Bytes(&'a [u8]),
}

impl<'a> Reader<'a> {
    fn open(entry: &'a Entry) -> io::Result<Self> {
        Ok(match &entry.source {
            Source::File(path) => Self::File(File::open(path)?),
            Source::Log(file) => Self::Log(file, 0),
            Source::Bytes(bytes) => Self::Bytes(bytes),
        })
    }
}

impl Read for Reader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::File(file) => file.read(buffer),
            Self::Bytes(bytes) => bytes.read(buffer),
            Self::Log(file, at) => {
                let read = file.read_at(buffer, *at)?;
                *at += read as u64;
                Ok(read)
            }
        }
    }
}

/// Where something is while a backup is made.
fn staging_of(data_dir: &std::path::Path) -> PathBuf {
    data_dir.join("backup.staging")
}
