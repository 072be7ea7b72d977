//! Repair by digest, where logs do not reach: from whom, in what order, and when it is over; and the same for
//! the other ends of links.
//!
//! Whoever is repaired fetches what differs, document by document, and merges what the other end had *at the start*
//! when all of it is here: what the other end got meanwhile comes by its log, which it keeps from there on. Below
//! what was merged this node's own log has gaps: its floor rises, and whoever needs something from below is repaired
//! in turn.

use super::{Core, Effect};
use crate::base::limits::{LINK_DEAD_MS, MAX_FETCHES, MAX_SLICE_DOCUMENTS};
use crate::base::{Bug, DocId, Heads, LinkId, Lsn, Millis, Origin, VersionVector, planted};
use crate::replication::link::Link;
use crate::replication::repair::{Fetching, Gather, Repairing, Walk};
use crate::replication::table::KnownNode;
use crate::wire::{Message, NodeInfo, Push, Repair};

/// Equal vectors and different digests are borne for so long, in milliseconds: a document may be on its way.
const DIFFERS_MS: u64 = 2_000;

/// Where a repair brings nothing, that is doubled each time, and so often at most: a document that is damaged at one
/// of the two would have them compare for ever.
const MAX_DOUBLED: u32 = 5;

/// What others say of themselves is passed on, and may be so much older than it seems, in milliseconds.
pub(super) const SAID_MS: u64 = LINK_DEAD_MS;

/// A repair that does not get on for so long, in milliseconds, is begun anew over another link.
const REPAIR_STUCK_MS: u64 = 30_000;

/// Slices and requests that may wait for one link. Whoever keeps to the protocol has a few.
const MAX_TASKS: usize = 64;

impl Core {
    /// Has this node repaired, where it needs that and nobody does so yet.
    pub(super) fn choose_repair(&mut self, now: Millis, effects: &mut Vec<Effect>) {
        if self.repair.is_some() {
            return;
        }
        let borne = DIFFERS_MS << self.fruitless.min(MAX_DOUBLED);
        let needs = |link: &Link| {
            link.hello.is_some()
                && (self.is_below_floor(link)
                    || !self.staged.closes(&link.vector)
                    || (self.untrusted && !link.vector.is_empty())
                    || link
                        .differs
                        .as_ref()
                        .is_some_and(|(since, vector)| *vector == self.vector && now.since(*since) >= borne))
        };
        let links = self.links.iter().filter(|(_, link)| needs(link));
        let best = links.max_by_key(|(_, link)| link.vector.missing_in(&self.staged)).map(|(id, _)| *id);
        if let Some(link) = best {
            if let Some(state) = self.links.get_mut(&link) {
                state.differs = None;
            }
            // Whoever has nothing, or does not trust what it has, takes all by digest, and the log from there on.
            let whole = self.untrusted || self.vector.is_empty();
            self.repair = Some(Repairing::new(now, link, whole, self.documents.total()));
            self.send_repair(link, Repair::Begin, effects);
        }
    }

    /// Is there something at the other end that no log gives: below its floor, and nowhere else?
    fn is_below_floor(&self, link: &Link) -> bool {
        link.floor.iter().any(|(origin, floor)| {
            let have = self.staged.get(&origin);
            floor > have && link.vector.get(&origin) > have && self.best_ahead(&origin, None).is_none()
        })
    }

    /// Closes this node's own earlier incarnations once every known node holds all of them, and has said so since this
    /// one began: whoever was brought back from a backup knows neither all others nor all that it made, until they have
    /// told it. The others learn it from its vector, and close them when they have compared all they have with somebody
    /// who has closed them.
    pub(super) fn close_incarnations(&mut self, effects: &mut Vec<Effect>) {
        let me = self.me.origin;
        let earlier = |origin: &Origin| origin.node == me.node && origin.incarnation < me.incarnation;
        let mine: VersionVector = self.vector.iter().filter(|(origin, _)| earlier(origin)).collect();
        if mine.is_empty() || self.vector != self.staged {
            return;
        }
        let has_said = |node| self.table.row(&node).is_some_and(|row| row.said.0 > self.begun.0 + SAID_MS);
        let all_hold = self.acknowledged().next().is_some()
            && self.acknowledged().all(|(node, theirs)| {
                has_said(node)
                    && theirs.covers(&mine)
                    && theirs.iter().all(|(o, counter)| !earlier(&o) || counter <= mine.get(&o))
            });
        if all_hold && self.staged.close(me.node, me.incarnation - 1) {
            effects.push(Effect::Cover);
        }
    }

    /// Ends a repair that does not get on.
    pub(super) fn end_stuck_repair(&mut self, now: Millis, effects: &mut Vec<Effect>) {
        if let Some(repair) = self.repair.as_ref().filter(|repair| now.since(repair.heard) >= REPAIR_STUCK_MS)
        {
            let link = repair.state.link;
            self.drop_link(now, link, "it repairs this node, and does not get on", effects);
        }
    }

    /// A link has ended: what was to come over it will not.
    pub(super) fn forget_repair(&mut self, link: LinkId) {
        self.repair = self.repair.take().filter(|repair| repair.state.link != link);
        self.fetching.retain(|_, fetching| fetching.from != link);
    }

    /// What a linked node says of itself: has it the same, and yet not?
    pub(super) fn compare(&mut self, now: Millis, link: LinkId, info: &NodeInfo) {
        let (ours, digest) = (&self.vector, self.digest);
        let Some(state) = self.links.get_mut(&link) else { return };
        if state.node() != Some(info.node) {
            return;
        }
        let differs = info.vector == *ours && info.digest != digest && self.fetching.is_empty();
        if info.vector == *ours && info.digest == digest {
            self.fruitless = 0;
        }
        state.differs = match state.differs.take() {
            _ if !differs => None,
            Some((since, vector)) if vector == info.vector => Some((since, vector)),
            _ => Some((now, info.vector.clone())),
        };
    }

    pub(super) fn repair(&mut self, now: Millis, link: LinkId, repair: Repair, effects: &mut Vec<Effect>) {
        if let Some(repairing) = self.repair.as_mut().filter(|repairing| repairing.state.link == link) {
            repairing.heard = now;
        }
        match repair {
            Repair::Begin => {
                let (lsn, vector) = (self.log_head, self.vector.clone());
                let Some(state) = self.links.get_mut(&link) else { return };
                state.giving.begin(lsn);
                let groups = self.documents.groups();
                self.send_repair(link, Repair::Start { vector, groups }, effects);
            }
            Repair::End => {
                if let Some(state) = self.links.get_mut(&link) {
                    state.giving.end();
                }
            }
            Repair::Descend { groups } => {
                for group in groups {
                    let sums = self.documents.group(group);
                    let leaves = (0..=u8::MAX).map(|leaf| u16::from_be_bytes([group, leaf]));
                    let documents = leaves.map(|leaf| self.documents.documents_of(leaf)).collect();
                    self.send_repair(link, Repair::Leaves { group, sums, documents }, effects);
                }
            }
            Repair::Walk { compare, take } => {
                let Some(state) = self.links.get_mut(&link) else { return };
                state.giving.walk(compare, take);
                self.slice(now, link, None, effects);
            }
            Repair::Next { after } => self.slice(now, link, after, effects),
            Repair::Fetch { documents } => {
                let Some(state) = self.links.get_mut(&link) else { return };
                state.giving.fetch(documents);
                self.give(now, link, effects);
            }
            Repair::Start { vector, groups } => self.started(now, link, vector, &groups, effects),
            Repair::Leaves { group, sums, documents } => {
                let ours = self.documents.group(group);
                let Some(repairing) = self.repair.as_mut().filter(|r| r.state.link == link) else { return };
                repairing.leaves(group, &ours, &sums, &documents);
                self.walk(now, link, effects);
            }
            Repair::Slice { offers, next } => {
                let Some(repairing) = self.repair.as_mut().filter(|r| r.state.link == link) else { return };
                repairing.walk = next.map_or(Walk::Ended, Walk::Paused);
                repairing.state.done += offers.len() as u64;
                if offers.is_empty() {
                    self.go_on(now, effects);
                } else {
                    effects.push(Effect::Compare { link, offers });
                }
            }
            Repair::Floor(floor) => {
                let Some(state) = self.links.get_mut(&link) else { return };
                state.floor.merge(&floor);
                self.choose_repair(now, effects);
            }
            // They come as an event of their own.
            Repair::Pushes(_) => {}
        }
    }

    /// What the other end had when it began to repair this node.
    fn started(
        &mut self,
        now: Millis,
        link: LinkId,
        vector: VersionVector,
        groups: &[u64],
        effects: &mut Vec<Effect>,
    ) {
        let ours = self.documents.groups();
        let Some(repairing) = self.repair.as_mut().filter(|r| r.state.link == link) else { return };
        repairing.vector = Some(vector);
        let differ = ours.iter().zip(groups).zip(0..=u8::MAX).filter(|((ours, theirs), _)| ours != theirs);
        let groups: Vec<u8> = differ.map(|(_, group)| group).collect();
        repairing.groups = groups.len();
        if !groups.is_empty() {
            return self.send_repair(link, Repair::Descend { groups }, effects);
        }
        self.walk(now, link, effects);
    }

    /// Begins the walk when all leaves have been told.
    fn walk(&mut self, now: Millis, link: LinkId, effects: &mut Vec<Effect>) {
        let Some(repairing) = self.repair.as_mut().filter(|r| r.groups == 0) else { return };
        if repairing.is_equal() {
            repairing.walk = Walk::Ended;
            return self.go_on(now, effects);
        }
        let (compare, take) = repairing.sets();
        repairing.walk = Walk::Asked;
        self.send_repair(link, Repair::Walk { compare, take }, effects);
    }

    /// Asks for the next slice while few documents are on their way, and ends the repair when all are here.
    fn go_on(&mut self, now: Millis, effects: &mut Vec<Effect>) {
        let Some(repairing) = &mut self.repair else { return };
        let link = repairing.state.link;
        match &repairing.walk {
            Walk::Paused(after) if self.fetching.len() < MAX_SLICE_DOCUMENTS => {
                let after = Some(after.clone());
                repairing.walk = Walk::Asked;
                self.send_repair(link, Repair::Next { after }, effects);
            }
            Walk::Ended if !self.fetching.values().any(|fetching| fetching.is_over(link)) => {
                self.repaired(now, effects)
            }
            _ => {}
        }
    }

    /// All that the other end had at the start is here or in the commit under way.
    fn repaired(&mut self, now: Millis, effects: &mut Vec<Effect>) {
        let Some(Repairing { state, vector: Some(vector), whole, digest, .. }) = self.repair.take() else {
            return;
        };
        let vector = match self.links.get(&state.link) {
            Some(link) if planted(Bug::MergeLateVector) => link.vector.clone(),
            _ => vector,
        };
        // What the logs bring anyway is left to them, if that is all: there is no gap then. A part of the vector would not
        // cover what its entries hang on, and those after them name only what they hang on beyond that.
        let by_log = |origin: &Origin| !whole && self.best_ahead(origin, None).is_some();
        let gained = vector.above(&self.staged);
        let all_by_log = gained.iter().all(|(origin, _)| by_log(&origin));
        let gained: VersionVector = gained.iter().filter(|_| !all_by_log).collect();
        let brings_nothing = gained.is_empty() && digest == self.documents.total();
        self.fruitless = if brings_nothing { self.fruitless.saturating_add(1) } else { 0 };
        for (node, number) in vector.closed() {
            self.staged.close(node, number);
        }
        self.staged.merge(&gained);
        if !planted(Bug::ForgetFloor) {
            self.staged_floor.merge(&gained);
        }
        self.untrusted = false;
        self.repairs += 1;
        self.last_repair = Some((state, now));
        effects.push(Effect::Cover);
        self.send_repair(state.link, Repair::End, effects);
        self.release(now, effects);
        // What was asked for below can be asked for above now.
        for (origin, _) in gained.iter() {
            self.sources.remove(&origin);
        }
        for (link, origin) in self.greeted() {
            if self.sources.get(&origin).is_none() {
                self.take_from(now, origin, link, effects);
            }
        }
        self.choose_sources(now, effects);
    }

    /// Links whose other ends have said who they are, and their origins.
    fn greeted(&self) -> Vec<(LinkId, Origin)> {
        self.links.iter().filter_map(|(id, link)| Some((*id, link.hello.as_ref()?.origin))).collect()
    }

    /// Is this node given all it will have by digest, so that no log is to be read meanwhile?
    pub(super) fn waits_for_repair(&self) -> bool {
        self.repair.as_ref().is_some_and(|repairing| repairing.whole)
    }

    /// Does the vector name just what documents have, with nothing on its way? And are all nodes known that have been met?
    pub fn is_complete(&self) -> bool {
        let is_settled = self.repair.is_none() && self.fetching.is_empty();
        is_settled && !self.lacks && self.ahead.is_empty() && !self.untrusted && !self.table.is_full()
    }

    /// Tells everybody of a floor that has risen.
    pub(super) fn tell_floor(&mut self, effects: &mut Vec<Effect>) {
        if self.floor == self.staged_floor {
            return;
        }
        let risen = self.staged_floor.above(&self.floor);
        self.floor = self.staged_floor.clone();
        // Those, too, that have not said who they are yet: what this node's own hello told them is out of date.
        for link in self.links.keys().copied().collect::<Vec<_>>() {
            self.send_repair(link, Repair::Floor(risen.clone()), effects);
        }
    }

    /// The engine has looked which of the offered documents have something that is not here.
    pub(super) fn compared(
        &mut self,
        now: Millis,
        link: LinkId,
        wanted: Vec<(DocId, Heads)>,
        effects: &mut Vec<Effect>,
    ) {
        self.fetch(link, wanted, effects);
        self.go_on(now, effects);
    }

    /// Asks a link for what is missing here of some documents.
    pub(super) fn fetch(&mut self, link: LinkId, documents: Vec<(DocId, Heads)>, effects: &mut Vec<Effect>) {
        if !self.links.contains_key(&link) || self.fetching.len() >= 2 * MAX_SLICE_DOCUMENTS {
            // Their digests tell, later, that something is missing.
            return;
        }
        let mut unasked = Vec::new();
        for (doc, heads) in documents {
            match self.fetching.get_mut(&doc) {
                // What is on its way may have been read before that was there.
                Some(fetching) => fetching.again = Some((link, heads)),
                None => {
                    self.fetching.insert(doc.clone(), Fetching { from: link, again: None });
                    unasked.push((doc, heads));
                }
            }
        }
        let documents = unasked;
        if !documents.is_empty() {
            self.send_repair(link, Repair::Fetch { documents }, effects);
        }
    }

    /// What was left out may be nowhere any more: dropped, or lost with its last holder. Then all end with the same, and
    /// nothing is missing. Should somebody who is not heard of now have it, his digest will tell.
    pub(super) fn end_lack(&mut self, now: Millis, effects: &mut Vec<Effect>) {
        if !self.lacks && self.ahead.is_empty() {
            return;
        }
        let is_alive = |row: &&KnownNode| now.since(row.said) < LINK_DEAD_MS;
        let mut others =
            self.table.rows().filter(|row| row.info.node != self.me.node).filter(is_alive).peekable();
        let is_same = |row: &KnownNode| row.info.vector == self.vector && row.info.digest == self.digest;
        if others.peek().is_some() && others.all(is_same) {
            self.ahead = VersionVector::new();
            effects.push(Effect::Whole);
        }
    }

    /// Asks the next link for documents of which something is missing. Nobody is known to have it; but whoever sent the
    /// entries that name it has it, or waits for it likewise.
    pub(super) fn ask_again(&mut self, documents: Vec<(DocId, Heads)>, effects: &mut Vec<Effect>) {
        let may_ask = |(_, link): &(&LinkId, &Link)| link.hello.is_some() && link.has_room();
        let links = || self.links.iter().filter(may_ask).map(|(id, _)| *id);
        let Some(link) = links().find(|link| *link > self.asked).or_else(|| links().next()) else { return };
        self.asked = link;
        let unasked = documents.into_iter().filter(|(doc, _)| !self.fetching.contains_key(doc)).collect();
        self.fetch(link, unasked, effects);
    }

    pub(super) fn pushed(
        &mut self,
        now: Millis,
        link: LinkId,
        pushes: Vec<(Push, Option<String>)>,
        effects: &mut Vec<Effect>,
    ) {
        let Some(state) = self.links.get_mut(&link) else { return };
        state.heard = now;
        // It has said what is on its disk since it read what it sends.
        self.ahead.merge(&state.vector);
        let mut repairing = self.repair.as_mut().filter(|repairing| repairing.state.link == link);
        for (push, damaged) in pushes {
            if let Some(repairing) = &mut repairing {
                repairing.heard = now;
                repairing.state.bytes += push.size_hint() as u64;
            }
            match state.assembly.take(push) {
                Ok(Some((doc, piece, last))) => {
                    effects.push(Effect::Absorb { link, doc, piece, damaged, last });
                }
                Ok(None) => {}
                Err(reason) => return self.drop_link(now, link, reason, effects),
            }
        }
    }

    /// A part of a document has been put into the commit under way; or it was not, as something is here of the
    /// document by now, and the rest has to be asked for.
    pub(super) fn absorbed(
        &mut self,
        now: Millis,
        link: LinkId,
        doc: DocId,
        last: bool,
        lacks: Option<Heads>,
        effects: &mut Vec<Effect>,
    ) {
        if let Some(heads) = lacks {
            let fetching = self.fetching.entry(doc.clone()).or_insert(Fetching { from: link, again: None });
            fetching.again = Some((link, heads));
        }
        let is_fetched = self.fetching.get(&doc).is_some_and(|fetching| fetching.from == link);
        if last && is_fetched {
            let again = self.fetching.remove(&doc).and_then(|fetching| fetching.again);
            if let Some((link, heads)) = again {
                self.fetch(link, vec![(doc, heads)], effects);
            }
        } else if last
            && let Some(repairing) = self.repair.as_mut().filter(|repairing| repairing.state.link == link)
        {
            // Those that are taken whole are not asked for one by one, nor offered.
            repairing.state.done += 1;
        }
        self.go_on(now, effects);
    }

    fn slice(&mut self, now: Millis, link: LinkId, after: Option<DocId>, effects: &mut Vec<Effect>) {
        let Some(state) = self.links.get_mut(&link) else { return };
        if !state.giving.slice(after) {
            return self.drop_link(now, link, "a slice of no walk", effects);
        }
        self.give(now, link, effects);
    }

    /// Sends what was read for a link's repair as far as there is room, and has more read.
    pub(super) fn give(&mut self, now: Millis, link: LinkId, effects: &mut Vec<Effect>) {
        let Some(state) = self.links.get_mut(&link) else { return };
        let (tasks, documents) = state.giving.backlog();
        if tasks > MAX_TASKS || documents > MAX_FETCHES {
            return self.drop_link(now, link, "it asks for more documents than it takes", effects);
        }
        // Whoever gets parts of documents is to know what they may contain.
        if !state.giving.parcels.is_empty() {
            self.acknowledge(link, effects);
        }
        while let Some(state) = self.links.get_mut(&link).filter(|state| state.has_room()) {
            let Some(parcel) = state.giving.parcels.pop_front() else { break };
            self.send_repair(link, parcel, effects);
        }
        let Some(state) = self.links.get_mut(&link).filter(|state| state.has_room()) else { return };
        if let Some(gather) = state.giving.next() {
            effects.push(Effect::Gather { link, gather });
        }
    }

    pub(super) fn gathered(
        &mut self,
        now: Millis,
        link: LinkId,
        repairs: Vec<Repair>,
        rest: Option<Gather>,
        effects: &mut Vec<Effect>,
    ) {
        let Some(state) = self.links.get_mut(&link) else { return };
        state.giving.gathered(repairs, rest);
        self.give(now, link, effects);
    }

    /// From here on the log is needed by those whom this node repairs.
    pub fn needed_log(&self) -> Lsn {
        let since = self.links.values().filter_map(|link| link.giving.since).min();
        since.filter(|_| !planted(Bug::TrimDuringRepair)).unwrap_or(self.log_head)
    }

    fn send_repair(&mut self, link: LinkId, repair: Repair, effects: &mut Vec<Effect>) {
        self.send(link, Message::Repair(Box::new(repair)), effects);
    }
}
