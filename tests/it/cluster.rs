//! Nodes as real processes, with data folders in a temporary place, and links that can be cut.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use crate::client::Client;
use crate::proxy::Proxy;

/// What is waited for comes within this time, even on a busy machine; else the test has failed.
const PATIENCE: Duration = Duration::from_secs(60);

const PAUSE: Duration = Duration::from_millis(10);

pub use Role::{Master, Replica};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    Master,
    Replica,
}

/// Some nodes, and a proxy on each link between them.
pub struct Cluster {
    nodes: Vec<Node>,
    links: Vec<Link>,
    /// Dropped after the nodes, which show their logs when a test fails.
    folder: TempDir,
}

/// One node, running or not.
pub struct Node {
    name: &'static str,
    role: Role,
    folder: PathBuf,
    log: PathBuf,
    more: Vec<String>,
    /// The program that runs it, with its arguments; none where it runs by itself.
    under: Vec<String>,
    running: Option<Running>,
}

struct Running {
    at: SocketAddr,
    child: Child,
    /// Held open, so that nothing it prints can fail.
    _output: BufReader<ChildStdout>,
}

/// `from` dials `to`.
struct Link {
    from: &'static str,
    to: &'static str,
    proxy: Proxy,
}

/// What a node says of itself in `/v1/cluster`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Standing {
    pub vector: Value,
    pub digest: Value,
}

impl Cluster {
    /// Starts these nodes. Of each link the first node dials the second.
    pub fn start(nodes: &[(&'static str, Role)], links: &[(&'static str, &'static str)]) -> Self {
        let mut cluster = Self::prepare(nodes, links);
        for (name, _) in nodes {
            cluster.launch(name);
        }
        cluster
    }

    /// The same, with no node running yet.
    pub fn prepare(nodes: &[(&'static str, Role)], links: &[(&'static str, &'static str)]) -> Self {
        let folder = TempDir::new().expect("a temporary folder");
        let node = |(name, role): &(&'static str, Role)| Node {
            name,
            role: *role,
            folder: folder.path().join(name),
            log: folder.path().join(format!("{name}.log")),
            more: Vec::new(),
            under: Vec::new(),
            running: None,
        };
        let nodes = nodes.iter().map(node).collect();
        let links = links.iter().map(|(from, to)| Link { from, to, proxy: Proxy::start() }).collect();
        Self { folder, nodes, links }
    }

    /// One master on its own.
    pub fn single() -> Self {
        Self::start(&[("a", Master)], &[])
    }

    /// A place for files of the test.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    pub fn link(&self, from: &str, to: &str) -> &Proxy {
        let link = self.links.iter().find(|link| link.from == from && link.to == to);
        &link.expect("a link between these nodes").proxy
    }

    fn node(&self, name: &str) -> &Node {
        self.nodes.iter().find(|node| node.name == name).expect("a node of this name")
    }

    fn node_mut(&mut self, name: &str) -> &mut Node {
        self.nodes.iter_mut().find(|node| node.name == name).expect("a node of this name")
    }

    /// More arguments of `serve`, from the node's next start on.
    pub fn arguments(&mut self, name: &str, more: &[&str]) {
        self.node_mut(name).more = more.iter().map(|&arg| arg.to_owned()).collect();
    }

    /// Another program runs it, from the node's next start on.
    pub fn under(&mut self, name: &str, program: &[&str]) {
        self.node_mut(name).under = program.iter().map(|&arg| arg.to_owned()).collect();
    }

    /// Starts a node that is not running; others reach it at once where they did before.
    pub fn launch(&mut self, name: &str) {
        assert!(self.try_launch(name), "{name} did not start: {}", self.log(name));
    }

    /// The same; says whether it got as far as to serve.
    pub fn try_launch(&mut self, name: &str) -> bool {
        let dials: Vec<String> =
            self.links.iter().filter(|link| link.from == name).map(|link| link.proxy.url.clone()).collect();
        let node = self.node_mut(name);
        let mut child = node.command(&dials).spawn().expect("a process");
        let mut output = BufReader::new(child.stdout.take().expect("its output"));
        let Some(at) = read_url(&mut output) else {
            child.wait().expect("its end");
            return false;
        };
        node.running = Some(Running { at, child, _output: output });
        for link in self.links.iter().filter(|link| link.to == name) {
            link.proxy.lead_to(at);
        }
        true
    }

    /// Has it ended by itself? Then it is not running any more.
    pub fn has_died(&mut self, name: &str) -> Option<bool> {
        let node = self.node_mut(name);
        let running = node.running.as_mut().expect("a running node");
        running.child.try_wait().expect("a process")?;
        node.running = None;
        Some(true)
    }

    /// Tries to start a node that must not start; gives what it says.
    pub fn refuses_to_start(&self, name: &str) -> String {
        let output = self.node(name).command(&[]).stderr(Stdio::piped()).output().expect("a process");
        assert!(!output.status.success(), "{name} has started and ended well");
        String::from_utf8_lossy(&output.stderr).into_owned()
    }

    pub fn at(&self, name: &str) -> SocketAddr {
        self.node(name).running().at
    }

    pub fn client(&self, name: &str) -> Client {
        Client::new(self.at(name))
    }

    /// What it has logged so far.
    pub fn log(&self, name: &str) -> String {
        self.node(name).log()
    }

    pub fn data(&self, name: &str) -> &Path {
        &self.node(name).folder
    }

    /// Kilobytes of memory that it has used at most.
    pub fn most_memory(&self, name: &str) -> u64 {
        let id = self.node(name).running().child.id();
        let status = std::fs::read_to_string(format!("/proc/{id}/status")).expect("a process");
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("its memory");
        line.trim().trim_end_matches(" kB").parse().expect("a number")
    }

    /// As a crash: no word to anybody.
    pub fn kill(&mut self, name: &str) {
        let mut running = self.node_mut(name).running.take().expect("a running node");
        running.child.kill().expect("a process to kill");
        running.child.wait().expect("its end");
    }

    /// SIGTERM; gives how it ended and how long that took.
    pub fn terminate(&mut self, name: &str) -> (ExitStatus, Duration) {
        let mut running = self.node_mut(name).running.take().expect("a running node");
        let start = Instant::now();
        let id = running.child.id().to_string();
        let sent = Command::new("sh").args(["-c", "kill -TERM $0", &id]).status();
        assert!(sent.expect("a shell").success());
        let status = eventually("its end", || running.child.try_wait().expect("a process"));
        (status, start.elapsed())
    }

    pub fn standing(&self, name: &str) -> Standing {
        let view = self.client(name).get("/v1/cluster").expect(200).json();
        let me = &view["nodes"][0];
        assert_eq!(me["name"], name);
        Standing { vector: me["vector"].clone(), digest: me["digest"].clone() }
    }

    /// Waits until all these nodes have the same.
    #[track_caller]
    pub fn converge(&self, names: &[&str]) -> Standing {
        let equal = || {
            let first = self.standing(names[0]);
            names.iter().all(|name| self.standing(name) == first).then_some(first)
        };
        eventually(&format!("{names:?} have the same"), equal)
    }
}

impl Node {
    fn running(&self) -> &Running {
        self.running.as_ref().unwrap_or_else(|| panic!("{} is not running", self.name))
    }

    fn command(&self, dials: &[String]) -> Command {
        let (role, link) = match self.role {
            Master => ("master", "--peer"),
            Replica => ("replica", "--upstream"),
        };
        let log = File::options().create(true).append(true).open(&self.log).expect("a log");
        let mut words = self.under.iter().map(String::as_str).chain([env!("CARGO_BIN_EXE_syncline")]);
        let mut command = Command::new(words.next().expect("a program"));
        command.args(words).args([
            "serve",
            "--listen",
            "127.0.0.1:0",
            "--name",
            self.name,
            "--role",
            role,
            "--data-dir",
        ]);
        command.arg(&self.folder).args(dials.iter().flat_map(|url| [link, url])).args(&self.more);
        command.env("SYNCLINE_LOG", "info").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log);
        command
    }

    fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(mut running) = self.running.take() {
            let _ = running.child.kill();
            let _ = running.child.wait();
        }
        if std::thread::panicking() {
            eprintln!("-- the log of {}:\n{}", self.name, self.log());
        }
    }
}

/// The address in the first line that has one; None when the output ends before.
fn read_url(output: &mut impl BufRead) -> Option<SocketAddr> {
    output.lines().map_while(Result::ok).find_map(|line| {
        let (_, rest) = line.split_once("http://")?;
        let end = rest.find(|c: char| !c.is_ascii_digit() && !".:".contains(c)).unwrap_or(rest.len());
        rest[..end].parse().ok()
    })
}

/// Looks again and again until `found` gives something.
#[track_caller]
pub fn eventually<T>(what: &str, mut found: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = found() {
            return found;
        }
        assert!(start.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
        std::thread::sleep(PAUSE);
    }
}
