//! A start: what the store has is read, and a new incarnation stored before anything bears its name.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::holes::Holes;
use super::remembered::Remembered;
use super::stage::Pending;
use super::{Dice, Engine, EngineConfig};
use crate::base::limits::MAX_FENCED_NAMED;
use crate::base::{Bug, Digest, DocId, Millis, Origin, Shift, planted};
use crate::node::absorb::Records;
use crate::node::ring::Ring;
use crate::node::trim::Trim;
use crate::replication::{Core, Identity, Start};
use crate::store::{Commit, Incarnation, MetaKey, Store, StoreError};

/// Records read at a time when a start builds the digest.
const SCAN_PAGE: usize = 8_192;

#[derive(Clone, Debug, thiserror::Error)]
pub enum OpenError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("this data folder belongs to the cluster {found:?}, not to {wanted:?} (see --cluster)")]
    Cluster { found: String, wanted: String },
}

impl Engine {
    /// Reads what the store has, and stores a new incarnation before anything bears its name.
    ///
    /// # Errors
    /// When the store fails, or belongs to another cluster.
    pub fn open(
        now: Millis,
        unix: Millis,
        config: EngineConfig,
        dice: Dice,
        store: Arc<dyn Store>,
    ) -> Result<Self, OpenError> {
        let found = store.recover()?;
        if let Some(cluster) = found.cluster.filter(|cluster| *cluster != config.cluster) {
            return Err(OpenError::Cluster { found: cluster, wanted: config.cluster });
        }
        let node = found.node.unwrap_or(dice.node);
        let incarnation = match found.incarnation {
            Some(last) if planted(Bug::ReuseOrigin) => last,
            Some(last) => Incarnation { number: last.number + 1, random: dice.random },
            None => Incarnation { number: 1, random: dice.random },
        };
        let meta = vec![
            MetaKey::Node(node),
            MetaKey::Cluster(config.cluster.clone()),
            MetaKey::Incarnation(incarnation),
        ];
        store.commit(&Commit { meta, ..Commit::default() })?;
        let me = Identity {
            cluster: config.cluster,
            node,
            name: config.name,
            role: config.role,
            url: config.url,
            origin: Origin { node, incarnation: incarnation.number, random: incarnation.random },
        };
        let (documents, fenced) = scan(&*store)?;
        if documents.total() != found.digest {
            tracing::warn!("the digest on disk is not that of the documents: some have changed or are lost");
        }
        let remembered = Remembered::new(now, unix, &found.known);
        let holes = Holes::new(found.holes);
        let start = Start {
            known: remembered.told(now),
            vector: found.vector.clone(),
            floor: found.floor,
            untrusted: found.untrusted,
            ahead: found.ahead.clone(),
            documents,
            lacks: !holes.is_empty(),
            log_head: found.last_lsn,
        };
        Ok(Self {
            core: Core::new(now, me, config.bounds, start),
            trim: Trim::new(config.bounds, found.first_lsn, store.marks()?),
            store,
            records: Records::new(),
            ring: Ring::new(config.bounds.ring, found.vector),
            lsn: found.last_lsn,
            remembered,
            ahead: found.ahead,
            pending: Pending::default(),
            holes,
            fenced,
            incarnation,
            repairs: 0,
            has_dropped: false,
            broken: None,
            renewal: None,
        })
    }
}

/// The digest of all documents, from their records, and which of them are fenced.
fn scan(store: &dyn Store) -> Result<(Digest, BTreeSet<DocId>), StoreError> {
    let (mut documents, mut fenced) = (Digest::new(), BTreeSet::new());
    let mut after: Option<DocId> = None;
    loop {
        let page = store.list("", after.as_ref().map(DocId::as_str), SCAN_PAGE)?;
        for (doc, record) in &page {
            documents.apply(Shift::new(doc, &[], &record.heads));
            if record.fenced.is_some() && fenced.len() < MAX_FENCED_NAMED {
                fenced.insert(doc.clone());
            }
        }
        match page.into_iter().next_back() {
            Some((doc, _)) => after = Some(doc),
            None => return Ok((documents, fenced)),
        }
    }
}
