//! The benchmarks' own nodes: child processes of this program on loopback, that end with it.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::load::{Connection, no_connection, request};
use crate::base::Role;
use crate::cli::client::{Client, next_page};
use crate::cli::output::Failure;
use crate::cli::scratch::Scratch;

/// Processor time is told in this many ticks a second, on every Linux there is today.
const TICKS: f64 = 100.0;

/// What is waited for comes within this time, or the benchmark has failed.
const PATIENCE: Duration = Duration::from_secs(120);

/// A process that is killed when this is dropped.
pub struct Process {
    pub at: SocketAddr,
    child: Child,
    /// Held open, so that nothing it prints can fail.
    _output: BufReader<ChildStdout>,
}

/// How far one node is, as it says itself.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Standing {
    pub vector: Vec<(String, u64)>,
    pub digest: String,
    pub linked: usize,
}

impl Process {
    /// A node with an empty folder of its own in `scratch`. `links` are base URLs of the nodes that it dials.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn node(scratch: &Scratch, name: &str, role: Role, links: &[String]) -> Result<Self, Failure> {
        Self::node_with(scratch, name, role, links, &[]).await
    }

    /// The same with further settings, or with the folder that an earlier one of that name has left.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn node_with(
        scratch: &Scratch,
        name: &str,
        role: Role,
        links: &[String],
        settings: &[&str],
    ) -> Result<Self, Failure> {
        let mut args = vec!["serve".to_owned(), "--listen".into(), "127.0.0.1:0".into()];
        let folder = scratch.path().join(name);
        args.extend(["--name".to_owned(), name.to_owned(), "--role".into(), role.to_string()]);
        args.extend(["--data-dir".to_owned(), folder.display().to_string()]);
        let link = if role == Role::Master { "--peer" } else { "--upstream" };
        args.extend(links.iter().flat_map(|url| [link.to_owned(), url.clone()]));
        args.extend(settings.iter().map(|setting| (*setting).to_owned()));
        Self::start(args).await
    }

    /// This program with other arguments, that prints its base URL once it can be reached.
    ///
    /// # Errors
    /// When it does not.
    pub async fn start(args: Vec<String>) -> Result<Self, Failure> {
        let failed = |what: String| Failure::refused(format!("{}: {what}", args.join(" ")));
        let program = std::env::current_exe().map_err(|e| failed(e.to_string()))?;
        let mut command = Command::new(program);
        // Whatever this process was told for nodes of its own is not meant for these.
        for (name, _) in
            std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("SYNCLINE_"))
        {
            command.env_remove(name);
        }
        command.args(&args).env("SYNCLINE_LOG", "warn").stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.spawn().map_err(|e| failed(e.to_string()))?;
        let output = child.stdout.take().map(BufReader::new);
        // From here on the process ends with the value that holds it, whatever happens.
        let unreachable = SocketAddr::from(([127, 0, 0, 1], 0));
        let Some(mut output) = output else { return Err(failed("no output".into())) };
        let found = tokio::task::block_in_place(|| read_url(&mut output));
        let process = Self { at: found.unwrap_or(unreachable), child, _output: output };
        match found {
            Some(_) => Ok(process),
            None => Err(failed("it ended before it could be reached".into())),
        }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.at)
    }

    /// Processor time that it has used so far, to 10 ms; None where `/proc` does not tell.
    pub fn cpu(&self) -> Option<Duration> {
        cpu_of(self.child.id())
    }

    /// Bytes of memory that it has now, and the most that it ever had; None where `/proc` does not tell.
    pub fn resident(&self) -> Option<(u64, u64)> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).ok()?;
        let kilobytes = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
            line.trim().strip_suffix(" kB")?.parse::<u64>().ok()
        };
        Some((kilobytes("VmRSS")? << 10, kilobytes("VmHWM")? << 10))
    }

    /// Kilobytes of memory that it has now; 0 where `/proc` does not tell.
    pub fn memory(&self) -> u64 {
        self.resident().map_or(0, |(now, _)| now >> 10)
    }

    /// # Errors
    /// When it does not answer.
    pub async fn standing(&self) -> Result<Standing, Failure> {
        let mut connection = Connection::open(self.at).await.map_err(no_connection)?;
        connection.succeed(&request("GET", "/v1/cluster", self.at, "application/json", "")).await?;
        let view: Value = serde_json::from_slice(connection.body()).unwrap_or_default();
        let me = &view["nodes"][0];
        let vector = serde_json::from_value(me["vector"].clone()).unwrap_or_default();
        let digest = me["digest"].as_str().unwrap_or_default().to_owned();
        let linked = me["links"].as_array().map_or(0, Vec::len);
        Ok(Standing { vector, digest, linked })
    }

    /// Is it ready for clients?
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn is_ready(&self) -> Result<bool, Failure> {
        let mut connection = Connection::open(self.at).await.map_err(no_connection)?;
        let ask = request("GET", "/readyz", self.at, "application/json", "");
        Ok(connection.exchange(&ask).await.map_err(no_connection)? == 200)
    }

    /// Of its metrics the one that is named so, and has no labels.
    ///
    /// # Errors
    /// When it does not tell.
    pub async fn metric(&self, name: &str) -> Result<f64, Failure> {
        let mut connection = Connection::open(self.at).await.map_err(no_connection)?;
        connection.succeed(&request("GET", "/metrics", self.at, "text/plain", "")).await?;
        let text = String::from_utf8_lossy(connection.body());
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok());
        value.ok_or_else(|| Failure::refused(format!("no metric {name}")))
    }

    /// Bytes of all documents' changes, as the list counts them.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn stored(&self) -> Result<u64, Failure> {
        let url = self.url().parse().map_err(|e| Failure::refused(format!("{}: {e}", self.url())))?;
        let client = Client::new(url, None);
        let (mut bytes, mut next) = (0, Some("/v1/docs?limit=10000".to_owned()));
        while let Some(page) = next {
            let answer = client.get(&page).await?;
            let list: Value = answer.json()?;
            let rows = list["documents"].as_array().map(Vec::as_slice).unwrap_or_default();
            bytes += rows.iter().filter_map(|row| row["bytes"].as_u64()).sum::<u64>();
            next = next_page(&answer);
        }
        Ok(bytes)
    }
}

/// Processor time that a process has used so far.
pub fn cpu_of(process: u32) -> Option<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The name in brackets may hold spaces; user and system time are the 12th and 13th word after it.
    let mut words = stat.rsplit_once(") ")?.1.split(' ').skip(11);
    let mut ticks = || words.next()?.parse::<u64>().ok();
    let ticks = ticks()? + ticks()?;
    Some(Duration::from_secs_f64(ticks as f64 / TICKS))
}

impl Standing {
    /// Entries held, of all origins.
    pub fn entries(&self) -> u64 {
        self.vector.iter().map(|(_, counter)| counter).sum()
    }

    /// The same entries, and so the same documents.
    pub fn equals(&self, other: &Standing) -> bool {
        self.vector == other.vector && self.digest == other.digest
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already; either way nothing of it is left after `wait`.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The address in the first line that has one.
fn read_url(output: &mut impl BufRead) -> Option<SocketAddr> {
    loop {
        let mut line = String::new();
        if output.read_line(&mut line).ok()? == 0 {
            return None;
        }
        if let Some((_, rest)) = line.split_once("http://") {
            let end = rest.find(|c: char| !c.is_ascii_digit() && !".:".contains(c)).unwrap_or(rest.len());
            return rest.get(..end)?.parse().ok();
        }
    }
}

/// Asks again every `pause` until `found` gives something.
///
/// # Errors
/// When that takes two minutes, or asking fails.
pub async fn until<T, F>(what: &str, pause: Duration, mut found: impl FnMut() -> F) -> Result<T, Failure>
where
    F: Future<Output = Result<Option<T>, Failure>>,
{
    let start = Instant::now();
    loop {
        if let Some(found) = found().await? {
            return Ok(found);
        }
        if start.elapsed() > PATIENCE {
            return Err(Failure::refused(format!("{what}: not within {PATIENCE:?}")));
        }
        tokio::time::sleep(pause).await;
    }
}
