//! The rules of the house, checked by reading the sources. `make fix` writes the parts of documents
//! that are made from the sources (it sets `SYNCLINE_FIX`).

use std::fs;
use std::path::{Path, PathBuf};

#[path = "tidy/checks.rs"]
mod checks;
#[path = "tidy/documents.rs"]
mod documents;
#[path = "tidy/lex.rs"]
mod lex;
#[path = "tidy/planted.rs"]
mod planted;

use checks::Source;

/// Where text of the project lives, beside the files at its root.
const FOLDERS: [&str; 8] = ["src", "tests", "benches", "docs", "docker", "web", ".ci", ".github"];

/// What tools write, and what others wrote.
const NOT_OURS: [&str; 5] = [".git", "target", "node_modules", "dist", "Cargo.lock"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        if NOT_OURS.iter().any(|other| name == *other) {
            continue;
        }
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => walk(&entry.path(), found),
            Ok(kind) if kind.is_file() => found.push(entry.path()),
            _ => {}
        }
    }
}

/// Every text file under `folder`, in order of path.
fn files(folder: &str) -> Vec<Source> {
    let mut paths = Vec::new();
    walk(&root().join(folder), &mut paths);
    paths.sort();
    let read = |path: PathBuf| {
        let text = fs::read_to_string(&path).ok()?;
        let path = path.strip_prefix(root()).ok()?.to_str()?.replace('\\', "/");
        Some(Source { path, text })
    };
    paths.into_iter().filter_map(read).collect()
}

fn rust(folder: &str) -> Vec<Source> {
    let sources: Vec<_> = files(folder).into_iter().filter(|f| f.path.ends_with(".rs")).collect();
    assert!(!sources.is_empty(), "no sources in {folder}");
    sources
}

fn nothing(found: &[String]) {
    assert!(found.is_empty(), "\n  {}\n", found.join("\n  "));
}

#[test]
fn imports_point_downward() {
    nothing(&checks::imports(&rust("src")));
}

#[test]
fn modules_are_named_after_what_they_do() {
    nothing(&checks::module_names(&rust("src")));
    nothing(&checks::module_names(&rust("tests")));
}

#[test]
fn what_ships_does_not_unwrap() {
    nothing(&checks::unwraps(&rust("src")));
}

#[test]
fn clock_and_entropy_are_read_in_node_and_above_only() {
    nothing(&checks::clocks_and_entropy(&rust("src")));
}

#[test]
fn a_file_is_short_enough_for_one_reading() {
    nothing(&checks::long_files(&rust("src")));
}

#[test]
fn no_file_names_a_path_of_one_machine() {
    let mut all: Vec<Source> = FOLDERS.iter().flat_map(|folder| files(folder)).collect();
    for entry in fs::read_dir(root()).unwrap().flatten() {
        let name = entry.file_name().into_string().unwrap();
        if entry.file_type().unwrap().is_file() && !NOT_OURS.contains(&name.as_str()) {
            all.extend(fs::read_to_string(entry.path()).map(|text| Source { path: name, text }));
        }
    }
    nothing(&checks::machine_paths(&all));
}

#[test]
fn the_table_of_floors_is_the_one_that_is_enforced() {
    nothing(&documents::floor_table(&fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap()));
}

#[test]
fn the_module_map_matches_the_tree() {
    agree("ARCHITECTURE.md", "module map", documents::module_map(&rust("src")));
}

#[test]
fn the_table_of_limits_matches_the_code() {
    let limits = fs::read_to_string(root().join("src/base/limits.rs")).unwrap();
    agree("docs/limits.md", "limits", documents::limits_table(&limits));
}

/// A document holds what is made from the sources; with `SYNCLINE_FIX` set it is made to.
fn agree(document: &str, part: &str, content: Result<String, Vec<String>>) {
    let content = content.unwrap_or_else(|found| panic!("\n  {}\n", found.join("\n  ")));
    let path = root().join(document);
    let before = fs::read_to_string(&path).unwrap();
    let after = documents::with_part(&before, part, &content)
        .unwrap_or_else(|| panic!("{document} has no markers for its {part}"));
    if before == after {
        return;
    }
    assert!(std::env::var_os("SYNCLINE_FIX").is_some(), "the {part} in {document} is stale: run `make fix`");
    fs::write(path, after).unwrap();
}
