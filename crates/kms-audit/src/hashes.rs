//! Hashes kept for proofs: the roots of complete subtrees at every eighth level.
//!
//! All of it follows from the records, so nothing here is synced, and a file that is short is made longer again
//! from the segments. Nor is it trusted: a proof made from it is checked against the root before it leaves. It stays
//! when segments are pruned, 32 bytes for each record that ever was, so that the proofs of those that remain go on.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::layout::hashes_name;
use crate::merkle::{Hash, Nodes, node_hash};

const STEP: u32 = 8;
const FAN: usize = 1 << STEP;

/// The files, one for each level that has hashes. Not for use by several threads at once.
pub(crate) struct HashFiles {
    dir: PathBuf,
    /// The file of level `8 * i`, and the hashes in it.
    levels: Vec<(File, u64)>,
}

impl HashFiles {
    /// Opens what is there. Files that do not fit each other are cut to what does.
    pub(crate) fn open(dir: &Path) -> io::Result<HashFiles> {
        let mut files = HashFiles { dir: dir.into(), levels: Vec::new() };
        while files.dir.join(hashes_name(files.levels.len() as u32 * STEP)).exists() {
            files.add_level()?;
        }
        if files.levels.is_empty() {
            files.add_level()?;
        }
        let size = files.size();
        files.truncate(size)?;
        Ok(files)
    }

    fn add_level(&mut self) -> io::Result<()> {
        let path = self.dir.join(hashes_name(self.levels.len() as u32 * STEP));
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let file = options.open(path)?;
        let count = file.metadata()?.len() / 32;
        self.levels.push((file, count));
        Ok(())
    }

    /// Leaves whose hashes are there.
    pub(crate) fn size(&self) -> u64 {
        self.levels.first().map_or(0, |(_, count)| *count)
    }

    /// Keeps the first `size` leaves, of at most those that are there.
    pub(crate) fn truncate(&mut self, size: u64) -> io::Result<()> {
        let mut wanted = size.min(self.size());
        for level in 0..self.levels.len() {
            let (file, count) = &mut self.levels[level];
            *count = wanted.min(*count);
            file.set_len(*count * 32)?;
            wanted >>= STEP;
        }
        self.fill_up(1)
    }

    /// Appends leaves: all of them, or none where it fails.
    pub(crate) fn push(&mut self, leaves: &[Hash]) -> io::Result<()> {
        self.append(0, leaves)?;
        // The leaves are in. Where an upper level found no space, the next push makes it up.
        let _ = self.fill_up(1);
        Ok(())
    }

    /// Makes them outlive a power cut, for when the records that they come from are about to go.
    pub(crate) fn sync(&self) -> io::Result<()> {
        self.levels.iter().try_for_each(|(file, _)| file.sync_all())
    }

    fn append(&mut self, level: usize, hashes: &[Hash]) -> io::Result<()> {
        let (file, count) = &mut self.levels[level];
        file.write_all_at(hashes.as_flattened(), *count * 32)?;
        *count += hashes.len() as u64;
        Ok(())
    }

    /// Makes the hashes of `level` and above that those below it give.
    fn fill_up(&mut self, level: usize) -> io::Result<()> {
        let below = self.levels[level - 1].1 >> STEP;
        if below == 0 {
            return Ok(());
        }
        if self.levels.len() == level {
            self.add_level()?;
            // What a file held that was not opened with the others is not known to fit them.
            let (file, count) = &mut self.levels[level];
            file.set_len(0)?;
            *count = 0;
        }
        while self.levels[level].1 < below {
            let first = self.levels[level].1 << STEP;
            let root = self.fold(level - 1, first, FAN)?;
            self.append(level, &[root])?;
        }
        self.fill_up(level + 1)
    }

    /// The root over `count` hashes of one level, a power of two up to 256.
    fn fold(&self, level: usize, first: u64, count: usize) -> io::Result<Hash> {
        let fault = || io::Error::from(io::ErrorKind::UnexpectedEof);
        let (file, len) = self.levels.get(level).ok_or_else(fault)?;
        if first + count as u64 > *len {
            return Err(fault());
        }
        let mut hashes = vec![[0; 32]; count];
        file.read_exact_at(hashes.as_flattened_mut(), first * 32)?;
        while hashes.len() > 1 {
            hashes = hashes.chunks_exact(2).map(|pair| node_hash(&pair[0], &pair[1])).collect();
        }
        hashes.first().copied().ok_or_else(fault)
    }
}

impl Nodes for HashFiles {
    type Error = io::Error;

    fn node(&self, level: u32, index: u64) -> io::Result<Hash> {
        let inner = level % STEP;
        self.fold((level / STEP) as usize, index << inner, 1 << inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::merkle::{Frontier, leaf_hash, range_root};
    use kms_testkit::temp_dir::TempDir;

    fn leaf(i: u64) -> Hash {
        leaf_hash(&i.to_be_bytes())
    }

    #[test]
    fn roots_of_every_size_come_from_the_files() {
        let dir = TempDir::new("hashes");
        let mut files = HashFiles::open(dir.path()).unwrap();
        let leaves: Vec<_> = (0..66_000).map(leaf).collect();
        let mut frontier = Frontier::default();
        for chunk in leaves.chunks(777) {
            files.push(chunk).unwrap();
            chunk.iter().for_each(|leaf| frontier.push(*leaf));
            assert_eq!(range_root(&files, 0, frontier.size()).unwrap(), frontier.root());
        }
        assert_eq!(files.levels.len(), 3);
        // Cut and grown again, with the upper levels lost.
        std::fs::remove_file(dir.path().join("hashes-08")).unwrap();
        let mut files = HashFiles::open(dir.path()).unwrap();
        assert_eq!(range_root(&files, 0, 66_000).unwrap(), frontier.root());
        files.truncate(1000).unwrap();
        assert_eq!(files.size(), 1000);
        files.push(&leaves[1000..]).unwrap();
        assert_eq!(range_root(&files, 0, 66_000).unwrap(), frontier.root());
        assert!(range_root(&files, 0, 66_001).is_err());
    }
}
