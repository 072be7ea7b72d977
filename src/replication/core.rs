//! The state machine: [`Core::handle`] takes one event and gives effects.

mod serve;
#[cfg(test)]
mod tests;
mod upkeep;

use std::collections::BTreeMap;
use std::sync::Arc;

use super::hold::Hold;
use super::lag::{Lag, Standing};
use super::link::{Cursor, Link};
use super::sources::Sources;
use super::table::{KnownNode, Table, first_stamp};
use crate::base::limits::HEARTBEAT_MS;
use crate::base::{
    Bounds, Bug, Change, DocId, LinkId, Lsn, Millis, NodeId, Origin, Role, VersionVector, planted,
};
use crate::wire::{Entry, Hello, Message, NodeInfo, PROTOCOL_VERSION, Segment};

/// Why a link is closed where the same two nodes have another: nothing is wrong then, and nobody need be told.
pub const DUPLICATE: &str = "a duplicate: these two nodes are linked already";

/// Who this node is, for others.
#[derive(Clone, Debug)]
pub struct Identity {
    pub cluster: String,
    pub node: NodeId,
    pub name: String,
    pub role: Role,
    pub url: Option<String>,
    pub origin: Origin,
}

/// An entry that came over a link.
#[derive(Clone, Debug)]
pub struct Received {
    pub entry: Entry,
    /// Why its changes' bytes are not what they claim to be, where they are not.
    pub damaged: Option<String>,
}

/// What happens to a core.
#[derive(Debug)]
pub enum Event {
    /// A connection is open; `dialled` by this node.
    LinkUp {
        link: LinkId,
        dialled: bool,
    },
    LinkDown {
        link: LinkId,
    },
    /// Anything but entries.
    Message {
        link: LinkId,
        message: Message,
    },
    Entries {
        link: LinkId,
        entries: Vec<Received>,
    },
    /// The link's socket has taken messages of this weight.
    Drained {
        link: LinkId,
        weight: usize,
    },
    /// The answer to [`Effect::Read`]: what the log has from there up to before `next`.
    LogRead {
        link: LinkId,
        segments: Vec<Arc<Segment>>,
        next: Lsn,
    },
    /// All that was staged is on disk. It begins at `first` in the log and ends at `last`.
    Committed {
        segments: Vec<Arc<Segment>>,
        first: Lsn,
        last: Lsn,
        digest: [u8; 16],
    },
    /// Nothing of what was staged is on disk. `origin` is this node's next incarnation.
    CommitFailed {
        origin: Origin,
    },
    /// Time has passed. To come at least every 50 ms.
    Tick,
}

/// What a core wants done.
#[derive(Debug)]
pub enum Effect {
    /// `weight` comes back in [`Event::Drained`].
    Send { link: LinkId, message: Message, weight: usize },
    /// Read the log for a link.
    Read { link: LinkId, from: ReadFrom },
    /// Put this into the commit under way, after what was put there before.
    Commit(Received),
    /// Send what is still to be sent, and close the connection.
    Close { link: LinkId, reason: String },
}

/// Where a read of the log begins.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ReadFrom {
    At(Lsn),
    /// After the last mark at which each of these origins was at most at the counter given. Not a vector: there
    /// an origin of which nothing was sent would be left out, and what it lacks most would be missed.
    Seek(BTreeMap<Origin, u64>),
}

/// One link, for whoever watches.
#[derive(Clone, Copy, Debug)]
pub struct LinkState<'a> {
    pub id: LinkId,
    pub hello: &'a Hello,
    /// How what is on the other end's disk stands to what is on this node's.
    pub standing: Standing,
    /// Bytes handed to its socket and not yet written.
    pub in_flight: usize,
}

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
    digest: [u8; 16],
    log_head: Lsn,
    stamp: u64,
    links: BTreeMap<LinkId, Link>,
    sources: Sources,
    hold: Hold,
    suspects: BTreeMap<(Origin, u64), Suspect>,
    table: Table,
    lag: Lag,
}

impl Core {
    /// `vector`, `digest` and `log_head` are what is on disk.
    pub fn new(
        now: Millis,
        me: Identity,
        bounds: Bounds,
        vector: VersionVector,
        digest: [u8; 16],
        log_head: Lsn,
    ) -> Self {
        let mut lag = Lag::default();
        lag.note(now, &vector);
        let stamp = first_stamp(&me.origin);
        Self {
            me,
            bounds,
            staged: vector.clone(),
            vector,
            last_held: VersionVector::new(),
            digest,
            log_head,
            stamp,
            links: BTreeMap::new(),
            sources: Sources::default(),
            hold: Hold::new(bounds.hold),
            suspects: BTreeMap::new(),
            table: Table::default(),
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
                }
            }
            Event::LogRead { link, segments, next } => self.log_read(link, &segments, next, effects),
            Event::Committed { segments, first, last, digest } => {
                self.vector = self.staged.clone();
                self.digest = digest;
                self.log_head = last;
                self.lag.note(now, &self.vector);
                for link in self.links.keys().copied().collect::<Vec<_>>() {
                    self.acknowledge(link, effects);
                    self.forward(link, &segments, first, effects);
                }
            }
            Event::CommitFailed { origin } => {
                self.staged = self.vector.clone();
                self.last_held = VersionVector::new();
                self.me.origin = origin;
                self.stamp = self.stamp.max(first_stamp(&origin));
                self.sources.clear();
                self.hold.clear();
                self.suspects.clear();
                for link in std::mem::take(&mut self.links).into_keys() {
                    close(link, "this node's storage failed, it begins anew", effects);
                }
            }
            Event::Tick => self.tick(now, effects),
        }
    }

    /// Makes the entry for changes that enter the cluster here. It belongs into the commit under way, after
    /// what was put there before. Only masters may.
    pub fn stage_local(&mut self, doc: DocId, changes: Vec<Change>) -> Entry {
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
        Entry { origin, counter, held, doc, changes }
    }

    /// What is on disk.
    pub fn vector(&self) -> &VersionVector {
        &self.vector
    }

    /// What is on disk, and what will be with the commit under way.
    pub fn staged(&self) -> &VersionVector {
        &self.staged
    }

    pub fn identity(&self) -> &Identity {
        &self.me
    }

    pub fn digest(&self) -> [u8; 16] {
        self.digest
    }

    /// The last LSN on disk.
    pub fn log_head(&self) -> Lsn {
        self.log_head
    }

    /// Bytes of entries that wait for their causes.
    pub fn held_bytes(&self) -> usize {
        self.hold.bytes()
    }

    /// The nodes that it is linked with now, and what is known to be on their disks.
    pub fn linked(&self) -> impl Iterator<Item = (&Hello, &VersionVector)> {
        self.links.values().filter_map(|link| Some((link.hello.as_ref()?, &link.vector)))
    }

    /// Its links whose other ends have said who they are.
    pub fn links(&self, now: Millis) -> impl Iterator<Item = LinkState<'_>> {
        self.links.iter().filter_map(move |(id, link)| {
            Some(LinkState {
                id: *id,
                hello: link.hello.as_ref()?,
                standing: self.lag.standing(now, &self.vector, &link.vector),
                in_flight: link.in_flight,
            })
        })
    }

    /// All nodes that it knows of but itself, and how they stand to it.
    pub fn known(&self, now: Millis) -> Vec<(KnownNode, Standing)> {
        let mut known: BTreeMap<NodeId, KnownNode> =
            self.table.rows().map(|row| (row.info.node, row.clone())).collect();
        // Links know better what is there than a row that was said a while ago.
        for link in self.links.values() {
            let Some(hello) = &link.hello else { continue };
            let row = known
                .entry(hello.node)
                .or_insert_with(|| KnownNode { info: first_row(hello), said: link.up });
            row.said = row.said.max(link.heard);
            row.info.vector.merge(&link.vector);
        }
        known.remove(&self.me.node);
        known.into_values().map(|row| self.stand(now, row)).collect()
    }

    fn stand(&self, now: Millis, row: KnownNode) -> (KnownNode, Standing) {
        let standing = self.lag.standing(now, &self.vector, &row.info.vector);
        (row, standing)
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
            floor: VersionVector::new(),
        };
        self.send(link, Message::Hello(Box::new(hello)), effects);
    }

    fn link_down(&mut self, now: Millis, link: LinkId, effects: &mut Vec<Effect>) {
        if self.links.remove(&link).is_some() {
            self.sources.remove_link(link);
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
                    // Not to be told what it has just told.
                    let told = state.told.entry(info.node).or_default();
                    *told = info.stamp.max(*told);
                    if info.node == self.me.node {
                        self.stamp = self.stamp.max(info.stamp);
                    } else {
                        self.table.learn(now, info);
                    }
                }
            }
            // Entries come as an event of their own; unknown messages are those of later versions.
            (Message::Segments(_) | Message::Entries(_) | Message::Unknown(_), true) => {}
        }
    }

    fn hello(&mut self, now: Millis, link: LinkId, hello: Hello, effects: &mut Vec<Effect>) {
        if let Err(reason) = self.judge_hello(&hello) {
            return self.drop_link(now, link, &reason, effects);
        }
        if let Some(loser) = self.duplicate(now, link, &hello) {
            self.drop_link(now, loser, DUPLICATE, effects);
            if loser == link {
                return;
            }
        }
        let Some(state) = self.links.get_mut(&link) else { return };
        state.vector = hello.vector.clone();
        let (node, origin) = (hello.node, hello.origin);
        // Told in the first heartbeat by itself; until then others learn at least that it is there.
        let row = first_row(&hello);
        state.told.insert(node, row.stamp);
        state.hello = Some(hello);
        self.table.learn(now, row);
        // A standing wish for what it originates: its writes come without being asked for each time.
        self.take_from(now, origin, link, effects);
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
            return Err("that is this node itself, or a copy of its data folder".into());
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
        effects.push(Effect::Commit(received));
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
        let ahead =
            self.links.iter().filter(|(id, link)| Some(**id) != but && link.vector.get(origin) > have);
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
    }
}

fn close(link: LinkId, reason: &str, effects: &mut Vec<Effect>) {
    effects.push(Effect::Close { link, reason: reason.to_owned() });
}
