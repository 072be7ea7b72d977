// What can go wrong, as far as a caller can do something about it.

import type { LiveProblem, Problem } from "./generated.js";

/** All errors of this package but those of wrong arguments. */
export class SynclineError extends Error {
  constructor(message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = new.target.name;
  }
}

/** A node refused. `type` is one of the names in docs/rest.md, without `urn:syncline:problem:`. */
export class ProblemError extends SynclineError {
  readonly type: string;
  readonly status: number;

  constructor(
    readonly problem: Problem | LiveProblem,
    readonly node: string,
  ) {
    super(`${problem.title}: ${problem.detail}`);
    this.type = problem.type.replace("urn:syncline:problem:", "");
    this.status = problem.status;
  }
}

/** No node could be asked. Nothing was written. `cause` is the last reason. */
export class UnreachableError extends SynclineError {}

/**
 * A write was sent, and its answer did not come: it was made, or it was not. It is not sent again by itself where
 * that could make it twice.
 */
export class OutcomeUnknownError extends SynclineError {}

/** A node ended the connection of all subscriptions, and said not to come back (44xx). */
export class ClosedError extends SynclineError {
  constructor(
    readonly code: number,
    reason: string,
  ) {
    super(`${code} ${reason}`);
  }
}

/** More documents wait for the reader of a subscription than are kept for it. */
export class SlowReaderError extends SynclineError {}
