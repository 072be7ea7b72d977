//! Data folders that were copied: recognised when a node hears of itself what it never said.
//!
//! A copy that is started beside its original bears the original's id: one of the two goes on as another node. A copy
//! that is started in the place of its original, as from a backup, bears a number of incarnation that others have seen
//! before, and may have closed: it begins one above all of those. Either way the random part of its origin is its own,
//! so nothing that it wrote before it was recognised bears another's name.

use std::cmp::Ordering;

use super::{Core, Effect};
use crate::base::limits::LINK_DEAD_MS;
use crate::base::{LinkId, Millis, Origin};
use crate::wire::{Hello, NodeInfo};

/// What a node says that meets its copy, or its original.
pub(super) const COPY: &str = "both nodes have the same id: one has a copy of the other's data folder, and goes on as \
                               another node";

/// Words of an earlier incarnation may be on their way for so long, in milliseconds, after a start.
const ECHO_MS: u64 = 2 * LINK_DEAD_MS;

/// By so much the stamps of a node rise above those of a copy that is to hear of it: with a word every 50 ms the copy
/// would take hours to get there.
const ABOVE_COPY: u64 = 1 << 18;

/// And by so much those of the copy above the node's: two who say the same number in the same seconds would be heard
/// of by half of the others each, and never by one another.
const ABOVE_ORIGINAL: u64 = 1 << 10;

impl Core {
    /// The other end of a link has this node's id. True where that was dealt with.
    pub(super) fn meets_copy(
        &mut self,
        now: Millis,
        link: LinkId,
        hello: &Hello,
        effects: &mut Vec<Effect>,
    ) -> bool {
        if hello.node != self.me.node || hello.origin == self.me.origin || hello.cluster != self.me.cluster {
            return false;
        }
        self.give_way(&hello.origin, effects);
        self.drop_link(now, link, COPY, effects);
        true
    }

    /// A word of this node's own has come back. Has somebody else said it, since this process began? What it said
    /// itself in an earlier incarnation is an echo.
    pub(super) fn hears_of_itself(&mut self, now: Millis, info: &NodeInfo, effects: &mut Vec<Effect>) {
        let said = now.0.saturating_sub(info.age_ms);
        if !self.origins.contains(&info.origin) && said > self.started.0 + ECHO_MS {
            self.give_way(&info.origin, effects);
        }
        // Of two that both go on above what the other says, the one that says more would be heard of, always.
        let margin = match info.origin.cmp(&self.me.origin) {
            Ordering::Less => ABOVE_COPY,
            Ordering::Equal => 0,
            Ordering::Greater => ABOVE_ORIGINAL,
        };
        self.stamp = self.stamp.max(info.stamp.saturating_add(margin));
    }

    /// Both sides come to the same answer: the one with the lower origin goes on as another node. Where they do not
    /// meet it hears of the other, whose words replace its own in the table of nodes.
    fn give_way(&self, other: &Origin, effects: &mut Vec<Effect>) {
        if self.me.origin < *other {
            effects.push(Effect::Renew { as_another: true, above: 0 });
        }
    }

    /// Has the other end seen incarnations of this node that come after the present one?
    pub(super) fn is_outdated(&self, hello: &Hello, effects: &mut Vec<Effect>) -> bool {
        let me = self.me.origin;
        let seen = hello.vector.iter().filter(|(origin, _)| origin.node == me.node);
        let seen = seen.map(|(origin, _)| origin.incarnation);
        let closed = hello.vector.closed().filter(|(node, _)| *node == me.node).map(|(_, number)| number);
        // One that is closed counts as held whatever its counter: its next entries would reach nobody.
        let above = seen.max().unwrap_or(0).max(closed.max().unwrap_or(0).saturating_add(1));
        if above > me.incarnation {
            effects.push(Effect::Renew { as_another: false, above: above.max(me.incarnation) });
        }
        above > me.incarnation
    }
}
