//! `GET /metrics`: what the node counts, for Prometheus. Every name is told in `docs/operations.md`.

use std::fmt::{Display, Write};
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use super::process::Process;
use super::requests::{Kind, Requests};
use crate::base::Counted;
use crate::node::{Figures, LinkFigures, Metrics, Node};
use crate::store::{FamilyFigures, StoreFigures};

pub(super) const PATH: &str = "/metrics";

/// Prometheus' text format.
pub(super) const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Nanoseconds in a second.
const NANOS: f64 = 1e9;

/// The route at which the node's metrics are read, those of its requests among them.
pub fn router(node: Node, requests: Arc<Requests>) -> Router {
    Router::new().route(PATH, get(answer)).with_state((node, requests))
}

async fn answer(State((node, requests)): State<(Node, Arc<Requests>)>) -> Response {
    let figures = node.figures().await;
    let mut text = Text(String::with_capacity(32 << 10));
    about(&mut text, &node, &figures);
    of_requests(&mut text, &requests);
    of_subscribers(&mut text, &requests, &figures);
    of_commits(&mut text, node.metrics(), &figures);
    of_documents(&mut text, node.metrics(), &figures);
    of_links(&mut text, &figures);
    of_store(&mut text, figures.store.as_ref());
    of_process(&mut text, &Process::read());
    ([(CONTENT_TYPE, TEXT), (CACHE_CONTROL, "no-store")], text.0).into_response()
}

fn about(text: &mut Text, node: &Node, figures: &Figures) {
    let health = node.health();
    text.gauge("syncline_build_info", "Always 1; `version` is the program's")
        .value(&[("version", env!("CARGO_PKG_VERSION"))], 1);
    text.gauge("syncline_node_info", "Always 1; `name` and `role` of the node")
        .value(&[("name", node.name()), ("role", &health.role)], 1);
    text.gauge("syncline_ready", "1 where `/readyz` answers 200, else 0").value(&[], u8::from(health.ready));
    text.gauge("syncline_storage_works", "1 where storage takes commits, else 0")
        .value(&[], u8::from(health.storage));
    text.gauge("syncline_incarnation", "Number of the node's present incarnation: it rises at each start")
        .value(&[], figures.lately.incarnation);
}

fn of_requests(text: &mut Text, requests: &Requests) {
    let [open, accepted, cut] = requests.connections();
    text.gauge(
        "syncline_http_connections",
        "Connections that are open, those of links that others dialled not among them",
    )
    .value(&[], open);
    text.counter("syncline_http_connections_total", "Connections taken").value(&[], accepted);
    text.counter(
        "syncline_http_connections_cut_total",
        "Connections that ended otherwise than in order: a deadline passed, the head was malformed, or the other end broke off",
    )
    .value(&[], cut);
    text.gauge("syncline_http_requests_in_flight", "Requests that are not answered yet")
        .value(&[], requests.under_way());
    let labels = |kind: Kind| [("route", kind.route()), ("method", kind.method())];
    let mut answered = text.counter(
        "syncline_http_requests_total",
        "Requests answered, by `route`, `method` and class of `status`",
    );
    for (kind, class, count) in requests.answers() {
        let [route, method] = labels(kind);
        answered.value(&[route, method, ("status", class)], count);
    }
    let mut times = text.histogram(
        "syncline_http_request_duration_seconds",
        "From a request's head to the head of its answer, by `route` and `method`",
    );
    for (kind, counted) in requests.times() {
        times.histogram(&labels(kind), &counted, NANOS);
    }
}

fn of_commits(text: &mut Text, metrics: &Metrics, figures: &Figures) {
    text.histogram(
        "syncline_commit_duration_seconds",
        "A commit with all that hangs on it: links served, documents told",
    )
    .histogram(&[], &metrics.commits.read(), NANOS);
    text.histogram("syncline_fsync_duration_seconds", "Of a commit, the write to the disk and its fsync")
        .histogram(&[], &metrics.fsyncs.read(), NANOS);
    text.histogram("syncline_commit_entries", "Entries in one commit, from writers and links").histogram(
        &[],
        &metrics.batches.read(),
        1.0,
    );
    text.counter("syncline_commit_bytes_total", "Bytes of entries committed")
        .value(&[], metrics.committed_bytes.get());
    text.counter("syncline_commit_failures_total", "Commits that failed: each ended an incarnation")
        .value(&[], metrics.failed_commits.get());
    text.counter(
        "syncline_storage_damage_total",
        "Reads and commits that came upon damaged data: see `--repair`",
    )
    .value(&[], metrics.damage.get());
    text.gauge("syncline_documents_fenced", "Documents of which a stored change is damaged, up to 1,000")
        .value(&[], figures.lately.fenced);
    text.gauge(
        "syncline_documents_incomplete",
        "Documents that lack changes which the node's vector names: they are being asked for",
    )
    .value(&[], figures.lately.incomplete);
    text.gauge("syncline_commit_queue_length", "Writes and frames that wait for the committer")
        .value(&[], figures.queued);
    let lately = &figures.lately;
    text.gauge("syncline_log_head", "LSN of the last entry in the log: so many were committed here")
        .value(&[], lately.log_head.0);
    text.gauge(
        "syncline_log_first",
        "LSN of the first entry that the log still has: those before it were trimmed",
    )
    .value(&[], lately.log_first.0);
    text.counter("syncline_repairs_total", "Repairs of this node by digest that came to their end")
        .value(&[], metrics.repairs.get());
    text.gauge("syncline_repairing", "1 while this node is being repaired by digest")
        .value(&[], u64::from(lately.repair_left.is_some()));
    text.gauge("syncline_repair_documents_left", "Documents that the repair under way has still to look at")
        .value(&[], lately.repair_left.unwrap_or(0));
    text.gauge("syncline_vector_origins", "Origins in the node's version vector").value(&[], lately.origins);
    text.gauge("syncline_hold_bytes", "Entries that have arrived before what they hang on")
        .value(&[], lately.held_bytes);
    text.gauge("syncline_ring_bytes", "Past commits kept in memory for links").value(&[], lately.ring_bytes);
}

fn of_subscribers(text: &mut Text, requests: &Requests, figures: &Figures) {
    text.gauge("syncline_subscribers", "Clients that read live, over a WebSocket or an endless feed")
        .value(&[], requests.subscribers.get());
    text.gauge("syncline_subscriptions", "Their subscriptions").value(&[], figures.subscriptions);
    text.counter("syncline_subscription_frames_total", "Frames and feed lines that were sent to them")
        .value(&[], requests.live_frames.get());
}

fn of_documents(text: &mut Text, metrics: &Metrics, figures: &Figures) {
    text.gauge("syncline_cache_documents", "Documents in memory").value(&[], figures.documents);
    text.gauge("syncline_cache_bytes", "Documents in memory, as estimated from their stored size")
        .value(&[], figures.document_bytes);
    text.counter("syncline_cache_evictions_total", "Documents dropped from memory to make room")
        .value(&[], metrics.evictions.get());
    text.histogram(
        "syncline_load_duration_seconds",
        "Loading a document into memory, with the wait for a worker",
    )
    .histogram(&[], &metrics.loads.read(), NANOS);
    text.histogram(
        "syncline_merge_duration_seconds",
        "Merging the changes that waited for a document in memory",
    )
    .histogram(&[], &metrics.merges.read(), NANOS);
    text.counter("syncline_merge_changes_total", "Changes merged into documents in memory")
        .value(&[], metrics.merged_changes.get());
    text.histogram(
        "syncline_fold_duration_seconds",
        "Moving a document's waiting changes into its snapshot, in the background, from its mailbox to the disk",
    )
    .histogram(&[], &metrics.folds.read(), NANOS);
    text.counter("syncline_fold_changes_total", "Changes moved into snapshots")
        .value(&[], metrics.folded_changes.get());
    text.counter(
        "syncline_fold_failures_total",
        "Documents that could not be folded, and stayed as they were",
    )
    .value(&[], metrics.failed_folds.get());
}

fn of_links(text: &mut Text, figures: &Figures) {
    text.gauge("syncline_links", "Links that are open, those that have not said hello among them")
        .value(&[], figures.links);
    type Of = fn(&LinkFigures) -> Option<f64>;
    let gauges: [(&str, &str, Of); 5] = [
        ("syncline_link_behind_changes", "Changes here that the peer lacks, by its name and id", |link| {
            Some(link.behind as f64)
        }),
        (
            "syncline_link_behind_seconds",
            "For how long the peer has lacked the oldest change that it lacks",
            |link| Some(link.behind_ms as f64 / 1_000.0),
        ),
        ("syncline_link_ahead_changes", "Changes that the peer has and this node lacks", |link| {
            Some(link.ahead as f64)
        }),
        ("syncline_link_in_flight_bytes", "Handed to the link's socket and not yet written", |link| {
            Some(link.in_flight as f64)
        }),
        ("syncline_link_round_trip_seconds", "Round trip of the last ping that the peer answered", |link| {
            link.round_trip.map(|time| time.as_secs_f64())
        }),
    ];
    let counters: [(&str, &str, Of); 4] = [
        (
            "syncline_link_received_frames_total",
            "Frames that came over the link; from 0 with each new link",
            |link| Some(link.frames_in as f64),
        ),
        (
            "syncline_link_received_bytes_total",
            "Bytes that came over the link; from 0 with each new link",
            |link| Some(link.bytes_in as f64),
        ),
        (
            "syncline_link_sent_frames_total",
            "Frames written to the link; from 0 with each new link",
            |link| Some(link.frames_out as f64),
        ),
        ("syncline_link_sent_bytes_total", "Bytes written to the link; from 0 with each new link", |link| {
            Some(link.bytes_out as f64)
        }),
    ];
    let of_each = |mut family: Family<'_>, of: Of| {
        for link in &figures.lately.links {
            if let Some(value) = of(link) {
                family.value(&[("peer", &link.peer), ("node", &link.node)], value);
            }
        }
    };
    for (name, help, of) in gauges {
        of_each(text.gauge(name, help), of);
    }
    for (name, help, of) in counters {
        of_each(text.counter(name, help), of);
    }
}

fn of_store(text: &mut Text, store: Option<&StoreFigures>) {
    type Of = fn(&FamilyFigures) -> u64;
    let families: [(&str, &str, Of); 3] = [
        (
            "syncline_rocksdb_memtable_bytes",
            "Writes kept in memory until they are flushed, by column `family`",
            |of| of.memtable_bytes,
        ),
        ("syncline_rocksdb_sst_bytes", "Live table files on disk, by column `family`", |of| of.sst_bytes),
        (
            "syncline_rocksdb_pending_compaction_bytes",
            "What compactions still have to rewrite, as estimated, by column `family`",
            |of| of.pending_compaction_bytes,
        ),
    ];
    for (name, help, of) in families {
        let mut gauge = text.gauge(name, help);
        for family in store.iter().flat_map(|store| &store.families) {
            gauge.value(&[("family", family.name)], of(family));
        }
    }
    type OfAll = fn(&StoreFigures) -> u64;
    let gauges: [(&str, &str, OfAll); 6] = [
        ("syncline_rocksdb_block_cache_bytes", "Cached blocks", |of| of.cache_bytes),
        ("syncline_rocksdb_block_cache_pinned_bytes", "Cached blocks that are in use", |of| {
            of.cache_pinned_bytes
        }),
        ("syncline_rocksdb_running_flushes", "Flushes under way", |of| of.running_flushes),
        ("syncline_rocksdb_running_compactions", "Compactions under way", |of| of.running_compactions),
        (
            "syncline_rocksdb_write_stopped",
            "1 while no write is taken, until flushes or compactions have made room",
            |of| u64::from(of.stopped),
        ),
        (
            "syncline_rocksdb_delayed_write_bytes",
            "Bytes a second to which writes are slowed down; 0 where they are not",
            |of| of.delayed_rate,
        ),
    ];
    for (name, help, of) in gauges {
        text.gauge(name, help).maybe(store.map(of));
    }
    text.counter("syncline_rocksdb_background_errors_total", "Errors of flushes and compactions")
        .maybe(store.map(|of| of.background_errors));
}

fn of_process(text: &mut Text, process: &Process) {
    text.counter(
        "process_cpu_seconds_total",
        "Processor time of the process, its own and the system's for it",
    )
    .maybe(process.cpu_seconds);
    text.gauge("process_resident_memory_bytes", "Memory of the process").maybe(process.resident_bytes);
    text.gauge("process_open_fds", "Files and sockets that are open").maybe(process.open_files);
    text.gauge("process_max_fds", "Files and sockets that may be open").maybe(process.most_files);
    text.gauge("process_start_time_seconds", "When the process began, in seconds since 1970")
        .maybe(process.start_seconds);
}

/// The text as it grows.
struct Text(String);

/// One name, under which values are written.
struct Family<'a> {
    out: &'a mut String,
    name: &'a str,
}

impl Text {
    fn counter<'a>(&'a mut self, name: &'a str, help: &str) -> Family<'a> {
        self.family(name, "counter", help)
    }

    fn gauge<'a>(&'a mut self, name: &'a str, help: &str) -> Family<'a> {
        self.family(name, "gauge", help)
    }

    fn histogram<'a>(&'a mut self, name: &'a str, help: &str) -> Family<'a> {
        self.family(name, "histogram", help)
    }

    /// Also where no value follows, so that every name is always there.
    fn family<'a>(&'a mut self, name: &'a str, kind: &str, help: &str) -> Family<'a> {
        // Writing to a string does not fail; here and below.
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
        Family { out: &mut self.0, name }
    }
}

impl Family<'_> {
    fn value(&mut self, labels: &[(&str, &str)], value: impl Display) {
        self.line("", labels, None, value);
    }

    fn maybe(&mut self, value: Option<impl Display>) {
        if let Some(value) = value {
            self.value(&[], value);
        }
    }

    /// So many of the histogram's units make one of the name's.
    fn histogram(&mut self, labels: &[(&str, &str)], counted: &Counted, units: f64) {
        for (bound, count) in &counted.upto {
            self.line("_bucket", labels, Some(&(*bound as f64 / units).to_string()), count);
        }
        self.line("_bucket", labels, Some("+Inf"), counted.count);
        self.line("_sum", labels, None, counted.sum as f64 / units);
        self.line("_count", labels, None, counted.count);
    }

    fn line(&mut self, suffix: &str, labels: &[(&str, &str)], upto: Option<&str>, value: impl Display) {
        self.out.push_str(self.name);
        self.out.push_str(suffix);
        let mut before = '{';
        for (name, value) in labels.iter().copied().chain(upto.map(|bound| ("le", bound))) {
            let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            let _ = write!(self.out, "{before}{name}=\"{value}\"");
            before = ',';
        }
        if before == ',' {
            self.out.push('}');
        }
        let _ = writeln!(self.out, " {value}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_written_as_prometheus_reads_them() {
        let mut text = Text(String::new());
        text.gauge("a", "What it is").value(&[("peer", "say \"hi\"\\\n"), ("node", "1")], 0.5);
        let counted =
            Counted { upto: vec![(2_500_000, 1), (10_000_000_000, 2)], count: 3, sum: 12_500_000_000 };
        text.histogram("b_seconds", "Times").histogram(&[("route", "/")], &counted, NANOS);
        let wanted = "\
# HELP a What it is
# TYPE a gauge
a{peer=\"say \\\"hi\\\"\\\\\\n\",node=\"1\"} 0.5
# HELP b_seconds Times
# TYPE b_seconds histogram
b_seconds_bucket{route=\"/\",le=\"0.0025\"} 1
b_seconds_bucket{route=\"/\",le=\"10\"} 2
b_seconds_bucket{route=\"/\",le=\"+Inf\"} 3
b_seconds_sum{route=\"/\"} 12.5
b_seconds_count{route=\"/\"} 3
";
        assert_eq!(text.0, wanted);
    }
}
