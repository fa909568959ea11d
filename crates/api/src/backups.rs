//! `POST /v1/backups`.

use std::io;

use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use drover_proto::stream::v1::{BackupFile, CreateBackupRequest, CreateBackupResponse};
use futures_util::stream::{self, Stream};
use http::header::CONTENT_TYPE;
use tonic::{Status, Streaming};

use crate::Shared;
use crate::archive::{BLOCK, END, FAILED, Header, padding};
use crate::error::{PROBLEM_JSON, Problem};

/// Create a backup
///
/// The whole installation, all tenants and secrets included, as a tar archive, while everything goes on; for the administrator's token only.
/// First comes `contents.json` with the size of all, last `manifest.json` with the SHA-256 of each file; an archive without it is not
/// whole. Everything that was acknowledged before the call is in it. `drover backup` checks and keeps it, `drover restore` makes a data
/// directory of it. 503 while another backup is made.
#[utoipa::path(
    post, path = "/v1/backups", tag = "Operation", operation_id = "createBackup",
    responses(
        (status = 200, description = "The archive", body = Vec<u8>, content_type = "application/x-tar"),
        (status = 503, description = "Another backup is being made", body = Problem, content_type = PROBLEM_JSON),
    ),
)]
pub async fn create(State(api): Shared) -> Result<Response, Problem> {
    let pieces = api.backups.clone().create_backup(CreateBackupRequest {}).await?.into_inner();
    let body = Body::from_stream(archive(pieces));
    Ok(([(CONTENT_TYPE, "application/x-tar")], body).into_response())
}

/// Where an archive is.
enum Place {
    /// Some bytes are missing of a file's content, and so many zeros behind it.
    In {
        left: u64,
        padding: usize,
    },
    Failed,
    End,
}

fn archive(pieces: Streaming<CreateBackupResponse>) -> impl Stream<Item = io::Result<Bytes>> + Send {
    let start = (pieces, Place::In { left: 0, padding: 0 });
    stream::unfold(start, |(mut pieces, place)| async move {
        let (bytes, place) = match place {
            Place::In { left, padding } => next(pieces.message().await, left, padding),
            // The connection is cut, so that nobody takes the archive for a whole one.
            Place::Failed => (Err(io::Error::other("the backup failed")), Place::End),
            Place::End => return None,
        };
        Some((bytes, (pieces, place)))
    })
}

fn next(
    piece: Result<Option<CreateBackupResponse>, Status>,
    left: u64,
    padding: usize,
) -> (io::Result<Bytes>, Place) {
    match piece {
        Ok(Some(CreateBackupResponse { file: Some(file), .. })) if left == 0 => begun(padding, file),
        Ok(Some(CreateBackupResponse { file: None, data })) if data.len() as u64 <= left => {
            let left = left - data.len() as u64;
            (Ok(data), Place::In { left, padding })
        }
        Ok(None) if left == 0 => {
            let mut bytes = vec![0; padding];
            bytes.extend(END);
            (Ok(bytes.into()), Place::End)
        }
        Err(status) if left == 0 => {
            let reason = status.message().to_owned();
            let file = BackupFile { path: FAILED.into(), size_bytes: reason.len() as u64, secret: false };
            let (begun, _) = begun(padding, file);
            let bytes = begun.map(|begun| {
                let fill = crate::archive::padding(reason.len() as u64);
                [&begun, reason.as_bytes(), &vec![0; fill]].concat().into()
            });
            (bytes, Place::Failed)
        }
        _ => (Err(io::Error::other("the backup failed within a file")), Place::End),
    }
}

/// The end of a file and the head of the next.
fn begun(before: usize, file: BackupFile) -> (io::Result<Bytes>, Place) {
    let size_bytes = file.size_bytes;
    let mode = if file.secret { 0o600 } else { 0o644 };
    let Some(header) = (Header { path: file.path, size_bytes, mode }).encode() else {
        return (Err(io::Error::other("a path is too long for the archive")), Place::End);
    };
    let mut bytes = Vec::with_capacity(before + BLOCK);
    bytes.resize(before, 0);
    bytes.extend(header);
    (Ok(bytes.into()), Place::In { left: size_bytes, padding: padding(size_bytes) })
}
