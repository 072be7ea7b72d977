//! What many threads ask of a node without asking the committer.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, RwLock};

use super::{DamageView, Health, Metrics, NodeConfig};
use crate::base::{Origin, Role};

pub(super) struct Shared {
    config: NodeConfig,
    /// Counts the incarnations since the start: what was made in an earlier one is void.
    epoch: AtomicU64,
    origin: RwLock<Origin>,
    /// Counts the commits of this incarnation that have dropped documents.
    lives: AtomicU64,
    failure: RwLock<Option<String>>,
    caught_up: AtomicBool,
    masters: RwLock<Vec<String>>,
    pub metrics: Arc<Metrics>,
}

impl Shared {
    pub fn new(config: NodeConfig, origin: Origin, metrics: Arc<Metrics>) -> Self {
        Self {
            caught_up: AtomicBool::new(!config.has_peers),
            config,
            epoch: AtomicU64::new(0),
            origin: RwLock::new(origin),
            lives: AtomicU64::new(0),
            failure: RwLock::new(None),
            masters: RwLock::new(Vec::new()),
            metrics,
        }
    }

    pub fn role(&self) -> Role {
        self.config.role
    }

    pub fn has_peers(&self) -> bool {
        self.config.has_peers
    }

    pub fn name(&self) -> &str {
        &self.config.name
    }

    pub fn cluster(&self) -> &str {
        &self.config.cluster
    }

    pub fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }

    /// The present incarnation, which is the actor of changes made in it, and its epoch.
    pub fn origin(&self) -> (Origin, u64) {
        let origin = self.origin.read().unwrap_or_else(|e| e.into_inner());
        (*origin, self.epoch())
    }

    /// Whose changes are made here. A document that was dropped begins anew, and so do the sequence numbers of its
    /// actors: nobody may use one twice, so what is made after a drop is made as another.
    pub fn actor(&self, origin: Origin) -> [u8; 16] {
        let lives = self.lives.load(Ordering::Acquire);
        origin.actor(lives)
    }

    /// Documents are dropped with the next commit.
    pub fn begin_life(&self) {
        self.lives.fetch_add(1, Ordering::AcqRel);
    }

    /// What was made in memory and is not on disk is void from now on, and changes are made as `origin`.
    pub fn begin_epoch(&self, origin: Origin) {
        let mut current = self.origin.write().unwrap_or_else(|e| e.into_inner());
        *current = origin;
        self.epoch.fetch_add(1, Ordering::AcqRel);
    }

    pub fn storage_failed(&self, reason: &str) {
        *self.failure.write().unwrap_or_else(|e| e.into_inner()) = Some(reason.to_owned());
    }

    pub fn storage_works(&self) {
        *self.failure.write().unwrap_or_else(|e| e.into_inner()) = None;
    }

    pub fn set_caught_up(&self) {
        self.caught_up.store(true, Ordering::Relaxed);
    }

    pub fn is_caught_up(&self) -> bool {
        self.caught_up.load(Ordering::Relaxed)
    }

    pub fn set_masters(&self, masters: Vec<String>) {
        *self.masters.write().unwrap_or_else(|e| e.into_inner()) = masters;
    }

    pub fn masters(&self) -> Vec<String> {
        self.masters.read().unwrap_or_else(|e| e.into_inner()).clone()
    }

    pub fn health(&self) -> Health {
        let failure = self.failure.read().unwrap_or_else(|e| e.into_inner()).clone();
        let caught_up = self.is_caught_up();
        let damage = self.metrics.damage();
        let reason = match &failure {
            Some(reason) => Some(format!("storage fails: {reason}")),
            None if !caught_up => Some("no configured peer has been caught up with yet".into()),
            None => None,
        };
        Health {
            role: self.config.role.to_string(),
            storage: failure.is_none(),
            ready: failure.is_none() && caught_up,
            reason,
            // Anybody may ask, so no document is named.
            damage: damage.map(|DamageView { found, remedy, .. }| {
                format!("stored data is damaged ({found} times come upon since the start); {remedy}")
            }),
            fenced: self.metrics.lately().fenced,
        }
    }
}
