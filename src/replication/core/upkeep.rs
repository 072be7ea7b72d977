//! What time brings: dead links end, damaged entries are settled, sources are chosen again, hearts beat.

use super::{Core, Effect, Fit};
use crate::base::limits::{HEARTBEAT_MS, HELLO_MS, LINK_DEAD_MS};
use crate::base::{LinkId, Millis};
use crate::replication::link::Link;
use crate::wire::{Heartbeat, Message, NodeInfo};

/// A damaged entry is asked for elsewhere, and for so long it is waited for, in milliseconds.
const SUSPECT_MS: u64 = 1_000;

/// A heartbeat comes this soon, in milliseconds, where this node's vector has moved since the last.
const NEWS_MS: u64 = 200;

/// A link whose socket takes nothing for this long, in milliseconds, is closed.
const STUCK_MS: u64 = 30_000;

impl Core {
    pub(super) fn tick(&mut self, now: Millis, effects: &mut Vec<Effect>) {
        self.table.forget(now);
        self.end_dead_links(now, effects);
        self.settle_suspects(now, effects);
        self.choose_again(now, effects);
        self.end_stuck_repair(now, effects);
        self.choose_repair(now, effects);
        self.end_lack(now, effects);
        self.close_incarnations(effects);
        self.heartbeat(now, effects);
    }

    fn end_dead_links(&mut self, now: Millis, effects: &mut Vec<Effect>) {
        let mut dead = Vec::new();
        for (id, link) in &mut self.links {
            if link.in_flight == 0 {
                link.drained = now;
            }
            link.short = link.short.or(Some(now)).filter(|_| link.is_short(&self.vector));
            let reason = match &link.hello {
                None if now.since(link.up) >= HELLO_MS => "no hello came".to_owned(),
                _ if now.since(link.heard) >= LINK_DEAD_MS => {
                    format!("nothing was heard for {LINK_DEAD_MS} ms")
                }
                _ if now.since(link.drained) >= STUCK_MS => format!("it took nothing for {STUCK_MS} ms"),
                // The same incarnation can never have less than others have of it.
                Some(hello) if link.short.is_some_and(|since| now.since(since) >= LINK_DEAD_MS) => {
                    format!(
                        "incarnation {} of node {} has {} of its own entries, and {} were seen: it has lost \
                         writes. Restart it: it then begins a new incarnation",
                        hello.origin.incarnation,
                        hello.name,
                        link.vector.get(&hello.origin),
                        self.vector.get(&hello.origin)
                    )
                }
                _ => continue,
            };
            dead.push((*id, reason));
        }
        for (link, reason) in dead {
            self.drop_link(now, link, &reason, effects);
        }
    }

    /// Commits damaged entries as they are for which no better copy came: the vector always moves on.
    fn settle_suspects(&mut self, now: Millis, effects: &mut Vec<Effect>) {
        let due: Vec<_> =
            self.suspects.iter().filter(|(_, s)| now.since(s.since) >= SUSPECT_MS).map(|(k, _)| *k).collect();
        for key in due {
            let Some(suspect) = self.suspects.remove(&key) else { continue };
            if self.judge(&suspect.received.entry) == Fit::Fits {
                self.staged.raise(key.0, key.1);
                effects.push(Effect::Commit { link: None, received: suspect.received });
            }
        }
        self.release(now, effects);
    }

    fn choose_again(&mut self, now: Millis, effects: &mut Vec<Effect>) {
        if self.waits_for_repair() {
            return;
        }
        for origin in self.sources.origins() {
            let have = self.staged.get(&origin);
            let Some(source) = self.sources.get(&origin).cloned() else { continue };
            let direct = self.links.iter().find(|(_, link)| {
                link.hello
                    .as_ref()
                    .is_some_and(|hello| hello.origin == origin && link.vector.get(&origin) >= have)
            });
            if !self.links.values().any(|link| link.vector.get(&origin) > have) {
                self.sources.content(now, &origin);
                if let Some((direct, _)) =
                    direct.filter(|(id, _)| **id != source.link && source.is_settled(now))
                {
                    self.take_from(now, origin, *direct, effects);
                }
                continue;
            }
            if !source.is_stale(now) {
                continue;
            }
            if let Some(link) = self.best_ahead(&origin, Some(source.link)) {
                self.take_from(now, origin, link, effects);
            } else if source.is_lost(now) {
                self.take_from(now, origin, source.link, effects);
            }
        }
        self.choose_sources(now, effects);
    }

    fn heartbeat(&mut self, now: Millis, effects: &mut Vec<Effect>) {
        let due: Vec<LinkId> =
            self.links.iter().filter(|(_, link)| self.beat_is_due(now, link)).map(|(id, _)| *id).collect();
        if due.is_empty() {
            return;
        }
        self.stamp += 1;
        let mine = NodeInfo {
            node: self.me.node,
            name: self.me.name.clone(),
            role: self.me.role,
            url: self.me.url.clone(),
            origin: self.me.origin,
            stamp: self.stamp,
            age_ms: 0,
            vector: self.vector.clone(),
            digest: self.digest,
            links: self.links.values().filter_map(Link::node).collect(),
            lacks: self.lacks,
        };
        self.table.learn(now, mine);
        for link in due {
            let Some(state) = self.links.get_mut(&link) else { continue };
            state.beaten = now;
            let nodes = self.table.untold(now, &mut state.told);
            let beat = Heartbeat { log_head: self.log_head.0, nodes };
            self.send(link, Message::Heartbeat(beat), effects);
        }
    }

    fn beat_is_due(&self, now: Millis, link: &Link) -> bool {
        let since = now.since(link.beaten);
        let news = || self.table.row(&self.me.node).is_none_or(|row| row.info.vector != self.vector);
        link.hello.is_some() && link.has_room() && (since >= HEARTBEAT_MS || (since >= NEWS_MS && news()))
    }
}
