//! `cluster`: how the nodes stand, as one of them sees it.

use clap::{Args, Subcommand};

use super::client::Target;
use super::output::{Failure, print};
use super::table::{Align, table};
use crate::node::{ClusterState, ClusterView, DamageView, NodeRow, RepairView};

#[derive(Args)]
#[command(after_help = super::EXIT_CODES)]
pub struct Cluster {
    #[command(flatten)]
    target: Target,

    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Show every known node, what it lacks, and whether all have the same
    ///
    /// BEHIND: changes known to the asked node that this one lacks, and for how long the oldest of them.
    /// HEARD: since its last sign of life, directly or through others.
    /// SAME: it has exactly what the asked node has.
    Status {
        /// The node's whole answer as JSON, with vectors and digests
        #[arg(long)]
        json: bool,
    },
}

impl Cluster {
    pub async fn run(self) -> Result<(), Failure> {
        let client = self.target.client()?;
        let Command::Status { json } = self.command;
        let answer = client.get("/v1/cluster").await?;
        let view: ClusterView = answer.json()?;
        if json {
            print(&answer.body)?;
            return Ok(print("\n")?);
        }
        Ok(print(status(&view))?)
    }
}

/// Fenced documents that are named; `--json` names more.
const FENCED_SHOWN: usize = 5;

fn status(view: &ClusterView) -> String {
    let asked = view.nodes.first().map_or(view.node.as_str(), |row| row.name.as_str());
    let (word, meaning) = meaning(view.state);
    let rows: Vec<_> = view.nodes.iter().map(|row| cells(row, view)).collect();
    let heads = [
        ("NODE", Align::Left),
        ("ROLE", Align::Left),
        ("URL", Align::Left),
        ("LINKS", Align::Left),
        ("BEHIND", Align::Right),
        ("FOR", Align::Right),
        ("HEARD", Align::Right),
        ("SAME", Align::Left),
    ];
    let repair = view.repair.as_ref().map(repair).unwrap_or_default();
    let damage = view.damage.as_ref().map(damage).unwrap_or_default();
    let fenced = fenced(&view.fenced);
    format!(
        "{word}: {meaning} (cluster {:?}, asked {asked})\n{repair}{damage}{fenced}\n{}",
        view.cluster,
        table(heads, &rows)
    )
}

fn repair(view: &RepairView) -> String {
    let RepairView { from, documents, done, bytes, elapsed_ms, left_ms } = view;
    let mib = *bytes as f64 / f64::from(1 << 20);
    let left = left_ms.map_or(String::new(), |left| format!(", about {} left", duration(left)));
    let elapsed = duration(*elapsed_ms);
    format!("repair from {from}: {done} of {documents} documents, {mib:.1} MiB in {elapsed}{left}\n")
}

fn damage(view: &DamageView) -> String {
    let DamageView { found, first, remedy } = view;
    format!("damage: come upon {found} times, first: {first}\n{remedy}\n")
}

fn fenced(documents: &[String]) -> String {
    let some: Vec<_> = documents.iter().take(FENCED_SHOWN).map(String::as_str).collect();
    let more = documents.len() - some.len();
    match (some.is_empty(), more) {
        (true, _) => String::new(),
        (false, 0) => format!("fenced, as a stored change is damaged: {}\n", some.join(", ")),
        (false, _) => {
            format!("fenced, as a stored change is damaged: {}, and {more} more\n", some.join(", "))
        }
    }
}

fn meaning(state: ClusterState) -> (&'static str, &'static str) {
    match state {
        ClusterState::Converged => {
            ("converged", "every known node was heard of lately, and all have the same")
        }
        ClusterState::Converging => {
            ("converging", "every known node was heard of lately, and some lack changes")
        }
        ClusterState::Partitioned => ("partitioned", "a known node has not been heard of lately"),
        ClusterState::Unknown => ("unknown", "peers are configured, and none has been reached yet"),
    }
}

fn cells(row: &NodeRow, view: &ClusterView) -> [String; 8] {
    let asked = row.id == view.node;
    // A node's own row cannot say what it lacks; the others have it.
    let behind = match asked {
        true => view.nodes.iter().map(|other| other.ahead).max().unwrap_or_default(),
        false => row.behind,
    };
    let some = |text: String| if text.is_empty() { "-".to_owned() } else { text };
    [
        row.name.clone(),
        row.role.clone(),
        some(row.url.clone().unwrap_or_default()),
        some(row.links.join(", ")),
        behind.to_string(),
        if row.behind == 0 { "-".into() } else { duration(row.behind_ms) },
        if asked { "asked".into() } else { duration(row.heard_ms) },
        if row.converged { "yes" } else { "no" }.into(),
    ]
}

/// As exact as people need it.
pub fn duration(ms: u64) -> String {
    match ms {
        0..1_000 => format!("{ms} ms"),
        1_000..60_000 => format!("{}.{} s", ms / 1_000, ms % 1_000 / 100),
        60_000..3_600_000 => format!("{} min", ms / 60_000),
        3_600_000..172_800_000 => format!("{} h", ms / 3_600_000),
        _ => format!("{} days", ms / 86_400_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(name: &str, links: &[&str]) -> NodeRow {
        NodeRow {
            id: format!("id of {name}"),
            name: name.into(),
            role: "master".into(),
            url: Some(format!("http://{name}:4380")),
            incarnation: 1,
            vector: Vec::new(),
            closed: Vec::new(),
            digest: String::new(),
            links: links.iter().map(|&name| name.to_owned()).collect(),
            behind: 0,
            behind_ms: 0,
            ahead: 0,
            heard_ms: 0,
            converged: true,
        }
    }

    #[test]
    fn the_table_tells_who_lacks_what_and_since_when() {
        let late = NodeRow {
            url: None,
            behind: 12,
            behind_ms: 1_234,
            heard_ms: 340,
            converged: false,
            ahead: 2,
            ..row("b", &[])
        };
        let view = ClusterView {
            cluster: "c".into(),
            node: "id of a".into(),
            state: ClusterState::Converging,
            repair: None,
            damage: None,
            fenced: Vec::new(),
            nodes: vec![row("a", &["b", "r"]), late],
        };
        assert_eq!(
            status(&view),
            "converging: every known node was heard of lately, and some lack changes (cluster \"c\", asked a)\n\
             \n\
             NODE  ROLE    URL            LINKS  BEHIND    FOR   HEARD  SAME\n\
             a     master  http://a:4380  b, r        2      -   asked  yes\n\
             b     master  -              -          12  1.2 s  340 ms  no\n"
        );
    }

    #[test]
    fn what_a_node_tells_of_the_cluster_can_be_read_back() {
        let view = ClusterView {
            cluster: "c".into(),
            node: "id of a".into(),
            state: ClusterState::Unknown,
            repair: Some(RepairView {
                from: "b".into(),
                documents: 2_000,
                done: 500,
                bytes: 3 << 19,
                elapsed_ms: 2_100,
                left_ms: Some(6_300),
            }),
            damage: Some(DamageView {
                found: 3,
                first: "read document \"x\"".into(),
                remedy: "stop it".into(),
            }),
            fenced: (0..7).map(|n| format!("d{n}")).collect(),
            nodes: vec![NodeRow { vector: vec![("o".into(), 3)], ..row("a", &["b"]) }],
        };
        let json = serde_json::to_string(&view).unwrap();
        let back: ClusterView = serde_json::from_str(&json).unwrap();
        assert_eq!(serde_json::to_string(&back).unwrap(), json);
        let told = status(&back);
        assert!(
            told.contains(
                "\nrepair from b: 500 of 2000 documents, 1.5 MiB in 2.1 s, about 6.3 s left\n\
                 damage: come upon 3 times, first: read document \"x\"\nstop it\n\
                 fenced, as a stored change is damaged: d0, d1, d2, d3, d4, and 2 more\n\n"
            ),
            "{told}"
        );
    }

    #[test]
    fn durations_have_the_unit_that_people_would_say() {
        let told = [0, 999, 1_050, 59_999, 60_000, 3_600_000, 172_800_000].map(duration);
        assert_eq!(told, ["0 ms", "999 ms", "1.0 s", "59.9 s", "1 min", "1 h", "2 days"]);
    }
}
