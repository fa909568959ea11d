//! The log's files as of a moment, for a backup: readable for as long as they are held, whatever is truncated meanwhile.

use std::fmt;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::embedded::Segment;

/// One file of the log, up to where it was durable.
pub struct LogFile {
    /// Its path below the log's directory.
    pub name: String,
    /// Bytes of it that count.
    pub size_bytes: u64,
    source: Source,
}

enum Source {
    /// Held open: neither reused nor lost while this lives, even when it is removed.
    Segment(Arc<Segment>),
    Text(String),
}

impl LogFile {
    pub(crate) fn segment(directory: &str, segment: Arc<Segment>) -> Self {
        let name = format!("{directory}/{}", segment.identity.file_name());
        Self { name, size_bytes: segment.written(), source: Source::Segment(segment) }
    }

    pub(crate) fn text(name: &str, text: String) -> Self {
        Self { name: name.to_owned(), size_bytes: text.len() as u64, source: Source::Text(text) }
    }

    /// Reads from a position, at most to [`Self::size_bytes`]; 0 at the end. Blocks.
    ///
    /// # Errors
    /// As the operating system says.
    pub fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        let left = usize::try_from(self.size_bytes.saturating_sub(at)).unwrap_or(usize::MAX);
        let length = buffer.len().min(left);
        let buffer = buffer.get_mut(..length).unwrap_or_default();
        match &self.source {
            Source::Segment(segment) => segment.file.read_at(buffer, at),
            Source::Text(text) => {
                let from = usize::try_from(at).unwrap_or(usize::MAX);
                let rest = text.as_bytes().get(from..).unwrap_or_default();
                let length = length.min(rest.len());
                if let (Some(to), Some(from)) = (buffer.get_mut(..length), rest.get(..length)) {
                    to.copy_from_slice(from);
                }
                Ok(length)
            }
        }
    }
}

impl fmt::Debug for LogFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LogFile({}, {} bytes)", self.name, self.size_bytes)
    }
}

/// While one of these lives, truncation waits.
#[derive(Debug)]
pub struct Kept(Arc<AtomicUsize>);

impl Kept {
    pub(crate) fn one_more(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::AcqRel);
        Self(count.clone())
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}
