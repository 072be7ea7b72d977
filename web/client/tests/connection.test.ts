// How subscriptions live through what connections do, against sockets that are made up, on a clock that stands still.

import assert from "node:assert/strict";
import { test, type TestContext } from "node:test";

import {
  ClosedError,
  ProblemError,
  SlowReaderError,
  Syncline,
  type ConnectionState,
  type LiveEvent,
  type Options,
  type SocketEvents,
  type Subscription,
} from "@syncline/client";

const [H1, H2, H3] = ["1", "2", "3"].map((digit) => digit.repeat(64)) as [string, string, string];

class Fake {
  readonly sent: Record<string, unknown>[] = [];
  closed = false;
  paused = false;

  constructor(
    readonly url: string,
    readonly events: SocketEvents,
  ) {}

  send(text: string): void {
    this.sent.push(JSON.parse(text));
  }

  close(): void {
    this.closed = true;
  }

  /** Takes what was sent since the last time. */
  get said() {
    return this.sent.splice(0);
  }

  say(...frames: object[]): void {
    for (const frame of frames) this.events.received(JSON.stringify(frame));
  }

  welcome(): void {
    this.events.opened();
    this.say({ type: "welcome", node: "n", role: "master", limits: { subscriptions: 1_000, frame_bytes: 65_536 } });
  }
}

class Pausing extends Fake {
  pause(): void {
    this.paused = true;
  }

  resume(): void {
    this.paused = false;
  }
}

function client(context: TestContext, options: Options = {}, kind: typeof Fake = Fake) {
  context.mock.timers.enable({ apis: ["setTimeout"] });
  const sockets: Fake[] = [];
  const states: ConnectionState[] = [];
  const made = new Syncline({
    nodes: ["http://n1", "https://n2/base/"],
    openSocket: (url, _, events) => {
      const socket = new kind(url, events);
      sockets.push(socket);
      return socket;
    },
    random: () => 0.5,
    onConnection: (state) => states.push(state),
    ...options,
  });
  const tick = (ms: number) => context.mock.timers.tick(ms);
  return { made, sockets, states, tick, last: () => sockets.at(-1)! };
}

const snapshot = (id: string, doc: string, version: string, value: object) => ({ type: "snapshot", id, doc, version: [version], value });
const mark = (id: string, cursor: string) => ({ type: "up-to-date", id, cursor });

/** All that is there to be read now. */
async function read(subscription: AsyncIterator<LiveEvent>, count: number): Promise<LiveEvent[]> {
  const events = [];
  for (let n = 0; n < count; n += 1) events.push((await subscription.next()).value as LiveEvent);
  return events;
}

const iterate = (subscription: Subscription) => subscription[Symbol.asyncIterator]();

test("says hello with token, and subscribes when it is welcome", async (context) => {
  const { made, last } = client(context, { token: "secret" });
  made.subscribe("a");
  made.subscribe({ prefix: "b/" }, { mode: "notify", since: "now" });
  assert.equal(last().url, "ws://n1/v1/subscribe");
  last().events.opened();
  assert.deepEqual(last().said, [{ type: "hello", token: "secret" }]);
  last().welcome();
  assert.deepEqual(last().said.slice(1), [
    { type: "subscribe", id: "1", target: { doc: "a" }, mode: "patch" },
    { type: "subscribe", id: "2", target: { prefix: "b/" }, mode: "notify", since: "now" },
  ]);
  made.close();
});

test("45xx and a connection that is lost lead to another node, from the version or cursor that is there", async (context) => {
  const { made, sockets, last, tick, states } = client(context);
  const one = iterate(made.subscribe("a"));
  const many = iterate(made.subscribe({ all: true }));
  last().welcome();
  last().say(snapshot("1", "a", H1, { n: 1 }), mark("1", "c1"), snapshot("2", "x", H1, {}), mark("2", "c2"), snapshot("2", "y", H2, {}));
  last().events.closed(4503, "stopping");
  assert.equal(sockets.length, 1);
  tick(125);
  assert.equal(last().url, "wss://n2/base/v1/subscribe");
  last().welcome();
  assert.deepEqual(last().said.slice(1), [
    { type: "subscribe", id: "1", target: { doc: "a" }, mode: "patch", since: [H1] },
    { type: "subscribe", id: "2", target: { all: true }, mode: "patch", since: "c2" },
  ]);
  last().say({ type: "patch", id: "1", doc: "a", from: [H1], to: [H2], patch: [{ op: "put", path: "/n", value: 2 }] });
  // What was told after the cursor comes again, and is not told again.
  last().say(snapshot("2", "y", H2, {}), mark("2", "c3"));
  const [first] = await read(one, 1);
  assert.deepEqual(first, { type: "value", id: "a", version: [H2], value: { n: 2 } });
  assert.deepEqual(
    (await read(many, 3)).map((event) => ("id" in event ? event.id : event)),
    ["x", "y", { type: "up-to-date", cursor: "c3" }],
  );
  last().events.closed(1006, "");
  tick(125);
  assert.equal(sockets.length, 3);
  assert.deepEqual(states.map(({ state }) => state), ["connecting", "open", "waiting", "connecting", "open", "waiting", "connecting"]);
  made.close();
});

test("44xx ends all subscriptions, and nothing is opened again", async (context) => {
  const { made, sockets, last, tick, states } = client(context);
  const [one, other] = [made.subscribe("a"), made.subscribe("b")];
  last().events.opened();
  last().events.closed(4401, "a token is needed");
  for (const { closed } of [one, other]) await assert.rejects(closed, (error) => error instanceof ClosedError && error.code === 4401);
  await assert.rejects(iterate(one).next(), ClosedError);
  tick(60_000);
  assert.equal(sockets.length, 1);
  assert.equal(states.at(-1)?.state, "idle");
  // The next subscription is a new try.
  made.subscribe("a");
  assert.equal(sockets.length, 2);
  made.close();
});

test("pauses grow with tries that lead to nothing, and begin anew after one that leads to something", (context) => {
  const { made, last, tick, states } = client(context);
  made.subscribe("a");
  const pauses = () => states.flatMap((state) => (state.state === "waiting" ? [state.ms] : []));
  for (let n = 0; n < 8; n += 1) {
    if (n % 2 === 0) last().welcome();
    last().events.closed(1006, "");
    tick(10_000);
  }
  assert.deepEqual(pauses(), [125, 250, 500, 1_000, 2_000, 4_000, 5_000, 5_000]);
  last().welcome();
  last().say(mark("1", "c"));
  last().events.closed(1006, "");
  assert.equal(pauses().at(-1), 125);
  made.close();
});

test("a node that says nothing is asked, and then left", (context) => {
  const { made, sockets, last, tick } = client(context);
  made.subscribe("a");
  last().welcome();
  const [first] = sockets;
  first?.sent.splice(0);
  for (let n = 0; n < 3; n += 1) {
    tick(15_000);
    tick(15_000);
    assert.deepEqual(first?.said, [{ type: "ping" }]);
    first?.say({ type: "pong" });
  }
  tick(15_000);
  tick(15_000);
  tick(15_000);
  assert.equal(first?.closed, true);
  tick(10_000);
  assert.equal(sockets.length, 2);
  // Nor is a welcome waited for without end; and what comes of a connection that was left is not listened to.
  first?.events.closed(4401, "late");
  tick(10_000);
  assert.equal(sockets[1]?.closed, true);
  made.close();
});

test("what cannot be gone on from is forgotten and comes anew", async (context) => {
  const { made, last } = client(context);
  const events = iterate(made.subscribe({ prefix: "" }, { since: "old" }));
  last().welcome();
  assert.deepEqual(last().said.at(-1)?.since, "old");
  last().say(snapshot("1", "a", H1, {}), { type: "refetch", id: "1", reason: "too old" });
  assert.deepEqual(last().said, [{ type: "subscribe", id: "2", target: { prefix: "" }, mode: "patch" }]);
  last().say(snapshot("1", "b", H1, {}), snapshot("2", "a", H1, { new: true }));
  assert.deepEqual(await read(events, 2), [
    { type: "refetch", reason: "too old" },
    { type: "value", id: "a", version: [H1], value: { new: true } },
  ]);
  made.close();
});

test("a patch on another version, or one that does not fit, is mended by a whole value", async (context) => {
  const { made, last } = client(context);
  const events = iterate(made.subscribe("a"));
  last().welcome();
  last().say(snapshot("1", "a", H1, { n: 1 }));
  await read(events, 1);
  last().sent.splice(0);
  last().say({ type: "patch", id: "1", doc: "a", from: [H2], to: [H3], patch: [] });
  const anew = (id: string) => ({ type: "subscribe", id, target: { doc: "a" }, mode: "patch" });
  assert.deepEqual(last().said, [{ type: "unsubscribe", id: "1" }, anew("2")]);
  last().say(snapshot("2", "a", H1, { n: 1 }));
  await read(events, 1);
  last().say({ type: "patch", id: "2", doc: "a", from: [H1], to: [H3], patch: [{ op: "delete", path: "/none" }] });
  assert.deepEqual(last().said, [{ type: "unsubscribe", id: "2" }, anew("3")]);
  last().say({ type: "deleted", id: "3", doc: "a", version: [H3] });
  assert.deepEqual(await read(events, 1), [{ type: "deleted", id: "a", version: [H3] }]);
  made.close();
});

test("a document that was deleted is gone on from by the cursor", (context) => {
  const { made, last, tick } = client(context);
  made.subscribe("a");
  last().welcome();
  last().say(snapshot("1", "a", H1, {}), { type: "deleted", id: "1", doc: "a", version: [H2] }, mark("1", "c"));
  last().events.closed(4500, "");
  tick(10_000);
  last().welcome();
  assert.equal(last().said.at(-1)?.since, "c");
  made.close();
});

test("a version of very many hashes is not named, but the cursor is", (context) => {
  const { made, last, tick } = client(context);
  const hashes = Array.from({ length: 1_000 }, (_, n) => String(n).padStart(64, "0"));
  made.subscribe({ id: "a", version: hashes, value: {}, typed: false, etag: "", conflicts: 0 });
  made.subscribe({ id: "b", version: hashes.slice(0, 64), value: {}, typed: false, etag: "", conflicts: 0 });
  last().welcome();
  assert.deepEqual(last().said.slice(1).map(({ since }) => since), [undefined, hashes.slice(0, 64)]);
  last().say({ ...snapshot("1", "a", H1, {}), version: hashes }, mark("1", "c"));
  last().events.closed(1006, "");
  tick(10_000);
  last().welcome();
  assert.equal(last().said[1]?.since, "c");
  made.close();
});

test("a slow reader gets the latest of each document, by one step, and a mark only after all", async (context) => {
  const { made, last } = client(context);
  const events = iterate(made.subscribe({ all: true }));
  last().welcome();
  last().say(snapshot("1", "a", H1, { n: 1 }), mark("1", "c1"));
  await read(events, 2);
  const patch = (from: string, to: string, value: number) => ({
    ...{ type: "patch", id: "1", doc: "a", from: [from], to: [to] },
    patch: [{ op: "put", path: "/n", value }],
  });
  last().say(patch(H1, H2, 2), snapshot("1", "b", H1, {}), mark("1", "c2"), patch(H2, H3, 3), mark("1", "c3"));
  const operations = [2, 3].map((value) => ({ op: "put", path: "/n", value }));
  assert.deepEqual(await read(events, 3), [
    { type: "value", id: "b", version: [H1], value: {} },
    { type: "value", id: "a", version: [H3], value: { n: 3 }, step: { from: [H1], operations } },
    { type: "up-to-date", cursor: "c3" },
  ]);
  made.close();
});

test("a reader that is too slow holds back the network, or is ended where it cannot be", async (context) => {
  const held = client(context, {}, Pausing);
  const events = iterate(held.made.subscribe({ all: true }, { mode: "notify" }));
  held.last().welcome();
  const notify = (n: number) => ({ type: "notify", id: "1", doc: `d${n}`, version: [H1] });
  for (let n = 0; n < 999; n += 1) held.last().say(notify(n));
  assert.equal(held.last().paused, false);
  held.last().say(notify(999));
  assert.equal(held.last().paused, true);
  await read(events, 499);
  assert.equal(held.last().paused, true);
  await read(events, 2);
  assert.equal(held.last().paused, false);
  held.made.close();
  context.mock.timers.reset();

  const free = client(context);
  const subscription = free.made.subscribe({ all: true }, { mode: "notify" });
  free.last().welcome();
  for (let n = 0; n < 20_000; n += 1) free.last().say(notify(n));
  assert.equal(subscription.isOver, false);
  free.last().say(notify(20_000));
  await assert.rejects(subscription.closed, SlowReaderError);
});

test("an error ends its subscription, and one of a document does not", async (context) => {
  const { made, last, states } = client(context);
  const [one, other] = [made.subscribe("a", { since: "garbage" }), made.subscribe({ all: true })];
  last().welcome();
  const problem = { type: "urn:syncline:problem:malformed", title: "t", status: 400, detail: "d" };
  last().say({ type: "error", id: "1", problem }, { type: "error", id: "2", problem: { ...problem, doc: "x" } });
  await assert.rejects(one.closed, (error) => error instanceof ProblemError && error.type === "malformed");
  const [event] = await read(iterate(other), 1);
  assert.equal(event?.type === "problem" && event.id, "x");
  assert.equal(states.at(-1)?.state, "open");
  made.close();
});

test("the connection closes with the last subscription, however that ends", async (context) => {
  const { made, last, sockets } = client(context);
  const stop = new AbortController();
  const [one, other] = [made.subscribe("a"), made.subscribe("b", { signal: stop.signal })];
  last().welcome();
  last().sent.splice(0);
  last().say(snapshot("1", "a", H1, {}));
  for await (const _ of one) break;
  assert.deepEqual(last().said, [{ type: "unsubscribe", id: "1" }]);
  assert.equal(last().closed, false);
  stop.abort();
  assert.equal(last().closed, true);
  await Promise.all([one.closed, other.closed]);
  assert.deepEqual(await iterate(other).next(), { value: undefined, done: true });
  assert.equal(made.subscribe("c", { signal: stop.signal }).isOver, true);
  assert.equal(sockets.length, 1);
});
