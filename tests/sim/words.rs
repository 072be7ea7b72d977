//! Messages in short words, for a readable trace.

use syncline::base::VersionVector;
use syncline::wire::{Message, NodeInfo, Repair};

pub fn message(message: &Message) -> String {
    match message {
        Message::Hello(hello) => format!("hello from {} with {}", hello.name, vector(&hello.vector)),
        Message::Segments(segments) => {
            let one = |s: &std::sync::Arc<syncline::wire::Segment>| {
                format!("{:?}:{}-{}", s.origin, s.first, s.last)
            };
            format!("entries {}", segments.iter().map(one).collect::<Vec<_>>().join(" "))
        }
        Message::Entries(entries) => format!("{} entries", entries.len()),
        Message::Request { start, stop } => format!("request, start {start:?}, stop {stop:?}"),
        Message::Acknowledge(moved) => format!("acknowledge {}", vector(moved)),
        Message::Heartbeat(beat) => {
            let row = |info: &NodeInfo| format!("{:?}@{:x}", info.origin, info.stamp);
            let rows = beat.nodes.iter().map(row).collect::<Vec<_>>().join(", ");
            format!("heartbeat at {} with {rows}", beat.log_head)
        }
        Message::Repair(repair) => match &**repair {
            Repair::Start { vector: start, .. } => format!("repair from {}", vector(start)),
            Repair::Leaves { group, .. } => format!("leaves of group {group}"),
            Repair::Pushes(pushes) => {
                format!("pushes {:?}", pushes.iter().map(|p| &p.doc).collect::<Vec<_>>())
            }
            other => format!("repair: {other:?}"),
        },
        Message::Goodbye(reason) => format!("goodbye: {reason}"),
        Message::Unknown(kind) => format!("of kind {kind}"),
    }
}

pub fn vector(vector: &VersionVector) -> String {
    format!("{vector:?}")
}
