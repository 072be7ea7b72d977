//! `serve --repair`: a damaged data folder is put aside, and a new one made of what can be read of it.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tracing::{info, warn};

use crate::base::Millis;
use crate::node::{Salvaged, salvage, verify};
use crate::store::{RocksStore, StoreError};

/// Between two words on how far it is.
const PAUSE: Duration = Duration::from_secs(5);

/// Looks through the data folder at `path`, and makes a new one in its place if it is damaged; the damaged one is
/// kept beside it. To be called while no node runs on it.
///
/// # Errors
/// When the folder is in use or of a later version, or a new one cannot be written.
pub fn repair(path: &Path) -> Result<(), StoreError> {
    let new = beside(path, "salvaging");
    if !path.exists() && new.exists() {
        // An earlier repair was cut off at its last step.
        return moved(&new, path);
    }
    if !path.join("CURRENT").exists() {
        return Ok(());
    }
    info!(folder = %path.display(), "looking for damage");
    let store = match RocksStore::open_to_read(path) {
        Ok(store) => store,
        Err(error @ (StoreError::Newer { .. } | StoreError::Locked { .. })) => return Err(error),
        Err(error) => {
            warn!(%error, "nothing of the data folder can be read: this node begins anew");
            return moved(path, &free(path)).map(drop);
        }
    };
    let mut last = Instant::now();
    let mut is_time = move || {
        let now = last.elapsed() >= PAUSE;
        if now {
            last = Instant::now();
        }
        now
    };
    let report = verify(&store, &mut |report| {
        if is_time() {
            info!(documents = report.documents, megabytes = report.bytes >> 20, "looking for damage");
        }
    });
    match report {
        Ok(report) if report.is_sound() => {
            info!(documents = report.documents, "the data folder is sound");
            return Ok(());
        }
        Ok(report) => report.faults.iter().for_each(|fault| warn!(%fault, "damage")),
        Err(error) => warn!(%error, "damage"),
    }
    if new.exists() {
        fs::remove_dir_all(&new).map_err(|error| failed("remove", &new, &error))?;
    }
    let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let unix = Millis(u64::try_from(unix.as_millis()).unwrap_or(0));
    let made = RocksStore::open(&new)?;
    let done = salvage(&store, &made, unix, &mut |done| {
        if is_time() {
            info!(documents = done.documents, megabytes = done.bytes >> 20, "salvaging");
        }
    })?;
    drop((store, made));
    let kept = free(path);
    moved(path, &kept)?;
    moved(&new, path)?;
    let Salvaged { documents, changes, incomplete, lost_changes, renamed, .. } = done;
    warn!(
        documents,
        changes,
        incomplete,
        lost_changes,
        new_identity = renamed,
        damaged = %kept.display(),
        "a new data folder was made of what could be read; what is missing comes from the other nodes"
    );
    Ok(())
}

fn beside(path: &Path, word: &str) -> PathBuf {
    let mut name = path.file_name().map_or_else(|| OsString::from("data"), OsString::from);
    name.push(".");
    name.push(word);
    path.with_file_name(name)
}

/// A name for the damaged folder that nothing has yet.
fn free(path: &Path) -> PathBuf {
    let mut number = 1_u64;
    loop {
        let kept = beside(path, &format!("damaged-{number}"));
        if !kept.exists() {
            return kept;
        }
        number += 1;
    }
}

/// Renames, and sees to it that the new name is on disk.
fn moved(from: &Path, to: &Path) -> Result<(), StoreError> {
    let parent = match to.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let rename = || {
        fs::rename(from, to)?;
        File::open(parent)?.sync_all()
    };
    rename().map_err(|error| failed("rename", from, &error))
}

fn failed(operation: &'static str, subject: &Path, error: &io::Error) -> StoreError {
    StoreError::Failed { operation, subject: subject.display().to_string(), reason: error.to_string() }
}

#[cfg(test)]
mod tests;
