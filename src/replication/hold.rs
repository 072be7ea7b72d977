//! Entries that have arrived before what they hang on.

use std::collections::BTreeMap;

use super::core::Received;
use crate::base::{LinkId, Origin, VersionVector};

/// Per origin, by counter. Bounded in bytes.
pub(super) struct Hold {
    by_origin: BTreeMap<Origin, BTreeMap<u64, Held>>,
    bytes: usize,
    most: usize,
}

struct Held {
    received: Received,
    link: LinkId,
    size: usize,
}

impl Hold {
    /// It takes at most `most` bytes.
    pub fn new(most: usize) -> Self {
        Self { by_origin: BTreeMap::new(), bytes: 0, most }
    }

    /// False when there is no room: the entry is gone, and must be asked for again.
    pub fn insert(&mut self, link: LinkId, received: Received) -> bool {
        let size = received.entry.size_hint();
        if self.bytes + size > self.most {
            return false;
        }
        let waiting = self.by_origin.entry(received.entry.origin).or_default();
        let counter = received.entry.counter;
        // The copy that came first stays, unless only the second is whole.
        if waiting.get(&counter).is_none_or(|held| held.received.damaged.is_some()) {
            let before = waiting.insert(counter, Held { received, link, size });
            self.bytes = self.bytes + size - before.map_or(0, |held| held.size);
        }
        true
    }

    /// Takes one entry that fits on top of `vector`, and drops those that it already covers.
    pub fn take_fitting(&mut self, vector: &VersionVector) -> Option<(LinkId, Received)> {
        for (origin, waiting) in &mut self.by_origin {
            // Of an origin that was closed meanwhile all is held.
            let have = vector.get(origin);
            while let Some(first) = waiting.first_entry() {
                if *first.key() <= have {
                    self.bytes -= first.remove().size;
                    continue;
                }
                if *first.key() == have + 1 && vector.covers(&first.get().received.entry.held) {
                    let held = first.remove();
                    self.bytes -= held.size;
                    return Some((held.link, held.received));
                }
                break;
            }
        }
        self.by_origin.retain(|_, waiting| !waiting.is_empty());
        None
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }

    pub fn clear(&mut self) {
        self.by_origin.clear();
        self.bytes = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{DocId, NodeId};
    use crate::wire::Entry;

    #[test]
    fn what_waits_of_an_origin_goes_when_that_is_closed() {
        let origin = Origin { node: NodeId([1; 8]), incarnation: 3, random: 0 };
        let mut hold = Hold::new(1 << 20);
        let (held, doc) = (VersionVector::new(), DocId::new("d").unwrap());
        for counter in [3, 5] {
            let entry = Entry {
                origin,
                counter,
                held: held.clone(),
                doc: doc.clone(),
                changes: Vec::new(),
                drops: None,
            };
            assert!(hold.insert(LinkId(1), Received { entry, damaged: None }));
        }
        let mut vector: VersionVector = [(origin, 2)].into_iter().collect();
        let fits = |hold: &mut Hold, vector: &VersionVector| {
            hold.take_fitting(vector).map(|(_, received)| received.entry.counter)
        };
        assert_eq!((fits(&mut hold, &vector), fits(&mut hold, &vector)), (Some(3), None));
        assert!(hold.bytes() > 0);
        vector.close(origin.node, 3);
        assert_eq!((fits(&mut hold, &vector), hold.bytes()), (None, 0));
    }
}
