//! A file that is there under its name only when it is whole: it is written under another name first.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use crate::failure::{Failure, Outcome};

/// Bytes that are gathered for one write.
const BUFFER_BYTES: usize = 256 << 10;

/// A file on its way. Dropped before [`Self::finish`], nothing is left of it.
pub struct NewFile {
    path: PathBuf,
    partial: PathBuf,
    /// None once it is finished.
    file: Option<BufWriter<File>>,
}

impl NewFile {
    pub fn create(path: &Path) -> Outcome<Self> {
        let partial = path.with_added_extension("part");
        let file = File::create(&partial);
        let file = file.map_err(|error| unwritable(&partial, &error))?;
        let file = Some(BufWriter::with_capacity(BUFFER_BYTES, file));
        Ok(Self { path: path.to_owned(), partial, file })
    }

    /// Gives it its name; what was there under that name is replaced. Its size.
    pub fn finish(mut self) -> Outcome<u64> {
        self.commit().map_err(|error| unwritable(&self.partial, &error))
    }

    /// What a write that failed means for the user.
    pub fn failure(path: &Path, error: &io::Error) -> Failure {
        unwritable(&path.with_added_extension("part"), error)
    }

    fn commit(&mut self) -> io::Result<u64> {
        self.flush()?;
        let Some(file) = &self.file else { return Ok(0) };
        file.get_ref().sync_all()?;
        let size_bytes = file.get_ref().metadata()?.len();
        fs::rename(&self.partial, &self.path)?;
        self.file = None;
        Ok(size_bytes)
    }
}

impl Write for NewFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.as_mut().ok_or(io::ErrorKind::BrokenPipe)?.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.as_mut().map_or(Ok(()), BufWriter::flush)
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if let Some(file) = self.file.take() {
            // Without another try to write what is of no use.
            let _ = file.into_parts();
            let _ = fs::remove_file(&self.partial);
        }
    }
}

fn unwritable(path: &Path, error: &io::Error) -> Failure {
    Failure::failed(format!("can't write {}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_its_name_when_it_is_whole_and_leaves_nothing_otherwise() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("points.csv");
        let names = || fs::read_dir(folder.path()).unwrap().count();
        let mut file = NewFile::create(&path).unwrap();
        file.write_all(b"half").unwrap();
        assert!(!path.exists());
        drop(file);
        assert_eq!(names(), 0);
        let mut file = NewFile::create(&path).unwrap();
        file.write_all(b"whole").unwrap();
        assert_eq!(file.finish().unwrap(), 5);
        assert_eq!((fs::read(&path).unwrap(), names()), (b"whole".to_vec(), 1));
        let absent = NewFile::create(&folder.path().join("no/points.csv"));
        assert!(absent.err().unwrap().message.contains("points.csv.part"));
    }
}
