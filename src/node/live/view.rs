//! What live readers see of one document: looked at once for all of them, at most so often, and shared.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde_json::value::RawValue;

use crate::base::limits::{VIEW_DIFF_MS, VIEW_INTERVAL_MS, VIEW_PATCHES};
use crate::base::{DocId, Heads, Lsn};
use crate::crdt::{Document, Patched};
use crate::node::documents::{Cell, Freshness, Hold, heavily};
use crate::node::{Node, NodeError};

/// One look at a document. All of it is on disk.
pub(in crate::node) struct View {
    /// All that was committed up to here is in it.
    lsn: Lsn,
    epoch: u64,
    made: Instant,
    /// How long the next look has to wait.
    pause: Duration,
    state: State,
    value: Option<Arc<RawValue>>,
    /// What has changed since earlier versions.
    patches: Vec<(Heads, Arc<RawValue>)>,
    /// How long it takes to compare two versions, by the last time.
    diff: Duration,
    /// Somebody follows it by differences: what changes from here on is noted.
    followed: bool,
}

#[derive(Clone)]
enum State {
    Absent,
    Deleted(Heads),
    There(Heads),
    Fenced(String),
}

/// What somebody sees who has seen a version, or none.
pub(super) enum Seen {
    /// Nothing new.
    Nothing,
    /// It is too early for another look.
    Later(Instant),
    Deleted(Heads),
    Whole {
        version: Heads,
        value: Arc<RawValue>,
    },
    Patch {
        to: Heads,
        patch: Arc<RawValue>,
    },
    Fenced(String),
}

/// Who looks.
pub(super) struct Eye<'a> {
    pub sent: Option<&'a Heads>,
    /// By differences, where `sent` allows.
    pub patches: bool,
    /// `sent` is from elsewhere, and may not have arrived here yet: that is waited for.
    pub patient: bool,
}

impl Node {
    /// What there is to see, and whether that is all that was committed before this was asked. Where it is not,
    /// it is too early for another look, and what the last one saw has to do for now.
    ///
    /// # Errors
    /// When the node is too busy, or a commit has failed: to be tried again later.
    pub(super) async fn look(&self, doc: &DocId, eye: &Eye<'_>) -> Result<(Seen, bool), NodeError> {
        let cell = self.0.documents.cell(doc);
        let mut slot = cell.view.lock().await;
        let epoch = self.0.shared.epoch();
        let last = slot.take().filter(|view| view.epoch == epoch);
        let touched = cell.touched();
        let view = match last {
            Some(view) if view.lsn >= touched => view,
            Some(view) if view.made.elapsed() < view.pause => {
                // It will do for a reader who has seen an earlier one. Others may have seen a later one elsewhere.
                let is_news =
                    eye.sent.is_some_and(|sent| view.state.version().is_some_and(|now| now != sent));
                let due = view.made + view.pause;
                if !is_news {
                    *slot = Some(view);
                    return Ok((Seen::Later(due), false));
                }
                view
            }
            last => self.make_view(&cell, eye, last.as_ref()).await?,
        };
        let view = slot.insert(view);
        view.followed |= eye.patches;
        let seen = match view.state.clone() {
            State::Absent => Seen::Nothing,
            State::Fenced(reason) => Seen::Fenced(reason),
            state if eye.sent.is_some_and(|sent| state.version() == Some(sent)) => Seen::Nothing,
            State::Deleted(version) => Seen::Deleted(version),
            State::There(version) => self.show(&cell, view, version, eye).await?,
        };
        // Counts from the next time on that somebody holds the document.
        cell.view_bytes.store(view.bytes(), Ordering::Relaxed);
        Ok((seen, view.lsn >= touched))
    }

    /// With what this reader wants of it: a moment later the document may have gone on, and the past is costly.
    async fn make_view(
        &self,
        cell: &Arc<Cell>,
        eye: &Eye<'_>,
        last: Option<&View>,
    ) -> Result<View, NodeError> {
        let diff = last.map_or(Duration::ZERO, |view| view.diff);
        let followed = eye.patches || last.is_some_and(|view| view.followed);
        // In this order: what has touched the document by now is seen.
        let lsn = cell.touched();
        let made = Instant::now();
        let mut hold = cell.hold(&self.0.documents).await?;
        let (epoch, state, wanted) = match hold.document(Freshness::Now).await {
            Ok((loaded, epoch)) => {
                let (heavy, document) = (loaded.is_heavy(), &mut loaded.document);
                let state = State::of(document);
                let noted = document.take_trail(followed);
                let want = || Wanted::of(document, &state, eye, noted, is_cheap(diff));
                let wanted = if heavy { heavily(&self.0.documents, want).await } else { want() };
                (epoch, state, wanted)
            }
            Err(NodeError::Fenced { reason }) => {
                (self.0.shared.epoch(), State::Fenced(reason), Wanted::default())
            }
            Err(error) => return Err(error),
        };
        drop(hold);
        let pause = Duration::from_millis(VIEW_INTERVAL_MS).max(4 * made.elapsed());
        self.settle(cell, epoch).await?;
        let patches = wanted.patches.into_iter().map(|(from, patch)| (from, patch.into())).collect();
        let (value, diff) = (wanted.json.and_then(json), wanted.diff.unwrap_or(diff));
        Ok(View { lsn, epoch, made, pause, state, value, patches, diff, followed: false })
    }

    async fn show(
        &self,
        cell: &Arc<Cell>,
        view: &mut View,
        version: Heads,
        eye: &Eye<'_>,
    ) -> Result<Seen, NodeError> {
        if let Some(from) = eye.sent.filter(|_| eye.patient) {
            let mut hold = cell.hold(&self.0.documents).await?;
            let is_before = self.inspect_held(&mut hold, |document| document.is_before(from, &version));
            if !is_before.await? {
                return Ok(Seen::Later(Instant::now() + Duration::from_millis(VIEW_INTERVAL_MS)));
            }
        }
        if let Some(from) = eye.sent.filter(|_| eye.patches)
            && let Some(patch) = self.patch(cell, view, from, &version).await?
        {
            return Ok(Seen::Patch { to: version, patch });
        }
        if view.value.is_none() {
            let mut hold = cell.hold(&self.0.documents).await?;
            let value = self.inspect_held(&mut hold, |document| {
                let start = Instant::now();
                let at = Some(&*version).filter(|version| document.applied_heads().as_slice() != *version);
                (document.json(at, false).ok(), start.elapsed())
            });
            let (value, took) = value.await?;
            drop(hold);
            view.took(took);
            view.value = value.and_then(|value| json(value.body));
        }
        match &view.value {
            Some(value) => Ok(Seen::Whole { version, value: value.clone() }),
            // It has been loaded anew since, and does not have that version: look again.
            None => Ok(Seen::Later(Instant::now() + Duration::from_millis(VIEW_INTERVAL_MS))),
        }
    }

    /// The operations from a version to the one that is seen: those that are there already, or else by comparing,
    /// where that does not take too long.
    async fn patch(
        &self,
        cell: &Arc<Cell>,
        view: &mut View,
        from: &Heads,
        to: &Heads,
    ) -> Result<Option<Arc<RawValue>>, NodeError> {
        if let Some((_, patch)) = view.patches.iter().find(|(known, _)| known == from) {
            return Ok(Some(patch.clone()));
        }
        if !view.is_worth_a_difference() {
            return Ok(None);
        }
        let mut hold = cell.hold(&self.0.documents).await?;
        let patch = self.inspect_held(&mut hold, |document| difference(document, from, to));
        let (patch, took) = patch.await?;
        drop(hold);
        view.diff = took;
        view.took(took);
        let Some(patch) = patch.map(Arc::<RawValue>::from) else { return Ok(None) };
        if view.patches.len() == VIEW_PATCHES {
            view.patches.remove(0);
        }
        view.patches.push((from.clone(), patch.clone()));
        Ok(Some(patch))
    }

    async fn inspect_held<T>(
        &self,
        hold: &mut Hold<'_>,
        look: impl FnOnce(&Document) -> T,
    ) -> Result<T, NodeError> {
        let (loaded, _) = hold.document(Freshness::Lazy).await?;
        let heavy = loaded.is_heavy();
        let document = &loaded.document;
        Ok(if heavy { heavily(&self.0.documents, || look(document)).await } else { look(document) })
    }
}

/// What the reader wants for whom a document is looked at.
#[derive(Default)]
struct Wanted {
    patches: Vec<Patched>,
    json: Option<Bytes>,
    /// How long it took to compare two versions.
    diff: Option<Duration>,
}

impl Wanted {
    /// `noted` is what has changed since the last look.
    fn of(
        document: &Document,
        state: &State,
        eye: &Eye<'_>,
        noted: Option<Patched>,
        may_compare: bool,
    ) -> Self {
        let State::There(version) = state else { return Self::default() };
        let mut wanted = Self { patches: noted.into_iter().collect(), ..Self::default() };
        if eye.patient || eye.sent == Some(version) {
            return wanted;
        }
        if let Some(from) = eye.sent.filter(|_| eye.patches) {
            if wanted.patches.iter().any(|(since, _)| since == from) {
                return wanted;
            }
            if may_compare {
                let (patch, took) = difference(document, from, version);
                wanted.diff = Some(took);
                if let Some(patch) = patch {
                    wanted.patches.push((from.clone(), patch));
                    return wanted;
                }
            }
        }
        wanted.json = document.json(None, false).ok().map(|rendered| rendered.body);
        wanted
    }
}

/// None where there is no way from the one version to the other in operations; and how long that took.
fn difference(document: &Document, from: &Heads, to: &Heads) -> (Option<Box<RawValue>>, Duration) {
    let start = Instant::now();
    let patch = if document.is_before(from, to) { document.patch(from, to) } else { None };
    (patch, start.elapsed())
}

fn json(body: Bytes) -> Option<Arc<RawValue>> {
    let text = String::from_utf8(body.into()).ok()?;
    RawValue::from_string(text).ok().map(Arc::from)
}

fn is_cheap(diff: Duration) -> bool {
    diff <= Duration::from_millis(VIEW_DIFF_MS)
}

impl View {
    fn bytes(&self) -> usize {
        let value = self.value.as_ref().map_or(0, |value| value.get().len());
        value + self.patches.iter().map(|(_, patch)| patch.get().len()).sum::<usize>()
    }

    /// What is costly is done less often: others want the document, too.
    fn took(&mut self, time: Duration) {
        self.pause = self.pause.max(4 * time);
    }

    /// Where differences take too long the whole is sent; and now and then it is tried again.
    fn is_worth_a_difference(&mut self) -> bool {
        let worth = is_cheap(self.diff);
        if !worth {
            self.diff = self.diff * 7 / 8;
        }
        worth
    }
}

impl State {
    fn of(document: &Document) -> Self {
        if document.is_empty() {
            State::Absent
        } else if document.is_deleted() {
            State::Deleted(document.applied_heads())
        } else {
            State::There(document.applied_heads())
        }
    }

    fn version(&self) -> Option<&Heads> {
        match self {
            State::There(version) | State::Deleted(version) => Some(version),
            State::Absent | State::Fenced(_) => None,
        }
    }
}
