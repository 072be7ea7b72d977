// What is said between client and node. Made by scripts/types.mjs out of docs/: do not edit.

export type Json = null | boolean | number | string | Json[] | JsonObject;
export type JsonObject = { [key: string]: Json };

export interface Calls {
  /** Tells whether the process answers */
  isLive: {
    query: {};
    headers: {};
    body: never;
    answer: {
      live: boolean;
    };
    answerHeaders: never;
  };
  /** Tells of nodes, roles, links, vectors and lag, and whether all have the same */
  readCluster: {
    query: {};
    headers: {};
    body: never;
    answer: ClusterView;
    answerHeaders: never;
  };
  /** Lists documents in order of id bytes */
  listDocuments: {
    query: {
      /** Only ids that begin like this, compared by bytes */
      prefix?: string;
      /** Only ids after this one: `next` of the page before */
      after?: string;
      /** Documents on a page */
      limit?: number;
      /** `value`: with the documents themselves */
      include?: "value";
      /** With `include=value`: the documents as typed JSON. Alone it is refused */
      typed?: boolean;
    };
    headers: {};
    body: never;
    answer: DocumentList;
    answerHeaders: "Link";
  };
  /** Reads a document */
  readDocument: {
    query: {
      /** Marks texts, counters, times and bytes as such */
      typed?: boolean;
      /** A past version, as `Version` told it; the quotes may be left out */
      at?: string;
    };
    headers: {
      /** Tags of representations that the caller has: 304 where it is one of them */
      "If-None-Match"?: string;
      /** Tags of the only representations wanted: 412 where it is another */
      "If-Match"?: string;
    };
    body: never;
    answer: Document;
    answerHeaders: "Conflicts" | "ETag" | "Version";
  };
  /** Creates or replaces a document */
  putDocument: {
    query: {};
    headers: {
      /** The `Version` that the caller read and writes at; empty: it saw no document. Unknown here: the node waits for it, then 503 */
      Parents?: string;
      /** Tags of versions, or `*`: 412 where the document has another */
      "If-Match"?: string;
      /** `*`: 412 where the document exists; or tags that it must not have */
      "If-None-Match"?: string;
      /** `wait=N`: seconds to wait for a version in `Parents` that is not here yet, at most 5. `return=representation`: to be answered the document as it is after the write; `return=minimal`: nothing */
      Prefer?: string;
      /** Who writes: UTF-8, kept with the change */
      Author?: string;
    };
    body: {
      "application/json": Document;
    };
    answer: Written | Document | undefined;
    answerHeaders: "Content-Location" | "Current-Version" | "ETag" | "Location" | "Preference-Applied" | "Version";
  };
  /** Deletes a document on all nodes */
  deleteDocument: {
    query: {};
    headers: {
      /** The `Version` that the caller read and writes at; empty: it saw no document. Unknown here: the node waits for it, then 503 */
      Parents?: string;
      /** Tags of versions, or `*`: 412 where the document has another */
      "If-Match"?: string;
      /** `*`: 412 where the document exists; or tags that it must not have */
      "If-None-Match"?: string;
      /** `wait=N`: seconds to wait for a version in `Parents` that is not here yet, at most 5. `return=representation`: to be answered the document as it is after the write; `return=minimal`: nothing */
      Prefer?: string;
      /** Who writes: UTF-8, kept with the change */
      Author?: string;
    };
    body: never;
    answer: undefined;
    answerHeaders: "Current-Version" | "Version";
  };
  /** Changes parts of a document */
  patchDocument: {
    query: {};
    headers: {
      /** The `Version` that the caller read and writes at; empty: it saw no document. Unknown here: the node waits for it, then 503 */
      Parents?: string;
      /** Tags of versions, or `*`: 412 where the document has another */
      "If-Match"?: string;
      /** `*`: 412 where the document exists; or tags that it must not have */
      "If-None-Match"?: string;
      /** `wait=N`: seconds to wait for a version in `Parents` that is not here yet, at most 5. `return=representation`: to be answered the document as it is after the write; `return=minimal`: nothing */
      Prefer?: string;
      /** Who writes: UTF-8, kept with the change */
      Author?: string;
    };
    body: {
      "application/json-patch+json": JsonPatch;
      "application/merge-patch+json": Document;
      "application/vnd.syncline.ops+json": Operations;
    };
    answer: Written | Document | undefined;
    answerHeaders: "Content-Location" | "Current-Version" | "ETag" | "Location" | "Preference-Applied" | "Version";
  };
}

export const ROUTES = {
  isLive: { method: "GET", path: "/livez" },
  readCluster: { method: "GET", path: "/v1/cluster" },
  listDocuments: { method: "GET", path: "/v1/docs" },
  readDocument: { method: "GET", path: "/v1/docs/{id}" },
  putDocument: { method: "PUT", path: "/v1/docs/{id}" },
  deleteDocument: { method: "DELETE", path: "/v1/docs/{id}" },
  patchDocument: { method: "PATCH", path: "/v1/docs/{id}" },
} as const;

/** An error (RFC 9457). `type` stays; title and detail may change. The members below are there where the type has them */
export type Problem = {
  /** `change-refused`: the hash of that change */
  change?: string;
  /** `precondition-failed`: the version here */
  current?: string[];
  /** What is wrong with this request, for people */
  detail: string;
  /** `malformed`: the header that cannot be read */
  header?: string;
  /** `too-large`: bytes that a body may have */
  limit?: number;
  /** `read-only`: base URLs of the masters known here */
  masters?: string[];
  /** `missing-dependencies`: the hashes that are missing */
  missing?: string[];
  /** `malformed`: the query parameter that cannot be read */
  parameter?: string;
  /** `refused`, `test-failed`: a JSON pointer to it */
  pointer?: string;
  /** The `X-Request-Id` of the answer */
  request?: string;
  /** `no-right`: the right that the token lacks */
  right?: string;
  status: number;
  title: string;
  type: "urn:syncline:problem:malformed" | "urn:syncline:problem:not-json" | "urn:syncline:problem:no-token" | "urn:syncline:problem:no-right" | "urn:syncline:problem:host-not-allowed" | "urn:syncline:problem:origin-not-allowed" | "urn:syncline:problem:read-only" | "urn:syncline:problem:not-found" | "urn:syncline:problem:gone" | "urn:syncline:problem:version-not-found" | "urn:syncline:problem:no-such-resource" | "urn:syncline:problem:method-not-allowed" | "urn:syncline:problem:not-acceptable" | "urn:syncline:problem:too-slow" | "urn:syncline:problem:missing-dependencies" | "urn:syncline:problem:refetch" | "urn:syncline:problem:test-failed" | "urn:syncline:problem:not-a-websocket" | "urn:syncline:problem:too-many-subscriptions" | "urn:syncline:problem:precondition-failed" | "urn:syncline:problem:too-large" | "urn:syncline:problem:unsupported-media-type" | "urn:syncline:problem:refused" | "urn:syncline:problem:bad-id" | "urn:syncline:problem:change-refused" | "urn:syncline:problem:failed" | "urn:syncline:problem:storage-failed" | "urn:syncline:problem:fenced" | "urn:syncline:problem:not-yet-converged" | "urn:syncline:problem:busy" | "urn:syncline:problem:too-many-subscribers" | "urn:syncline:problem:stopping" | "urn:syncline:problem:storage-full";
  /** `gone`: the version that deletes it */
  version?: string[];
};

/** The cluster as this node sees it. */
export type ClusterView = {
  cluster: string;
  damage?: null | DamageView;
  /** Documents that are fenced on this node, as a stored change of them is damaged. Of more than 1,000, some. */
  fenced?: string[];
  /** Id of the node that answers. */
  node: string;
  /** This node first, then by name. */
  nodes: NodeRow[];
  repair?: null | RepairView;
  state: ClusterState;
};

export type DocumentList = {
  documents: ListedDocument[];
  /** `after` of the next page, where there is more */
  next?: string;
};

/** A document: a JSON object. An object with one member `$text`, `$counter`, `$timestamp` or `$bytes` is a text that several people edit, a number to which increments add up, a time, or bytes; a literal key that begins with `$` is written with `$$`. Integers have up to 64 bits. */
export type Document = JsonObject;

export type Written = {
  /** The document was not there before */
  created: boolean;
  /** The heads after it, with what others wrote */
  current: Version;
  /** The one version that this write made */
  version: Version;
};

/** A JSON patch (RFC 6902): operations made in order, all in one change, or none */
export type JsonPatch = {
  /** `move` and `copy`: a JSON pointer */
  from?: string;
  op: "add" | "remove" | "replace" | "move" | "copy" | "test";
  /** A JSON pointer */
  path: string;
  value?: Json;
}[];

/** Typed operations, made in order, all in one change. Positions count Unicode code points */
export type Operations = Op[];

/** Stored data that cannot be read. */
export type DamageView = {
  /** What the first of them said. */
  first: string;
  /** Reads and commits that came upon it since the start. */
  found: number;
  /** What to do. */
  remedy: string;
};

export type NodeRow = {
  /** Changes that it has and this node lacks. */
  ahead: number;
  /** Changes known here that it lacks, and for how long the oldest of them. */
  behind: number;
  behind_ms: number;
  /** Node id → up to which number its incarnations are closed: every known node holds all of them, and no vector names them any more. */
  closed?: [string, number][];
  /** Equal vector and equal digest with this node. */
  converged: boolean;
  /** Digest over (document, heads), hexadecimal. */
  digest: string;
  /** Since its last sign of life, directly or through others; 0 for this node. */
  heard_ms: number;
  id: string;
  incarnation: number;
  /** Names of the nodes that it is linked with now. */
  links: string[];
  name: string;
  role: string;
  /** Base URL at which it says it can be reached, where it says so. */
  url?: string | null;
  /** Origin → counter, as text. */
  vector: [string, number][];
};

/** A node that is new, or that logs do not reach any more, gets from another what it lacks. */
export type RepairView = {
  /** Bytes of documents received. */
  bytes: number;
  /** Documents that may differ; 0 until that is known. */
  documents: number;
  /** How many of them have been looked at or received. */
  done: number;
  /** Since it began. */
  elapsed_ms: number;
  /** Name of the node that repairs it. */
  from: string;
  /** About how long it will take still, where that can be told. */
  left_ms?: number | null;
};

/** Four honest words. */
export type ClusterState = "converged" | "converging" | "partitioned" | "unknown";

export type ListedDocument = {
  /** How much is stored */
  bytes: number;
  /** How many are stored */
  changes: number;
  /** When this node first had it */
  created: string;
  /** Of the JSON, typed where the values are, as in the header */
  etag: string;
  id: string;
  /** When this node last got a change of it */
  modified: string;
  value?: Document;
  version: Version;
};

/** A version of a document: the hashes of its heads. Opaque */
export type Version = string[];

/** One typed operation. `path` is a JSON pointer (RFC 6901); positions count Unicode code points. */
export type Op = {
  op: "put";
  path: string;
  value: Json;
} | {
  op: "delete";
  path: string;
} | {
  by: number;
  op: "increment";
  path: string;
} | {
  delete?: number;
  insert?: string;
  op: "text.splice";
  path: string;
  pos: number;
} | {
  op: "text.update";
  path: string;
  value: string;
} | {
  index: number;
  op: "list.insert";
  path: string;
  value: Json;
} | {
  count: number;
  index: number;
  op: "list.delete";
  path: string;
};

/** What a client sends */
export type ClientFrame = HelloFrame | SubscribeFrame | UnsubscribeFrame | PingFrame;

/** What a node sends */
export type NodeFrame = WelcomeFrame | SubscribedFrame | NotifyFrame | SnapshotFrame | PatchFrame | ChangesFrame | DeletedFrame | UpToDateFrame | RefetchFrame | ErrorFrame | PongFrame;

/** The first frame */
export type HelloFrame = {
  type: "hello";
  token?: string;
  session?: string;
};

/** Begins a subscription */
export type SubscribeFrame = {
  type: "subscribe";
  id: string;
  target: Target;
  mode: Mode;
  since?: Since;
};

/** Ends a subscription */
export type UnsubscribeFrame = {
  type: "unsubscribe";
  id: string;
};

/** Asks for a pong */
export type PingFrame = {
  type: "ping";
};

/** Answer to hello */
export type WelcomeFrame = {
  type: "welcome";
  node: string;
  role: "master" | "replica";
  limits: {
    subscriptions: number;
    frame_bytes: number;
  };
};

/** A subscription has begun */
export type SubscribedFrame = {
  type: "subscribed";
  id: string;
};

/** A document has changed */
export type NotifyFrame = {
  type: "notify";
  id: string;
  doc: string;
  version: string[];
};

/** A document as a whole */
export type SnapshotFrame = {
  type: "snapshot";
  id: string;
  doc: string;
  version: string[];
  value: JsonObject;
};

/** What made one version out of another */
export type PatchFrame = {
  type: "patch";
  id: string;
  doc: string;
  from: string[];
  to: string[];
  patch: Operation[];
};

/** Raw Automerge changes */
export type ChangesFrame = {
  type: "changes";
  id: string;
  doc: string;
  from: string[];
  to: string[];
  /** base64; in CBOR byte strings */
  changes: string[];
};

/** A document is deleted */
export type DeletedFrame = {
  type: "deleted";
  id: string;
  doc: string;
  version: string[];
};

/** All that this node had has been sent */
export type UpToDateFrame = {
  type: "up-to-date";
  id: string;
  cursor: string;
};

/** The cursor cannot be served; the subscription is over */
export type RefetchFrame = {
  type: "refetch";
  id: string;
  reason: string;
};

/** Something was refused */
export type ErrorFrame = {
  type: "error";
  id?: string;
  problem: LiveProblem;
};

/** Answer to ping */
export type PongFrame = {
  type: "pong";
};

export type Target = {
  doc: string;
} | {
  prefix: string;
} | {
  all: true;
};

export type Mode = "notify" | "changes" | "value" | "patch";

export type Since = string | string[];

export type Operation = {
  op: "put";
  path: string;
  value: Json;
} | {
  op: "delete";
  path: string;
} | {
  op: "increment";
  path: string;
  by: number;
} | {
  op: "text.splice";
  path: string;
  pos: number;
  delete?: number;
  insert?: string;
} | {
  op: "list.insert";
  path: string;
  index: number;
  value: Json;
} | {
  op: "list.delete";
  path: string;
  index: number;
  count: number;
};

/** As REST's errors (RFC 9457) */
export type LiveProblem = {
  type: string;
  title: string;
  status: number;
  detail: string;
  doc?: string;
};
