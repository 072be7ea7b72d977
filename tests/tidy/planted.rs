//! Every check finds what is planted for it, and leaves its innocent twin alone.

use crate::checks::{self, Source};
use crate::{documents, lex};

fn source(path: &str, text: &str) -> Vec<Source> {
    vec![Source { path: path.into(), text: text.into() }]
}

#[track_caller]
fn told(found: &[String], expected: &[&str]) {
    assert_eq!(found.len(), expected.len(), "{found:?}");
    for (found, expected) in found.iter().zip(expected) {
        assert!(found.contains(expected), "{found} does not say {expected}");
    }
}

#[test]
fn upward_and_sideways_imports_are_found_however_they_are_written() {
    for (path, text) in [
        ("src/store/rocks.rs", "use crate::replication::Core;"),
        ("src/store/rocks.rs", "use crate::{base::Lsn, node::{Node, Read}};"),
        ("src/wire/mod.rs", "fn f() -> super::store::Record { todo() }"),
        ("src/wire/entry.rs", "use super::super::crdt::Edit;"),
        ("src/wire/entry.rs", "use super::{super::crdt::Edit, segment::Segment};"),
        ("src/wire/entry.rs", "mod inner { use super::super::super::crdt::Edit; }"),
        ("src/http/docs.rs", "let x = crate::net::dial();"),
        ("src/config.rs", "use crate::server;"),
        ("src/cli/mod.rs", "use syncline::main;"),
        ("src/base/ids.rs", "#[cfg(test)] mod tests { use crate::crdt::Edit; }"),
        ("src/base/ids.rs", "use crate::*;"),
        ("src/base/ids.rs", "use crate::{self as all};"),
    ] {
        assert_eq!(checks::imports(&source(path, text)).len(), 1, "{path}: {text}");
    }
    told(&checks::imports(&source("src/attic/mod.rs", "")), &["`attic` has no floor"]);
}

#[test]
fn downward_imports_are_left_alone() {
    for (path, text) in [
        ("src/store/rocks.rs", "use crate::{base::Lsn, wire::Entry}; use super::record::Record;"),
        ("src/node/api.rs", "use super::store::Thing; // crate::http::X"),
        (
            "src/node/api.rs",
            "let s = \"crate::http\"; let r = r#\"crate::\"http\"#; let c = '\"'; use crate::base;",
        ),
        ("src/node/api.rs", "mod tests { use super::super::http; }"),
        ("src/server/mod.rs", "use crate::config::Config; use crate::telemetry;"),
        ("src/main.rs", "use syncline::cli;"),
        ("src/lib.rs", "pub mod store; pub use crate::node::Node;"),
        ("src/base/ids.rs", "fn f<'a>(x: &'a str) -> other::node::Thing { self::g() }"),
    ] {
        told(&checks::imports(&source(path, text)), &[]);
    }
}

#[test]
fn banned_module_names_are_found() {
    told(&checks::module_names(&source("src/http/util.rs", "")), &["`util`"]);
    told(&checks::module_names(&source("tests/common/mod.rs", "")), &["`common`"]);
    told(&checks::module_names(&source("src/http/docs.rs", "\nmod helpers { }")), &["docs.rs:2: "]);
    told(&checks::module_names(&source("src/http/docs.rs", "fn common() { helpers() }")), &[]);
}

#[test]
fn unwraps_are_found_outside_tests_only() {
    let text = "fn f() {\n a.unwrap();\n b\n .expect(\"c\");\n}";
    told(&checks::unwraps(&source("src/node/mod.rs", text)), &["mod.rs:2: ", "mod.rs:4: "]);
    for text in [
        "#[cfg(test)] mod tests { fn f() { a.unwrap() } }",
        "fn f() { a.unwrap_or(0); expect(); /* a.unwrap() */ \"a.unwrap()\"; }",
        "#![cfg(test)] fn f() { a.unwrap() }",
    ] {
        told(&checks::unwraps(&source("src/node/mod.rs", text)), &[]);
    }
    let mut tree = source("src/store/mod.rs", "#[cfg(test)]\nmod suite;\nmod rocks;");
    tree.extend(source("src/store/suite.rs", "fn f() { a.unwrap() }"));
    told(&checks::unwraps(&tree), &[]);
    tree.extend(source("src/store/rocks.rs", "fn f() { a.unwrap() }"));
    told(&checks::unwraps(&tree), &["rocks.rs"]);
}

#[test]
fn clocks_and_entropy_are_found_below_node_only() {
    for text in [
        "let t = Instant::now();",
        "let t = started.unwrap_or_else(Instant::now);",
        "let t = jiff::Timestamp::now();",
        "use std::time::{Duration, SystemTime};",
        "let x = fastrand::u64(..);",
        "getrandom::fill(&mut x);",
        "let x: u8 = rand::random();",
        "let a = ActorId::random();",
    ] {
        assert_eq!(checks::clocks_and_entropy(&source("src/replication/core.rs", text)).len(), 1, "{text}");
        told(&checks::clocks_and_entropy(&source("src/node/mod.rs", text)), &[]);
    }
    told(&checks::clocks_and_entropy(&source("src/crdt/mod.rs", "fn f(now: Millis) { now.plus(1); }")), &[]);
    told(
        &checks::clocks_and_entropy(&source("src/wire/mod.rs", "#[cfg(test)] mod t { use fastrand::Rng; }")),
        &[],
    );
}

#[test]
fn long_files_are_found_and_their_tests_do_not_count() {
    let code = "fn f() {}\n".repeat(601);
    told(&checks::long_files(&source("src/node/mod.rs", &code)), &["601 lines"]);
    let tests = format!("fn f() {{}}\n#[cfg(test)]\nmod tests {{\n{code}}}\n");
    told(&checks::long_files(&source("src/node/mod.rs", &tests)), &[]);
}

#[test]
fn paths_of_one_machine_are_found() {
    let path = format!("data = \"/{}/x\"", "root");
    told(&checks::machine_paths(&source("README.md", &path)), &["README.md:1"]);
    told(&checks::machine_paths(&source("README.md", "the net/work/ folder, http://host/work")), &[]);
}

#[test]
fn the_module_map_tells_rooms_in_order_of_floor_and_wants_words_from_each_file() {
    let mut tree = source("src/node/mod.rs", "//! Threads. And more.\n");
    tree.extend(source("src/base/ids.rs", "//! The names of\n//! things\n//!\n//! More.\n"));
    tree.extend(source("src/base/mod.rs", "//! Ground\nmod ids;"));
    let map = "- **`base`** Ground\n  - `ids.rs` The names of things\n- **`node`** Threads.\n";
    assert_eq!(documents::module_map(&tree), Ok(map.to_owned()));
    tree.extend(source("src/base/vector.rs", "use std::fmt;"));
    told(&documents::module_map(&tree).unwrap_err(), &["src/base/vector.rs"]);
}

#[test]
fn a_table_of_floors_that_differs_is_found() {
    let mut table = String::new();
    for (room, floor) in checks::FLOORS {
        table.push_str(&format!("| {floor} | `{room}` | words |\n"));
    }
    told(&documents::floor_table(&table), &[]);
    told(&documents::floor_table(&table.replace("| 3 | `node`", "| 2 | `node`")), &["ARCHITECTURE.md"]);
}

#[test]
fn limits_are_shown_in_their_units() {
    let code = "/// Bytes of a. 413 past it.\npub const MAX_A_BYTES: usize = 8 << 20;\n\n/// Waits.\npub const B_MS: u64 = 5_000;\npub const C_MS: u64 = 50;\n";
    let table = documents::limits_table(code).unwrap();
    let rows: Vec<&str> = table.lines().skip(2).collect();
    assert_eq!(
        rows,
        [
            "| `MAX_A_BYTES` | 8 MiB | Bytes of a. 413 past it. |",
            "| `B_MS` | 5 s | Waits. |",
            "| `C_MS` | 50 ms | Waits. |"
        ]
    );
    assert!(documents::limits_table("pub const X: usize = f();").is_err());
}

#[test]
fn a_part_is_replaced_between_its_markers() {
    let document = "a\n<!-- map: made by `make fix` -->\nold\n<!-- end of map -->\nb";
    let expected = "a\n<!-- map: made by `make fix` -->\n\nnew\n<!-- end of map -->\nb";
    assert_eq!(documents::with_part(document, "map", "new").as_deref(), Some(expected));
    assert_eq!(documents::with_part("a", "map", "new"), None);
}

#[test]
fn lines_are_counted_through_strings_and_comments() {
    let tokens = lex::tokens("/* a\n /* b */ \n*/ x \"\n\\\"\" r#\"\n\"\n\"# y");
    let found: Vec<(usize, &str)> = tokens.iter().map(|t| (t.line, t.text.as_str())).collect();
    assert_eq!(found, [(3, "x"), (3, "\""), (4, "\""), (6, "y")]);
}
