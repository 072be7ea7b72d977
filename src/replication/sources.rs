//! From which link each origin's entries are taken.
//!
//! One link at a time streams an origin here: the direct one first. It is chosen again when it has shown no
//! progress for a while although another link says that it has more; choosing only when a link dies would
//! let two nodes starve on each other.

use std::collections::BTreeMap;

use crate::base::limits::SOURCE_PATIENCE_MS;
use crate::base::{LinkId, Millis, Origin};

/// The longest patience, and the time after which a direct link is tried again.
const PATIENCE_MOST_MS: u64 = 5_000;

#[derive(Clone, Debug)]
pub(super) struct Source {
    pub link: LinkId,
    /// When the link last brought something of this origin, was chosen, or had nothing to bring.
    pub progress: Millis,
    /// When this link was chosen.
    pub since: Millis,
    /// How long no progress is borne. Doubles with every choice in vain, so that slow links are not made to
    /// send the same again and again.
    patience: u64,
    /// Something that it brought had to be dropped: ask again.
    pub dropped: bool,
}

#[derive(Default)]
pub(super) struct Sources {
    by_origin: BTreeMap<Origin, Source>,
}

impl Sources {
    pub fn get(&self, origin: &Origin) -> Option<&Source> {
        self.by_origin.get(origin)
    }

    /// Takes an origin from `link` from now on. Gives the link from which it was taken before.
    pub fn choose(&mut self, now: Millis, origin: Origin, link: LinkId) -> Option<LinkId> {
        let patience = match self.by_origin.get(&origin) {
            Some(source) => (2 * source.patience).min(PATIENCE_MOST_MS),
            None => SOURCE_PATIENCE_MS,
        };
        let chosen = Source { link, progress: now, since: now, patience, dropped: false };
        self.by_origin.insert(origin, chosen).map(|source| source.link)
    }

    /// An entry of `origin` has come from `link`.
    pub fn delivered(&mut self, now: Millis, origin: &Origin, link: LinkId) {
        if let Some(source) = self.by_origin.get_mut(origin).filter(|source| source.link == link) {
            source.progress = now;
            source.patience = SOURCE_PATIENCE_MS;
        }
    }

    /// Nobody has more of `origin` than this node.
    pub fn content(&mut self, now: Millis, origin: &Origin) {
        if let Some(source) = self.by_origin.get_mut(origin) {
            source.progress = now;
        }
    }

    /// An entry of `origin` had to be dropped: it is asked for again when patience ends. Says whether that is
    /// news, so that one source is told to stop once, and not for each entry that was on its way.
    pub fn dropped(&mut self, now: Millis, origin: &Origin) -> bool {
        let Some(source) = self.by_origin.get_mut(origin) else { return true };
        source.progress = now;
        !std::mem::replace(&mut source.dropped, true)
    }

    /// Forgets a link. The origins that were taken from it have no source then.
    pub fn remove_link(&mut self, link: LinkId) {
        self.by_origin.retain(|_, source| source.link != link);
    }

    /// Forgets where an origin was taken from.
    pub fn remove(&mut self, origin: &Origin) {
        self.by_origin.remove(origin);
    }

    pub fn clear(&mut self) {
        self.by_origin.clear();
    }

    pub fn origins(&self) -> Vec<Origin> {
        self.by_origin.keys().copied().collect()
    }
}

impl Source {
    /// Has it been without progress for longer than is borne?
    pub fn is_stale(&self, now: Millis) -> bool {
        now.since(self.progress) >= self.patience
    }

    /// Has it brought nothing for so long that even the same link is asked again?
    pub fn is_lost(&self, now: Millis) -> bool {
        (self.dropped && self.is_stale(now)) || now.since(self.progress) >= 2 * PATIENCE_MOST_MS
    }

    /// Has it been in use for so long that a direct link may be tried again?
    pub fn is_settled(&self, now: Millis) -> bool {
        now.since(self.since) >= PATIENCE_MOST_MS
    }
}
