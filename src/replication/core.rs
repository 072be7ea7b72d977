//! The state machine: [`Core::handle`] takes one event and gives effects.

mod copies;
mod event;
mod mend;
mod serve;
mod state;
#[cfg(test)]
mod tests;
mod upkeep;

use std::collections::{BTreeMap, BTreeSet};

pub use event::{Effect, Event, Identity, LinkState, ReadFrom, Received, Start};

use super::hold::Hold;
use super::lag::Lag;
use super::link::{Cursor, Link};
use super::repair::{Fetching, RepairState, Repairing};
use super::sources::Sources;
use super::table::{Table, first_stamp};
use crate::base::limits::HEARTBEAT_MS;
use crate::base::{
    Bounds, Bug, Change, Digest, DocId, Heads, LinkId, Lsn, Millis, Origin, Shift, VersionVector, planted,
};
use crate::wire::{Entry, Hello, Message, NodeInfo, PROTOCOL_VERSION};

/// Why a link is closed where the same two nodes have another: nothing is wrong then, and nobody need be told.
pub const DUPLICATE: &str = "a duplicate: these two nodes are linked already";

/// How an entry stands to what is held.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fit {
    Known,
    Fits,
    Waits,
}

struct Suspect {
    received: Received,
    since: Millis,
}

/// The replication core of one node.
pub struct Core {
    me: Identity,
    bounds: Bounds,
    /// What is on this node's disk.
    vector: VersionVector,
    /// The same with the commit under way.
    staged: VersionVector,
    /// `staged` as it was at this incarnation's last entry.
    last_held: VersionVector,
    /// Below this the log cannot serve: on disk, and with the commit under way.
    floor: VersionVector,
    staged_floor: VersionVector,
    /// The vector may say more than is here: all is to be compared by digest.
    untrusted: bool,
    /// Documents may have more than the vector names, until it names all of this.
    ahead: VersionVector,
    /// Changes are missing that the vector names.
    lacks: bool,
    /// The link over which they were last asked for.
    asked: LinkId,
    /// Of what is on disk.
    digest: [u8; 16],
    /// The same with the commit under way, and what that has changed.
    documents: Digest,
    shifts: Vec<Shift>,
    log_head: Lsn,
    stamp: u64,
    /// When this incarnation began, and the process.
    begun: Millis,
    started: Millis,
    /// The incarnations of this process.
    origins: BTreeSet<Origin>,
    links: BTreeMap<LinkId, Link>,
    sources: Sources,
    hold: Hold,
    suspects: BTreeMap<(Origin, u64), Suspect>,
    /// Who repairs this node.
    repair: Option<Repairing>,
    /// Repairs of this node that came to their end, and how the last of them went.
    repairs: u64,
    /// How many of the last ones brought nothing.
    fruitless: u32,
    last_repair: Option<(RepairState, Millis)>,
    /// Documents that are on their way, and from where.
    fetching: BTreeMap<DocId, Fetching>,
    table: Table,
    lag: Lag,
}

impl Core {
    pub fn new(now: Millis, me: Identity, bounds: Bounds, start: Start) -> Self {
        let Start { vector, floor, untrusted, ahead, documents, lacks, log_head, known } = start;
        let mut lag = Lag::default();
        lag.note(now, &vector);
        let stamp = first_stamp(&me.origin);
        let mut table = Table::default();
        for info in known {
            table.learn(now, info);
        }
        let origins = BTreeSet::from([me.origin]);
        Self {
            me,
            bounds,
            staged: vector.clone(),
            vector,
            last_held: VersionVector::new(),
            staged_floor: floor.clone(),
            floor,
            untrusted,
            ahead,
            lacks,
            asked: LinkId(0),
            digest: documents.total(),
            documents,
            shifts: Vec::new(),
            log_head,
            stamp,
            begun: now,
            started: now,
            origins,
            links: BTreeMap::new(),
            sources: Sources::default(),
            hold: Hold::new(bounds.hold),
            suspects: BTreeMap::new(),
            repair: None,
            repairs: 0,
            fruitless: 0,
            last_repair: None,
            fetching: BTreeMap::new(),
            table,
            lag,
        }
    }

    pub fn handle(&mut self, now: Millis, event: Event, effects: &mut Vec<Effect>) {
        match event {
            Event::LinkUp { link, dialled } => self.link_up(now, link, dialled, effects),
            Event::LinkDown { link } => self.link_down(now, link, effects),
            Event::Message { link, message } => self.message(now, link, message, effects),
            Event::Entries { link, entries } => self.entries(now, link, entries, effects),
            Event::Drained { link, weight } => {
                if let Some(state) = self.links.get_mut(&link) {
                    state.in_flight = state.in_flight.saturating_sub(weight);
                    state.drained = now;
                    self.acknowledge(link, effects);
                    self.serve(link, effects);
                    self.give(now, link, effects);
                }
            }
            Event::Pushed { link, pushes } => self.pushed(now, link, pushes, effects),
            Event::Compared { link, wanted } => self.compared(now, link, wanted, effects),
            Event::Absorbed { link, doc, last, lacks } => self.absorbed(now, link, doc, last, lacks, effects),
            Event::Lacks { link, doc, heads } => self.fetch(link, vec![(doc, heads)], effects),
            Event::Missing { documents } => self.ask_again(documents, effects),
            Event::Gathered { link, repairs, rest } => self.gathered(now, link, repairs, rest, effects),
            Event::LogRead { link, segments, next } => self.log_read(link, &segments, next, effects),
            Event::Committed { segments, first, last } => {
                self.ahead = self.staged_ahead().clone();
                self.vector = self.staged.clone();
                self.shifts.clear();
                self.digest = self.documents.total();
                self.log_head = last;
                self.lag.note(now, &self.vector);
                for link in self.links.keys().copied().collect::<Vec<_>>() {
                    self.acknowledge(link, effects);
                    self.forward(link, &segments, first, effects);
                }
                self.tell_floor(effects);
            }
            Event::CommitFailed { origin } => {
                self.staged = self.vector.clone();
                self.staged_floor = self.floor.clone();
                for shift in std::mem::take(&mut self.shifts) {
                    self.documents.take_back(shift);
                }
                self.begin(now, origin, "this node's storage failed, it begins anew", effects);
            }
            Event::Renewed { origin } => {
                self.begin(now, origin, "this node begins a new incarnation", effects);
            }
            Event::Tick => self.tick(now, effects),
        }
    }

    /// This node is another incarnation from now on: what was agreed with others before is void.
    fn begin(&mut self, now: Millis, origin: Origin, reason: &str, effects: &mut Vec<Effect>) {
        self.me.node = origin.node;
        self.me.origin = origin;
        self.last_held = VersionVector::new();
        self.stamp = self.stamp.max(first_stamp(&origin));
        self.begun = now;
        self.origins.insert(origin);
        self.sources.clear();
        self.hold.clear();
        self.suspects.clear();
        self.repair = None;
        self.fetching.clear();
        for link in std::mem::take(&mut self.links).into_keys() {
            close(link, reason, effects);
        }
    }

    /// Makes the entry for changes that enter the cluster here, or for the dropping of a document. It belongs into the commit under way, after
    /// what was put there before. Only masters may.
    pub fn stage_local(&mut self, doc: DocId, changes: Vec<Change>, drops: Option<Heads>) -> Entry {
        debug_assert!(self.me.role.takes_writes(), "a replica never originates");
        let origin = self.me.origin;
        let counter = self.staged.get(&origin) + 1;
        let held = self.staged.above(&self.last_held);
        let held = held.iter().filter(|(other, _)| *other != origin).collect();
        self.staged.raise(origin, counter);
        // An entry that names nothing leaves `last_held` as it is: only its own counter differs.
        if !self.last_held.covers(&held) {
            self.last_held = self.staged.clone();
        }
        Entry { origin, counter, held, doc, changes, drops }
    }

    fn link_up(&mut self, now: Millis, link: LinkId, dialled: bool, effects: &mut Vec<Effect>) {
        let mut state = Link::new(now, dialled, self.bounds.window);
        state.acknowledged = self.vector.clone();
        self.links.insert(link, state);
        let hello = Hello {
            version: PROTOCOL_VERSION,
            cluster: self.me.cluster.clone(),
            node: self.me.node,
            name: self.me.name.clone(),
            role: self.me.role,
            url: self.me.url.clone(),
            origin: self.me.origin,
            vector: self.vector.clone(),
            floor: self.floor.clone(),
        };
        self.send(link, Message::Hello(Box::new(hello)), effects);
    }

    fn link_down(&mut self, now: Millis, link: LinkId, effects: &mut Vec<Effect>) {
        if self.links.remove(&link).is_some() {
            self.sources.remove_link(link);
            self.forget_repair(link);
            self.choose_sources(now, effects);
        }
    }

    fn message(&mut self, now: Millis, link: LinkId, message: Message, effects: &mut Vec<Effect>) {
        let Some(state) = self.links.get_mut(&link) else { return };
        state.heard = now;
        match (message, state.hello.is_some()) {
            (Message::Hello(hello), false) => self.hello(now, link, *hello, effects),
            (Message::Goodbye(reason), _) => {
                self.drop_link(now, link, &format!("the other node says: {reason}"), effects);
            }
            (_, false) => self.drop_link(now, link, "the first message must be hello", effects),
            (Message::Hello(_), true) => self.drop_link(now, link, "a second hello", effects),
            (Message::Request { start, stop }, true) => {
                for origin in stop {
                    state.wanted.remove(&origin);
                }
                if !start.is_empty() {
                    state.wanted.extend(start);
                    state.cursor = Cursor::Seek;
                    state.seek_again = state.reading;
                }
                self.serve(link, effects);
            }
            (Message::Acknowledge(vector), true) => {
                state.vector.merge(&vector);
                self.choose_among(now, vector.iter().map(|(origin, _)| origin), effects);
            }
            (Message::Heartbeat(heartbeat), true) => {
                for info in heartbeat.nodes {
                    self.compare(now, link, &info);
                    let (node, stamp) = (info.node, info.stamp);
                    if node == self.me.node {
                        self.hears_of_itself(now, &info, effects);
                    } else {
                        self.table.learn(now, info);
                    }
                    // Not to be told what it has just told.
                    if let Some(state) = self.links.get_mut(&link).filter(|_| self.table.row(&node).is_some())
                    {
                        let told = state.told.entry(node).or_default();
                        *told = stamp.max(*told);
                    }
                }
            }
            (Message::Repair(repair), true) => self.repair(now, link, *repair, effects),
            // Entries come as an event of their own; unknown messages are those of later versions.
            (Message::Segments(_) | Message::Entries(_) | Message::Unknown(_), true) => {}
        }
    }

    fn hello(&mut self, now: Millis, link: LinkId, hello: Hello, effects: &mut Vec<Effect>) {
        if self.meets_copy(now, link, &hello, effects) {
            return;
        }
        if let Err(reason) = self.judge_hello(&hello) {
            return self.drop_link(now, link, &reason, effects);
        }
        if self.is_outdated(&hello, effects) {
            return;
        }
        if let Some(loser) = self.duplicate(now, link, &hello) {
            self.drop_link(now, loser, DUPLICATE, effects);
            if loser == link {
                return;
            }
        }
        let Some(state) = self.links.get_mut(&link) else { return };
        state.vector = hello.vector.clone();
        state.floor = hello.floor.clone();
        let (node, origin) = (hello.node, hello.origin);
        // Told in the first heartbeat by itself; until then others learn at least that it is there.
        let row = first_row(&hello);
        state.told.insert(node, row.stamp);
        state.hello = Some(hello);
        self.table.learn(now, row);
        self.choose_repair(now, effects);
        // A standing wish for what it originates: its writes come without being asked for each time.
        let in_log = self.links.get(&link).is_some_and(|l| l.floor.get(&origin) <= self.staged.get(&origin));
        if in_log && !self.waits_for_repair() {
            self.take_from(now, origin, link, effects);
        }
        self.choose_sources(now, effects);
        self.acknowledge(link, effects);
    }

    fn judge_hello(&self, hello: &Hello) -> Result<(), String> {
        if hello.cluster != self.me.cluster {
            return Err(format!(
                "another cluster: {:?} there, {:?} here (see --cluster)",
                hello.cluster, self.me.cluster
            ));
        }
        if hello.node == self.me.node {
            return Err("that is this node itself".into());
        }
        if hello.origin.node != hello.node {
            return Err("a hello with the origin of another node".into());
        }
        Ok(())
    }

    /// Which of two links with the same node has to go, where there are two.
    fn duplicate(&self, now: Millis, link: LinkId, hello: &Hello) -> Option<LinkId> {
        let (other, state) =
            self.links.iter().find(|(id, l)| **id != link && l.node() == Some(hello.node))?;
        let dialled = self.links.get(&link)?.dialled;
        let same_incarnation = state.hello.as_ref().is_some_and(|known| known.origin == hello.origin);
        let old_stays = if !same_incarnation {
            false
        } else if state.dialled != dialled {
            // The one that the lower id dialled stays: both ends come to the same answer.
            state.dialled == (self.me.node < hello.node)
        } else {
            now.since(state.heard) < 2 * HEARTBEAT_MS
        };
        Some(if old_stays { link } else { *other })
    }

    fn entries(&mut self, now: Millis, link: LinkId, entries: Vec<Received>, effects: &mut Vec<Effect>) {
        let Some(state) = self.links.get_mut(&link) else { return };
        state.heard = now;
        if state.hello.is_none() {
            return self.drop_link(now, link, "the first message must be hello", effects);
        }
        for received in entries {
            let origin = received.entry.origin;
            self.sources.delivered(now, &origin, link);
            match self.judge(&received.entry) {
                Fit::Known => {}
                Fit::Fits => self.accept(now, link, received, effects),
                Fit::Waits => {
                    if !self.hold.insert(link, received) && self.sources.dropped(now, &origin) {
                        self.send(link, Message::Request { start: Vec::new(), stop: vec![origin] }, effects);
                    }
                }
            }
        }
        self.release(now, effects);
    }

    /// Stages what was held back and fits now.
    fn release(&mut self, now: Millis, effects: &mut Vec<Effect>) {
        while let Some((link, received)) = self.hold.take_fitting(&self.staged) {
            self.accept(now, link, received, effects);
        }
    }

    fn judge(&self, entry: &Entry) -> Fit {
        let have = self.staged.get(&entry.origin);
        if entry.counter <= have {
            Fit::Known
        } else if entry.counter == have + 1
            && (self.staged.covers(&entry.held) || planted(Bug::CommitWithoutCauses))
        {
            Fit::Fits
        } else {
            Fit::Waits
        }
    }

    /// Stages an entry that fits, unless it is damaged and may be had whole elsewhere.
    fn accept(&mut self, now: Millis, link: LinkId, received: Received, effects: &mut Vec<Effect>) {
        let (origin, counter) = (received.entry.origin, received.entry.counter);
        let known = self.suspects.contains_key(&(origin, counter));
        if received.damaged.is_some()
            && !known
            && let Some(other) = self.another_ahead(&origin, link)
        {
            self.suspects.insert((origin, counter), Suspect { received, since: now });
            return self.take_from(now, origin, other, effects);
        }
        self.suspects.remove(&(origin, counter));
        self.staged.raise(origin, counter);
        if planted(Bug::SkipEntry) && counter % 16 == 15 {
            return;
        }
        effects.push(Effect::Commit { link: Some(link), received });
    }

    /// Chooses a source for every origin of which a link has more.
    fn choose_sources(&mut self, now: Millis, effects: &mut Vec<Effect>) {
        let ahead: VersionVector = self.links.values().flat_map(|link| link.vector.iter()).collect();
        self.choose_among(now, ahead.iter().map(|(origin, _)| origin), effects);
    }

    fn choose_among(
        &mut self,
        now: Millis,
        origins: impl Iterator<Item = Origin>,
        effects: &mut Vec<Effect>,
    ) {
        if self.waits_for_repair() {
            return;
        }
        let mut wishes: BTreeMap<LinkId, Vec<(Origin, u64)>> = BTreeMap::new();
        for origin in origins {
            // Nobody can have more of this node's own than it has itself.
            if origin == self.me.origin || self.sources.get(&origin).is_some() {
                continue;
            }
            if let Some(link) = self.best_ahead(&origin, None) {
                self.sources.choose(now, origin, link);
                wishes.entry(link).or_default().push((origin, self.staged.get(&origin)));
            }
        }
        for (link, start) in wishes {
            self.send(link, Message::Request { start, stop: Vec::new() }, effects);
        }
    }

    /// The link from which `origin` is best taken among those that have more: its own, else the one that has most.
    fn best_ahead(&self, origin: &Origin, but: Option<LinkId>) -> Option<LinkId> {
        let have = self.staged.get(origin);
        let ahead = self.links.iter().filter(|(id, link)| Some(**id) != but && link.can_serve(origin, have));
        ahead
            .max_by_key(|(_, link)| (link.node() == Some(origin.node), link.vector.get(origin)))
            .map(|(id, _)| *id)
    }

    fn another_ahead(&self, origin: &Origin, but: LinkId) -> Option<LinkId> {
        self.best_ahead(origin, Some(but))
    }

    /// Takes `origin` from `link` from now on, and no longer from where it was taken before.
    fn take_from(&mut self, now: Millis, origin: Origin, link: LinkId, effects: &mut Vec<Effect>) {
        if let Some(before) = self.sources.choose(now, origin, link).filter(|before| *before != link) {
            self.send(before, Message::Request { start: Vec::new(), stop: vec![origin] }, effects);
        }
        let start = vec![(origin, self.staged.get(&origin))];
        self.send(link, Message::Request { start, stop: Vec::new() }, effects);
    }

    fn send(&mut self, link: LinkId, message: Message, effects: &mut Vec<Effect>) {
        let Some(state) = self.links.get_mut(&link) else { return };
        let weight = match &message {
            Message::Segments(segments) => segments.iter().map(|segment| segment.size()).sum(),
            Message::Repair(repair) => repair.size_hint(),
            // The others are small, and there are few of them.
            _ => 64,
        };
        state.in_flight += weight;
        effects.push(Effect::Send { link, message, weight });
    }

    fn drop_link(&mut self, now: Millis, link: LinkId, reason: &str, effects: &mut Vec<Effect>) {
        close(link, reason, effects);
        self.link_down(now, link, effects);
    }
}

/// What a hello says of a node, until it says more itself.
fn first_row(hello: &Hello) -> NodeInfo {
    NodeInfo {
        node: hello.node,
        name: hello.name.clone(),
        role: hello.role,
        url: hello.url.clone(),
        origin: hello.origin,
        stamp: first_stamp(&hello.origin),
        age_ms: 0,
        vector: hello.vector.clone(),
        digest: [0; 16],
        links: Vec::new(),
        // Unless it says otherwise.
        lacks: true,
    }
}

fn close(link: LinkId, reason: &str, effects: &mut Vec<Effect>) {
    effects.push(Effect::Close { link, reason: reason.to_owned() });
}
