//! A folder for data that nobody wants to keep.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use super::output::Failure;

/// Removed, with all that is in it, when this is dropped: to be dropped after the nodes in it.
pub struct Scratch(PathBuf);

impl Scratch {
    /// A new folder in `parent`, or where the system keeps such things.
    ///
    /// # Errors
    /// When it cannot be made there.
    pub fn new(purpose: &str, parent: Option<&Path>) -> Result<Self, Failure> {
        let name = format!("syncline-{purpose}-{}-{:08x}", std::process::id(), fastrand::u32(..));
        let path = parent.map_or_else(std::env::temp_dir, Path::to_owned).join(name);
        // Fails where it is there already, as where somebody else has put something in its place.
        DirBuilder::new()
            .mode(0o700)
            .create(&path)
            .map_err(|e| Failure::refused(format!("cannot make the folder {}: {e}", path.display())))?;
        Ok(Self(path))
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            eprintln!("{} is left behind: {error}", self.0.display());
        }
    }
}
