//! Seeds that found something, and what: they are run always.

/// Seed, and what it found.
pub const FOUND: [(u64, &str); 8] = [
    (
        3,
        "an origin of which nothing was sent yet did not count when the log was sought, and was not sent for ever",
    ),
    (6, "a change of ours that hangs on a clash was left out, and its sequence number used again"),
    (564, "Automerge's index of a list in memory was at odds with the list, and an edit failed for ever"),
    (36, "what was folded and came back to the tail stood there after what hangs on it, and was sent so"),
    (37, "what is concurrent with a folded history was left out where both came in one commit"),
    (
        57,
        "a floor that rose while a link came about was not told over it, and what is below it asked for for ever",
    ),
    (130, "a repair merged a part of a vector, which did not cover what its entries hang on"),
    (791, "a write on a document that was being dropped was acknowledged, and left out"),
];
