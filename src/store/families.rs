//! RocksDB's column families: what each holds, and how it is tuned.
//!
//! Tuned for two cores and modest memory: at most 90 MB of memtables (twice the sum of the write buffers
//! below), 64 MB of cached blocks, indexes and filters among them. A family whose buffers are both full
//! stalls writers rather than take more.

use rocksdb::{
    BlockBasedOptions, Cache, ColumnFamilyDescriptor, DBCompressionType, DBRecoveryMode, LogLevel, Options,
};

/// LSN (8 bytes, big endian) → entry, as it came from `wire`. Only grows at its end.
pub(super) const LOG: &str = "log";

/// LSN → version vector after that entry. A family of its own, so that a search reads nothing but marks.
pub(super) const MARK: &str = "mark";

/// Document id, a zero byte, LSN → the changes that the entry brought to the document, with hash and
/// dependencies. A document's keys are one run; no id contains a zero byte.
pub(super) const TAIL: &str = "tail";

/// Document id → record. In ascending order of id bytes, which is the order of lists.
pub(super) const DOCUMENT: &str = "document";

/// Document id → Automerge's save of what has left the tail.
pub(super) const SNAPSHOT: &str = "snapshot";

/// Name of a fact → the fact. `format` is there as soon as anything is.
pub(super) const META: &str = "meta";

/// All of them.
pub(super) const FAMILIES: [&str; 6] = [LOG, MARK, TAIL, DOCUMENT, SNAPSHOT, META];

/// Bytes of cached blocks, shared by all families.
const BLOCK_CACHE_BYTES: usize = 64 << 20;

/// Bytes of write-ahead logs. Bounds the time of a start after a crash (about a second) and keeps a family
/// that is seldom written from holding old logs back. Above the sum of write buffers, so that it is those
/// that decide when the busy families are flushed.
const WAL_BYTES: u64 = 128 << 20;

/// SST files held open. Well below the usual limit of 1,024 file descriptors, which sockets need too.
const OPEN_FILES: i32 = 384;

/// A file in which half of so many keys in a row are deletions is compacted soon.
const DELETION_WINDOW: usize = 4_096;

/// How a family is read decides its blocks and filters.
enum Reads {
    /// By runs of keys: larger blocks compress better, and filters would never be asked.
    Runs,
    /// By single keys, often of documents that are not there.
    Points,
}

pub(super) fn descriptors() -> Vec<ColumnFamilyDescriptor> {
    let cache = Cache::new_lru_cache(BLOCK_CACHE_BYTES);
    let family = |name: &str, write_buffer: usize, reads: Reads| {
        ColumnFamilyDescriptor::new(name, family_options(&cache, write_buffer, reads))
    };
    vec![
        family(LOG, 16 << 20, Reads::Runs),
        family(MARK, 1 << 20, Reads::Runs),
        family(TAIL, 16 << 20, Reads::Runs),
        family(DOCUMENT, 8 << 20, Reads::Points),
        family(SNAPSHOT, 3 << 20, Reads::Points),
        family(META, 1 << 20, Reads::Points),
    ]
}

pub(super) fn database_options() -> Options {
    let mut options = Options::default();
    options.create_if_missing(true);
    options.create_missing_column_families(true);
    // A plain kill leaves a cut record at the end of the log: recovery stops there, and only there. That
    // no whole log is missing before it is checked against the manifest.
    options.set_wal_recovery_mode(DBRecoveryMode::PointInTime);
    options.set_track_and_verify_wals_in_manifest(true);
    options.set_max_total_wal_size(WAL_BYTES);
    options.set_max_open_files(OPEN_FILES);
    // One flush and one compaction at a time: more would only take the cores from the documents.
    options.set_max_background_jobs(2);
    // Written tables reach the disk as they grow, so that the committer's fsync does not wait for them.
    options.set_bytes_per_sync(1 << 20);
    options.set_log_level(LogLevel::Warn);
    options.set_keep_log_file_num(2);
    options.set_stats_dump_period_sec(0);
    options.set_stats_persist_period_sec(0);
    options
}

fn family_options(cache: &Cache, write_buffer: usize, reads: Reads) -> Options {
    let mut blocks = BlockBasedOptions::default();
    blocks.set_block_cache(cache);
    blocks.set_cache_index_and_filter_blocks(true);
    blocks.set_pin_l0_filter_and_index_blocks_in_cache(true);
    match reads {
        Reads::Runs => blocks.set_block_size(16 << 10),
        Reads::Points => {
            blocks.set_block_size(4 << 10);
            blocks.set_bloom_filter(10.0, false);
        }
    }
    let mut options = Options::default();
    options.set_block_based_table_factory(&blocks);
    options.set_compression_type(DBCompressionType::Lz4);
    options.set_write_buffer_size(write_buffer);
    options.set_max_write_buffer_number(2);
    // Where much was deleted (documents dropped, tails folded) its space comes back although nothing is written.
    options.add_compact_on_deletion_collector_factory(DELETION_WINDOW, DELETION_WINDOW / 2, 0.0);
    options
}
