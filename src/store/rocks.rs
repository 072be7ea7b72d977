//! The store of a real node: RocksDB, one folder, one process.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use rocksdb::properties::{self, PropName};
use rocksdb::{ColumnFamily, DB, DBRawIterator, ErrorKind, ReadOptions, WriteBatch, WriteOptions};

use super::families::{DOCUMENT, FAMILIES, LOG, MARK, META, SNAPSHOT, TAIL, database_options, descriptors};
use super::record::{Commit, FamilyFigures, MetaKey, Record, Recovered, StoreError, StoreFigures};
use super::{Store, encoding, keys};
use crate::base::{Change, DocId, Lsn, VersionVector};

/// The format of the folder that this version writes, and the highest that it reads.
pub const FORMAT: u32 = 1;

/// Keys of the family `meta`.
const FORMAT_KEY: &str = "format";
const NODE_KEY: &str = "node";
const CLUSTER_KEY: &str = "cluster";
const INCARNATION_KEY: &str = "incarnation";
const VECTOR_KEY: &str = "vector";

/// A store in a folder. Dropping it closes the folder in order; nothing needs to be flushed for that.
pub struct RocksStore {
    db: DB,
    path: PathBuf,
    synced: WriteOptions,
}

impl RocksStore {
    /// Opens the folder at `path`, which is made where it is missing.
    ///
    /// # Errors
    /// [`StoreError::Newer`] for a folder of a later version, before anything in it is touched;
    /// [`StoreError::Locked`] when another process, or another store in this one, has it open;
    /// [`StoreError::Damaged`] when RocksDB cannot make sense of it.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, StoreError> {
        let path = path.as_ref().to_owned();
        make_folder(&path)
            .map_err(|e| failed("create folder", &path.display().to_string(), &e.to_string()))?;
        refuse_newer(peek_format(&path)?)?;
        let db = DB::open_cf_descriptors(&database_options(), &path, descriptors())
            .map_err(|e| open_error(&path, &e))?;
        let mut synced = WriteOptions::default();
        synced.set_sync(true);
        let store = Self { db, path, synced };
        store.settle_format()?;
        Ok(store)
    }

    /// Writes the format into a new folder, and looks at it again in an old one: it may have changed
    /// between the first look and the lock.
    fn settle_format(&self) -> Result<(), StoreError> {
        if let Some(found) = self.fact(FORMAT_KEY, encoding::read_format)? {
            return refuse_newer(Some(found));
        }
        if !self.log(Lsn(0), 0)?.is_empty() {
            return Err(damaged("read", &fact_name(FORMAT_KEY), &"there is none, yet there is a log"));
        }
        let mut value = Vec::new();
        encoding::format(&mut value, FORMAT);
        self.db
            .put_cf_opt(self.family(META)?, FORMAT_KEY, value, &self.synced)
            .map_err(|e| error("write", &fact_name(FORMAT_KEY), &e))
    }

    fn family(&self, name: &'static str) -> Result<&ColumnFamily, StoreError> {
        self.db.cf_handle(name).ok_or_else(|| failed("open", name, "there is no such column family"))
    }

    fn batch(&self, commit: &Commit) -> Result<WriteBatch, StoreError> {
        let mut batch = WriteBatch::with_capacity_bytes(size_hint(commit));
        // One buffer each for all keys and values: RocksDB copies them into the batch.
        let (mut key, mut value) = (Vec::new(), Vec::new());
        let log = self.family(LOG)?;
        for item in &commit.log {
            batch.put_cf(log, keys::position(item.lsn), &item.bytes);
        }
        let tail = self.family(TAIL)?;
        for fold in &commit.folds {
            batch.put_cf(self.family(SNAPSHOT)?, fold.doc.as_str(), &fold.snapshot);
            for lsn in &fold.folded {
                keys::tail(&mut key, &fold.doc, *lsn);
                batch.delete_cf(tail, &key);
            }
        }
        for item in &commit.tail {
            keys::tail(&mut key, &item.doc, item.lsn);
            encoding::changes(&mut value, &item.changes);
            batch.put_cf(tail, &key, &value);
        }
        let document = self.family(DOCUMENT)?;
        for (doc, record) in &commit.records {
            encoding::record(&mut value, record);
            batch.put_cf(document, doc.as_str(), &value);
        }
        for (lsn, vector) in &commit.marks {
            encoding::vector(&mut value, vector);
            batch.put_cf(self.family(MARK)?, keys::position(*lsn), &value);
        }
        let meta = self.family(META)?;
        if let Some((vector, digest)) = &commit.vector {
            encoding::state(&mut value, vector, digest);
            batch.put_cf(meta, VECTOR_KEY, &value);
        }
        for fact in &commit.meta {
            let key = match fact {
                MetaKey::Node(node) => {
                    encoding::node(&mut value, *node);
                    NODE_KEY
                }
                MetaKey::Cluster(cluster) => {
                    encoding::text(&mut value, cluster);
                    CLUSTER_KEY
                }
                MetaKey::Incarnation(incarnation) => {
                    encoding::incarnation(&mut value, *incarnation);
                    INCARNATION_KEY
                }
            };
            batch.put_cf(meta, key, &value);
        }
        Ok(batch)
    }

    /// Reads one value in place. `name` is called only for an error.
    fn value<T, E: ToString>(
        &self,
        family: &'static str,
        key: &[u8],
        name: impl Fn() -> String,
        read: impl FnOnce(&[u8]) -> Result<T, E>,
    ) -> Result<Option<T>, StoreError> {
        let found =
            self.db.get_pinned_cf(self.family(family)?, key).map_err(|e| error("read", &name(), &e))?;
        found.map(|bytes| read(&bytes)).transpose().map_err(|e| damaged("read", &name(), &e))
    }

    fn fact<T, E: ToString>(
        &self,
        key: &str,
        read: impl FnOnce(&[u8]) -> Result<T, E>,
    ) -> Result<Option<T>, StoreError> {
        self.value(META, key.as_bytes(), || fact_name(key), read)
    }

    /// One of RocksDB's own numbers; 0 where it has none.
    fn number(&self, family: &'static str, property: &PropName) -> u64 {
        let number = self.family(family).ok().map(|family| self.db.property_int_value_cf(family, property));
        number.and_then(|number| number.ok().flatten()).unwrap_or_default()
    }

    /// An iterator over one family; it must be asked for its status when it ends.
    fn scan(&self, family: &'static str, options: ReadOptions) -> Result<DBRawIterator<'_>, StoreError> {
        Ok(self.db.raw_iterator_cf_opt(self.family(family)?, options))
    }
}

impl Store for RocksStore {
    fn recover(&self) -> Result<Recovered, StoreError> {
        let (vector, digest) = self.fact(VECTOR_KEY, encoding::read_state)?.unwrap_or_default();
        let mut log = self.scan(LOG, ReadOptions::default())?;
        log.seek_to_last();
        let last_lsn = log.key().map_or(Ok(Lsn(0)), log_position)?;
        ended("read", LOG, &log)?;
        Ok(Recovered {
            node: self.fact(NODE_KEY, encoding::read_node)?,
            cluster: self.fact(CLUSTER_KEY, encoding::read_text)?,
            incarnation: self.fact(INCARNATION_KEY, encoding::read_incarnation)?,
            vector,
            digest,
            last_lsn,
        })
    }

    fn commit(&self, commit: &Commit) -> Result<(), StoreError> {
        let batch = self.batch(commit)?;
        if batch.is_empty() {
            return Ok(());
        }
        self.db
            .write_opt(batch, &self.synced)
            .map_err(|e| error("commit", &self.path.display().to_string(), &e))
    }

    fn record(&self, doc: &DocId) -> Result<Option<Record>, StoreError> {
        self.value(DOCUMENT, doc.as_str().as_bytes(), || record_name(doc.as_str()), encoding::read_record)
    }

    fn list(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(DocId, Record)>, StoreError> {
        let mut options = ReadOptions::default();
        if let Some(end) = keys::prefix_end(prefix.as_bytes()) {
            options.set_iterate_upper_bound(end);
        }
        let mut documents = self.scan(DOCUMENT, options)?;
        documents.seek(keys::list_start(prefix, after));
        let mut found = Vec::new();
        while found.len() < limit
            && let Some((key, value)) = documents.item()
        {
            let name = || record_name(&String::from_utf8_lossy(key));
            let id = std::str::from_utf8(key).map_err(|e| damaged("list", &name(), &e))?;
            let doc = DocId::new(id).map_err(|e| damaged("list", &name(), &e))?;
            found.push((doc, encoding::read_record(value).map_err(|e| damaged("list", &name(), &e))?));
            documents.next();
        }
        ended("list", DOCUMENT, &documents)?;
        Ok(found)
    }

    fn tail(&self, doc: &DocId, after: Lsn) -> Result<Vec<(Lsn, Change)>, StoreError> {
        let Some(first) = after.0.checked_add(1) else { return Ok(Vec::new()) };
        let mut start = Vec::new();
        keys::tail(&mut start, doc, Lsn(first));
        let mut options = ReadOptions::default();
        options.set_iterate_upper_bound(keys::tail_end(doc));
        let mut tail = self.scan(TAIL, options)?;
        tail.seek(start);
        let mut found = Vec::new();
        while let Some((key, value)) = tail.item() {
            let name = |lsn: Lsn| format!("tail {doc:?} at {}", lsn.0);
            let lsn = keys::read_tail_position(key)
                .ok_or_else(|| damaged("read", &name(Lsn(0)), &"a key without a position"))?;
            // One copy for all changes of the entry; they share it.
            let changes = encoding::read_changes(&Bytes::copy_from_slice(value))
                .map_err(|e| damaged("read", &name(lsn), &e))?;
            found.extend(changes.into_iter().map(|change| (lsn, change)));
            tail.next();
        }
        ended("read", TAIL, &tail)?;
        Ok(found)
    }

    fn snapshot(&self, doc: &DocId) -> Result<Option<Bytes>, StoreError> {
        let name = || format!("snapshot {doc:?}");
        self.value(SNAPSHOT, doc.as_str().as_bytes(), name, |bytes| {
            Ok::<_, StoreError>(Bytes::copy_from_slice(bytes))
        })
    }

    fn log(&self, from: Lsn, max_bytes: usize) -> Result<Vec<(Lsn, Bytes)>, StoreError> {
        let mut options = ReadOptions::default();
        // Whoever is behind reads long stretches once: that must not push documents out of the cache.
        options.fill_cache(false);
        let mut log = self.scan(LOG, options)?;
        log.seek(keys::position(from));
        let (mut found, mut bytes) = (Vec::new(), 0_usize);
        while let Some((key, value)) = log.item() {
            bytes = bytes.saturating_add(value.len());
            if !found.is_empty() && bytes > max_bytes {
                break;
            }
            found.push((log_position(key)?, Bytes::copy_from_slice(value)));
            log.next();
        }
        ended("read", LOG, &log)?;
        Ok(found)
    }

    fn seek(&self, fits: &dyn Fn(&VersionVector) -> bool) -> Result<Lsn, StoreError> {
        let mut log = self.scan(LOG, ReadOptions::default())?;
        log.seek_to_first();
        let first = log.key().map_or(Ok(Lsn(1)), log_position)?;
        ended("seek", LOG, &log)?;
        let mut marks = self.scan(MARK, ReadOptions::default())?;
        marks.seek_to_last();
        while let Some((key, value)) = marks.item() {
            let lsn = keys::read_position(key)
                .ok_or_else(|| damaged("seek", MARK, &"a key that is no position"))?;
            let vector =
                encoding::read_vector(value).map_err(|e| damaged("seek", &format!("mark {}", lsn.0), &e))?;
            if fits(&vector) {
                return Ok(Lsn(lsn.0.saturating_add(1)).max(first));
            }
            marks.prev();
        }
        ended("seek", MARK, &marks)?;
        Ok(first)
    }

    fn figures(&self) -> Option<StoreFigures> {
        let family = |name| FamilyFigures {
            name,
            memtable_bytes: self.number(name, properties::CUR_SIZE_ALL_MEM_TABLES),
            sst_bytes: self.number(name, properties::LIVE_SST_FILES_SIZE),
            pending_compaction_bytes: self.number(name, properties::ESTIMATE_PENDING_COMPACTION_BYTES),
        };
        // What follows is of the whole database, or of the one cache: any family tells it.
        let number = |property| self.number(META, property);
        Some(StoreFigures {
            families: FAMILIES.map(family).into(),
            cache_bytes: number(properties::BLOCK_CACHE_USAGE),
            cache_pinned_bytes: number(properties::BLOCK_CACHE_PINNED_USAGE),
            running_flushes: number(properties::NUM_RUNNING_FLUSHES),
            running_compactions: number(properties::NUM_RUNNING_COMPACTIONS),
            background_errors: number(properties::BACKGROUND_ERRORS),
            stopped: number(properties::IS_WRITE_STOPPED) > 0,
            delayed_rate: number(properties::ACTUAL_DELAYED_WRITE_RATE),
        })
    }
}

/// Makes the folder and sees to it that its name is on disk: an fsync inside it does not do that.
fn make_folder(path: &Path) -> io::Result<()> {
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
fn peek_format(path: &Path) -> Result<Option<u32>, StoreError> {
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

fn refuse_newer(found: Option<u32>) -> Result<(), StoreError> {
    match found {
        Some(found) if found > FORMAT => Err(StoreError::Newer { found, known: FORMAT }),
        _ => Ok(()),
    }
}

fn size_hint(commit: &Commit) -> usize {
    let log: usize = commit.log.iter().map(|item| item.bytes.len() + 16).sum();
    let changes = commit.tail.iter().flat_map(|item| &item.changes);
    let changes: usize = changes.map(|change| change.bytes.len() + 80).sum();
    // Ids of usual length; a batch that outgrows this only costs a copy.
    log + changes + 64 * commit.tail.len() + 128 * commit.records.len() + 1_024
}

fn log_position(key: &[u8]) -> Result<Lsn, StoreError> {
    keys::read_position(key).ok_or_else(|| damaged("read", LOG, &"a key that is no position"))
}

/// An iterator that has no more items may have ended, or failed.
fn ended(operation: &'static str, subject: &str, iterator: &DBRawIterator<'_>) -> Result<(), StoreError> {
    iterator.status().map_err(|e| error(operation, subject, &e))
}

fn fact_name(key: &str) -> String {
    format!("meta {key}")
}

fn record_name(id: &str) -> String {
    format!("document {id:?}")
}

fn failed(operation: &'static str, subject: &str, reason: &str) -> StoreError {
    StoreError::Failed { operation, subject: subject.to_owned(), reason: reason.to_owned() }
}

fn damaged(operation: &'static str, subject: &str, reason: &impl ToString) -> StoreError {
    StoreError::Damaged { operation, subject: subject.to_owned(), reason: reason.to_string() }
}

/// How RocksDB tells that a disk is full, since its sub-codes reach us only as text; also when it refuses
/// a later write because of it.
fn tells_full(text: &str) -> bool {
    ["No space left on device", "Space limit reached", "Disk quota exceeded"].iter().any(|t| text.contains(t))
}

fn error(operation: &'static str, subject: &str, error: &rocksdb::Error) -> StoreError {
    let text = error.as_ref();
    if tells_full(text) {
        return StoreError::Full { operation };
    }
    match error.kind() {
        ErrorKind::Corruption => damaged(operation, subject, &text),
        _ => failed(operation, subject, text),
    }
}

fn open_error(path: &Path, cause: &rocksdb::Error) -> StoreError {
    let path = path.display().to_string();
    // The first when another process has it, the second when this one has.
    if ["While lock file", "lock hold by current process"].iter().any(|held| cause.as_ref().contains(held)) {
        return StoreError::Locked { path };
    }
    error("open", &path, cause)
}

#[cfg(test)]
mod tests;
