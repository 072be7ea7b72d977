//! What is counted of connections and requests: without a lock, and without memory taken for a request.

use std::time::Duration;

use axum::http::Method;

use super::target::{DOCUMENTS, Part, part};
use crate::base::{Counted, Counter, DURATIONS, Histogram};

/// Routes as they are told apart. Ids are none of it: there is no end of them.
const ROUTES: [&str; 16] = [
    "other",
    "/v1/docs/{id}",
    "/v1/docs/{id}/changes",
    "/v1/docs/{id}/history",
    "/v1/docs/{id}/conflicts",
    "/v1/docs",
    "/v1/bulk",
    "/v1/cluster",
    "/v1/peer",
    "/v1/subscribe",
    "/v1/changes",
    "/livez",
    "/readyz",
    "/metrics",
    "/openapi.json",
    "/docs",
];

const METHODS: [&str; 8] = ["other", "GET", "HEAD", "PUT", "PATCH", "POST", "DELETE", "OPTIONS"];

/// By the hundreds of the status. Upgrades to links are the first.
const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

/// What a request asks for, as positions in [`ROUTES`] and [`METHODS`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Kind {
    route: usize,
    method: usize,
}

/// See the module.
#[derive(Debug)]
pub struct Requests {
    kinds: Vec<Answered>,
    under_way: Counter,
    connections: Counter,
    accepted: Counter,
    cut: Counter,
    /// Live readers, and frames that were sent to them.
    pub(super) subscribers: Counter,
    pub(super) live_frames: Counter,
}

/// The answers to one kind of request.
#[derive(Debug)]
struct Answered {
    kind: Kind,
    classes: [Counter; CLASSES.len()],
    times: Histogram,
}

/// A request that is not answered yet, or a connection that is open.
pub(super) struct UnderWay<'a> {
    requests: &'a Requests,
    gauge: &'a Counter,
}

impl Kind {
    pub fn of(method: &Method, path: &str) -> Self {
        Self { route: route(path), method: position(&METHODS, method.as_str()) }
    }

    pub fn route(self) -> &'static str {
        ROUTES.get(self.route).copied().unwrap_or_default()
    }

    pub fn method(self) -> &'static str {
        METHODS.get(self.method).copied().unwrap_or_default()
    }
}

fn route(path: &str) -> usize {
    let Some(id) = path.strip_prefix(DOCUMENTS) else { return position(&ROUTES, path) };
    match id.rsplit_once('/').map_or(Part::Whole, |(_, last)| part(last)) {
        Part::Whole => 1,
        Part::Changes => 2,
        Part::History => 3,
        Part::Conflicts => 4,
    }
}

/// The first, "other", where it is not among them.
fn position(names: &[&str], name: &str) -> usize {
    names.iter().position(|known| *known == name).unwrap_or_default()
}

impl Requests {
    #[expect(clippy::new_without_default, reason = "one is made, on purpose, for each server")]
    pub fn new() -> Self {
        let methods = |route| (0..METHODS.len()).map(move |method| Kind { route, method });
        let kinds = (0..ROUTES.len()).flat_map(methods).map(|kind| Answered {
            kind,
            classes: Default::default(),
            times: Histogram::new(DURATIONS),
        });
        Self {
            kinds: kinds.collect(),
            under_way: Counter::default(),
            connections: Counter::default(),
            accepted: Counter::default(),
            cut: Counter::default(),
            subscribers: Counter::default(),
            live_frames: Counter::default(),
        }
    }

    pub(super) fn begin(&self) -> UnderWay<'_> {
        self.under_way.add(1);
        UnderWay { requests: self, gauge: &self.under_way }
    }

    pub(super) fn open(&self) -> UnderWay<'_> {
        self.accepted.add(1);
        self.connections.add(1);
        UnderWay { requests: self, gauge: &self.connections }
    }

    /// A connection ended otherwise than in order.
    pub(super) fn cut(&self) {
        self.cut.add(1);
    }

    pub(super) fn under_way(&self) -> u64 {
        self.under_way.get()
    }

    /// Open now, taken since the start, and of these cut.
    pub(super) fn connections(&self) -> [u64; 3] {
        [&self.connections, &self.accepted, &self.cut].map(Counter::get)
    }

    /// Kind, class of status, answers; of those that came at all.
    pub(super) fn answers(&self) -> impl Iterator<Item = (Kind, &'static str, u64)> {
        let classes = |of: &Answered| {
            let kind = of.kind;
            let counts = of.classes.each_ref().map(Counter::get);
            CLASSES.into_iter().zip(counts).map(move |(class, count)| (kind, class, count))
        };
        self.kinds.iter().flat_map(classes).filter(|(_, _, count)| *count > 0)
    }

    pub(super) fn times(&self) -> impl Iterator<Item = (Kind, Counted)> {
        self.kinds.iter().map(|of| (of.kind, of.times.read())).filter(|(_, times)| times.count > 0)
    }
}

impl UnderWay<'_> {
    /// The head of its answer is there.
    pub fn done(self, kind: Kind, status: u16, after: Duration) {
        let Some(of) = self.requests.kinds.get(kind.route * METHODS.len() + kind.method) else { return };
        let class = usize::from(status / 100).saturating_sub(1);
        if let Some(count) = of.classes.get(class) {
            count.add(1);
        }
        of.times.add_time(after);
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.gauge.subtract(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_path_is_of_one_of_a_few_routes() {
        fn route(path: &str) -> &'static str {
            Kind::of(&Method::GET, path).route()
        }
        for path in &ROUTES[5..] {
            assert_eq!(route(path), *path);
        }
        assert_eq!(route("/v1/docs/a/b"), "/v1/docs/{id}");
        assert_eq!(route("/v1/docs/changes"), "/v1/docs/{id}");
        for part in ["changes", "history", "conflicts"] {
            assert_eq!(route(&format!("/v1/docs/a/{part}")), format!("/v1/docs/{{id}}/{part}"));
        }
        for path in ["/", "/v1/docs2", "/v2", "", "other"] {
            assert_eq!(route(path), "other", "{path}");
        }
    }

    #[test]
    fn a_request_counts_once_for_its_kind_and_one_that_is_given_up_for_none() {
        let requests = Requests::new();
        let kind = Kind::of(&Method::PUT, "/v1/docs/a");
        let (answered, given_up) = (requests.begin(), requests.begin());
        assert_eq!(requests.under_way(), 2);
        answered.done(kind, 201, Duration::from_millis(3));
        drop(given_up);
        assert_eq!(requests.under_way(), 0);
        assert_eq!(requests.answers().collect::<Vec<_>>(), [(kind, "2xx", 1)]);
        let times: Vec<_> = requests.times().collect();
        assert_eq!((times[0].0, times[0].1.count, times.len()), (kind, 1, 1));
        let odd = Kind::of(&Method::from_bytes(b"BREW").expect("a method"), "/v1/docs");
        assert_eq!((odd.method(), odd.route()), ("other", "/v1/docs"));
    }
}
