//! Merges the files of a tenant: those of flushes into files of one day, and those of a day into fewer, so that a query reads few
//! files and each point once. Merged files count from the transaction on that takes them in and the others out; a crash leaves
//! the one or the other. Nothing here holds up a flush or a query.

mod choose;
mod days;

use std::path::Path;
use std::sync::Arc;

use drover_model::Timestamp;
use hashbrown::HashSet;
use parquet::errors::ParquetError;

use crate::file::{Level, Part, Wanted};
use crate::merge::{Merge, Sorted};
use crate::read::batches;
use crate::store::{Inner, Store};
use crate::{StoreError, manifest, rollup};

use choose::{Job, choose};
use days::Days;

/// A thread that merges has less of a processor than others that want it.
const NICENESS: i32 = 10;

/// What a merge did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Compacted {
    /// Parts of files that went in.
    pub parts: usize,
    /// Points that came out.
    pub points: u64,
    /// Bytes that came out.
    pub bytes: u64,
}

impl Store {
    /// Does one merge: of a tenant's files of flushes when there are `files` of them, or of files of a day that have become alike in
    /// size. None when there is nothing to do. One call at a time.
    ///
    /// # Errors
    /// When a file can't be written or the database refuses; then all is as it was. A file that can't be read is left alone, and named
    /// by [`Self::health`].
    pub async fn compact(&self, files: usize, now: Timestamp) -> Result<Option<Compacted>, StoreError> {
        self.0.retention.write().pass(now);
        self.0.remove_left();
        self.0.forget_erasures().await?;
        let Some(job) = choose(&self.0, files.max(2), now) else { return Ok(None) };
        let merged = self.merge(&job).await?;
        let done = Compacted {
            parts: job.parts.len(),
            points: merged.iter().map(|part| part.points).sum(),
            bytes: merged.iter().map(|part| part.size_bytes).sum(),
        };
        self.replace(job, merged).await?;
        self.0.remove_left();
        Ok(Some(done))
    }

    /// Writes the files of a job, on a thread of its own.
    async fn merge(&self, job: &Job) -> Result<Vec<Part>, StoreError> {
        let (inner, job) = (Arc::clone(&self.0), job.clone());
        let (sender, receiver) = tokio::sync::oneshot::channel();
        let sources: Vec<Arc<str>> = job.parts.iter().map(|part| Arc::clone(&part.file)).collect();
        let work = move || {
            // Of Linux a thread's own; where it is refused, a merge has the priority of all.
            let _ = rustix::process::nice(NICENESS);
            let merged = merge(&inner, &job);
            // Who reads the parts keeps their files.
            drop(job);
            if let Err(Ok(unwanted)) = sender.send(merged) {
                let new = unwanted.iter().filter(|part| !sources.contains(&part.file));
                new.for_each(|part| remove(&inner.dir, part));
            }
        };
        let thread = std::thread::Builder::new().name("compact".to_owned()).spawn(work);
        thread.map_err(|source| StoreError::File { path: self.0.dir.display().to_string(), source })?;
        receiver.await.map_err(|_| StoreError::Stopped)?
    }

    /// Lets the merged parts count in the place of the job's.
    async fn replace(&self, job: Job, merged: Vec<Part>) -> Result<(), StoreError> {
        let inner = &self.0;
        if let Err(error) = self.record(&job, &merged).await {
            // It may be committed all the same; the manifest knows. A write transaction waits for the one in doubt.
            let mut tx = inner.db.begin().await?;
            let is_committed = match merged.first() {
                Some(part) => manifest::knows(&mut tx, &part.file).await?,
                None => false,
            };
            drop(tx);
            if !is_committed {
                merged.iter().for_each(|part| remove(&inner.dir, part));
                return Err(error);
            }
        }
        let mut state = inner.shard(job.shard).state.write();
        let parts = state.files.entry(job.tenant).or_default();
        parts.retain(|part| !job.parts.iter().any(|merged| Arc::ptr_eq(part, merged)));
        parts.extend(merged.into_iter().map(Arc::new));
        drop(state);
        inner.leaving.lock().extend(job.parts.into_iter().map(|part| (job.shard, part)));
        Ok(())
    }

    async fn record(&self, job: &Job, merged: &[Part]) -> Result<(), StoreError> {
        let mut tx = self.0.db.begin().await?;
        // First what goes: a file that stays as it is, is in both.
        for part in &job.parts {
            manifest::remove(&mut tx, &job.tenant, part).await?;
        }
        for part in merged {
            manifest::add(&mut tx, &job.tenant, job.shard.into(), part).await?;
        }
        Ok(tx.commit().await?)
    }
}

impl Inner {
    /// Removes files that no part of the store is in any more, once nobody reads them.
    fn remove_left(&self) {
        let mut leaving = self.leaving.lock();
        let is_read = |part: &Arc<Part>| Arc::strong_count(part) > 1;
        let read: HashSet<Arc<str>> = leaving
            .iter()
            .filter(|(_, part)| is_read(part))
            .map(|(_, part)| Arc::clone(&part.file))
            .collect();
        let mut removed = HashSet::new();
        leaving.retain(|(shard, part)| {
            if read.contains(&part.file) {
                return true;
            }
            let state = self.shard(*shard).state.read();
            let is_needed = state.files.values().flatten().any(|other| other.file == part.file);
            // One that is needed for another tenant goes when that one's part leaves.
            if !is_needed && removed.insert(Arc::clone(&part.file)) {
                remove(&self.dir, part);
                self.damage.removed(&part.file);
            }
            false
        });
    }
}

/// Removes a file and its rollups.
fn remove(dir: &Path, part: &Part) {
    for file in rollup::files(&part.file, part.rollups).chain([part.file.to_string()]) {
        if let Err(error) = std::fs::remove_file(dir.join(&file)) {
            tracing::warn!(file, %error, "could not remove a file that is not needed; the next start will");
        }
    }
}

/// Merges the parts of a job into files of one day each, a bounded number of days at a time, without rows that no longer count.
fn merge(inner: &Arc<Inner>, job: &Job) -> Result<Vec<Part>, StoreError> {
    if job.parts.iter().all(|part| job.gone.has_all(part)) {
        return Ok(Vec::new());
    }
    if let [part] = job.parts.as_slice()
        && part.level == Level::Merged
        && !has_gone(inner, job, part)
    {
        let trimmed = job.gone.trimmed(part.max_ts);
        return Ok(vec![Part { clean_to: job.clean_to, trimmed, ..Part::clone(part) }]);
    }
    let mut days = Days::new(inner, job);
    loop {
        let wanted = days.wanted();
        let sources: Vec<Sorted> = job.parts.iter().map(|part| source(inner, part, &wanted)).collect();
        for batch in Merge::new(sources) {
            match batch.and_then(|batch| Ok(job.gone.filter(batch)?)) {
                Ok(batch) => days.write(&batch)?,
                Err(error) => return Err(days.unreadable(&error)),
            }
        }
        if days.is_done()? {
            return Ok(days.finish());
        }
    }
}

/// Whether a part has rows that no longer count. When it can't be read that may be.
fn has_gone(inner: &Arc<Inner>, job: &Job, part: &Arc<Part>) -> bool {
    let wanted = job.gone.wanted_of(part);
    let mut rows = source(inner, part, &wanted);
    rows.any(|batch| {
        let counted = batch.map(|batch| (batch.num_rows(), job.gone.filter(batch)));
        !matches!(counted, Ok((rows, Ok(left))) if left.num_rows() == rows)
    })
}

/// The rows of a part; what can't be read is noted by the name of its file.
fn source(inner: &Arc<Inner>, part: &Arc<Part>, wanted: &Wanted) -> Sorted {
    let groups = part.first_row_group..part.first_row_group + part.row_groups;
    let (noting, damaged) = (Arc::clone(inner), Arc::clone(part));
    let note = move |error: &ParquetError| {
        noting.damage.found(&damaged.file, &error.to_string());
        noting.quarantined.lock().insert(Arc::clone(&damaged.file));
    };
    match batches((&inner.dir, &inner.footers), part, groups, wanted, None) {
        Ok(None) => Box::new(std::iter::empty()),
        Ok(Some(reader)) => Box::new(
            reader.map(move |batch| batch.map_err(ParquetError::from).inspect_err(|error| note(error))),
        ),
        Err(error) => {
            note(&error);
            Box::new(std::iter::once(Err(error)))
        }
    }
}
