//! Known bugs that can be put back, to see that the simulator catches them. Compiled in only with the
//! feature `planted-bugs`; otherwise [`planted`] is a constant `false`.

/// A bug that the design rules out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Bug {
    /// Answers and acknowledges a commit before it is on disk.
    AcknowledgeBeforeFsync,
    /// Counts an entry as held and does not store it.
    SkipEntry,
    /// Goes on with the origin of before a restart.
    ReuseOrigin,
    /// Commits an entry without looking at what its origin held.
    CommitWithoutCauses,
    /// After a repair takes for its own what the other end has by then, and not what it had at the start.
    MergeLateVector,
    /// Trims the log that somebody whom it repairs will need.
    TrimDuringRepair,
    /// After a repair forgets that its log has gaps.
    ForgetFloor,
    /// Drops a deleted document before every node has the deletion.
    DropTooEarly,
    /// Gives a live reader what this node has as its cursor, and not what the reader was told of.
    CursorOfHead,
    /// Reads the log on for a live reader over what is not in it.
    SkipGaps,
}

#[cfg(feature = "planted-bugs")]
thread_local! {
    static PLANTED: std::cell::Cell<Option<Bug>> = const { std::cell::Cell::new(None) };
}

/// Puts a bug into all that runs on this thread.
#[cfg(feature = "planted-bugs")]
pub fn plant(bug: Option<Bug>) {
    PLANTED.set(bug);
}

/// Is that bug planted on this thread?
#[cfg(feature = "planted-bugs")]
pub fn planted(bug: Bug) -> bool {
    PLANTED.get() == Some(bug)
}

#[cfg(not(feature = "planted-bugs"))]
#[inline(always)]
pub fn planted(_: Bug) -> bool {
    false
}
