// The client: documents read, written, listed and followed on whichever node of a cluster answers.

import { Connection, type ConnectionState } from "./connection.js";
import { ProblemError } from "./errors.js";
import type { LiveEvent } from "./events.js";
import type {
  Calls,
  ClusterView,
  JsonObject,
  JsonPatch,
  ListedDocument,
  Mode,
  Op,
  Since,
  Target,
  Version,
  Written,
} from "./generated.js";
import { readVersion, utf8, writeVersion } from "./headers.js";
import { Nodes } from "./nodes.js";
import { Requests, type Repeat } from "./requests.js";
import { openWebSocket, type OpenSocket } from "./socket.js";
import { Subscription } from "./subscription.js";

export interface Options {
  /** Base URLs of nodes, the preferred first. In a page that a node served, that node where none is named. */
  nodes?: string | readonly string[];
  /** A bearer token. */
  token?: string;
  /** Who writes, kept with each change: up to 128 bytes. The node's name where absent. */
  author?: string;
  /** Milliseconds after which a call is given up, with all its tries; 15,000 where absent. */
  timeout?: number;
  /** Told whenever the connection of the subscriptions changes. */
  onConnection?: (state: ConnectionState) => void;
  fetch?: typeof fetch;
  openSocket?: OpenSocket;
  /** For tests: from 0 up to 1. */
  random?: () => number;
}

/** A document as it was read. */
export interface Doc<T extends JsonObject = JsonObject> {
  id: string;
  version: Version;
  /** As plain JSON, or as typed JSON where that was asked for. */
  value: T;
  typed: boolean;
  etag: string;
  /** How many fields have more than one value. */
  conflicts: number;
}

/**
 * What is written. By its id: as it is on the node then. As it was read (a `Doc`, a row of a list, an event, the
 * result of a write: whatever has `id` and `version`): at that version, and merged with what came since, so that
 * nobody's update is lost. `{ id, version: [] }`: no document was seen.
 */
export type Place = string | { id: string; version: Version };

export interface ReadOptions {
  /** A past version. */
  at?: Version;
  /** With `$text`, `$counter`, `$timestamp` and `$bytes` marked. */
  typed?: boolean;
  signal?: AbortSignal;
}

export interface WriteOptions {
  author?: string;
  /** Seconds to wait for the version that was read, where the node does not have it yet: 0 to 5. */
  wait?: number;
  /** A tag: refused with `precondition-failed` where this node's document has another. */
  ifMatch?: string;
  /** `*`: refused where there is such a document. */
  ifNoneMatch?: string;
  signal?: AbortSignal;
}

export interface ListOptions {
  /** Only ids that begin so. */
  prefix?: string;
  /** Only ids after this one. */
  after?: string;
  /** With the documents themselves. */
  values?: boolean;
  typed?: boolean;
  /** Rows that are asked for at once: 1 to 10,000; 1,000 where absent. */
  page?: number;
  signal?: AbortSignal;
}

export interface SubscribeOptions {
  /** `patch` where absent: whole values, of which only differences are sent. */
  mode?: Mode;
  /** `"0"`, `"now"`, a cursor, or for one document a version. Everything, where absent. */
  since?: Since;
  signal?: AbortSignal;
}

/** A write, and where it left the document. */
export type WriteResult = Written & { id: string };

export class Syncline {
  readonly #requests: Requests;
  readonly #connection: Connection;
  readonly #author: string | undefined;

  constructor(options: Options = {}) {
    const { token, author, timeout = 15_000, onConnection = () => {}, openSocket = openWebSocket } = options;
    const given = typeof options.nodes === "string" ? [options.nodes] : options.nodes;
    const nodes = new Nodes(given ?? ownNode(), options.random ?? Math.random);
    this.#author = author;
    // As a method of anything else than the window it is refused in browsers.
    const ask = options.fetch ?? ((...args) => fetch(...args));
    this.#requests = new Requests(nodes, { token, timeout, fetch: ask });
    const session = () => this.#requests.session;
    this.#connection = new Connection({ nodes, openSocket, token, session, changed: onConnection });
  }

  /** Nothing, where there is no such document, or no more. */
  async get<T extends JsonObject = JsonObject>(id: string, options: ReadOptions = {}): Promise<Doc<T> | undefined> {
    const { at, typed = false, signal } = options;
    const query: Calls["readDocument"]["query"] = {};
    if (typed) query.typed = true;
    if (at) query.at = writeVersion(at);
    const call = { id: checked(id), query, repeat: "anywhere", signal } as const;
    const answer = await orNothing(this.#requests.send("readDocument", call), ["not-found", "gone"]);
    if (!answer) return undefined;
    const version = readVersion(answer.header("Version"));
    const [etag, conflicts] = [answer.header("ETag") ?? "", Number(answer.header("Conflicts"))];
    return { id, version, value: answer.body as T, typed, etag, conflicts };
  }

  /** Creates a document, or makes it this. */
  async put(place: Place, value: JsonObject, options: WriteOptions = {}): Promise<WriteResult> {
    const write = this.#write(place, options, "here");
    const body = { media: "application/json", value } as const;
    return result(write.id, (await this.#requests.send("putDocument", { ...write, body })).body);
  }

  /**
   * An object is a merge patch (RFC 7396). A list has typed operations, or those of a JSON patch (RFC 6902). All but
   * a JSON patch create an absent document.
   */
  async patch(place: Place, patch: JsonObject | readonly Op[] | JsonPatch, options: WriteOptions = {}): Promise<WriteResult> {
    const body = asPatch(patch);
    const write = this.#write(place, options, body.media === "application/merge-patch+json" ? "here" : "never");
    return result(write.id, (await this.#requests.send("patchDocument", { ...write, body })).body);
  }

  /** Deletes a document everywhere. Nothing, where it is not there, or was deleted by a try that got no answer. */
  async delete(place: Place, options: WriteOptions = {}): Promise<WriteResult | undefined> {
    const write = this.#write(place, options, "anywhere");
    const answer = await orNothing(this.#requests.send("deleteDocument", write), ["not-found", "gone"]);
    if (!answer) return undefined;
    const [version, current] = [answer.header("Version"), answer.header("Current-Version")].map(readVersion);
    return { id: write.id, created: false, version: version ?? [], current: current ?? [] };
  }

  /** All documents in order of the bytes of their ids, page by page as they are taken. */
  async *list(options: ListOptions = {}): AsyncGenerator<ListedDocument, void, void> {
    const { prefix, values, typed, page = 1_000, signal } = options;
    let { after } = options;
    do {
      const query: Calls["listDocuments"]["query"] = { limit: page };
      if (prefix) query.prefix = prefix;
      if (after !== undefined) query.after = after;
      if (values || typed) query.include = "value";
      if (typed) query.typed = true;
      const { body } = await this.#requests.send("listDocuments", { query, repeat: "anywhere", signal });
      yield* body.documents;
      after = body.next;
    } while (after !== undefined);
  }

  /** Nodes, roles, links and lag, as the node sees them that answers. */
  async cluster(options: { signal?: AbortSignal } = {}): Promise<ClusterView> {
    const { signal } = options;
    return (await this.#requests.send("readCluster", { repeat: "anywhere", signal })).body;
  }

  /**
   * Follows a document (by its id; or from where it was read, as `Doc`), or all with a prefix, or all. Iterate over
   * the result, or give a function. It goes on by itself, on another node if need be, when a connection ends.
   */
  subscribe<T extends JsonObject = JsonObject>(
    target: string | Doc<T> | Target,
    options: SubscribeOptions = {},
    listener?: (event: LiveEvent<T>) => unknown,
  ): Subscription<T> {
    const { mode = "patch", since, signal } = options;
    const doc = typeof target === "object" && "version" in target ? target : undefined;
    const wanted: Target = typeof target === "string" ? { doc: checked(target) } : doc ? { doc: doc.id } : (target as Target);
    // What is sent are differences of plain JSON.
    const held = doc && !doc.typed && since === undefined ? { version: doc.version, value: doc.value } : undefined;
    const subscription = new Subscription<T>(this.#connection, { target: wanted, mode, since, held, signal });
    this.#connection.follow(subscription as unknown as Subscription);
    if (listener) void subscription.drive(listener);
    return subscription;
  }

  /** Ends all subscriptions. */
  close(): void {
    this.#connection.close();
  }

  #write(place: Place, options: WriteOptions, repeat: Repeat) {
    const { author = this.#author, wait, ifMatch, ifNoneMatch, signal } = options;
    const { id, version } = typeof place === "string" ? { id: place, version: undefined } : place;
    const headers: Calls["putDocument"]["headers"] = {};
    if (version) headers.Parents = writeVersion(version);
    if (author !== undefined) headers.Author = utf8(author);
    if (wait !== undefined) headers.Prefer = `wait=${wait}`;
    if (ifMatch !== undefined) headers["If-Match"] = ifMatch;
    if (ifNoneMatch !== undefined) headers["If-None-Match"] = ifNoneMatch;
    const isGuarded = ifMatch !== undefined || ifNoneMatch !== undefined;
    const isOnce = isGuarded || (version !== undefined && repeat === "here");
    return { id: checked(id), headers, repeat: isOnce ? ("never" as const) : repeat, signal };
  }
}

function asPatch(patch: JsonObject | readonly Op[] | JsonPatch) {
  if (!Array.isArray(patch)) return { media: "application/merge-patch+json", value: patch as JsonObject } as const;
  // The two kinds have no operation in common.
  const operations = patch as JsonPatch | Op[];
  const isJsonPatch = ["add", "remove", "replace", "move", "copy", "test"].includes(operations[0]?.op ?? "");
  if (isJsonPatch) return { media: "application/json-patch+json", value: operations as JsonPatch } as const;
  return { media: "application/vnd.syncline.ops+json", value: operations as Op[] } as const;
}

function result(id: string, written: Written | JsonObject | undefined): WriteResult {
  return { id, ...(written as Written) };
}

/** URLs have no such last segment, however it is written. */
function checked(id: string): string {
  if (id === "" || id === "." || id === "..") throw new TypeError(`${JSON.stringify(id)} is not an id that a URL can name`);
  return id;
}

async function orNothing<A>(answer: Promise<A>, types: string[]): Promise<A | undefined> {
  return answer.catch((error: unknown) => {
    if (error instanceof ProblemError && types.includes(error.type)) return undefined;
    throw error;
  });
}

/** That which served the page. */
function ownNode(): string[] {
  const { location } = globalThis as { location?: { origin: string } };
  return location ? [location.origin] : [];
}


