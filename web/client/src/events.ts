// What the reader of a subscription is told.

import type { JsonObject, LiveProblem, Operation, Version } from "./generated.js";

export type LiveEvent<T extends JsonObject = JsonObject> =
  | ValueEvent<T>
  | { type: "notify"; id: string; version: Version }
  /** Raw Automerge changes, to be loaded in order; with `from` empty the document begins anew. */
  | { type: "changes"; id: string; from: Version; version: Version; changes: Uint8Array[] }
  | { type: "deleted"; id: string; version: Version }
  /** What was told so far is all that the node had a moment ago. `cursor` names it, on every node. */
  | { type: "up-to-date"; cursor: string }
  /** What was told before can not be gone on from: forget it. All documents follow anew. */
  | { type: "refetch"; reason: string }
  /** This document cannot be shown; the others are. */
  | { type: "problem"; id: string; problem: LiveProblem };

/** A document as it is now: a whole value, not to be changed in place. */
export interface ValueEvent<T extends JsonObject = JsonObject> {
  type: "value";
  id: string;
  version: Version;
  value: T;
  /** How it came from the version that was told last, where that is known: what an editor applies. */
  step?: { from: Version; operations: Operation[] };
}
