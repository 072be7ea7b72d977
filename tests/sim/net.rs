//! The network: connections that keep order, delay, stall and end. Every frame is encoded and decoded.

use std::collections::VecDeque;

use bytes::Bytes;
use syncline::base::limits::{COMMIT_QUEUE, RECONNECT_FIRST_MS, RECONNECT_MOST_MS};
use syncline::base::{LinkId, VersionVector};
use syncline::crdt::verify;
use syncline::replication::{Event, Received};
use syncline::wire::{Message, Repair, decode_frame, encode_frame};

use crate::invariants::{Checked, Failure};
use crate::node::Input;
use crate::world::{Happening, World};

/// A link that lasted so long, in milliseconds, was a good one: the next try comes soon.
const GOOD_MS: u64 = 5_000;

/// How long a dialler tries to reach a node behind a partition, in milliseconds.
const CONNECT_MS: u64 = 1_000;

pub struct Net {
    nodes: usize,
    pub conns: Vec<Conn>,
    /// How many faults forbid that anything passes, by sender and receiver.
    blocked: Vec<u32>,
    /// What a node's frames take longer, in milliseconds.
    pub slow: Vec<u64>,
    /// Frames sent that are not heartbeats, hellos or goodbyes: those that silence is made of.
    pub busy_frames: u64,
}

pub struct Conn {
    /// The dialler's and the acceptor's.
    pub ends: [End; 2],
    latency: u64,
    /// Bytes that the kernels between the two ends take.
    kernel: usize,
    opened: u64,
    /// Nothing arrives any more, and nobody is told.
    lost: bool,
}

pub struct End {
    pub node: usize,
    run: u32,
    pub link: Option<LinkId>,
    open: bool,
    /// Given to the link, and not yet taken by the socket.
    outbox: VecDeque<(Message, usize)>,
    /// Taken by the socket, and not yet arrived.
    flying: VecDeque<Packet>,
    in_kernel: usize,
    last_arrival: u64,
    /// Arrivals whose time has come while nothing passes.
    stalled: usize,
    sent: u64,
    received: u64,
    /// Weight of what the core was not told of as written.
    pub outstanding: usize,
    /// What this end had when it began to repair the other.
    repairs: Option<VersionVector>,
}

enum Packet {
    Frame(Bytes),
    End,
}

impl Net {
    pub fn new(nodes: usize) -> Self {
        let blocked = vec![0; nodes * nodes];
        Self { nodes, conns: Vec::new(), blocked, slow: vec![0; nodes], busy_frames: 0 }
    }

    /// What a node had when it began repairs of others that it has not been told the end of.
    pub fn needed(&self, node: usize) -> Vec<VersionVector> {
        let ends = self.conns.iter().flat_map(|conn| &conn.ends).filter(|end| end.node == node && end.open);
        ends.filter_map(|end| end.repairs.clone()).collect()
    }

    fn is_blocked(&self, from: usize, to: usize) -> bool {
        self.blocked[from * self.nodes + to] > 0
    }
}

impl End {
    fn new(node: usize, run: u32) -> Self {
        Self {
            node,
            run,
            link: None,
            open: false,
            outbox: VecDeque::new(),
            flying: VecDeque::new(),
            in_kernel: 0,
            last_arrival: 0,
            stalled: 0,
            sent: 0,
            received: 0,
            outstanding: 0,
            repairs: None,
        }
    }
}

impl World {
    /// Nothing passes from one node to the other until [`World::unblock`] is called as often.
    pub fn block(&mut self, from: usize, to: usize) {
        self.net.blocked[from * self.net.nodes + to] += 1;
    }

    pub fn unblock(&mut self, from: usize, to: usize) {
        self.net.blocked[from * self.net.nodes + to] -= 1;
        if self.net.is_blocked(from, to) {
            return;
        }
        for conn in 0..self.net.conns.len() {
            for side in 0..2 {
                let ends = &mut self.net.conns[conn].ends;
                if ends[side].node == from && ends[1 - side].node == to {
                    let late = self.rng.u64(..20);
                    for _ in 0..std::mem::take(&mut ends[side].stalled) {
                        self.agenda.push(self.now + late, Happening::Arrive { conn, side });
                    }
                }
            }
        }
    }

    pub fn dial(&mut self, node: usize, run: u32, target: usize) {
        let Some(process) = self.nodes[node].running(run) else { return };
        let tries = process.tries.entry(target).or_default();
        let most = RECONNECT_FIRST_MS.saturating_mul(1 << (*tries).min(16)).min(RECONNECT_MOST_MS);
        *tries += 1;
        if self.net.is_blocked(node, target) || self.net.is_blocked(target, node) {
            let pause = CONNECT_MS + self.rng.u64(..=most);
            return self.agenda.push(self.now + pause, Happening::Dial { node, run, target });
        }
        if self.nodes[target].process.is_none() {
            let pause = 1 + self.rng.u64(..=most);
            return self.agenda.push(self.now + pause, Happening::Dial { node, run, target });
        }
        let latency = self.rng.u64(self.plan.latency.0..=self.plan.latency.1);
        let ends = [End::new(node, run), End::new(target, self.nodes[target].run)];
        let kernel = *self.rng.choice(&[2_000, 30_000, 500_000]).unwrap_or(&2_000);
        self.net.conns.push(Conn { ends, latency, kernel, opened: self.now, lost: false });
        let conn = self.net.conns.len() - 1;
        for side in [1, 0] {
            self.agenda.push(self.now + latency, Happening::Open { conn, side });
        }
    }

    pub fn open(&mut self, conn: usize, side: usize) {
        let end = &mut self.net.conns[conn].ends[side];
        let (node, run) = (end.node, end.run);
        let Some(process) = self.nodes[node].running(run) else {
            return self.agenda.push(self.now + 1, Happening::Gone { conn, side: 1 - side });
        };
        let link = process.new_link(conn, side);
        (end.link, end.open) = (Some(link), true);
        self.trace.note(self.now, "link", &[conn as u64, side as u64], || {
            format!("connection {conn}: node {node} has link {}", link.0)
        });
        self.feed(node, run, Input::LinkUp { link, dialled: side == 0 });
    }

    /// Hands a message of a link to its socket.
    pub fn send(&mut self, conn: usize, side: usize, message: Message, weight: usize) {
        let end = &mut self.net.conns[conn].ends[side];
        end.outstanding += weight;
        if let Message::Repair(repair) = &message
            && let Repair::Start { vector, .. } = &**repair
        {
            end.repairs = Some(vector.clone());
        }
        if !matches!(message, Message::Hello(_) | Message::Heartbeat(_) | Message::Goodbye(_)) {
            self.net.busy_frames += 1;
        }
        end.outbox.push_back((message, weight));
        self.write(conn, side, false);
    }

    /// The socket takes what its buffers have room for, or all of it where the link is ending.
    fn write(&mut self, conn: usize, side: usize, all: bool) {
        let Conn { ends, kernel, latency, .. } = &mut self.net.conns[conn];
        let end = &mut ends[side];
        let slow = self.net.slow[end.node];
        let mut drained = 0;
        while all || end.in_kernel < *kernel {
            let Some((message, weight)) = end.outbox.pop_front() else { break };
            end.sent += 1;
            let frame = Bytes::from(encode_frame(end.sent, &message));
            self.trace.note(self.now, "send", &[conn as u64, side as u64, frame.len() as u64], || {
                format!("connection {conn}, node {}: {}", end.node, crate::words::message(&message))
            });
            end.in_kernel += frame.len();
            drained += weight;
            let arrival = self.now + *latency + slow + self.rng.u64(..=*latency);
            end.last_arrival = end.last_arrival.max(arrival);
            end.flying.push_back(Packet::Frame(frame));
            self.agenda.push(end.last_arrival, Happening::Arrive { conn, side });
        }
        if drained > 0 && end.open {
            let (node, run, link) = (end.node, end.run, end.link);
            if let (Some(process), Some(link)) = (self.nodes[node].running(run), link) {
                *process.drained.entry(link).or_default() += drained;
            }
            self.wake(node);
        }
    }

    /// Something arrives at the end opposite to `side`.
    pub fn arrive(&mut self, conn: usize, side: usize) -> Checked {
        let Conn { ends, lost, .. } = &mut self.net.conns[conn];
        let (from, to, run) = (ends[side].node, ends[1 - side].node, ends[1 - side].run);
        if *lost {
            ends[side].flying.clear();
            return Ok(());
        }
        if self.net.blocked[from * self.net.nodes + to] > 0 {
            ends[side].stalled += 1;
            return Ok(());
        }
        // Where the committer's queue is full links are not read.
        if self.nodes[to].process.as_ref().is_some_and(|process| process.inputs.len() >= COMMIT_QUEUE) {
            self.agenda.push(self.now + 1, Happening::Arrive { conn, side });
            return Ok(());
        }
        let frame = match ends[side].flying.pop_front() {
            None => return Ok(()),
            Some(Packet::End) => {
                self.gone(conn, 1 - side);
                return Ok(());
            }
            Some(Packet::Frame(frame)) => frame,
        };
        ends[side].in_kernel -= frame.len();
        let end = &mut ends[1 - side];
        end.received += 1;
        let (expected, link, open) = (end.received, end.link, end.open);
        self.write(conn, side, false);
        let Some(link) = link.filter(|_| open && self.nodes[to].running(run).is_some()) else {
            // A machine that knows nothing of the connection says so; one that is off says nothing.
            if self.nodes[to].process.is_some() {
                self.agenda.push(self.now + 1, Happening::Gone { conn, side });
            }
            return Ok(());
        };
        let (number, message) =
            decode_frame(&frame).map_err(|e| Failure::new("frames", format!("a frame of ours: {e}")))?;
        if number != expected {
            return Err(Failure::new("frames", format!("frame {number} where {expected} was expected")));
        }
        let event = match message {
            Message::Entries(entries) => {
                let check = |entry: syncline::wire::Entry| {
                    let damaged = entry.changes.iter().find_map(|change| verify(change).err());
                    Received { entry, damaged: damaged.map(|bad| bad.to_string()) }
                };
                Event::Entries { link, entries: entries.into_iter().map(check).collect() }
            }
            Message::Repair(repair) => match *repair {
                Repair::Pushes(pushes) => {
                    Event::Pushed { link, pushes: pushes.into_iter().map(|push| (push, None)).collect() }
                }
                repair => {
                    if repair == Repair::End {
                        self.net.conns[conn].ends[1 - side].repairs = None;
                    }
                    Event::Message { link, message: Message::Repair(Box::new(repair)) }
                }
            },
            message => Event::Message { link, message },
        };
        self.feed(to, run, Input::Event(event));
        Ok(())
    }

    /// The node ends a link: what is still to be sent is sent, and a reason.
    pub fn close(&mut self, conn: usize, side: usize, reason: String) {
        if !self.net.conns[conn].ends[side].open {
            return;
        }
        self.send(conn, side, Message::Goodbye(reason), 0);
        self.write(conn, side, true);
        self.hang_up(conn, side);
    }

    /// The process at this end is gone or has let go: the other end is told when what was sent before has arrived.
    pub fn hang_up(&mut self, conn: usize, side: usize) {
        let end = &mut self.net.conns[conn].ends[side];
        end.last_arrival = end.last_arrival.max(self.now + 1);
        end.flying.push_back(Packet::End);
        self.agenda.push(end.last_arrival, Happening::Arrive { conn, side });
        self.let_go(conn, side);
    }

    /// The machine at this end has lost power: what it had not sent is lost, and nobody is told.
    pub fn fall_silent(&mut self, conn: usize, side: usize) {
        self.net.conns[conn].ends[side].flying.clear();
        self.let_go(conn, side);
    }

    /// This end learns that the connection is over.
    pub fn gone(&mut self, conn: usize, side: usize) {
        let end = &self.net.conns[conn].ends[side];
        let (node, run, link, open) = (end.node, end.run, end.link, end.open);
        if let Some(link) = link.filter(|_| open) {
            self.trace.note(self.now, "gone", &[conn as u64, side as u64], || {
                format!("connection {conn}: node {node} learns that it is over")
            });
            self.feed(node, run, Input::Event(Event::LinkDown { link }));
        }
        // A dialler learns it even of a connection that never came about.
        if open || (side == 0 && link.is_none()) {
            self.let_go(conn, side);
        }
    }

    /// Cuts a connection: nothing arrives any more.
    pub fn lose(&mut self, conn: usize) {
        self.net.conns[conn].lost = true;
    }

    /// The connections that are open at both ends.
    pub fn open_conns(&self) -> Vec<usize> {
        let conns = self.net.conns.iter().enumerate();
        conns.filter(|(_, conn)| conn.ends.iter().all(|end| end.open)).map(|(i, _)| i).collect()
    }

    /// The open ends that a node holds.
    pub fn ends_of(&self, node: usize) -> Vec<(usize, usize)> {
        let all = (0..self.net.conns.len()).flat_map(|conn| [(conn, 0), (conn, 1)]);
        all.filter(|(conn, side)| {
            let end = &self.net.conns[*conn].ends[*side];
            end.node == node && end.open
        })
        .collect()
    }

    fn let_go(&mut self, conn: usize, side: usize) {
        let opened = self.net.conns[conn].opened;
        let target = self.net.conns[conn].ends[1 - side].node;
        let end = &mut self.net.conns[conn].ends[side];
        end.open = false;
        end.outbox.clear();
        let (node, run) = (end.node, end.run);
        if side == 0
            && let Some(process) = self.nodes[node].running(run)
        {
            if self.now - opened >= GOOD_MS {
                process.tries.insert(target, 0);
            }
            let tries = process.tries.get(&target).copied().unwrap_or(0);
            let most = RECONNECT_FIRST_MS.saturating_mul(1 << tries.min(16)).min(RECONNECT_MOST_MS);
            let pause = 1 + self.rng.u64(..=most);
            self.agenda.push(self.now + pause, Happening::Dial { node, run, target });
        }
    }
}
