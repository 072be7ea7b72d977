//! Every limit, with its unit, the reason for the number, and what happens at it.

/// Bytes of a document id. Long enough for paths, short enough that an id in every log entry stays cheap. 422 past it.
pub const MAX_DOC_ID_BYTES: usize = 512;

/// Bytes of a request body, and of a line of a bulk request. A document of this size loads in well under a second. 413 past it.
pub const MAX_BODY_BYTES: usize = 8 << 20;

/// Levels of nesting in JSON that is written. Automerge's own export recurses, so this also bounds its stack. 422 past it.
pub const MAX_DEPTH: usize = 100;

/// Bytes of the `Author` header: names and mail addresses fit. 400 past it.
pub const MAX_AUTHOR_BYTES: usize = 128;

/// Bytes of a node's or a cluster's name. A node's name is the author of writes that name none. Refused at the start past it.
pub const MAX_NAME_BYTES: usize = 128;

/// Operations in one request of typed operations or one JSON patch. 422 past it.
pub const MAX_OPS: usize = 100_000;

/// Bytes of JSON, about, that one JSON patch may move and copy: as much as it could have sent. Each copy can double a document. 422 past it.
pub const MAX_COPIED_BYTES: usize = 8 << 20;

/// Heads that a `Parents` or `If-Match` version may name; a document with more concurrent heads is beyond any real use. 400 past it.
pub const MAX_VERSION_HASHES: usize = 64;

/// How far a change's first operation may lie above the document's highest, in operations. An absurd counter would make every later write of that document overflow. 422 past it.
pub const MAX_OP_JUMP: u64 = 1 << 20;

/// Bytes that one change from outside may inflate to. Raw DEFLATE reaches 1029:1. 422 past it.
pub const MAX_INFLATED_CHANGE_BYTES: usize = 32 << 20;

/// Rows of one column of a change or document from outside. A run of a few bytes may stand for any number of them. 422 past it.
pub const MAX_CHANGE_ROWS: u64 = 1 << 20;

/// Changes that one `POST …/changes` may carry. 422 past it.
pub const MAX_RAW_CHANGES: usize = 1_000_000;

/// Steps that judging the changes of one request may take: entries of clocks that are copied or merged where histories branch. 422 past it.
pub const MAX_ANCESTRY_STEPS: usize = 10_000_000;

/// Bytes of one log entry on a link. Part of the protocol's version: above what any accepted write can make. A larger one closes the link.
pub const MAX_ENTRY_BYTES: usize = 48 << 20;

/// Bytes of one frame on a link, before and after decompression: one largest entry and its envelope. A larger one closes the link.
pub const MAX_FRAME_BYTES: usize = 64 << 20;

/// Bytes of entries that a sender aims to put into one frame: large enough to compress well, small enough to share a link.
pub const FRAME_TARGET_BYTES: usize = 256 << 10;

/// Bytes from which a frame's entries are compressed: below, zstd costs more than it saves.
pub const COMPRESS_FROM_BYTES: usize = 4 << 10;

/// Bytes handed to one link's socket and not yet written. Past it the link gets nothing more until it has drained; it then reads the log.
pub const LINK_WINDOW_BYTES: usize = 2 << 20;

/// Bytes of committed entries kept in memory for links and readers to share. Whoever falls further behind reads the log.
pub const RING_BYTES: usize = 32 << 20;

/// Bytes of the log, on disk, that a node keeps although every known node has them: whoever comes from elsewhere, or reads on from a cursor, finds them there. `--log-keep` sets another number.
pub const LOG_KEEP_BYTES: u64 = 64 << 20;

/// Bytes of the log, on disk, past which it is cut off although some node lacks what goes: that node is repaired by digest then. `--log-most` sets another number.
pub const LOG_MOST_BYTES: u64 = 1 << 30;

/// How long a deleted document is kept, in milliseconds: 30 days, so that what was written to it elsewhere meanwhile finds it. Then it is dropped with its history, once every known node has the deletion. `--keep-deleted` sets another time.
pub const KEEP_DELETED_MS: u64 = 2_592_000_000;

/// A node of which nothing was heard for so long, in milliseconds, is forgotten: 30 days. The log is trimmed, and deleted documents are dropped, without waiting for it; when it comes back it is repaired by digest.
pub const FORGET_NODE_MS: u64 = 2_592_000_000;

/// Documents in one slice of a repair, offered or asked for: a frame of them stays small. More in one message close the link.
pub const MAX_SLICE_DOCUMENTS: usize = 1_024;

/// Fenced documents that a node names. Of more it names these.
pub const MAX_FENCED_NAMED: usize = 1_000;

/// Documents of which it is noted that changes are missing which the vector names: a few megabytes. Of more it is found by their digests, when vectors are equal.
pub const MAX_HOLES: usize = 16_384;

/// Heads of what is missing of one document that are noted. Of more, those that come first tell when it is here.
pub const MAX_MISSING_HEADS: usize = 64;

/// Records that one slice of a repair's walk looks at: some tens of milliseconds of reading. The walk goes on with the next slice.
pub const SLICE_RECORDS: usize = 16_384;

/// Documents that one link may have asked for and not been given. Past it the link is closed: nobody who keeps to the protocol asks for so many.
pub const MAX_FETCHES: usize = 4_096;

/// Bytes of entries held back because a cause has not arrived. Past it the newest are dropped and asked for again.
pub const HOLD_BYTES: usize = 64 << 20;

/// Entries that one commit takes. An fsync's cost is spread over thousands well before this; more only delays the first.
pub const COMMIT_MAX_ENTRIES: usize = 4_096;

/// Bytes that one commit takes, beyond its first entry.
pub const COMMIT_MAX_BYTES: usize = 8 << 20;

/// Inputs (local writes, frames) waiting for the committer. Past it writers wait and links are not read.
pub const COMMIT_QUEUE: usize = 1_024;

/// Requests waiting for one document. Past it: 503 with `Retry-After`.
pub const DOCUMENT_QUEUE: usize = 1_024;

/// Milliseconds for which waiting changes may stay unmerged in a document that only takes writes.
pub const MERGE_INTERVAL_MS: u64 = 30;

/// Milliseconds that another link must have been ahead before it is chosen as the source of an origin, and after which a missing cause is asked for.
pub const SOURCE_PATIENCE_MS: u64 = 50;

/// Milliseconds between heartbeats on an idle link.
pub const HEARTBEAT_MS: u64 = 1_000;

/// Milliseconds without any frame after which a link counts as dead.
pub const LINK_DEAD_MS: u64 = 10_000;

/// Milliseconds for a new connection to say hello.
pub const HELLO_MS: u64 = 10_000;

/// Milliseconds between tries to reach a peer: the first, and the most. Full jitter between 0 and the current one.
pub const RECONNECT_FIRST_MS: u64 = 100;
pub const RECONNECT_MOST_MS: u64 = 5_000;

/// Links at once. A tree of replicas needs few; 256 bounds memory at windows times links. Further connections get 503.
pub const MAX_LINKS: usize = 256;

/// Rows in the table of known nodes. Further nodes are not shown, and while it is full no deleted document is dropped: those have to hear of it, too.
pub const MAX_KNOWN_NODES: usize = 1_024;

/// Origins in a vector on a link. A larger one closes the link.
pub const MAX_VECTOR_ORIGINS: usize = 65_536;

/// LSNs from one stored vector mark in the log to the next.
pub const MARK_EVERY: u64 = 4_096;

/// LSNs from one stored vector mark to the next where the log since the last one is more than is to be kept of it, as with large entries: it is cut off at marks. At most one a second is made so.
pub const MARK_LEAST: u64 = 64;

/// Changes in a document's tail at which it is folded although there is other work, and their bytes. Loading such a tail takes some 20 ms.
pub const FOLD_AT_CHANGES: u64 = 4_096;
pub const FOLD_AT_BYTES: u64 = 1 << 20;

/// Changes in a document's tail at which it is folded when it has just been loaded: the merge is paid for, only the save is to be.
pub const FOLD_LOADED_CHANGES: usize = 256;

/// Changes in a document's tail from which it is worth folding, when the node is idle. Fewer take less room than a snapshot beside them would save.
pub const FOLD_FROM_CHANGES: u64 = 16;

/// Documents that wait for being folded at once. Further ones wait until the node is idle.
pub const FOLD_QUEUE: usize = 256;

/// Documents that wait for the node to be idle. Where there are more, all records are looked through for them then.
pub const FOLD_CANDIDATES: usize = 16_384;

/// Milliseconds without an entry after which a node counts as idle.
pub const FOLD_LOOK_MS: u64 = 1_000;

/// Records looked through for folding at once.
pub const FOLD_PAGE: usize = 1_000;

/// Bytes of documents kept materialised in memory, as estimated from their stored size.
pub const DOCUMENT_CACHE_BYTES: usize = 256 << 20;

/// Milliseconds that a request waits at most for a version that is not here yet, unless it asks for less.
pub const VERSION_WAIT_MS: u64 = 5_000;

/// Documents on one page of a list: the default, and the most.
pub const LIST_PAGE: usize = 100;
pub const LIST_PAGE_MOST: usize = 10_000;

/// Bytes of a cursor, as text: a vector of two thousand origins. Refused past it.
pub const MAX_CURSOR_BYTES: usize = 60 << 10;

/// WebSockets of live readers at once. Idle ones take a few kilobytes each. 503 past it.
pub const MAX_SUBSCRIBERS: usize = 10_000;

/// Subscriptions of one connection. A further one is answered with an error.
pub const MAX_SUBSCRIPTIONS: usize = 1_000;

/// Bytes of a client's name for a subscription: it comes back with every frame. An error past it.
pub const MAX_SUBSCRIPTION_ID_BYTES: usize = 128;

/// Bytes of a live reader's frame: a cursor or a version of many hashes fits. The connection is closed past it.
pub const MAX_SUBSCRIBE_FRAME_BYTES: usize = 64 << 10;

/// Milliseconds after which a live reader that hears nothing is pinged, or sent a sign of life: proxies cut what is silent for longer.
pub const KEEP_ALIVE_MS: u64 = 20_000;

/// Milliseconds over which live readers are sent away at a stop, so that they do not all come to another node at once.
pub const DRAIN_MS: u64 = 1_500;

/// Changes in one answer of the feed: the default, and the most.
pub const FEED_PAGE: usize = 100;
pub const FEED_PAGE_MOST: usize = 10_000;

/// Milliseconds that an answer of the feed waits for a change, where it is asked to: proxies cut what is silent for longer.
pub const LONGPOLL_MS: u64 = 30_000;

/// Documents touched by the last commits, kept for live readers to share; a commit counts as one more, and its vector by its size. Whoever falls further behind reads the log.
pub const RECENT_TOUCHES: usize = 16_384;

/// Documents that a live reader is told of before it looks again at what has changed since.
pub const LIVE_BATCH: usize = 256;

/// Documents of one subscription of which the version last sent is kept. Others begin with a snapshot when they change.
pub const SENT_DOCUMENTS: usize = 1_000;

/// Milliseconds between two looks at a document for all its live readers: 30 a second are fluent to the eye, and more would only cost. What comes faster is one step.
pub const VIEW_INTERVAL_MS: u64 = 33;

/// Milliseconds that a difference for live readers may take, by the last one of that document. Past it they get a snapshot.
pub const VIEW_DIFF_MS: u64 = 50;

/// Bytes, about, of what is noted of a document's changes for its live readers between two looks at it: more than a thousand keystrokes. Past it the difference is found by comparing.
pub const TRAIL_BYTES: usize = 256 << 10;

/// Differences of one view of a document that are kept for readers who stood at the same versions. Others are made for each.
pub const VIEW_PATCHES: usize = 16;

/// Bytes of raw changes in one frame, beyond the first entry. More come in further frames.
pub const CHANGES_FRAME_BYTES: usize = 1 << 20;

/// Changes on one page of a history: the default, and the most.
pub const HISTORY_PAGE: usize = 50;
pub const HISTORY_PAGE_MOST: usize = 1_000;

/// Operations of one change that are looked through for what it touched. Of a larger change a history does not tell it.
pub const HISTORY_OPS: u64 = 10_000;

/// JSON pointers that a history tells of one change; past it, that there are more.
pub const HISTORY_POINTERS: usize = 20;

/// Bytes of an author or a message in a history, and of all pointers of one change. A longer text is cut; of the pointers it tells that there are more.
pub const HISTORY_TEXT_BYTES: usize = 4 << 10;

/// Conflicting fields that are told at once, and changes that are left out. Past it, that there are more: settle these first.
pub const CONFLICTS_MOST: usize = 1_000;

/// Bytes of conflicting values, in JSON, after which no further field is told.
pub const CONFLICTS_BYTES: usize = 1 << 20;

/// Bytes of documents, in JSON, after which a page of a list with values ends.
pub const LIST_VALUE_BYTES: usize = 4 << 20;

/// Milliseconds of reading documents after which a page of a list with values ends: each may have to be loaded, and nobody should wait for ten thousand of them.
pub const LIST_VALUE_MS: u64 = 1_000;

/// Lines of one bulk request that are written and whose answers are not on their way: enough for a commit under way and the next. Past it no more of the body is read.
pub const BULK_LINES: usize = 512;

/// Bytes of those lines, beyond the first. Past it no more of the body is read.
pub const BULK_BYTES: usize = 8 << 20;

/// Milliseconds from SIGTERM to exit.
pub const SHUTDOWN_MS: u64 = 5_000;

/// Bytes of a request's head: the longest id and version fit several times over. It is also what is read from a connection at once. 431 past it.
pub const MAX_HEAD_BYTES: usize = 64 << 10;

/// Characters of a client's `X-Request-Id`: any tracing system's fit. A longer one is replaced by the node's own.
pub const MAX_REQUEST_ID_BYTES: usize = 128;

/// Bytes of a JSON answer from which it is compressed for those who take gzip: below, it costs more than it saves.
pub const GZIP_FROM_BYTES: usize = 1 << 10;

/// Milliseconds for a client to send a request's head, and its whole body. Of a bulk request's body: the most between two pieces.
pub const HEADER_MS: u64 = 10_000;
pub const BODY_MS: u64 = 60_000;

/// Milliseconds for which a client may take nothing of an answer, or of what it has subscribed to. Past it the connection is cut: it would keep its place for ever.
pub const STALL_MS: u64 = 30_000;

/// Client connections at once. Further ones wait in the kernel's queue.
pub const MAX_CONNECTIONS: usize = 10_000;

/// Milliseconds that text and list differences may search before the middle is replaced.
pub const DIFF_BUDGET_MS: u64 = 10;

/// Elements or letters, of both sides together, among which the longest common subsequence is searched at once. In longer stretches those that occur once on each side are matched first, whose cost does not depend on how much differs.
pub const DIFF_AT_ONCE: usize = 10_000;

/// Elements of one stretch of a list that are edited in place by their position alone. A put costs several times an insert and a delete, so past it the stretch is replaced.
pub const DIFF_IN_PLACE: usize = 1_000;

/// Bytes of a name, URL or reason on a link. A longer one closes the link.
pub const MAX_TEXT_BYTES: usize = 2_048;

/// Bytes of a token file: thousands of tokens. Refused at the start past it.
pub const MAX_TOKEN_FILE_BYTES: usize = 1 << 20;

/// Bytes of an answer that the command line reads: far above any document that could be written. An error past it.
pub const MAX_ANSWER_BYTES: usize = 256 << 20;

/// Milliseconds that the command line waits for a connection, and for a whole answer. Exit code 4 past it.
pub const CLIENT_CONNECT_MS: u64 = 5_000;
pub const CLIENT_ANSWER_MS: u64 = 60_000;
