// Which node to ask next: the first in the order of preference that has not failed lately.

import { pause } from "./jitter.js";

/** A node that failed is passed over for a random time up to this, doubled at each failure in a row. */
const AVOID_MS = 1_000;
const AVOID_MOST_MS = 30_000;

/** So long it is believed of a node that it is a replica: it may be promoted. */
const REPLICA_MS = 30_000;

/** So long it is believed of a node that answered that it is there. */
const FRESH_MS = 10_000;

interface Standing {
  failures: number;
  avoidUntil: number;
  replicaUntil: number;
  answered: number;
}

export class Nodes {
  readonly #standings = new Map<string, Standing>();
  /** Masters that a replica told of: asked where none of the configured nodes takes writes. */
  readonly #learned = new Set<string>();
  readonly #configured: string[];

  constructor(
    urls: readonly string[],
    readonly random: () => number,
    readonly now: () => number = () => performance.now(),
  ) {
    this.#configured = [...new Set(urls.map(base))];
    if (this.#configured.length === 0) throw new TypeError("at least one node is needed");
  }

  /** All nodes that may be asked, the best first. */
  order(isWrite: boolean): string[] {
    const now = this.now();
    const rank = (url: string): number => {
      const { avoidUntil, replicaUntil } = this.#of(url);
      return (isWrite && replicaUntil > now ? 4 : 0) + (avoidUntil > now ? 2 : 0) + (this.#learned.has(url) ? 1 : 0);
    };
    const all = isWrite ? [...this.#configured, ...this.#learned] : [...this.#configured];
    // Sorting is stable: equals stay in the order of preference.
    return all.sort((one, other) => rank(one) - rank(other));
  }

  answered(url: string): void {
    Object.assign(this.#of(url), { failures: 0, avoidUntil: 0, answered: this.now() });
  }

  failed(url: string): void {
    const standing = this.#of(url);
    standing.avoidUntil = this.now() + AVOID_MS / 2 + pause(standing.failures, AVOID_MS, AVOID_MOST_MS, this.random);
    standing.failures += 1;
    standing.answered = -Infinity;
  }

  isFresh(url: string): boolean {
    return this.now() - this.#of(url).answered < FRESH_MS;
  }

  isReplica(url: string, masters: readonly string[]): void {
    this.#of(url).replicaUntil = this.now() + REPLICA_MS;
    this.#learned.clear();
    for (const master of masters.map(base)) {
      // A token that was given to https must not go out in the clear.
      const isWeaker = url.startsWith("https:") && !master.startsWith("https:");
      if (!isWeaker && !this.#configured.includes(master)) this.#learned.add(master);
    }
  }

  #of(url: string): Standing {
    let standing = this.#standings.get(url);
    if (!standing) {
      standing = { failures: 0, avoidUntil: 0, replicaUntil: 0, answered: -Infinity };
      this.#standings.set(url, standing);
    }
    return standing;
  }
}

function base(url: string): string {
  const { protocol } = new URL(url);
  if (protocol !== "http:" && protocol !== "https:") throw new TypeError(`${url} is not the http(s) URL of a node`);
  return url.replace(/\/+$/, "");
}
