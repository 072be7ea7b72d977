//! Seeds that found something, and what: they are run always.

/// Seed, and what it found.
pub const FOUND: &[(u64, &str)] = &[
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
    (
        373,
        "of two copies that did not meet the one that was to give way spoke more often, and never heard of the other",
    ),
    (20, "reading the log for a live reader ended in an overflow where its cursor names what is closed"),
    (
        3,
        "a live reader was never told that it is up to date, as it had been told of the last documents already",
    ),
    (48, "a live reader was not given the cursor that names what it had been told of ahead"),
    (85, "a live reader was not told that a document is gone which was dropped before its turn came"),
    (
        39,
        "a patch for live readers put a value of an element of a list that has several, and not the one shown",
    ),
    (602, "a live reader's cursor named what a document lacked, and elsewhere nobody told of it"),
    (697, "a live reader of the log was not given the cursor that names what came in no entry"),
    (6266, "a live reader who went on in the middle of a list was not told of what is in no log"),
    (791, "a write on a document that was being dropped was acknowledged, and left out"),
    (1344, "a commit that dropped a document and of which only the next start heard was not looked at"),
    (1881, "two copies found out of each other late, and were linked anew when silence was listened to"),
    (
        2697,
        "a document that a commit touched, dropped and brought anew was looked at before its drop was seen",
    ),
    (
        3227,
        "an entry of an origin that a repair closed was still waiting, and the sum of its counter overflowed",
    ),
    (
        5170,
        "a document was fetched from a node that waited for it itself: it was missing until vectors were equal, and might be dropped",
    ),
    (
        3698,
        "of a document that was dropped and came back folded a live reader of changes was given the tail alone",
    ),
    (6201, "a live reader was taken to know what a repair had brought of an origin that was closed by then"),
    (6311, "two copies said the same numbers in the same seconds, and neither heard of the other"),
    (7832, "of changes that a fold came to leave out a live reader of changes was told in place of new ones"),
    (
        7874,
        "a document that came ahead of the vector was dropped before a node that was away had its deletion",
    ),
    (10304, "a deletion that had been dropped before counted as never seen where it was dropped again"),
    (
        10739,
        "a backup was made of a commit of which nobody had heard, and what that names counted as made by nobody",
    ),
];
