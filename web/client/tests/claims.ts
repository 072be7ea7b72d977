// What the client promises, against real nodes. The same claims are run in Node.js and in a browser, so nothing here
// needs either.

import {
  ClosedError,
  ProblemError,
  Syncline,
  UnreachableError,
  type ConnectionState,
  type JsonObject,
  type LiveEvent,
  type Op,
  type Subscription,
} from "@syncline/client";

/** Nodes that a claim may stop and start. `a` and `b` are masters, `r` is a replica of `b`; `guarded` wants a token. */
export interface Cluster {
  urls: { a: string; b: string; r: string; guarded: string };
  token: string;
  stop(name: string): Promise<void>;
  start(name: string): Promise<void>;
}

export type Claim = (cluster: Cluster) => Promise<void>;

/** Long enough for any machine. */
const PATIENCE_MS = 60_000;

export const claims: Record<string, Claim> = {
  async "what is put is read, on every node"(cluster) {
    const { a, b, r } = clients(cluster);
    const value = { title: "Groceries", items: ["bread", { name: "tea", n: 2.5 }], "ключ": null, __proto__: 1 };
    const written = await a.put("read/ü b%2F/changes", value);
    equal(written.created, true);
    for (const client of [a, b, r]) {
      const doc = await until(() => client.get("read/ü b%2F/changes"));
      equal(doc.value, value);
      equal(doc.version, written.version);
      equal(doc.conflicts, 0);
    }
    equal((await a.put("read/ü b%2F/changes", value)).created, false);
  },

  async "what is not there, or no more, is nothing"({ urls }) {
    const client = new Syncline({ nodes: urls.a });
    equal(await client.get("gone/a"), undefined);
    equal(await client.delete("gone/a"), undefined);
    const { version } = await client.put("gone/a", { n: 1 });
    equal((await client.get("gone/a"))?.value, { n: 1 });
    const deleted = await client.delete("gone/a");
    equal(deleted?.version.length, 1);
    equal(await client.get("gone/a"), undefined);
    equal(await client.delete("gone/a"), undefined);
    equal((await client.get("gone/a", { at: version }))?.value, { n: 1 });
  },

  async "what was read is written at its version, and loses nobody's update"({ urls }) {
    const client = new Syncline({ nodes: urls.a });
    await client.put("merge/a", { list: ["one"], who: "nobody" });
    const doc = await there(client, "merge/a");
    await client.put(doc, { list: ["one", "two"], who: "nobody" });
    await client.put(doc, { list: ["zero", "one"], who: "me" });
    equal((await there(client, "merge/a")).value, { list: ["zero", "one", "two"], who: "me" });
    // By its id alone it is replaced.
    await client.put("merge/a", { list: [] });
    equal((await there(client, "merge/a")).value, { list: [] });
    const first = await client.put({ id: "merge/b", version: [] }, { x: 1 });
    await client.put({ id: "merge/b", version: [] }, { y: 1 });
    equal((await there(client, "merge/b")).value, { x: 1, y: 1 });
    equal((await client.patch(first, { x: 2 })).created, false);
    equal((await there(client, "merge/b")).value, { x: 2, y: 1 });
  },

  async "a write at a version that is made twice is two writes, and by its id alone it is one"({ urls }) {
    // Why only the latter is repeated when its answer did not come.
    const client = new Syncline({ nodes: urls.a });
    const first = await client.put("twice/a", { list: [], note: { $text: "" }, views: { $counter: 0 } });
    for (const place of [first, first]) await client.put(place, { list: ["x"], note: "n", views: 1 });
    equal((await there(client, "twice/a")).value, { list: ["x", "x"], note: "nn", views: 2 });
    for (const place of ["twice/b", "twice/b"]) await client.put(place, { list: ["x"], note: "n", views: 1 });
    for (const id of ["twice/b", "twice/b"]) await client.patch(id, { list: ["x", "y"] });
    equal((await there(client, "twice/b")).value, { list: ["x", "y"], note: "n", views: 1 });
  },

  async "the three kinds of patch are told apart"({ urls }) {
    const client = new Syncline({ nodes: urls.a });
    await client.patch("patch/a", { note: { $text: "Mlk" }, views: { $counter: 0 }, list: [1], old: true });
    await client.patch("patch/a", [
      { op: "text.splice", path: "/note", pos: 1, insert: "i" },
      { op: "increment", path: "/views", by: 2 },
      { op: "list.insert", path: "/list", index: 0, value: 0 },
    ]);
    await client.patch("patch/a", [{ op: "remove", path: "/old" }]);
    await client.patch("patch/a", []);
    equal((await there(client, "patch/a")).value, { note: "Milk", views: 2, list: [0, 1] });
    const typed = await client.get("patch/a", { typed: true });
    equal(typed?.value, { note: { $text: "Milk" }, views: { $counter: 2 }, list: [0, 1] });
  },

  async "an author of any letters is kept"({ urls }) {
    const client = new Syncline({ nodes: urls.a, author: "Zoë 🦊" });
    await client.put("author/a", { n: 1 });
    await client.patch("author/a", { n: 2 }, { author: "Łukasz" });
    const history = await (await fetch(`${urls.a}/v1/docs/author/a/history`)).json();
    equal(
      history.changes.map((change: { author: string }) => change.author),
      ["Łukasz", "Zoë 🦊"],
    );
  },

  async "a refusal says what is wrong and where"({ urls }) {
    const client = new Syncline({ nodes: [urls.a, urls.b] });
    const error = await failure(client.patch("refused/a", [{ op: "list.delete", path: "/none", index: 0, count: 1 }]));
    equal(error instanceof ProblemError && [error.type, error.status, error.node], ["refused", 422, urls.a]);
    await client.put("refused/a", {});
    const guarded = await failure(client.put("refused/a", {}, { ifNoneMatch: "*" }));
    equal(guarded instanceof ProblemError && guarded.type, "precondition-failed");
    await client.put("refused/b", {}, { ifNoneMatch: "*" });
  },

  async "a list goes on through all pages"({ urls }) {
    const client = new Syncline({ nodes: urls.a });
    const ids = Array.from({ length: 25 }, (_, n) => `list/${String(n).padStart(2, "0")}`);
    for (const id of ids) await client.put(id, { id });
    const rows = [];
    for await (const row of client.list({ prefix: "list/", values: true, page: 10 })) rows.push(row);
    equal(
      rows.map(({ id, value }) => [id, value]),
      ids.map((id) => [id, { id }]),
    );
    const some = [];
    for await (const { id } of client.list({ prefix: "list/", after: "list/22", page: 1 })) some.push(id);
    equal(some, ["list/23", "list/24"]);
  },

  async "the cluster is told as a node sees it"({ urls }) {
    const client = new Syncline({ nodes: urls.b });
    const view = await client.cluster();
    equal(view.nodes.map(({ name }) => name).sort(), ["a", "b", "r"]);
  },

  async "a token is shown, and without it nothing is read"({ urls, token }) {
    const client = new Syncline({ nodes: urls.guarded, token });
    await client.put("secret", { n: 1 });
    equal((await there(client, "secret")).value, { n: 1 });
    const events = follow(client.subscribe("secret"));
    equal((await events.value((value) => value.n === 1)).n, 1);
    client.close();
    const stranger = new Syncline({ nodes: urls.guarded });
    const error = await failure(stranger.get("secret"));
    equal(error instanceof ProblemError && error.type, "no-token");
    const closed = await failure(stranger.subscribe("secret").closed);
    equal(closed instanceof ClosedError && closed.code, 4401);
  },

  async "a replica hands nobody's write away: the master takes it"({ urls }) {
    const client = new Syncline({ nodes: [urls.r, urls.a] });
    equal((await client.patch("replica/a", [{ op: "put", path: "/n", value: 1 }])).created, true);
    // Reads stay where they were asked for.
    await until(() => new Syncline({ nodes: urls.r }).get("replica/a"));
    equal((await client.cluster()).nodes[0]?.name, "r");
    // Where no master is named, one that the replica knows is asked.
    const alone = new Syncline({ nodes: [urls.r] });
    equal((await alone.put("replica/b", { n: 1 })).created, true);
  },

  async "a node that is not there is passed over, for reads and for any write"({ urls }) {
    const nowhere = "http://127.0.0.1:9";
    for (const write of [
      (client: Syncline) => client.put("over/a", { n: 1 }),
      (client: Syncline) => client.patch("over/b", { n: 1 }),
      (client: Syncline) => client.patch("over/c", [{ op: "put", path: "/n", value: 1 }]),
      (client: Syncline) => client.put({ id: "over/d", version: [] }, { n: 1 }),
    ]) {
      const { id } = await write(new Syncline({ nodes: [nowhere, urls.a] }));
      equal((await there(new Syncline({ nodes: [nowhere, urls.a] }), id)).value, { n: 1 });
    }
    const alone = new Syncline({ nodes: nowhere, timeout: 500 });
    equal((await failure(alone.get("over/a"))) instanceof UnreachableError, true);
    equal((await failure(alone.put("over/a", {}))) instanceof UnreachableError, true);
  },

  async "a call goes on when its node is stopped, and ends when it is told to"(cluster) {
    const client = new Syncline({ nodes: [cluster.urls.a, cluster.urls.b] });
    await client.put("stop/a", { n: 1 });
    await until(() => new Syncline({ nodes: cluster.urls.b }).get("stop/a"));
    await cluster.stop("a");
    try {
      equal((await there(client, "stop/a")).value, { n: 1 });
      await client.put("stop/a", { n: 2 });
      equal((await there(client, "stop/a")).value, { n: 2 });
      const stop = new AbortController();
      const call = new Syncline({ nodes: cluster.urls.a }).get("stop/a", { signal: stop.signal });
      stop.abort(new Error("enough"));
      equal(String(await failure(call)), "Error: enough");
    } finally {
      await cluster.start("a");
    }
    equal((await until(() => new Syncline({ nodes: cluster.urls.a }).get("stop/a"))).id, "stop/a");
  },

  async "a reader sees whole values, and positions count code points"({ urls }) {
    const writer = new Syncline({ nodes: urls.a });
    const reader = new Syncline({ nodes: urls.r });
    await writer.put("live/a", { note: { $text: "🦊🦊" }, views: { $counter: 0 }, list: [{ n: 1 }], "a/b~c": {} });
    const events = follow(reader.subscribe("live/a"));
    await events.value((value) => value.note === "🦊🦊");
    await writer.patch("live/a", [
      { op: "text.splice", path: "/note", pos: 1, delete: 1, insert: "é🐻" },
      { op: "increment", path: "/views", by: -3 },
      { op: "list.insert", path: "/list", index: 1, value: { $text: "x" } },
      { op: "put", path: "/list/0/n", value: 2 },
      { op: "put", path: "/a~1b~0c/__proto__", value: { deep: [true] } },
    ]);
    const value = await events.value((value) => value.views === -3);
    equal(value, (await there(writer, "live/a")).value);
    equal(value.note, "🦊é🐻");
    equal(events.values.length, 2);
    equal(events.values[0]?.note, "🦊🦊");
    await writer.delete("live/a");
    await events.event((event) => event.type === "deleted");
    await writer.put("live/a", { back: true });
    equal(await events.value((value) => value.back === true), { back: true });
    reader.close();
    await events.ended;
  },

  async "what two masters merge is what a reader in patch mode has, of any operations"({ urls }) {
    const [one, other] = [new Syncline({ nodes: urls.a }), new Syncline({ nodes: urls.b })];
    const reader = new Syncline({ nodes: urls.r });
    await one.put("random/a", { text: { $text: "" }, list: [], map: {}, count: { $counter: 0 } });
    await until(() => other.get("random/a"));
    const events = follow(reader.subscribe("random/a"));
    const random = numbers(7);
    for (let round = 0; round < 60; round += 1) {
      const client = random(2) === 0 ? one : other;
      // At the version for which they were made: what the other master wrote may come in between.
      const doc = await there(client, "random/a");
      await client.patch(doc, operations(doc.value, random));
    }
    await one.patch("random/a", { done: 1 });
    await other.patch("random/a", { also: 1 });
    const converged = await until(async () => {
      const [here, there] = [await one.get("random/a"), await other.get("random/a")];
      return here && String(here.version) === String(there?.version) && here.value.also ? here : undefined;
    });
    equal(await events.value((value) => value.done === 1 && value.also === 1), converged.value);
    equal(events.seen.some((event) => event.type === "value" && event.step), true);
    reader.close();
  },

  async "a reader that was cut off goes on elsewhere, and is told everything once"(cluster) {
    const { urls } = cluster;
    const writer = new Syncline({ nodes: urls.b });
    await writer.put("resume/a", { n: 0, note: { $text: "" } });
    await until(() => new Syncline({ nodes: urls.a }).get("resume/a"));
    const states: ConnectionState[] = [];
    const reader = new Syncline({ nodes: [urls.a, urls.b, urls.r], onConnection: (state) => states.push(state) });
    const events = follow(reader.subscribe("resume/a"));
    await events.value((value) => value.n === 0);
    await cluster.stop("a");
    try {
      for (let n = 1; n <= 5; n += 1) {
        await writer.patch("resume/a", [
          { op: "put", path: "/n", value: n },
          { op: "text.splice", path: "/note", pos: n - 1, insert: String(n) },
        ]);
        await events.value((value) => value.n === n);
      }
    } finally {
      await cluster.start("a");
    }
    const seen = events.values.map(({ n }) => Number(n));
    equal(seen, [0, 1, 2, 3, 4, 5]);
    equal(events.values.at(-1)?.note, "12345");
    const nodes = states.flatMap((state) => (state.state === "open" ? [state.node] : []));
    equal(nodes[0], urls.a);
    equal(nodes.length > 1 && nodes[1] !== urls.a, true);
    reader.close();
    equal(states.at(-1)?.state, "idle");
  },

  async "a reader of many documents goes on from its cursor"(cluster) {
    const { urls } = cluster;
    const writer = new Syncline({ nodes: urls.b });
    for (const name of ["a", "b", "c"]) await writer.put(`many/${name}`, { n: 0 });
    await until(() => new Syncline({ nodes: urls.a }).get("many/c"));
    for (const mode of ["patch", "value", "notify"] as const) {
      const reader = new Syncline({ nodes: [urls.a, urls.b] });
      const events = follow(reader.subscribe({ prefix: "many/" }, { mode }));
      await events.event((event) => event.type === "up-to-date");
      equal(events.ids(), ["many/a", "many/b", "many/c"]);
      await cluster.stop("a");
      try {
        const before = events.seen.length;
        await writer.put("many/b", { n: mode });
        await writer.delete("many/c");
        await events.event((event) => event.type === "up-to-date" && events.since(before).length >= 2);
        equal(events.since(before).sort(), ["deleted many/c", `${mode === "notify" ? "notify" : "value"} many/b`]);
        await writer.put("many/c", { n: 0 });
        await events.event((event) => event.type !== "up-to-date" && events.since(before).length >= 3);
      } finally {
        await cluster.start("a");
      }
      reader.close();
      await until(async () => (await new Syncline({ nodes: urls.a }).get("many/c")) && true);
      await until(async () => (await new Syncline({ nodes: urls.a }).get("many/b"))?.value.n === mode || undefined);
    }
  },

  async "a later reader begins where another has stopped, or where a document was read"({ urls }) {
    const client = new Syncline({ nodes: urls.a });
    await client.put("since/a", { n: 1 });
    await client.put("since/b", { n: 1 });
    const first = client.subscribe({ prefix: "since/" });
    for await (const event of first) if (event.type === "up-to-date") break;
    const doc = await there(client, "since/a");
    await client.put("since/a", { n: 2 });
    const { cursor } = first;
    equal(typeof cursor, "string");
    const events = follow(client.subscribe({ prefix: "since/" }, { since: cursor! }));
    await events.event((event) => event.type === "up-to-date");
    equal(events.ids(), ["since/a"]);
    const from = follow(client.subscribe(doc));
    equal(await from.value(() => true), { n: 2 });
    const none = follow(client.subscribe({ all: true }, { since: "now", mode: "notify" }));
    await none.event((event) => event.type === "up-to-date");
    equal(none.ids(), []);
    client.close();
  },

  async "raw changes come as bytes, and a function may take what comes"({ urls }) {
    const client = new Syncline({ nodes: urls.a });
    const { version } = await client.put("raw/a", { n: 1 });
    const events: LiveEvent[] = [];
    const subscription = client.subscribe("raw/a", { mode: "changes" }, (event) => {
      events.push(event);
      if (event.type === "up-to-date") subscription.close();
    });
    await subscription.closed;
    const [changes] = events;
    equal(changes?.type === "changes" && [changes.from, changes.version], [[], version]);
    equal(changes?.type === "changes" && Array.from(changes.changes[0]!.slice(0, 4)), [0x85, 0x6f, 0x4a, 0x83]);
    const failing = client.subscribe("raw/a", {}, () => Promise.reject(new Error("no more")));
    equal(String(await failure(failing.closed)), "Error: no more");
  },

  async "many subscriptions share one connection, and a wrong one ends alone"({ urls }) {
    const states: ConnectionState[] = [];
    const client = new Syncline({ nodes: urls.a, onConnection: (state) => states.push(state) });
    await client.put("share/a", { n: 1 });
    const all = Array.from({ length: 20 }, () => follow(client.subscribe("share/a")));
    const wrong = client.subscribe("share/a", { since: "garbage" });
    equal((await failure(wrong.closed)) instanceof ProblemError, true);
    for (const events of all) equal((await events.value(() => true)).n, 1);
    await client.patch("share/a", { n: 2 });
    for (const events of all) equal((await events.value((value) => value.n === 2)).n, 2);
    equal(states.filter(({ state }) => state === "open").length, 1);
    client.close();
  },
};

function clients({ urls }: Cluster): { a: Syncline; b: Syncline; r: Syncline } {
  return { a: new Syncline({ nodes: urls.a }), b: new Syncline({ nodes: urls.b }), r: new Syncline({ nodes: urls.r }) };
}

async function there(client: Syncline, id: string) {
  const doc = await client.get(id);
  if (!doc) throw new Error(`${id} is not there`);
  return doc;
}

/** All that a subscription tells, and ways to wait for some of it. */
function follow(subscription: Subscription) {
  const seen: LiveEvent[] = [];
  const waiting = new Set<() => void>();
  let end: unknown;
  const ended = (async () => {
    try {
      for await (const event of subscription) {
        seen.push(event);
        for (const look of waiting) look();
      }
    } catch (error) {
      end = error;
      for (const look of waiting) look();
    }
  })();
  const values = () => seen.flatMap((event) => (event.type === "value" ? [event.value] : []));
  const wait = <T>(find: () => T | undefined): Promise<T> =>
    new Promise((resolve, reject) => {
      const late = setTimeout(() => done(() => reject(new Error(`not seen in ${JSON.stringify(seen)}`))), PATIENCE_MS);
      const done = (act: () => void) => {
        clearTimeout(late);
        waiting.delete(look);
        act();
      };
      const look = () => {
        const found = find();
        if (found !== undefined) done(() => resolve(found));
        else if (end !== undefined) done(() => reject(end));
      };
      waiting.add(look);
      look();
    });
  return {
    seen,
    ended,
    get values() {
      return values();
    },
    /** The first value, from the last taken one on, that is as wanted. */
    value: (is: (value: JsonObject) => boolean) => wait(() => values().findLast(is)),
    event: (is: (event: LiveEvent) => boolean) => wait(() => seen.find(is)),
    ids: () => seen.flatMap((event) => ("id" in event ? [event.id] : [])).sort(),
    since: (start: number) => seen.slice(start).flatMap((event) => ("id" in event ? [`${event.type} ${event.id}`] : [])),
  };
}

/** Some operations that fit a document. */
function operations(value: JsonObject, random: (below: number) => number): Op[] {
  const text = Array.from(value.text as string);
  const list = value.list as unknown[];
  const pick = <T>(of: readonly T[]): T => of[random(of.length)]!;
  switch (random(7)) {
    case 0:
    case 1: {
      const pos = random(text.length + 1);
      const insert = pick(["a", "é", "🦊", "\n\"", "two words"]);
      return [{ op: "text.splice", path: "/text", pos, delete: random(Math.min(3, text.length - pos + 1)), insert }];
    }
    case 2:
      return [
        { op: "list.insert", path: "/list", index: random(list.length + 1), value: pick([1, "x", { $text: "in" }, [1, [2]], {}]) },
        { op: "list.insert", path: "/list", index: 0, value: random(100) },
      ];
    case 3: {
      if (list.length === 0) return [{ op: "increment", path: "/count", by: 1 }];
      const index = random(list.length);
      return [{ op: "list.delete", path: "/list", index, count: 1 + random(Math.min(2, list.length - index)) }];
    }
    case 4:
      return [{ op: "increment", path: "/count", by: random(9) - 4 }];
    case 5:
      return [{ op: "put", path: `/map/${pick(["x", "y", "$z", "a~1b"])}`, value: pick([null, true, "s", { $counter: 3 }, { in: [] }]) }];
    default:
      if (list.length === 0) return [{ op: "text.update", path: "/text", value: "all new" }];
      return [{ op: "put", path: `/list/${random(list.length)}`, value: { n: random(10) } }];
  }
}

/** The same numbers each time: mulberry32. */
function numbers(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) % below;
  };
}

async function failure(promise: Promise<unknown>): Promise<unknown> {
  return promise.then(
    (value) => {
      throw new Error(`no failure but ${JSON.stringify(value)}`);
    },
    (error: unknown) => error,
  );
}

/** Asks until there is something. */
async function until<T>(ask: () => Promise<T | undefined>): Promise<T> {
  const start = Date.now();
  for (;;) {
    const found = await ask();
    if (found !== undefined) return found;
    if (Date.now() - start > PATIENCE_MS) throw new Error(`waited in vain for ${ask}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

function equal(actual: unknown, wanted: unknown): void {
  const [one, other] = [canonical(actual), canonical(wanted)];
  if (one !== other) throw new Error(`${one}\nis not\n${other}`);
}

function canonical(value: unknown): string {
  const sorted = (_: string, inner: unknown): unknown =>
    typeof inner === "object" && inner !== null && !Array.isArray(inner)
      ? Object.entries(inner).sort(([one], [other]) => (one < other ? -1 : 1))
      : inner;
  return JSON.stringify(value, sorted) ?? "undefined";
}
