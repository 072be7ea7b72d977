//! A folder in which something may be damaged: opened without writing to it, and read block by block, past those
//! that cannot be read.

use std::path::Path;

use bytes::Bytes;
use rocksdb::{DB, DBRawIterator, ReadOptions, WriteOptions};

use super::folder::{is_in_use, open_error, peek_format, refuse_newer};
use super::{CLUSTER_KEY, INCARNATION_KEY, NODE_KEY, RocksStore, damaged, encoding, ended};
use crate::base::{Change, DocId, Lsn};
use crate::store::families::{DOCUMENT, FAMILIES, SNAPSHOT, TAIL, database_options, descriptors};
use crate::store::{Recovered, StoreError, keys};

/// Damaged places of one family after which no more are looked for.
const PLACES: usize = 1_000;

/// Halvings of the keys between a damaged place and what can be read beyond it.
const HALVINGS: usize = 256;

/// What is found on the way through a folder.
pub enum Found<'a> {
    Item {
        /// The document that it is of; none of what is of no document.
        doc: Option<DocId>,
        bytes: usize,
    },
    /// Nothing can be read here.
    Damage(&'a StoreError),
}

impl RocksStore {
    /// Opens the folder at `path` for reading only, whatever of it is damaged, and leaves it as it is. No process
    /// may have it open.
    ///
    /// # Errors
    /// As [`RocksStore::open`]; and where there is no data.
    pub fn open_to_read(path: &Path) -> Result<Self, StoreError> {
        if !path.join("CURRENT").exists() {
            let (operation, subject) = ("open", path.display().to_string());
            return Err(StoreError::Failed { operation, subject, reason: "there is no data here".into() });
        }
        if is_in_use(path) {
            return Err(StoreError::Locked { path: path.display().to_string() });
        }
        refuse_newer(peek_format(path)?)?;
        let mut options = database_options();
        options.create_if_missing(false);
        options.create_missing_column_families(false);
        // A file that cannot be opened must not keep the others from being read.
        options.set_paranoid_checks(false);
        let db = DB::open_cf_descriptors_read_only(&options, path, descriptors(), false);
        let db = db.map_err(|e| open_error(path, &e))?;
        Ok(Self { db, path: path.to_owned(), synced: WriteOptions::default(), trimmed: 0.into() })
    }

    /// Reads all that there is, in order within each family. What is damaged is told and passed over.
    ///
    /// # Errors
    /// When it is not a folder of ours.
    pub fn read_all(&self, found: &mut dyn FnMut(Found<'_>)) -> Result<(), StoreError> {
        for family in FAMILIES {
            self.read_family(family, found)?;
        }
        Ok(())
    }

    /// Who the node is that this folder is of; the rest is not looked at.
    ///
    /// # Errors
    /// When that cannot be read.
    pub fn identity(&self) -> Result<Recovered, StoreError> {
        Ok(Recovered {
            node: self.fact(NODE_KEY, encoding::read_node)?,
            cluster: self.fact(CLUSTER_KEY, encoding::read_text)?,
            incarnation: self.fact(INCARNATION_KEY, encoding::read_incarnation)?,
            // Whom else it knew, as far as that can be read.
            known: self.known().unwrap_or_default(),
            ..Recovered::default()
        })
    }

    /// The changes of a document's tail that can be read, and whether those are all.
    pub fn readable_tail(&self, doc: &DocId) -> (Vec<Change>, bool) {
        let Ok(mut items) = self.tail_items(doc, Lsn(0), ReadOptions::default()) else {
            return (Vec::new(), false);
        };
        let (mut found, mut whole) = (Vec::new(), true);
        while let Some(value) = items.value() {
            match encoding::read_changes(&Bytes::copy_from_slice(value)) {
                Ok(changes) => found.extend(changes),
                Err(_) => whole = false,
            }
            items.next();
        }
        (found, whole && items.status().is_ok())
    }

    fn read_family(&self, family: &'static str, found: &mut dyn FnMut(Found<'_>)) -> Result<(), StoreError> {
        let mut last = Vec::new();
        let mut items = self.all_of(family)?;
        items.seek_to_first();
        for _ in 0..PLACES {
            while let Some((key, value)) = items.item() {
                last.clear();
                last.extend_from_slice(key);
                let doc = document_of(family, key);
                if doc.is_none() && [DOCUMENT, SNAPSHOT, TAIL].contains(&family) {
                    found(Found::Damage(&damaged("read", family, &"a key of no document")));
                }
                found(Found::Item { doc, bytes: key.len() + value.len() });
                items.next();
            }
            let Err(error) = ended("read", family, &items) else { return Ok(()) };
            found(Found::Damage(&error));
            let Some(beyond) = self.beyond(family, &last)? else { return Ok(()) };
            items = self.all_of(family)?;
            items.seek(beyond);
        }
        found(Found::Damage(&damaged("read", family, &"more places than are looked for")));
        Ok(())
    }

    /// About the first key above `last` that can be read, where what comes next cannot.
    fn beyond(&self, family: &'static str, last: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let files = self.db.live_files().map_err(|e| super::error("look into", family, &e))?;
        let files = files.into_iter().filter(|file| file.column_family_name == family);
        let mut ends: Vec<Vec<u8>> =
            files.flat_map(|file| [file.start_key, file.end_key]).flatten().collect();
        ends.retain(|key| key.as_slice() > last);
        ends.sort_unstable();
        let readable = |at: &[u8]| -> Result<Option<Vec<u8>>, StoreError> {
            let mut items = self.all_of(family)?;
            items.seek(at);
            Ok(items.key().map(<[u8]>::to_vec))
        };
        let mut low = last.to_vec();
        for end in ends {
            let Some(mut best) = readable(&end)? else {
                low = end;
                continue;
            };
            let mut high = end;
            for _ in 0..HALVINGS {
                let Some(middle) = between(&low, &high) else { break };
                match readable(&middle)? {
                    Some(key) => (best, high) = (key, middle),
                    None => low = middle,
                }
            }
            return Ok(Some(best));
        }
        Ok(None)
    }

    fn all_of(&self, family: &'static str) -> Result<DBRawIterator<'_>, StoreError> {
        let mut options = ReadOptions::default();
        options.fill_cache(false);
        self.scan(family, options)
    }
}

fn document_of(family: &str, key: &[u8]) -> Option<DocId> {
    let id = match family {
        DOCUMENT | SNAPSHOT => key,
        TAIL => keys::read_tail_document(key)?,
        _ => return None,
    };
    DocId::new(std::str::from_utf8(id).ok()?).ok()
}

/// A key halfway between two, where there is any of about their length.
fn between(low: &[u8], high: &[u8]) -> Option<Vec<u8>> {
    let length = low.len().max(high.len()) + 1;
    let digit = |key: &[u8], place: usize| u16::from(key.get(place).copied().unwrap_or(0));
    let mut sum = vec![0_u16; length + 1];
    let mut carry = 0;
    for place in (0..length).rev() {
        let digits = digit(low, place) + digit(high, place) + carry;
        (*sum.get_mut(place + 1)?, carry) = (digits & 0xff, digits >> 8);
    }
    *sum.first_mut()? = carry;
    let mut rest = 0;
    let mut middle = Vec::with_capacity(length);
    for digit in sum {
        let whole = (rest << 8) | digit;
        middle.push(u8::try_from(whole >> 1).unwrap_or(u8::MAX));
        rest = whole & 1;
    }
    middle.remove(0);
    (middle.as_slice() > low && middle.as_slice() < high).then_some(middle)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_between_two_is_between_them() {
        for (low, high) in
            [("a", "b"), ("a", "aa"), ("documents/0001", "documents/0003"), ("", "z"), ("az", "b")]
        {
            let (mut low, high) = (low.as_bytes().to_vec(), high.as_bytes().to_vec());
            for _ in 0..20 {
                let Some(middle) = between(&low, &high) else { break };
                assert!(low < middle && middle < high, "{low:?} {middle:?} {high:?}");
                low = middle;
            }
        }
        assert_eq!(between(b"a", b"c"), Some(b"b\0".to_vec()));
        assert_eq!(between(b"a", b"a"), None);
    }
}
