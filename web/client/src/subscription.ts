// One subscription: what it knows, so that it can go on on another connection, and what its reader is told.

import { ProblemError, SlowReaderError } from "./errors.js";
import type { LiveEvent } from "./events.js";
import { fold } from "./fold.js";
import type { JsonObject, Mode, NodeFrame, Operation, Since, SubscribeFrame, Target, Version } from "./generated.js";
import { EventQueue } from "./queue.js";

/** Documents whose last version and value are kept: as many as a node keeps of a subscription. */
const HELD = 1_000;

/** When so many events wait for the reader, no more is read from the network, where that can be held back... */
const PAUSE_AT = 1_000;

/** ...until there are only so many. */
const RESUME_AT = 500;

/** Where it cannot (a browser's WebSocket), the subscription ends when so many wait. */
const MOST_WAITING = 20_000;

/** Hashes of a version that a node lets itself be named; a version of many concurrent writes can have more. */
const NAMED_HASHES = 64;

interface Held {
  version: Version;
  value?: JsonObject;
  isDeleted?: boolean;
}

/** The connection, as a subscription sees it. */
export interface Source {
  unfollow(subscription: Subscription): void;
  /** Some subscription has become too full to take more, or is no more. */
  balance(): void;
}

export interface Beginning {
  target: Target;
  mode: Mode;
  since: Since | undefined;
  /** What the reader has of the one document already. */
  held?: { version: Version; value: JsonObject } | undefined;
  signal?: AbortSignal | undefined;
}

/**
 * Iterate over it once: `for await (const event of subscription)`. A reader that is slow gets fewer, larger steps.
 * It ends when the loop does, by `close()`, or by its `signal`.
 */
export class Subscription<T extends JsonObject = JsonObject> implements AsyncIterable<LiveEvent<T>> {
  /** Resolves when it is closed, and rejects with what ended it otherwise. */
  readonly closed: Promise<void>;

  readonly #source: Source;
  readonly #target: Target;
  readonly #mode: Mode;
  readonly #held = new Map<string, Held>();
  readonly #queue = new EventQueue();
  #since: Since | undefined;
  #cursor: string | undefined;
  #delivered: string | undefined;
  #end: { error?: unknown } | undefined;
  #isFull = false;
  #wake: (() => void) | undefined;
  readonly #signal: AbortSignal | undefined;
  readonly #abort = (): void => this.close();
  #settle!: { resolve: () => void; reject: (error: unknown) => void };

  constructor(source: Source, { target, mode, since, held, signal }: Beginning) {
    this.#source = source;
    this.#target = target;
    this.#mode = mode;
    this.#since = since;
    if (held && "doc" in target) this.#held.set(target.doc, held);
    this.closed = new Promise((resolve, reject) => (this.#settle = { resolve, reject }));
    // Who iterates learns it there.
    this.closed.catch(() => {});
    this.#signal = signal;
    if (signal?.aborted) this.close();
    else signal?.addEventListener("abort", this.#abort);
  }

  /** Of the last `up-to-date` that the reader has taken: `since` of a later subscription. */
  get cursor(): string | undefined {
    return this.#delivered;
  }

  get isOver(): boolean {
    return this.#end !== undefined;
  }

  close(): void {
    if (this.#end) return;
    this.#queue.clear();
    this.#finish({});
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<LiveEvent<T>, void, void> {
    try {
      for (;;) {
        const event = this.#queue.take();
        if (event) {
          this.#weigh();
          if (event.type === "up-to-date") this.#delivered = event.cursor;
          yield event as LiveEvent<T>;
        } else if (this.#end) {
          if ("error" in this.#end) throw this.#end.error;
          return;
        } else {
          await new Promise<void>((resolve) => (this.#wake = resolve));
        }
      }
    } finally {
      this.close();
    }
  }

  /** @internal Reads it to its end with a function; the next event comes when that is done with the last. */
  async drive(listener: (event: LiveEvent<T>) => unknown): Promise<void> {
    try {
      for await (const event of this) {
        try {
          await listener(event);
        } catch (error) {
          return this.#finish({ error });
        }
      }
    } catch {
      // What ended it: `closed` tells.
    }
  }

  // What follows is for the connection.

  /** @internal Wants no more for now. */
  get isFull(): boolean {
    return this.#isFull;
  }

  /** @internal How it goes on from what it knows. */
  request(id: string): SubscribeFrame {
    const since = this.#resume();
    const frame: SubscribeFrame = { type: "subscribe", id, target: this.#target, mode: this.#mode };
    return since === undefined ? frame : { ...frame, since };
  }

  /** @internal Takes a frame of its own; true where it has to be asked for anew. */
  take(frame: Extract<NodeFrame, { id?: string }>, node: string): boolean {
    switch (frame.type) {
      case "notify":
        this.#step(frame.doc, { version: frame.version }, { type: "notify", id: frame.doc, version: frame.version });
        return false;
      case "snapshot":
        this.#value(frame.doc, frame.version, frame.value);
        return false;
      case "patch":
        return !this.#patch(frame.doc, frame.from, frame.to, frame.patch);
      case "changes": {
        const { doc: id, from, to: version } = frame;
        const changes = frame.changes.map((text) => Uint8Array.from(atob(text), (byte) => byte.charCodeAt(0)));
        this.#step(id, { version }, { type: "changes", id, from, version, changes });
        return false;
      }
      case "deleted": {
        const { doc: id, version } = frame;
        this.#step(id, { version, isDeleted: true }, { type: "deleted", id, version });
        return false;
      }
      case "up-to-date":
        this.#cursor = frame.cursor;
        this.#push({ type: "up-to-date", cursor: frame.cursor });
        return false;
      case "refetch":
        this.#forget();
        this.#push({ type: "refetch", reason: frame.reason });
        return true;
      case "error": {
        const { problem } = frame;
        if (problem.doc === undefined) {
          this.#finish({ error: new ProblemError(problem, node) });
          return false;
        }
        this.#held.delete(problem.doc);
        this.#push({ type: "problem", id: problem.doc, problem });
        return false;
      }
      case "subscribed":
        return false;
    }
  }

  /** @internal */
  fail(error: unknown): void {
    this.#finish({ error });
  }

  #resume(): Since | undefined {
    if (!("doc" in this.#target)) return this.#cursor ?? this.#since;
    const held = this.#held.get(this.#target.doc);
    // On a deletion nothing can be built; and a patch needs a value to be applied to.
    const isBase = held && !held.isDeleted && (this.#mode !== "patch" || held.value);
    return isBase && held.version.length <= NAMED_HASHES ? held.version : (this.#cursor ?? this.#since);
  }

  #value(id: string, version: Version, value: JsonObject): void {
    const held = this.#mode === "patch" ? { version, value } : { version };
    this.#step(id, held, { type: "value", id, version, value });
  }

  #patch(id: string, from: Version, to: Version, operations: Operation[]): boolean {
    const held = this.#held.get(id);
    const value = held?.value && equal(held.version, from) ? fold(held.value, operations) : undefined;
    if (!value) {
      // Neither end should let it come to this; a whole value mends it.
      if ("doc" in this.#target) this.#forget();
      else this.#held.delete(id);
      return false;
    }
    this.#step(id, { version: to, value }, { type: "value", id, version: to, value, step: { from, operations } });
    return true;
  }

  /** After a resumption what was told since the last mark comes again. */
  #step(id: string, held: Held, event: LiveEvent): void {
    const known = this.#held.get(id);
    const isKnown = known && equal(known.version, held.version) && known.isDeleted === held.isDeleted;
    this.#held.delete(id);
    this.#held.set(id, held);
    for (const oldest of this.#held.keys()) {
      if (this.#held.size <= HELD) break;
      this.#held.delete(oldest);
    }
    if (!isKnown) this.#push(event);
  }

  #forget(): void {
    this.#held.clear();
    this.#cursor = undefined;
    this.#since = undefined;
  }

  #push(event: LiveEvent): void {
    if (this.#end) return;
    this.#queue.push(event);
    if (this.#queue.size > MOST_WAITING) {
      this.#finish({ error: new SlowReaderError(`${MOST_WAITING} documents wait for the reader`) });
    }
    this.#weigh();
    this.#rouse();
  }

  #weigh(): void {
    const { size } = this.#queue;
    const isFull = !this.#end && size >= (this.#isFull ? RESUME_AT + 1 : PAUSE_AT);
    if (isFull === this.#isFull) return;
    this.#isFull = isFull;
    this.#source.balance();
  }

  #finish(end: { error?: unknown }): void {
    if (this.#end) return;
    this.#end = end;
    this.#isFull = false;
    this.#signal?.removeEventListener("abort", this.#abort);
    if ("error" in end) this.#settle.reject(end.error);
    else this.#settle.resolve();
    this.#source.unfollow(this as Subscription);
    this.#rouse();
  }

  #rouse(): void {
    this.#wake?.();
    this.#wake = undefined;
  }
}

function equal(one: Version, other: Version): boolean {
  return one.length === other.length && one.every((hash, at) => hash === other[at]);
}
