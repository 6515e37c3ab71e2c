//! Compiled components on disk.
//!
//! Loading machine code is a matter of trust: whoever can write an entry can run code in this process. An entry is
//! believed because only this account can have written it: the directory belongs to it and nobody else may write there,
//! which is checked when the cache is opened. (A key to sign entries with would lie in the same place.) The checksum in
//! each entry is against damage, not against attackers.
//!
//! An entry, all numbers little-endian:
//!
//! ```text
//! "DRVAOT01" | engine key 32 | sha256 of the component 32 | length of the artifact u64 | sha256 of all else 32 | artifact
//! ```

use crate::limits::ARTIFACT_BYTES_MAX;
use crate::load::PluginHash;
use crate::metrics;
use sha2::{Digest, Sha256};
use std::fs::{self, DirBuilder, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

const MAGIC: &[u8; 8] = b"DRVAOT01";
const HEADER_BYTES: usize = 8 + 32 + 32 + 8 + 32;
const CHECKSUM_AT: usize = HEADER_BYTES - 32;
const EXTENSION: &str = "drover-aot";
/// Most entries kept; beyond, those written longest ago go first.
const ENTRIES_MAX: usize = 256;

/// A directory of artifacts for one engine: its version, its settings and this machine's instruction set.
pub(crate) struct ArtifactCache {
    dir: PathBuf,
    engine_key: [u8; 32],
}

impl ArtifactCache {
    /// Makes the directory with mode 0700 where it is missing; refuses one that others own or may write to.
    pub(crate) fn open(dir: &Path, engine_key: [u8; 32]) -> io::Result<Self> {
        let mut builder = DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(dir)?;
        check_private(dir)?;
        Ok(Self { dir: dir.to_owned(), engine_key })
    }

    fn path_of(&self, hash: PluginHash) -> PathBuf {
        self.dir.join(format!("{hash}-{}.{EXTENSION}", hex::encode(&self.engine_key[..8])))
    }

    /// The artifact, if there is a sound one. A damaged entry is thrown away.
    pub(crate) fn get(&self, hash: PluginHash) -> Option<Vec<u8>> {
        let path = self.path_of(hash);
        let read = File::open(&path).and_then(|file| {
            let mut entry = Vec::new();
            file.take(HEADER_BYTES as u64 + ARTIFACT_BYTES_MAX).read_to_end(&mut entry)?;
            Ok(entry)
        });
        match read {
            Ok(entry) => {
                let artifact = self.artifact_in(entry, hash);
                if artifact.is_none() {
                    tracing::warn!(path = %path.display(), "a compiled plugin is damaged; it is compiled again");
                    self.discard(hash);
                }
                artifact
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "a compiled plugin can't be read; it is compiled again");
                None
            }
        }
    }

    /// Removes an entry that turned out to be unusable.
    pub(crate) fn discard(&self, hash: PluginHash) {
        metrics::cache_discarded();
        let path = self.path_of(hash);
        if let Err(error) = fs::remove_file(&path) {
            tracing::warn!(path = %path.display(), %error, "an unusable compiled plugin can't be removed");
        }
    }

    /// Stores an artifact: whole or not at all.
    pub(crate) fn put(&self, hash: PluginHash, artifact: &[u8]) -> io::Result<()> {
        let mut file = tempfile::NamedTempFile::new_in(&self.dir)?;
        file.write_all(&self.header(hash, artifact))?;
        file.write_all(artifact)?;
        file.as_file().sync_data()?;
        file.persist(self.path_of(hash)).map_err(|error| error.error)?;
        self.drop_oldest()
    }

    fn header(&self, hash: PluginHash, artifact: &[u8]) -> Vec<u8> {
        let mut header = Vec::with_capacity(HEADER_BYTES);
        header.extend_from_slice(MAGIC);
        header.extend_from_slice(&self.engine_key);
        header.extend_from_slice(&hash.0);
        header.extend_from_slice(&(artifact.len() as u64).to_le_bytes());
        let checksum = Sha256::new().chain_update(&header).chain_update(artifact).finalize();
        header.extend_from_slice(&checksum);
        header
    }

    fn artifact_in(&self, mut entry: Vec<u8>, hash: PluginHash) -> Option<Vec<u8>> {
        if entry.len() < HEADER_BYTES {
            return None;
        }
        let artifact = entry.split_off(HEADER_BYTES);
        debug_assert_eq!(entry[CHECKSUM_AT..].len(), 32);
        (entry == self.header(hash, &artifact)).then_some(artifact)
    }

    fn drop_oldest(&self) -> io::Result<()> {
        let mut entries = Vec::new();
        for entry in fs::read_dir(&self.dir)? {
            let entry = entry?;
            if entry.path().extension().is_some_and(|extension| extension == EXTENSION) {
                entries.push((entry.metadata()?.modified()?, entry.path()));
            }
        }
        entries.sort();
        let surplus = entries.len().saturating_sub(ENTRIES_MAX);
        entries[..surplus].iter().try_for_each(|(_, path)| fs::remove_file(path))
    }
}

/// Only we may write to `dir`, and we can.
#[cfg(unix)]
fn check_private(dir: &Path) -> io::Result<()> {
    use std::os::unix::fs::MetadataExt;
    let ours = tempfile::NamedTempFile::new_in(dir)?.as_file().metadata()?.uid();
    let found = fs::metadata(dir)?;
    if found.uid() != ours {
        return Err(io::Error::other(format!("{} belongs to another account", dir.display())));
    }
    if found.mode() & 0o022 != 0 {
        return Err(io::Error::other(format!("{} may be written to by others: chmod 700", dir.display())));
    }
    Ok(())
}

#[cfg(not(unix))]
fn check_private(dir: &Path) -> io::Result<()> {
    tempfile::NamedTempFile::new_in(dir).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: PluginHash = PluginHash([7; 32]);

    fn cache() -> (tempfile::TempDir, ArtifactCache) {
        let dir = tempfile::tempdir().unwrap();
        let cache = ArtifactCache::open(&dir.path().join("plugins"), [1; 32]).unwrap();
        (dir, cache)
    }

    #[test]
    fn an_entry_comes_back_as_it_was_and_only_for_its_engine() {
        let (dir, cache) = cache();
        assert_eq!(cache.get(HASH), None);
        cache.put(HASH, b"machine code").unwrap();
        assert_eq!(cache.get(HASH).as_deref(), Some(b"machine code".as_slice()));
        let other = ArtifactCache::open(&dir.path().join("plugins"), [2; 32]).unwrap();
        assert_eq!(other.get(HASH), None);
        fs::copy(cache.path_of(HASH), other.path_of(HASH)).unwrap();
        assert_eq!(other.get(HASH), None, "a renamed entry of another engine");
    }

    #[test]
    fn any_flipped_or_missing_byte_discards_the_entry() {
        let (_dir, cache) = cache();
        cache.put(HASH, b"machine code").unwrap();
        let sound = fs::read(cache.path_of(HASH)).unwrap();
        for at in 0..sound.len() {
            let mut damaged = sound.clone();
            damaged[at] ^= 0x10;
            fs::write(cache.path_of(HASH), &damaged).unwrap();
            assert_eq!(cache.get(HASH), None, "byte {at}");
            assert!(!cache.path_of(HASH).exists());
            fs::write(cache.path_of(HASH), &sound[..at]).unwrap();
            assert_eq!(cache.get(HASH), None, "cut at {at}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_directory_that_others_may_write_to_is_refused() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o777)).unwrap();
        assert!(ArtifactCache::open(dir.path(), [1; 32]).is_err());
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        assert!(ArtifactCache::open(dir.path(), [1; 32]).is_ok());
    }
}
