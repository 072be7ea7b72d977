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

/// Rows in the table of known nodes. Further nodes are not shown.
pub const MAX_KNOWN_NODES: usize = 1_024;

/// Origins in a vector on a link. A larger one closes the link.
pub const MAX_VECTOR_ORIGINS: usize = 65_536;

/// LSNs from one stored vector mark in the log to the next.
pub const MARK_EVERY: u64 = 4_096;

/// Bytes of documents kept materialised in memory, as estimated from their stored size.
pub const DOCUMENT_CACHE_BYTES: usize = 256 << 20;

/// Milliseconds that a request waits at most for a version that is not here yet, unless it asks for less.
pub const VERSION_WAIT_MS: u64 = 5_000;

/// Documents on one page of a list: the default, and the most.
pub const LIST_PAGE: usize = 100;
pub const LIST_PAGE_MOST: usize = 10_000;

/// Lines of one bulk request that are written and whose answers are not on their way: enough for a commit under way and the next. Past it no more of the body is read.
pub const BULK_LINES: usize = 512;

/// Bytes of those lines, beyond the first. Past it no more of the body is read.
pub const BULK_BYTES: usize = 8 << 20;

/// Milliseconds from SIGTERM to exit.
pub const SHUTDOWN_MS: u64 = 5_000;

/// Bytes of a request's head: the longest id and version fit several times over. It is also what is read from a connection at once. 431 past it.
pub const MAX_HEAD_BYTES: usize = 64 << 10;

/// Milliseconds for a client to send a request's head, and its whole body. Of a bulk request's body: the most between two pieces.
/// Characters of a client's `X-Request-Id`: any tracing system's fit. A longer one is replaced by the node's own.
pub const MAX_REQUEST_ID_BYTES: usize = 128;

/// Bytes of a JSON answer from which it is compressed for those who take gzip: below, it costs more than it saves.
pub const GZIP_FROM_BYTES: usize = 1 << 10;

/// Milliseconds for a client to send a request's head, and its whole body.
pub const HEADER_MS: u64 = 10_000;
pub const BODY_MS: u64 = 60_000;

/// Milliseconds for which a client may take nothing of an answer. Past it the connection is cut: it would keep its place for ever.
pub const STALL_MS: u64 = 60_000;

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
