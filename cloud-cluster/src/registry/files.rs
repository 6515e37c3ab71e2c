//! Files named after the SHA-256 of what they hold. Written whole or not at all, and never changed: only one that a disk
//! has damaged is written again.

use plugin_host::PluginHash;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// A folder of such files. All calls block for the disk.
#[derive(Debug)]
pub(super) struct Files {
    folder: PathBuf,
    extension: &'static str,
}

impl Files {
    pub(super) fn open(folder: PathBuf, extension: &'static str) -> io::Result<Self> {
        std::fs::create_dir_all(&folder)?;
        for entry in std::fs::read_dir(&folder)? {
            let path = entry?.path();
            // Left by a crash in the middle of a write.
            if path.extension().is_some_and(|extension| extension == "part") {
                std::fs::remove_file(path)?;
            }
        }
        Ok(Self { folder, extension })
    }

    /// Durable when it returns.
    pub(super) fn put(&self, bytes: &[u8]) -> io::Result<PluginHash> {
        let hash = PluginHash::of(bytes);
        let path = self.path(hash);
        if matches!(self.get(hash), Ok(Some(_))) {
            return Ok(hash);
        }
        let part = path.with_extension(format!("{:016x}.part", rand::random::<u64>()));
        let written = write_and_rename(bytes, &part, &path).and_then(|()| File::open(&self.folder)?.sync_all());
        if written.is_err() {
            let _ = std::fs::remove_file(&part);
        }
        written.map(|()| hash)
    }

    /// The bytes, checked against their name. `None` when there is no such file.
    pub(super) fn get(&self, hash: PluginHash) -> io::Result<Option<Vec<u8>>> {
        let path = self.path(hash);
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        if PluginHash::of(&bytes) == hash {
            Ok(Some(bytes))
        } else {
            Err(io::Error::new(io::ErrorKind::InvalidData, format!("{} is damaged", path.display())))
        }
    }

    pub(super) fn contains(&self, hash: PluginHash) -> bool {
        self.path(hash).exists()
    }

    fn path(&self, hash: PluginHash) -> PathBuf {
        self.folder.join(format!("{hash}.{}", self.extension))
    }
}

fn write_and_rename(bytes: &[u8], part: &Path, path: &Path) -> io::Result<()> {
    let mut file = File::create_new(part)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(part, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_found_again_and_damage_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let files = Files::open(folder.path().join("x"), "json").unwrap();
        let hash = files.put(b"{}").unwrap();
        assert_eq!(files.put(b"{}").unwrap(), hash);
        assert_eq!(files.get(hash).unwrap().unwrap(), b"{}");
        assert_eq!(files.get(PluginHash::of(b"other")).unwrap(), None);
        std::fs::write(files.path(hash), b"{ }").unwrap();
        assert!(files.get(hash).is_err());
    }

    #[test]
    fn a_damaged_file_is_written_again() {
        let folder = tempfile::tempdir().unwrap();
        let files = Files::open(folder.path().join("x"), "json").unwrap();
        let hash = files.put(b"{}").unwrap();
        for damage in [&b"{ }"[..], b""] {
            std::fs::write(files.path(hash), damage).unwrap();
            assert_eq!(files.put(b"{}").unwrap(), hash);
            assert_eq!(files.get(hash).unwrap().unwrap(), b"{}");
        }
    }
}
