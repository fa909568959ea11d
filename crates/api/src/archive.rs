//! The form in which a backup travels: a tar archive (POSIX.1-1988 `ustar`), so that any tool opens it. Headers only; no I/O.

/// Bytes of a header, and what the content of a file is filled up to a multiple of.
pub const BLOCK: usize = 512;
/// Two blocks of zeros end an archive.
pub const END: [u8; 2 * BLOCK] = [0; 2 * BLOCK];
/// The file that says why there is no more: an archive with it is not a backup.
pub const FAILED: &str = "failed.txt";

const NAME: std::ops::Range<usize> = 0..100;
const MODE: std::ops::Range<usize> = 100..108;
const SIZE: std::ops::Range<usize> = 124..136;
const CHECKSUM: std::ops::Range<usize> = 148..156;
const KIND: usize = 156;
const MAGIC: std::ops::Range<usize> = 257..265;
const PREFIX: std::ops::Range<usize> = 345..500;

/// A file of an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    pub path: String,
    pub size_bytes: u64,
    pub mode: u32,
}

impl Header {
    /// The header's block; none when the path is too long for one.
    pub fn encode(&self) -> Option<[u8; BLOCK]> {
        let mut block = [0; BLOCK];
        let (prefix, name) = split(&self.path)?;
        put(&mut block, NAME, name.as_bytes())?;
        put(&mut block, PREFIX, prefix.as_bytes())?;
        put(&mut block, MODE, format!("{:07o}", self.mode & 0o7777).as_bytes())?;
        let size = format!("{:011o}", self.size_bytes);
        if size.len() == 11 {
            put(&mut block, SIZE, size.as_bytes())?;
        } else {
            // From 8 GiB on: a number in base 256, as GNU tar writes it.
            put(&mut block, 124..125, &[0x80])?;
            put(&mut block, 128..136, &self.size_bytes.to_be_bytes())?;
        }
        *block.get_mut(KIND)? = b'0';
        put(&mut block, MAGIC, b"ustar\x0000")?;
        let checksum = checksum(&block);
        put(&mut block, CHECKSUM, format!("{checksum:06o}\0 ").as_bytes())?;
        Some(block)
    }

    /// What a block says; `Ok(None)` is the end of the archive.
    ///
    /// # Errors
    /// What is not a header of a plain file.
    pub fn decode(block: &[u8; BLOCK]) -> Result<Option<Self>, &'static str> {
        if block.iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        if octal(block, CHECKSUM) != Some(u64::from(checksum(block))) {
            return Err("a header is damaged");
        }
        if block.get(KIND) != Some(&b'0') {
            return Err("something else than a file is in it");
        }
        let size = match block.get(SIZE.start) {
            Some(0x80) => block.get(128..136).and_then(|bytes| bytes.try_into().ok()).map(u64::from_be_bytes),
            _ => octal(block, SIZE),
        };
        let (Some(size_bytes), Some(mode)) = (size, octal(block, MODE)) else {
            return Err("a header has no size");
        };
        let (prefix, name) = (text(block, PREFIX), text(block, NAME));
        let (Some(prefix), Some(name)) = (prefix, name) else { return Err("a path is not text") };
        let path = if prefix.is_empty() { name.to_owned() } else { format!("{prefix}/{name}") };
        Ok(Some(Self { path, size_bytes, mode: u32::try_from(mode).unwrap_or(0o600) }))
    }
}

/// Zeros behind a content of so many bytes.
pub fn padding(size_bytes: u64) -> usize {
    let over = usize::try_from(size_bytes % BLOCK as u64).unwrap_or(0);
    (BLOCK - over) % BLOCK
}

/// A path as prefix and name, each as long as its field allows.
fn split(path: &str) -> Option<(&str, &str)> {
    if path.len() <= NAME.len() {
        return Some(("", path));
    }
    let mut slashes = path.match_indices('/').map(|(at, _)| at);
    let at = slashes.find(|at| path.len() - at - 1 <= NAME.len())?;
    (at <= PREFIX.len()).then(|| (path.get(..at).unwrap_or(""), path.get(at + 1..).unwrap_or("")))
}

fn put(block: &mut [u8; BLOCK], at: std::ops::Range<usize>, bytes: &[u8]) -> Option<()> {
    block.get_mut(at)?.get_mut(..bytes.len())?.copy_from_slice(bytes);
    Some(())
}

fn text(block: &[u8; BLOCK], at: std::ops::Range<usize>) -> Option<&str> {
    let field = block.get(at)?.split(|byte| *byte == 0).next()?;
    std::str::from_utf8(field).ok()
}

fn octal(block: &[u8; BLOCK], at: std::ops::Range<usize>) -> Option<u64> {
    u64::from_str_radix(text(block, at)?.trim(), 8).ok()
}

/// The sum of all bytes, those of the field itself taken as spaces.
fn checksum(block: &[u8; BLOCK]) -> u32 {
    let bytes = block.iter().enumerate();
    bytes.map(|(at, byte)| u32::from(if CHECKSUM.contains(&at) { b' ' } else { *byte })).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_comes_back_as_it_was() {
        let long = format!("points/{}/{}", "t".repeat(128), "f".repeat(100));
        for (path, size_bytes) in
            [("VERSION", 0), ("log/shards", 2), (long.as_str(), 8 << 30), ("a", u64::MAX)]
        {
            let header = Header { path: path.to_owned(), size_bytes, mode: 0o600 };
            assert_eq!(Header::decode(&header.encode().unwrap()), Ok(Some(header)));
        }
        assert_eq!(Header::decode(&[0; BLOCK]), Ok(None));
    }

    #[test]
    fn damage_and_paths_without_room_are_refused() {
        let header = Header { path: "x".repeat(101), size_bytes: 1, mode: 0o600 };
        assert!(header.encode().is_none());
        let mut block = Header { path: "x".into(), size_bytes: 1, mode: 0o600 }.encode().unwrap();
        block[3] ^= 1;
        assert!(Header::decode(&block).is_err());
    }

    #[test]
    fn content_is_filled_up_to_whole_blocks() {
        assert_eq!([0, 1, 511, 512, 513].map(padding), [0, 511, 1, 0, 511]);
    }
}
