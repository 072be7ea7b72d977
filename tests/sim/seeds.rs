//! Seeds that found something, and what: they are run always.

/// Seed, and what it found.
pub const FOUND: [(u64, &str); 3] = [
    (
        3,
        "an origin of which nothing was sent yet did not count when the log was sought, and was not sent for ever",
    ),
    (6, "a change of ours that hangs on a clash was left out, and its sequence number used again"),
    (564, "Automerge's index of a list in memory was at odds with the list, and an edit failed for ever"),
];
