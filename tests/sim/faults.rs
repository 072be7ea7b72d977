//! How faults strike, and how they end.

use syncline::base::NodeId;
use syncline::store::{MemoryStore, Outcome};

use crate::invariants::Checked;
use crate::plan::Fault;
use crate::world::{Happening, World};

impl World {
    pub fn strike(&mut self, number: usize) -> Checked {
        let Some((_, fault)) = self.plan.faults.get(number).cloned() else { return Ok(()) };
        self.trace.note(self.now, "fault", &[number as u64], || format!("{fault:?}"));
        let lasts = match fault {
            Fault::Partition { set, ms } => {
                self.across(set, World::block);
                ms
            }
            Fault::OneWay { from, to, ms } => {
                self.block(from, to);
                ms
            }
            Fault::Cut { which, told } => {
                let open = self.open_conns();
                if let Some(conn) = open.get(which % open.len().max(1)).copied() {
                    self.lose(conn);
                    for (side, after) in told.into_iter().enumerate() {
                        if let Some(after) = after {
                            self.agenda.push(self.now + after, Happening::Gone { conn, side });
                        }
                    }
                }
                0
            }
            Fault::Slow { node, by, ms } => {
                self.net.slow[node] += by;
                ms
            }
            Fault::Crash { node, power, kept, down } => {
                self.crash(node, power, kept);
                down
            }
            Fault::Stop { node, down } => {
                self.stop(node)?;
                down
            }
            Fault::FailCommits { node, commits } => {
                self.nodes[node].store.fail_next(commits);
                0
            }
            Fault::Break { node, kept, down } => {
                self.nodes[node].store.break_next(if kept { Outcome::Kept } else { Outcome::Lost });
                down
            }
            Fault::Fill { node, ms } => {
                self.nodes[node].store.fill(0);
                ms
            }
            Fault::Restore { node, down } => {
                self.crash(node, true, false);
                if let Some((backup, id)) = self.nodes[node].backup.take() {
                    self.replace(node, backup, id)?;
                }
                down
            }
            Fault::Lose { node, down } => {
                self.crash(node, true, false);
                let id = NodeId(self.rng.u64(..).to_be_bytes());
                self.replace(node, MemoryStore::new(), id)?;
                down
            }
            Fault::Copy { from, node, down } => {
                self.crash(node, true, false);
                self.replace(node, self.nodes[from].store.copy(), self.nodes[from].id)?;
                down
            }
        };
        self.agenda.push(self.now + lasts, Happening::Mend { number });
        Ok(())
    }

    pub fn mend(&mut self, number: usize) -> Checked {
        let Some((_, fault)) = self.plan.faults.get(number).cloned() else { return Ok(()) };
        self.trace.note(self.now, "mend", &[number as u64], || format!("{fault:?}"));
        match fault {
            Fault::Partition { set, .. } => self.across(set, World::unblock),
            Fault::OneWay { from, to, .. } => self.unblock(from, to),
            Fault::Cut { .. } | Fault::FailCommits { .. } => {}
            Fault::Slow { node, by, .. } => self.net.slow[node] -= by,
            Fault::Crash { node, .. }
            | Fault::Stop { node, .. }
            | Fault::Restore { node, .. }
            | Fault::Lose { node, .. }
            | Fault::Copy { node, .. } => {
                self.start(node)?;
            }
            Fault::Break { node, .. } => {
                self.crash(node, false, false);
                self.start(node)?;
            }
            Fault::Fill { node, .. } => self.nodes[node].store.fill(usize::MAX),
        }
        Ok(())
    }

    /// Puts another disk into a node, which has that id on it.
    fn replace(&mut self, node: usize, store: MemoryStore, id: NodeId) -> Checked {
        let World { checks, nodes, .. } = self;
        let before = nodes[node].id;
        nodes[node].store = store;
        nodes[node].named(id);
        checks.history.replace(node, before, &nodes[node].store)
    }

    fn across(&mut self, set: u32, pass: fn(&mut World, usize, usize)) {
        for from in 0..self.nodes.len() {
            for to in 0..self.nodes.len() {
                if (set >> from) & 1 != (set >> to) & 1 {
                    pass(self, from, to);
                }
            }
        }
    }
}
