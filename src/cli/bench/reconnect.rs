//! `bench reconnect`: two masters whose link was cut while both took changes, and what it costs to be equal again.
//!
//! The link passes through the benchmark, which counts its bytes both ways. Once the masters have their logs, so
//! that each sends what the other lacks; once they have cut them off, so that each finds out by digest what
//! differs. Then a new node follows one of them, which has no log for it.
//!
//! The time begins when the first connection is let through again: when a node tries to reach another is a matter
//! of how long that one was away. It ends when both have the same vector and digest.

use std::time::{Duration, Instant};

use super::bulk::{DOCUMENT, fill};
use super::documents::Patches;
use super::load::closed_loop;
use super::nodes::{Process, until};
use super::wire::Wire;
use super::{Common, Figure};
use crate::base::Role;
use crate::base::limits::MARK_LEAST;
use crate::cli::output::Failure;
use crate::cli::scratch::Scratch;

/// Settings of a node that is not to tell that its link was cut.
const QUIET: &[&str] = &["--log", "error"];

/// Settings of one that cuts its log off as soon as it can.
const NO_LOG: &[&str] = &["--log", "error", "--log-keep", "0", "--log-most", "0"];

/// Connections over which documents are made, and changed.
const FILLING: u64 = 2;
const CHANGING: u64 = 16;

/// How often the nodes are asked how far they are. Each question waits for its committer, as a write would.
const PAUSE: Duration = Duration::from_millis(5);

#[derive(clap::Args)]
pub struct Options {
    #[command(flatten)]
    pub common: Common,
    /// Documents that both masters have
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1_000..=10_000_000))]
    documents: u64,
    /// Documents that each master changes while the link is cut: others than the other one
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(200..=100_000))]
    changed: u64,
}

/// Two masters, of which one dials the other over a wire.
struct Pair {
    near: Process,
    far: Process,
    wire: Wire,
}

/// From the wire's mending until both were equal.
struct Mended {
    /// Bytes of the changes that were made on both sides.
    changes: u64,
    /// Bytes of a document's changes, on average.
    document: f64,
    /// Bytes that passed the wire.
    bytes: u64,
    time: Duration,
    cpu: Option<Duration>,
}

pub async fn run(options: &Options) -> Result<Vec<Figure>, Failure> {
    if options.documents < 2 * options.changed {
        return Err(Failure::usage("each side changes documents of its own: take more documents"));
    }
    let scratch = Scratch::new("bench", options.common.dir.as_deref())?;
    eprintln!(
        "{} documents of {DOCUMENT} bytes, {} changed on each side",
        options.documents, options.changed
    );
    let log = Pair::start(&scratch, "log", QUIET, options).await?.reconnect(options, false).await?.1;
    let pair = Pair::start(&scratch, "digest", NO_LOG, options).await?;
    let (pair, digest) = pair.reconnect(options, true).await?;
    let Pair { near, .. } = pair;
    let (rate, cpu) = follow(&scratch, &near, options.documents).await?;

    let seconds = |mended: &Mended| mended.time.as_secs_f64();
    let ms = |mended: &Mended| mended.cpu.map(|cpu| cpu.as_secs_f64() * 1e3);
    let kb = |bytes: f64| bytes / 1e3;
    let changed = digest.document * 2.0 * options.changed as f64;
    let mut figures = vec![
        Figure::plain("changes of both sides", kb(log.changes as f64), "kB"),
        Figure::plain("by log: bytes on the link", kb(log.bytes as f64), "kB")
            .at_most(kb(2.0 * log.changes as f64) + 64.0),
        Figure::plain("by log: equal after the link is up", seconds(&log), "s").at_most(2.0),
    ];
    figures.extend(ms(&log).map(|ms| Figure::plain("by log: CPU of both nodes", ms, "ms")));
    figures.extend([
        Figure::plain("changed documents", kb(changed), "kB"),
        Figure::plain("by digest: bytes on the link", kb(digest.bytes as f64), "kB")
            .at_most(kb(changed) + 2_000.0),
        Figure::plain("by digest: equal after the link is up", seconds(&digest), "s").at_most(5.0),
    ]);
    figures.extend(ms(&digest).map(|ms| Figure::plain("by digest: CPU of both nodes", ms, "ms")));
    figures.push(
        Figure::plain("new node: documents, from its start until it is ready", rate, "/s").at_least(30_000.0),
    );
    if let Some((new, source)) = cpu {
        figures.push(Figure::plain("new node: its CPU per document", new, "µs"));
        figures.push(Figure::plain("new node: its source's CPU per document", source, "µs"));
    }
    Ok(figures)
}

impl Pair {
    /// Both with the same documents.
    async fn start(
        scratch: &Scratch,
        name: &str,
        settings: &[&str],
        options: &Options,
    ) -> Result<Self, Failure> {
        let near = Process::node_with(scratch, &format!("near {name}"), Role::Master, &[], settings).await?;
        let wire = Wire::to(near.at).await?;
        let links = [format!("http://{}", wire.at)];
        let far = Process::node_with(scratch, &format!("far {name}"), Role::Master, &links, settings).await?;
        fill(near.at, 0, options.documents, FILLING).await?;
        let pair = Self { near, far, wire };
        until("equal documents", 10 * PAUSE, async || pair.is_equal().await).await?;
        Ok(pair)
    }

    /// The wire is cut, both sides are changed, and it is mended.
    async fn reconnect(self, options: &Options, by_digest: bool) -> Result<(Self, Mended), Failure> {
        let sides = [&self.near, &self.far];
        let before = sides[0].stored().await?;
        self.wire.cut();
        let mut changes = 0;
        for (side, first) in sides.into_iter().zip([0, options.changed]) {
            let share = |n| options.changed / CHANGING + u64::from(n < options.changed % CHANGING);
            let mut next = first;
            let patches = (0..CHANGING).map(|n| {
                let begin = next;
                next += share(n);
                Patches::of_bulk(side.at, options.documents, begin, share(n))
            });
            closed_loop(side.at, patches.collect(), None).await?;
            changes += side.stored().await? - before;
        }
        if by_digest {
            for side in sides {
                until("logs that are cut off", 20 * PAUSE, async || has_no_log(side).await).await?;
            }
        }
        let cpu = || sides.iter().map(|side| side.cpu()).sum::<Option<Duration>>();
        let used = cpu();
        self.wire.mend();
        until("equal documents", PAUSE, async || self.is_equal().await).await?;
        let ended = Instant::now();
        let bytes = self.wire.bytes();
        let used = used.zip(cpu()).map(|(before, after)| after.saturating_sub(before));
        let linked = self.wire.linked().ok_or_else(|| Failure::refused("equal without a link"))?;
        for side in sides {
            let repairs = || side.metric("syncline_repairs_total");
            if by_digest {
                until("the word of a repair", PAUSE, async || Ok((repairs().await? > 0.0).then_some(())))
                    .await?;
            } else if repairs().await? > 0.0 {
                return Err(Failure::refused("a node that has its log was repaired by digest"));
            }
        }
        let document = before as f64 / options.documents as f64;
        let mended = Mended { changes, document, bytes, time: ended - linked, cpu: used };
        eprintln!("{} bytes on the link, {:?}", mended.bytes, mended.time);
        Ok((self, mended))
    }

    async fn is_equal(&self) -> Result<Option<()>, Failure> {
        let (near, far) = (self.near.standing().await?, self.far.standing().await?);
        Ok((near.entries() > 0 && near.equals(&far)).then_some(()))
    }
}

/// Has it cut off its log, but for the little that it never cuts off?
async fn has_no_log(node: &Process) -> Result<Option<()>, Failure> {
    let (first, head) = (node.metric("syncline_log_first").await?, node.metric("syncline_log_head").await?);
    Ok((head - first < MARK_LEAST as f64).then_some(()))
}

/// A new replica, from its start until it is ready: documents a second, and the CPU of it and of its source for each
/// document in microseconds.
async fn follow(
    scratch: &Scratch,
    source: &Process,
    documents: u64,
) -> Result<(f64, Option<(f64, f64)>), Failure> {
    let (start, before) = (Instant::now(), source.cpu());
    let new = Process::node(scratch, "new", Role::Replica, &[source.url()]).await?;
    until("a new node that is ready", PAUSE, async || Ok(new.is_ready().await?.then_some(()))).await?;
    let rate = documents as f64 / start.elapsed().as_secs_f64();
    let each = |used: Duration| used.as_secs_f64() * 1e6 / documents as f64;
    let used = before.zip(source.cpu()).map(|(before, after)| after.saturating_sub(before));
    let cpu = new.cpu().zip(used).map(|(new, source)| (each(new), each(source)));
    if !new.standing().await?.equals(&source.standing().await?) {
        return Err(Failure::refused("a new node is ready, and has not what its source has"));
    }
    Ok((rate, cpu))
}
