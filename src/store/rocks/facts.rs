//! Single facts, in the family `meta`: who the node is, what it has, whom it knows, what is missing here.

use bytes::Bytes;
use rocksdb::{ReadOptions, WriteBatch};

use super::{META, RocksStore, damaged, ended};
use crate::base::{DocId, Heads, NodeId};
use crate::store::encoding;
use crate::store::record::{Commit, MetaKey, StoreError};

pub(super) const FORMAT_KEY: &str = "format";
pub(super) const NODE_KEY: &str = "node";
pub(super) const CLUSTER_KEY: &str = "cluster";
pub(super) const INCARNATION_KEY: &str = "incarnation";
pub(super) const VECTOR_KEY: &str = "vector";
pub(super) const FLOOR_KEY: &str = "floor";
pub(super) const UNTRUSTED_KEY: &str = "untrusted";
pub(super) const AHEAD_KEY: &str = "ahead";
/// And a node's id, in 16 hex digits.
const KNOWN_KEYS: &str = "known/";
/// And a document's id.
const HOLE_KEYS: &str = "hole/";

impl RocksStore {
    pub(super) fn put_facts(&self, batch: &mut WriteBatch, commit: &Commit) -> Result<(), StoreError> {
        let mut value = Vec::new();
        let meta = self.family(META)?;
        if let Some((vector, digest)) = &commit.vector {
            encoding::state(&mut value, vector, digest);
            batch.put_cf(meta, VECTOR_KEY, &value);
        }
        if let Some(floor) = &commit.floor {
            encoding::vector(&mut value, floor);
            batch.put_cf(meta, FLOOR_KEY, &value);
        }
        for (node, row) in &commit.known {
            match row.is_empty() {
                true => batch.delete_cf(meta, known_key(*node)),
                false => batch.put_cf(meta, known_key(*node), row),
            }
        }
        for (doc, missing) in &commit.holes {
            encoding::heads(&mut value, missing);
            match missing.is_empty() {
                true => batch.delete_cf(meta, hole_key(doc)),
                false => batch.put_cf(meta, hole_key(doc), &value),
            }
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
                MetaKey::Untrusted(untrusted) => {
                    encoding::flag(&mut value, *untrusted);
                    UNTRUSTED_KEY
                }
                MetaKey::Ahead(vector) => {
                    encoding::vector(&mut value, vector);
                    AHEAD_KEY
                }
            };
            batch.put_cf(meta, key, &value);
        }
        Ok(())
    }

    pub(super) fn fact<T, E: ToString>(
        &self,
        key: &str,
        read: impl FnOnce(&[u8]) -> Result<T, E>,
    ) -> Result<Option<T>, StoreError> {
        self.value(META, key.as_bytes(), || fact_name(key), read)
    }

    pub(super) fn known(&self) -> Result<Vec<(NodeId, Bytes)>, StoreError> {
        self.facts(KNOWN_KEYS, |node, row| {
            let node = node.parse().map_err(|_| damaged("read", META, &"a row of no node"))?;
            Ok((node, Bytes::copy_from_slice(row)))
        })
    }

    pub(super) fn holes(&self) -> Result<Vec<(DocId, Heads)>, StoreError> {
        self.facts(HOLE_KEYS, |doc, missing| {
            let doc = DocId::new(doc).map_err(|e| damaged("read", META, &e))?;
            let missing = encoding::read_heads(missing).map_err(|e| damaged("read", META, &e))?;
            Ok((doc, missing))
        })
    }

    /// All facts under one beginning of their keys; the rest of each key names its subject.
    fn facts<T>(
        &self,
        keys: &str,
        read: impl Fn(&str, &[u8]) -> Result<T, StoreError>,
    ) -> Result<Vec<T>, StoreError> {
        let mut options = ReadOptions::default();
        options.set_iterate_range(rocksdb::PrefixRange(keys.as_bytes()));
        let mut rows = self.scan(META, options)?;
        rows.seek_to_first();
        let mut found = Vec::new();
        while let Some((key, value)) = rows.item() {
            let subject = key.strip_prefix(keys.as_bytes()).and_then(|key| std::str::from_utf8(key).ok());
            let subject = subject.ok_or_else(|| damaged("read", META, &"a fact of nothing"))?;
            found.push(read(subject, value)?);
            rows.next();
        }
        ended("read", META, &rows)?;
        Ok(found)
    }
}

fn known_key(node: NodeId) -> String {
    format!("{KNOWN_KEYS}{node}")
}

fn hole_key(doc: &DocId) -> String {
    format!("{HOLE_KEYS}{}", doc.as_str())
}

pub(super) fn fact_name(key: &str) -> String {
    format!("meta {key}")
}
