//! Parsed footers and page indexes of point files: the least recently used go when the size bound is reached.

use std::fs::File;
use std::sync::Arc;

use hashbrown::HashMap;
use parking_lot::Mutex;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions};
use parquet::errors::ParquetError;
use parquet::file::metadata::PageIndexPolicy;

/// The cache. Files never change, so an entry is never stale.
#[derive(Debug)]
pub(crate) struct Footers {
    max_bytes: usize,
    entries: Mutex<Entries>,
}

#[derive(Debug, Default)]
struct Entries {
    by_file: HashMap<Arc<str>, Entry>,
    bytes: usize,
    uses: u64,
}

#[derive(Debug)]
struct Entry {
    footer: Arc<ArrowReaderMetadata>,
    bytes: usize,
    last_use: u64,
}

impl Footers {
    pub(crate) fn new(max_bytes: usize) -> Self {
        Self { max_bytes, entries: Mutex::default() }
    }

    /// The footer of `file`, whose name is `name`.
    pub(crate) fn get(&self, name: &Arc<str>, file: &File) -> Result<Arc<ArrowReaderMetadata>, ParquetError> {
        if let Some(footer) = self.entries.lock().touch(name) {
            return Ok(footer);
        }
        let options = ArrowReaderOptions::new().with_page_index_policy(PageIndexPolicy::Required);
        let footer = Arc::new(ArrowReaderMetadata::load(file, options)?);
        self.entries.lock().insert(name, &footer, self.max_bytes);
        Ok(footer)
    }
}

impl Entries {
    fn touch(&mut self, name: &str) -> Option<Arc<ArrowReaderMetadata>> {
        self.uses += 1;
        let entry = self.by_file.get_mut(name)?;
        entry.last_use = self.uses;
        Some(Arc::clone(&entry.footer))
    }

    fn insert(&mut self, name: &Arc<str>, footer: &Arc<ArrowReaderMetadata>, max_bytes: usize) {
        let bytes = footer.metadata().memory_size();
        if bytes > max_bytes {
            return;
        }
        while self.bytes + bytes > max_bytes {
            let oldest =
                self.by_file.iter().min_by_key(|(_, entry)| entry.last_use).map(|(name, _)| Arc::clone(name));
            let Some(entry) = oldest.and_then(|name| self.by_file.remove(&name)) else { break };
            self.bytes -= entry.bytes;
        }
        let entry = Entry { footer: Arc::clone(footer), bytes, last_use: self.uses };
        self.bytes += bytes;
        if let Some(replaced) = self.by_file.insert(Arc::clone(name), entry) {
            self.bytes -= replaced.bytes;
        }
    }
}
