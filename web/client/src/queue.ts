// What waits for the reader of a subscription. Of each document only the way from what was taken last to now.

import type { LiveEvent } from "./events.js";

/** Operations of a document that are kept for a reader that is behind. Past it there is only the whole value. */
const OPERATIONS = 1_000;

export class EventQueue {
  /** In the order of the latest of each. */
  readonly #events = new Map<string | symbol, LiveEvent>();
  /** Only as the last: it says that all before it is one state, which is so no more when another event follows. */
  #mark: LiveEvent | undefined;

  get size(): number {
    return this.#events.size + (this.#mark ? 1 : 0);
  }

  push(event: LiveEvent): void {
    this.#mark = undefined;
    if (event.type === "up-to-date") {
      this.#mark = event;
      return;
    }
    if (event.type === "refetch") this.clear();
    // Each raw change is needed.
    const key = "id" in event && event.type !== "changes" ? event.id : Symbol();
    const waiting = this.#events.get(key);
    this.#events.delete(key);
    this.#events.set(key, waiting ? conflate(waiting, event) : event);
  }

  take(): LiveEvent | undefined {
    for (const [key, event] of this.#events) {
      this.#events.delete(key);
      return event;
    }
    const mark = this.#mark;
    this.#mark = undefined;
    return mark;
  }

  clear(): void {
    this.#events.clear();
    this.#mark = undefined;
  }
}

/** One step instead of two. */
function conflate(first: LiveEvent, second: LiveEvent): LiveEvent {
  if (second.type !== "value" || !second.step) return second;
  const { step, ...whole } = second;
  if (first.type !== "value" || !first.step) return whole;
  const operations = [...first.step.operations, ...step.operations];
  return operations.length > OPERATIONS ? whole : { ...whole, step: { from: first.step.from, operations } };
}
