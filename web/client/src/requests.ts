// One call, made until a node has answered it: at which node, and whether it may be made again.
//
// A read may be repeated anywhere. A write whose answer did not come may have been made, so it is repeated only
// where making it twice is the same as making it once, see `Repeat`. A write that a node has refused without
// doing anything (it is a replica, is stopping, has no room), or that never left, goes to the next node in any case.

import { OutcomeUnknownError, ProblemError, UnreachableError } from "./errors.js";
import { ROUTES, type Calls, type Problem } from "./generated.js";
import { pause, sleep } from "./jitter.js";
import type { Nodes } from "./nodes.js";

/** Between two rounds through all nodes: a random time up to this, doubled at each. */
const ROUND_MS = 100;
const ROUND_MOST_MS = 2_000;

/** A node that answers nothing in this time is taken for dead. */
const ANSWER_MS = 10_000;

/** The same, where it is only asked whether it is there. */
const ALIVE_MS = 2_000;

/**
 * Where a call may be made again whose outcome is not known.
 *
 * - `anywhere`: reads, and deletions.
 * - `here`: what says how the document is to be, and is compared with what the node has (a `PUT` or merge patch
 *   without `Parents`): the same node finds nothing to change. Another node may not have the first one yet; it
 *   would insert the same letters and list items again.
 * - `never`: what is made at a version (`Parents`), since the difference from that version would be made, and
 *   merged, twice; operations; and what has a condition, since it would fail over its own success.
 *
 * Every write bears an `Idempotency-Key`, the same at each try. Nodes do not look at it yet.
 */
export type Repeat = "anywhere" | "here" | "never";

export interface Call<N extends keyof Calls> {
  id?: string;
  query?: Calls[N]["query"];
  headers?: Calls[N]["headers"];
  /** What is sent, and as what. */
  body?: { [Media in keyof Calls[N]["body"]]: { media: Media; value: Calls[N]["body"][Media] } }[keyof Calls[N]["body"]];
  repeat: Repeat;
  signal?: AbortSignal | undefined;
}

export interface Answer<N extends keyof Calls> {
  body: Calls[N]["answer"];
  header(name: Calls[N]["answerHeaders"]): string | null;
}

export interface RequestOptions {
  token: string | undefined;
  /** For a call as a whole, in milliseconds. */
  timeout: number;
  fetch: typeof fetch;
}

/** What became of one try. `elsewhere`: nothing was done, and another node may do it. */
type Outcome =
  | { kind: "answered"; response: Response; body: unknown }
  | { kind: "elsewhere"; error: unknown; after: number }
  | { kind: "unknown"; error: unknown };

export class Requests {
  /** Of the last answer: what this client has seen, and every later read of it shows. */
  session: string | undefined;

  constructor(
    readonly nodes: Nodes,
    readonly options: RequestOptions,
  ) {}

  async send<N extends keyof Calls>(name: N, call: Call<N>): Promise<Answer<N>> {
    return within(this.options.timeout, call.signal, (signal) => this.#send(name, call, signal));
  }

  async #send<N extends keyof Calls>(name: N, call: Call<N>, signal: AbortSignal): Promise<Answer<N>> {
    const isWrite = ROUTES[name].method !== "GET";
    const key = isWrite ? idempotencyKey() : undefined;
    const tried = new Set<string>();
    let bound: string | undefined;
    let last: unknown;
    let after = 0;
    for (let round = 0; !signal.aborted; ) {
      const node = (bound === undefined ? this.nodes.order(isWrite) : [bound]).find((url) => !tried.has(url));
      if (node === undefined) {
        const wait = Math.max(after, pause(round, ROUND_MS, ROUND_MOST_MS, this.nodes.random));
        await sleep(wait, signal).catch(() => {});
        tried.clear();
        round += 1;
        after = 0;
        continue;
      }
      tried.add(node);
      const outcome = await this.#try(node, name, call, key, signal);
      if (outcome.kind === "answered") {
        this.nodes.answered(node);
        const { response, body } = outcome;
        return { body: body as Calls[N]["answer"], header: (name) => response.headers.get(name) };
      }
      last = outcome.error;
      if (outcome.kind === "elsewhere") after = Math.max(after, outcome.after);
      else if (call.repeat !== "anywhere") bound = node;
      if (bound !== undefined && call.repeat === "never") break;
    }
    if (bound !== undefined) throw new OutcomeUnknownError(`${bound} did not answer whether it has written`, { cause: last });
    if (call.signal?.aborted) throw call.signal.reason;
    if (last instanceof ProblemError) throw last;
    throw new UnreachableError("no node could be asked", { cause: last });
  }

  async #try<N extends keyof Calls>(
    node: string,
    name: N,
    call: Call<N>,
    key: string | undefined,
    signal: AbortSignal,
  ): Promise<Outcome> {
    if (call.repeat !== "anywhere" && !this.nodes.isFresh(node) && !(await this.#isAlive(node, signal))) {
      this.nodes.failed(node);
      return { kind: "elsewhere", error: new UnreachableError(`${node} does not answer`), after: 0 };
    }
    const { method, path } = ROUTES[name];
    const headers = new Headers({ Accept: "application/json", ...call.headers });
    if (call.body) headers.set("Content-Type", String(call.body.media));
    if (key) headers.set("Idempotency-Key", key);
    if (this.options.token) headers.set("Authorization", `Bearer ${this.options.token}`);
    if (this.session) headers.set("Session-Token", this.session);
    const query = new URLSearchParams();
    for (const [name, value] of Object.entries(call.query ?? {})) query.set(name, String(value));
    const search = query.size > 0 ? `?${query}` : "";
    const url = node + path.replace("{id}", () => encodeURIComponent(call.id ?? "")) + search;
    const request: RequestInit = { method, headers, cache: "no-store", credentials: "omit" };
    if (call.body) request.body = JSON.stringify(call.body.value);
    try {
      const [response, text] = await this.#fetch(url, request, ANSWER_MS, signal);
      if (response.ok) {
        this.session = response.headers.get("Session-Token") ?? this.session;
        return { kind: "answered", response, body: text ? JSON.parse(text) : undefined };
      }
      return this.#refused(node, response, text, method !== "GET");
    } catch (error) {
      if (error instanceof ProblemError) throw error;
      if (!call.signal?.aborted) this.nodes.failed(node);
      return hasNotLeft(error) ? { kind: "elsewhere", error, after: 0 } : { kind: "unknown", error };
    }
  }

  #refused(node: string, response: Response, text: string, isWrite: boolean): Outcome {
    const problem = asProblem(response, text);
    const error = new ProblemError(problem, node);
    const verdict = judge(problem, isWrite);
    if (verdict === "final") throw error;
    if (verdict === "replica") {
      this.nodes.answered(node);
      this.nodes.isReplica(node, problem.masters ?? []);
      return { kind: "elsewhere", error, after: 0 };
    }
    this.nodes.failed(node);
    if (verdict === "unknown") return { kind: "unknown", error };
    const seconds = Number(response.headers.get("Retry-After"));
    return { kind: "elsewhere", error, after: Number.isFinite(seconds) ? Math.min(seconds * 1_000, ROUND_MOST_MS) : 0 };
  }

  /** Whether a write can be sent at all is asked first: a browser does not tell whether it has left. */
  async #isAlive(node: string, signal: AbortSignal): Promise<boolean> {
    const request: RequestInit = { cache: "no-store", credentials: "omit" };
    return this.#fetch(node + ROUTES.isLive.path, request, ALIVE_MS, signal).then(
      ([response]) => response.ok,
      () => false,
    );
  }

  async #fetch(url: string, request: RequestInit, ms: number, signal: AbortSignal): Promise<[Response, string]> {
    const { fetch } = this.options;
    return within(ms, signal, async (signal) => {
      const response = await fetch(url, { ...request, signal });
      return [response, await response.text()];
    });
  }
}

/** What an error means for other nodes. */
function judge({ type, status }: Problem, isWrite: boolean): "final" | "replica" | "elsewhere" | "unknown" {
  switch (type.replace("urn:syncline:problem:", "")) {
    case "read-only":
      return "replica";
    case "busy":
    case "stopping":
    case "not-yet-converged":
    case "storage-full":
    case "too-slow":
    case "failed":
    case "fenced":
      return "elsewhere";
    case "storage-failed":
      return "unknown";
    default:
      // A proxy's, or of a later version.
      return status >= 500 || status === 429 ? (isWrite ? "unknown" : "elsewhere") : "final";
  }
}

function asProblem(response: Response, text: string): Problem {
  try {
    const problem = JSON.parse(text) as Problem;
    if (typeof problem.type === "string") return problem;
  } catch {
    // Not a node's answer.
  }
  const { status, statusText } = response;
  return { type: "about:blank" as Problem["type"], title: statusText || `HTTP ${status}`, status, detail: text.slice(0, 200) };
}

/** Node.js tells when a connection was never made. */
function hasNotLeft(error: unknown): boolean {
  const codes = ["ECONNREFUSED", "ENOTFOUND", "EAI_AGAIN", "EHOSTUNREACH", "ENETUNREACH", "UND_ERR_CONNECT_TIMEOUT"];
  const cause = error instanceof Error ? error.cause : undefined;
  return cause instanceof Error && "code" in cause && codes.includes(String(cause.code));
}

/**
 * Does something with a signal that comes in time. Not by `AbortSignal.any` and `timeout`, which in Node.js 20 may be
 * collected as garbage before they fire.
 */
async function within<T>(ms: number, parent: AbortSignal | undefined, act: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const controller = new AbortController();
  const pass = (): void => controller.abort(parent?.reason);
  if (parent?.aborted) pass();
  parent?.addEventListener("abort", pass);
  const timer = setTimeout(() => controller.abort(new DOMException(`no answer in ${ms} ms`, "TimeoutError")), ms);
  try {
    return await act(controller.signal);
  } finally {
    clearTimeout(timer);
    parent?.removeEventListener("abort", pass);
  }
}

/** `crypto.randomUUID` is there only in pages that came by https or from this machine. */
function idempotencyKey(): string {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}
