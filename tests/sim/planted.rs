//! Bugs that the design rules out, put back one at a time: each must be caught.

use syncline::base::{Bug, plant};

use crate::run;

/// Each is caught within so many seeds.
const WITHIN: u64 = 60;

#[track_caller]
fn caught(bug: Bug, invariants: &[&str]) {
    plant(Some(bug));
    let caught = (0..WITHIN).find_map(|seed| run(seed, false).err());
    plant(None);
    let Some(failure) = caught else { panic!("{bug:?} was not caught within {WITHIN} seeds") };
    println!("{bug:?} was caught by seed {} as `{}`: {}", failure.seed, failure.invariant, failure.what);
    assert!(invariants.contains(&failure.invariant), "it was caught by what should not see it");
    assert!(run(failure.seed, false).is_ok(), "that seed fails without it too");
}

#[test]
fn planted_acknowledgement_before_the_fsync_is_caught() {
    caught(Bug::AcknowledgeBeforeFsync, &["acknowledged", "unique", "causes", "log"]);
}

#[test]
fn planted_skipping_of_an_entry_is_caught() {
    caught(Bug::SkipEntry, &["log", "covers", "heads", "causes", "acknowledged", "converged"]);
}

#[test]
fn planted_reuse_of_an_origin_is_caught() {
    caught(Bug::ReuseOrigin, &["unique"]);
}

#[test]
fn planted_commit_without_causes_is_caught() {
    caught(Bug::CommitWithoutCauses, &["causes"]);
}

#[test]
fn planted_merging_of_a_late_vector_is_caught() {
    caught(Bug::MergeLateVector, &["covers"]);
}

#[test]
fn planted_trimming_during_a_repair_is_caught() {
    caught(Bug::TrimDuringRepair, &["log"]);
}

#[test]
fn planted_forgetting_of_the_floor_is_caught() {
    caught(Bug::ForgetFloor, &["log"]);
}

#[test]
fn planted_dropping_before_all_have_the_deletion_is_caught() {
    caught(Bug::DropTooEarly, &["dropped"]);
}

#[test]
fn planted_cursor_that_names_more_than_was_told_is_caught() {
    caught(Bug::CursorOfHead, &["readers"]);
}

#[test]
fn planted_reading_over_a_gap_for_a_live_reader_is_caught() {
    caught(Bug::SkipGaps, &["readers"]);
}
