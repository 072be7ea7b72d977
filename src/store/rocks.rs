//! The store of a real node: RocksDB, one folder, one process.

mod facts;
mod folder;
mod sound;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use rocksdb::properties::{self, PropName};
use rocksdb::{
    ColumnFamily, CompactOptions, DB, DBRawIterator, ErrorKind, FlushOptions, Range, ReadOptions, WriteBatch,
    WriteOptions,
};

use super::families::{DOCUMENT, FAMILIES, LOG, MARK, META, SNAPSHOT, TAIL, database_options, descriptors};
use super::record::{Commit, FamilyFigures, Record, Recovered, StoreError, StoreFigures, Whole};
use super::{Store, encoding, keys};
use crate::base::{Change, DocId, Lsn, VersionVector};
pub use sound::Found;

use facts::{
    AHEAD_KEY, CLUSTER_KEY, FLOOR_KEY, FORMAT_KEY, INCARNATION_KEY, NODE_KEY, UNTRUSTED_KEY, VECTOR_KEY,
    fact_name,
};
use folder::{make_folder, open_error, peek_format, refuse_newer};

/// The format of the folder that this version writes, and the highest that it reads.
pub const FORMAT: u32 = 1;

/// Items of a dropped document's tail from which one deletion of the range is better than one of each. A
/// range costs every later read of the family a little, until it is compacted.
const RANGE_FROM: usize = 256;

/// Bytes of write-ahead logs from which they are worth writing anew as tables.
const TIDY_FROM_BYTES: u64 = 4 << 20;

/// A store in a folder. Dropping it closes the folder in order; nothing needs to be flushed for that.
pub struct RocksStore {
    db: DB,
    path: PathBuf,
    synced: WriteOptions,
    /// The log has nothing below this LSN.
    trimmed: AtomicU64,
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
        let store = Self { db, path, synced, trimmed: AtomicU64::new(0) };
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
        if let Some(first) = commit.trim {
            // From the very beginning, so that it also covers what an earlier one has hidden: that one may be
            // in a file that leaves before what it hides does.
            for family in [log, self.family(MARK)?] {
                batch.delete_range_cf(family, keys::position(Lsn(0)), keys::position(first));
            }
        }
        for doc in &commit.drops {
            self.drop_document(&mut batch, doc)?;
        }
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
        self.put_facts(&mut batch, commit)?;
        Ok(batch)
    }

    fn drop_document(&self, batch: &mut WriteBatch, doc: &DocId) -> Result<(), StoreError> {
        batch.delete_cf(self.family(DOCUMENT)?, doc.as_str());
        batch.delete_cf(self.family(SNAPSHOT)?, doc.as_str());
        let mut items = self.tail_items(doc, Lsn(0), ReadOptions::default())?;
        let mut stored = Vec::new();
        while stored.len() < RANGE_FROM
            && let Some(key) = items.key()
        {
            stored.push(key.to_vec());
            items.next();
        }
        ended("drop", TAIL, &items)?;
        let tail = self.family(TAIL)?;
        match stored.first() {
            Some(first) if stored.len() == RANGE_FROM => {
                batch.delete_range_cf(tail, first.clone(), keys::tail_end(doc));
            }
            _ => stored.iter().for_each(|key| batch.delete_cf(tail, key)),
        }
        Ok(())
    }

    /// Gives back at once what trimmed files took; the rest is for compaction.
    fn shrink_log(&self, first: Lsn) -> Result<(), StoreError> {
        self.trimmed.fetch_max(first.0, Ordering::Release);
        let Some(last) = first.0.checked_sub(1) else { return Ok(()) };
        self.db
            .delete_file_in_range_cf(self.family(LOG)?, keys::position(Lsn(0)), keys::position(Lsn(last)))
            .map_err(|e| error("trim", LOG, &e))
    }

    fn wal_bytes(&self) -> Result<u64, StoreError> {
        folder::wal_bytes(&self.path)
            .map_err(|e| failed("look into", &self.path.display().to_string(), &e.to_string()))
    }

    /// Reads one value in place. `name` is called only for an error.
    fn value<T, E: ToString>(
        &self,
        family: &'static str,
        key: &[u8],
        name: impl Fn() -> String,
        read: impl FnOnce(&[u8]) -> Result<T, E>,
    ) -> Result<Option<T>, StoreError> {
        self.value_at(family, key, &ReadOptions::default(), name, read)
    }

    fn value_at<T, E: ToString>(
        &self,
        family: &'static str,
        key: &[u8],
        options: &ReadOptions,
        name: impl Fn() -> String,
        read: impl FnOnce(&[u8]) -> Result<T, E>,
    ) -> Result<Option<T>, StoreError> {
        let found = self.db.get_pinned_cf_opt(self.family(family)?, key, options);
        let found = found.map_err(|e| error("read", &name(), &e))?;
        found.map(|bytes| read(&bytes)).transpose().map_err(|e| damaged("read", &name(), &e))
    }

    /// One of RocksDB's own numbers; 0 where it has none.
    fn number(&self, family: &'static str, property: &PropName) -> u64 {
        let number = self.family(family).ok().map(|family| self.db.property_int_value_cf(family, property));
        number.and_then(|number| number.ok().flatten()).unwrap_or_default()
    }

    /// From the first entry on: nothing that was trimmed is passed on the way.
    fn log_from(&self, from: Lsn, options: ReadOptions) -> Result<DBRawIterator<'_>, StoreError> {
        let mut log = self.scan(LOG, options)?;
        log.seek(keys::position(from.max(Lsn(self.trimmed.load(Ordering::Acquire)))));
        Ok(log)
    }

    /// A document's tail from `first` on, up to its end.
    fn tail_items(
        &self,
        doc: &DocId,
        first: Lsn,
        mut options: ReadOptions,
    ) -> Result<DBRawIterator<'_>, StoreError> {
        let mut start = Vec::new();
        keys::tail(&mut start, doc, first);
        options.set_iterate_upper_bound(keys::tail_end(doc));
        let mut tail = self.scan(TAIL, options)?;
        tail.seek(start);
        Ok(tail)
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
        let last_logged = log.key().map_or(Ok(Lsn(0)), log_position)?;
        let mut marks = self.scan(MARK, ReadOptions::default())?;
        marks.seek_to_last();
        let last_lsn = marks.key().map_or(Ok(Lsn(0)), log_position)?.max(last_logged);
        ended("read", MARK, &marks)?;
        log.seek_to_first();
        let first_lsn = log.key().map_or(Ok(last_lsn.next()), log_position)?;
        ended("read", LOG, &log)?;
        self.trimmed.fetch_max(first_lsn.0, Ordering::Release);
        Ok(Recovered {
            node: self.fact(NODE_KEY, encoding::read_node)?,
            cluster: self.fact(CLUSTER_KEY, encoding::read_text)?,
            incarnation: self.fact(INCARNATION_KEY, encoding::read_incarnation)?,
            vector,
            digest,
            floor: self.fact(FLOOR_KEY, encoding::read_vector)?.unwrap_or_default(),
            known: self.known()?,
            holes: self.holes()?,
            untrusted: self.fact(UNTRUSTED_KEY, encoding::read_flag)?.unwrap_or_default(),
            ahead: self.fact(AHEAD_KEY, encoding::read_vector)?.unwrap_or_default(),
            first_lsn,
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
            .map_err(|e| error("commit", &self.path.display().to_string(), &e))?;
        // What this commit itself has written stays, wherever.
        let first = commit.trim.map(|first| commit.log.iter().map(|item| item.lsn).fold(first, Lsn::min));
        if let Some(first) = first
            && let Err(error) = self.shrink_log(first)
        {
            // The commit stands, and compaction does the same in time.
            tracing::warn!(%error, "the files of a trimmed log stay for now");
        }
        Ok(())
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
        match after.0.checked_add(1) {
            Some(first) => read_tail(doc, self.tail_items(doc, Lsn(first), ReadOptions::default())?),
            None => Ok(Vec::new()),
        }
    }

    fn snapshot(&self, doc: &DocId) -> Result<Option<Bytes>, StoreError> {
        let name = || snapshot_name(doc);
        self.value(SNAPSHOT, doc.as_str().as_bytes(), name, copied)
    }

    fn whole(&self, doc: &DocId) -> Result<Option<Whole>, StoreError> {
        let moment = self.db.snapshot();
        let options = || {
            let mut options = ReadOptions::default();
            options.set_snapshot(&moment);
            options
        };
        let key = doc.as_str().as_bytes();
        let name = || record_name(doc.as_str());
        let Some(record) = self.value_at(DOCUMENT, key, &options(), name, encoding::read_record)? else {
            return Ok(None);
        };
        let snapshot = self.value_at(SNAPSHOT, key, &options(), || snapshot_name(doc), copied)?;
        let tail = read_tail(doc, self.tail_items(doc, Lsn(0), options())?)?;
        Ok(Some(Whole { record, snapshot, tail }))
    }

    fn log(&self, from: Lsn, max_bytes: usize) -> Result<Vec<(Lsn, Bytes)>, StoreError> {
        let mut options = ReadOptions::default();
        // Whoever is behind reads long stretches once: that must not push documents out of the cache.
        options.fill_cache(false);
        let mut log = self.log_from(from, options)?;
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
        let log = self.log_from(Lsn(0), ReadOptions::default())?;
        let first = log.key().map_or(Ok(Lsn(1)), log_position)?;
        ended("seek", LOG, &log)?;
        let mut marks = self.scan(MARK, ReadOptions::default())?;
        marks.seek_to_last();
        while let Some((key, value)) = marks.item() {
            let (lsn, vector) = read_mark(key, value)?;
            if fits(&vector) {
                return Ok(Lsn(lsn.0.saturating_add(1)).max(first));
            }
            marks.prev();
        }
        ended("seek", MARK, &marks)?;
        Ok(first)
    }

    fn marks(&self) -> Result<Vec<(Lsn, VersionVector)>, StoreError> {
        let mut marks = self.scan(MARK, ReadOptions::default())?;
        marks.seek_to_first();
        let mut found = Vec::new();
        while let Some((key, value)) = marks.item() {
            found.push(read_mark(key, value)?);
            marks.next();
        }
        ended("read", MARK, &marks)?;
        Ok(found)
    }

    fn log_bytes(&self, below: Lsn) -> Result<u64, StoreError> {
        let first = self.trimmed.load(Ordering::Acquire);
        let (start, end) = (keys::position(Lsn(first)), keys::position(below));
        let range = Range::new(&start, &end);
        let in_files: u64 = self.db.get_approximate_sizes_cf(self.family(LOG)?, &[range]).iter().sum();
        // What is not in files yet is the end of the log.
        let mut log = self.scan(LOG, ReadOptions::default())?;
        log.seek_to_last();
        let next = log.key().map_or(Ok(Lsn(0)), log_position)?.0.saturating_add(1);
        ended("read", LOG, &log)?;
        let entries = self.number(LOG, properties::NUM_ENTRIES_ACTIVE_MEM_TABLE)
            + self.number(LOG, properties::NUM_ENTRIES_IMM_MEM_TABLES);
        let start = next.saturating_sub(entries).max(first);
        let share = below.0.min(next).saturating_sub(start) as f64 / entries.max(1) as f64;
        let in_memory = self.number(LOG, properties::CUR_SIZE_ALL_MEM_TABLES) as f64 * share;
        Ok(in_files + in_memory as u64)
    }

    fn tidy(&self) -> Result<(), StoreError> {
        if self.wal_bytes()? < TIDY_FROM_BYTES {
            return Ok(());
        }
        let subject = self.path.display().to_string();
        // A family that is seldom written keeps all logs since its last flush.
        let families = FAMILIES.map(|name| self.family(name)).into_iter().collect::<Result<Vec<_>, _>>()?;
        self.db
            .flush_cfs_opt(&families, &FlushOptions::default())
            .map_err(|e| error("tidy", &subject, &e))?;
        // Of files on the first level trimming has taken nothing.
        let trimmed = Lsn(self.trimmed.load(Ordering::Acquire));
        let mut options = CompactOptions::default();
        options.set_exclusive_manual_compaction(false);
        let end = Some(keys::position(trimmed));
        self.db.compact_range_cf_opt(self.family(LOG)?, None::<[u8; 8]>, end, &options);
        Ok(())
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

fn read_mark(key: &[u8], value: &[u8]) -> Result<(Lsn, VersionVector), StoreError> {
    let lsn = keys::read_position(key).ok_or_else(|| damaged("read", MARK, &"a key that is no position"))?;
    let vector = encoding::read_vector(value);
    Ok((lsn, vector.map_err(|e| damaged("read", &format!("mark {}", lsn.0), &e))?))
}

fn read_tail(doc: &DocId, mut tail: DBRawIterator<'_>) -> Result<Vec<(Lsn, Change)>, StoreError> {
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

fn copied(bytes: &[u8]) -> Result<Bytes, std::convert::Infallible> {
    Ok(Bytes::copy_from_slice(bytes))
}

fn snapshot_name(doc: &DocId) -> String {
    format!("snapshot {doc:?}")
}

/// An iterator that has no more items may have ended, or failed.
fn ended(operation: &'static str, subject: &str, iterator: &DBRawIterator<'_>) -> Result<(), StoreError> {
    iterator.status().map_err(|e| error(operation, subject, &e))
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

#[cfg(test)]
mod tests;
