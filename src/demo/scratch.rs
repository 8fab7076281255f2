//! A directory for as long as the demonstration lasts.

use std::{
    fs, io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

/// A new directory that only we can enter. Dropped, it is removed with all it holds.
#[derive(Debug)]
pub(super) struct Scratch(PathBuf);

impl Scratch {
    pub(super) fn new() -> io::Result<Self> {
        let path = std::env::temp_dir().join(format!("weir-demo-{:016x}", rand::random::<u64>()));
        // Not `create_dir_all`: what exists already is not ours, and must not be removed at the end.
        fs::DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Self(path))
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            tracing::warn!(%error, path = %self.0.display(), "not removed");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_gone_with_all_it_held_when_dropped() {
        let scratch = Scratch::new().unwrap();
        let path = scratch.path().to_owned();
        fs::create_dir(path.join("blobs")).unwrap();
        drop(scratch);
        assert!(!path.exists());
    }
}
