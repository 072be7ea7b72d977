//! A log has all that its node has from the floor on: whoever has the floor, and reads on from there, misses nothing.

use syncline::base::{Lsn, VersionVector};
use syncline::replication::Core;

use super::causes::Growth;
use super::history::OnDisk;
use super::{Checked, Failure};

/// What came otherwise than by the log is below the floor.
pub fn gaps(node: usize, core: &Core, growth: &Growth) -> Checked {
    let above = |(origin, counter): &(_, u64)| *counter > core.floor().get(origin);
    match growth.repaired.iter().find(above) {
        None => Ok(()),
        Some((origin, counter)) => {
            let what =
                format!("node {node} has {origin:?} up to {counter}, neither in its log nor below its floor");
            Err(Failure::new("log", what))
        }
    }
}

/// What was trimmed is below the floor, and nobody whom this node repairs will need it: `needed` is what those had
/// when their repairs began.
pub fn trimmed(node: usize, disk: &mut OnDisk, first: Lsn, core: &Core, needed: &[VersionVector]) -> Checked {
    while let Some((_, (origin, counter))) = disk.lines.front().copied().filter(|(lsn, _)| *lsn < first) {
        disk.lines.pop_front();
        let what = if counter > core.floor().get(&origin) {
            "is not below the floor"
        } else if needed.iter().any(|vector| counter > vector.get(&origin)) {
            "is needed by a node that it repairs"
        } else {
            continue;
        };
        return Err(Failure::new(
            "log",
            format!("node {node} has trimmed {origin:?}:{counter}, which {what}"),
        ));
    }
    Ok(())
}
