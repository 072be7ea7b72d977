//! What the other ends of links want, and how they are served: each commit as it happens, or the log where
//! they are behind.

use std::sync::Arc;

use super::{Core, Effect, ReadFrom};
use crate::base::{LinkId, Lsn};
use crate::replication::link::Cursor;
use crate::wire::{Message, Segment};

impl Core {
    /// Sends a link what it wants of a commit that has just happened.
    pub(super) fn forward(
        &mut self,
        link: LinkId,
        segments: &[Arc<Segment>],
        first: Lsn,
        effects: &mut Vec<Effect>,
    ) {
        let Some(state) = self.links.get_mut(&link) else { return };
        if state.cursor != Cursor::Head || state.reading {
            return;
        }
        if !state.has_room() {
            state.cursor = Cursor::At(first);
            return;
        }
        let selected = state.select(segments);
        if !selected.is_empty() {
            self.send(link, Message::Segments(selected), effects);
        }
    }

    /// Has the log read for a link that is behind in it and has room.
    pub(super) fn serve(&mut self, link: LinkId, effects: &mut Vec<Effect>) {
        let Some(state) = self.links.get_mut(&link) else { return };
        if state.reading || !state.has_room() {
            return;
        }
        if state.is_served(&self.vector) {
            state.cursor = Cursor::Head;
        }
        let from = match state.cursor {
            Cursor::Head => return,
            Cursor::At(lsn) => ReadFrom::At(lsn),
            Cursor::Seek => ReadFrom::Seek(state.wanted.clone()),
        };
        state.reading = true;
        state.seek_again = false;
        effects.push(Effect::Read { link, from });
    }

    pub(super) fn log_read(
        &mut self,
        link: LinkId,
        segments: &[Arc<Segment>],
        next: Lsn,
        effects: &mut Vec<Effect>,
    ) {
        let Some(state) = self.links.get_mut(&link) else { return };
        state.reading = false;
        let selected = state.select(segments);
        if state.seek_again {
            state.cursor = Cursor::Seek;
        } else if next > self.log_head {
            state.cursor = Cursor::Head;
        } else {
            state.cursor = Cursor::At(next);
        }
        if !selected.is_empty() {
            self.acknowledge(link, effects);
            self.send(link, Message::Segments(selected), effects);
        }
        self.serve(link, effects);
    }

    /// Tells a link what has come onto this node's disk since it was last told. Where its socket is full
    /// this waits: later it says the same and more.
    pub(super) fn acknowledge(&mut self, link: LinkId, effects: &mut Vec<Effect>) {
        let Some(state) = self.links.get_mut(&link) else { return };
        if state.hello.is_none() || !state.has_room() {
            return;
        }
        let moved = self.vector.above(&state.acknowledged);
        if !moved.is_empty() {
            state.acknowledged = self.vector.clone();
            self.send(link, Message::Acknowledge(moved), effects);
        }
    }
}
