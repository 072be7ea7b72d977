//! A folder before it is open: made where it is missing, and refused where it is of a later version.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use rocksdb::DB;

use super::{FORMAT, FORMAT_KEY, damaged, encoding, error, fact_name};
use crate::store::StoreError;
use crate::store::families::{META, database_options};

/// Makes the folder and sees to it that its name is on disk: an fsync inside it does not do that.
pub(super) fn make_folder(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    make_folder(parent)?;
    match fs::create_dir(path) {
        // Another process may have been faster; the lock will tell.
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(e),
        _ => {}
    }
    File::open(parent)?.sync_all()
}

/// The format of the folder at `path`, read without writing anything; None in a folder never used, and
/// where it cannot be read this way: opening then tells why.
pub(super) fn peek_format(path: &Path) -> Result<Option<u32>, StoreError> {
    if !path.join("CURRENT").exists() {
        return Ok(None);
    }
    let mut options = database_options();
    options.create_if_missing(false);
    options.create_missing_column_families(false);
    let Ok(db) = DB::open_cf_for_read_only(&options, path, [META], false) else { return Ok(None) };
    let name = || fact_name(FORMAT_KEY);
    let Some(meta) = db.cf_handle(META) else { return Ok(None) };
    let Some(value) = db.get_pinned_cf(meta, FORMAT_KEY).map_err(|e| error("read", &name(), &e))? else {
        return Ok(None);
    };
    encoding::read_format(&value).map(Some).map_err(|e| damaged("read", &name(), &e))
}

pub(super) fn refuse_newer(found: Option<u32>) -> Result<(), StoreError> {
    match found {
        Some(found) if found > FORMAT => Err(StoreError::Newer { found, known: FORMAT }),
        _ => Ok(()),
    }
}

/// Has a process the folder open? Asked of the system, as reading takes no lock; where it does not tell, nobody has.
pub(super) fn is_in_use(path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let (Ok(file), Ok(locks)) = (fs::metadata(path.join("LOCK")), fs::read_to_string("/proc/locks")) else {
        return false;
    };
    let inode = file.ino().to_string();
    locks.lines().any(|lock| {
        let mut words = lock.split_whitespace();
        words.any(|word| word == "POSIX") && words.any(|word| word.rsplit(':').next() == Some(&*inode))
    })
}

/// Bytes of write-ahead logs.
pub(super) fn wal_bytes(path: &Path) -> io::Result<u64> {
    let mut bytes = 0;
    for file in fs::read_dir(path)? {
        let file = file?;
        if Path::new(&file.file_name()).extension().is_some_and(|extension| extension == "log") {
            // It may have been deleted since it was listed.
            bytes += file.metadata().map_or(0, |metadata| metadata.len());
        }
    }
    Ok(bytes)
}

pub(super) fn open_error(path: &Path, cause: &rocksdb::Error) -> StoreError {
    let path = path.display().to_string();
    // The first when another process has it, the second when this one has.
    if ["While lock file", "lock hold by current process"].iter().any(|held| cause.as_ref().contains(held)) {
        return StoreError::Locked { path };
    }
    error("open", &path, cause)
}
