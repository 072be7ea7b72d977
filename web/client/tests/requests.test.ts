// What is sent again, and where, against nodes that are made up.

import assert from "node:assert/strict";
import { test } from "node:test";

import { OutcomeUnknownError, ProblemError, Syncline, UnreachableError, type Options } from "@syncline/client";

type Reply = Response | Error;

interface Seen {
  node: string;
  method: string;
  headers: Headers;
}

const written = { created: false, version: ["v"], current: ["v"] };
const ok = () => Response.json(written, { headers: { Version: '"v"' } });
const refusal = (type: string, status: number, more = {}) =>
  Response.json({ type: `urn:syncline:problem:${type}`, title: type, status, detail: "", ...more }, { status });
const lost = () => new TypeError("fetch failed", { cause: Object.assign(new Error("reset"), { code: "ECONNRESET" }) });
const unsent = () => new TypeError("fetch failed", { cause: Object.assign(new Error("refused"), { code: "ECONNREFUSED" }) });

/** A client of nodes `http://1` and `http://2`, which reply one after the other; all are alive. */
function client(replies: Record<string, Reply[]>, options: Options = {}) {
  const seen: Seen[] = [];
  const ask = async (url: URL | RequestInfo, init?: RequestInit) => {
    const node = new URL(String(url)).hostname;
    if (String(url).endsWith("/livez")) return Response.json({ live: true });
    seen.push({ node, method: init?.method ?? "GET", headers: new Headers(init?.headers) });
    const reply = replies[node]?.shift() ?? ok();
    if (reply instanceof Error) throw reply;
    return reply;
  };
  const nodes = ["http://n1", "http://n2"];
  const made = new Syncline({ nodes, fetch: ask as typeof fetch, random: () => 0, timeout: 5_000, ...options });
  return { made, seen, asked: () => seen.map(({ node }) => node) };
}

const place = { id: "a", version: ["v0"] };

test("what may be made twice goes to another node when no answer comes", async () => {
  for (const call of [
    (db: Syncline) => db.get("a"),
    (db: Syncline) => db.cluster(),
    (db: Syncline) => db.list().next(),
    (db: Syncline) => db.delete("a"),
    (db: Syncline) => db.delete(place),
  ]) {
    const { made, asked } = client({ n1: [lost()] });
    await call(made).catch((error) => assert.ok(error instanceof TypeError));
    assert.deepEqual(asked(), ["n1", "n2"], String(call));
  }
});

test("a write that is compared with what is there goes to the same node again", async () => {
  for (const call of [(db: Syncline) => db.put("a", {}), (db: Syncline) => db.patch("a", { n: 1 })]) {
    const { made, asked, seen } = client({ n1: [lost(), refusal("storage-failed", 500), new Response("bad gateway", { status: 502 })] });
    assert.deepEqual(await call(made), { id: "a", ...written });
    assert.deepEqual(asked(), ["n1", "n1", "n1", "n1"]);
    const keys = new Set(seen.map(({ headers }) => headers.get("Idempotency-Key")));
    assert.equal(keys.size, 1);
    assert.match([...keys][0] ?? "", /^[0-9a-f]{32}$/);
  }
});

test("a write that would be made twice is not sent again", async () => {
  for (const call of [
    (db: Syncline) => db.put(place, {}),
    (db: Syncline) => db.patch(place, { n: 1 }),
    (db: Syncline) => db.patch("a", [{ op: "increment", path: "/n", by: 1 }]),
    (db: Syncline) => db.patch("a", [{ op: "add", path: "/n", value: 1 }]),
    (db: Syncline) => db.put("a", {}, { ifNoneMatch: "*" }),
    (db: Syncline) => db.delete("a", { ifMatch: '"x"' }),
  ]) {
    const { made, asked } = client({ n1: [lost()] });
    await assert.rejects(call(made), OutcomeUnknownError);
    assert.deepEqual(asked(), ["n1"], String(call));
  }
});

test("what a node has not done goes to the next, whatever it is", async () => {
  const refusals = [
    unsent(),
    refusal("busy", 503),
    refusal("stopping", 503),
    refusal("not-yet-converged", 503),
    refusal("storage-full", 507),
    refusal("failed", 500),
    refusal("fenced", 500),
  ];
  for (const reply of refusals) {
    const { made, asked } = client({ n1: [reply] });
    await made.patch(place, [{ op: "increment", path: "/n", by: 1 }]);
    assert.deepEqual(asked(), ["n1", "n2"], String(reply));
    await made.get("a").catch(() => {});
    assert.equal(asked().at(-1), "n2", "a node that has failed is passed over for a while");
  }
});

test("what is wrong everywhere is told at once", async () => {
  for (const [type, status] of [["refused", 422], ["malformed", 400], ["no-token", 401], ["too-large", 413], ["test-failed", 409]] as const) {
    const { made, asked } = client({ n1: [refusal(type, status)] });
    await assert.rejects(made.put("a", {}), (error) => error instanceof ProblemError && error.type === type && error.node === "http://n1");
    assert.deepEqual(asked(), ["n1"]);
  }
});

test("a write that is refused by a replica goes to the master it names, and the next one at once", async () => {
  const readOnly = (masters: string[]) => refusal("read-only", 403, { masters });
  const { made, asked } = client({ n1: [readOnly(["http://n3/"])], n2: [readOnly(["http://n3"])] });
  await made.patch("a", [{ op: "increment", path: "/n", by: 1 }]);
  await made.put("a", {});
  assert.deepEqual(asked(), ["n1", "n2", "n3", "n3"]);
  await made.cluster();
  assert.equal(asked().at(-1), "n1", "reads stay with the configured ones");
  const secure = client({ n1: [readOnly(["http://n3"]), readOnly(["https://n4"])] }, { nodes: "https://n1" });
  await secure.made.put("a", {});
  assert.deepEqual(secure.asked(), ["n1", "n1", "n4"], "a token does not go out in the clear");
});

test("a call is given up in time, and says whether it may have been done", async () => {
  const dead = { fetch: (() => Promise.reject(unsent())) as typeof fetch, timeout: 50 };
  await assert.rejects(client({}, dead).made.get("a"), UnreachableError);
  await assert.rejects(client({}, dead).made.put("a", {}), UnreachableError);
  const silent = async (url: URL | RequestInfo, init?: RequestInit) => {
    if (String(url).endsWith("/livez")) return Response.json({ live: true });
    return new Promise<Response>((_, reject) => init?.signal?.addEventListener("abort", () => reject(init.signal?.reason)));
  };
  await assert.rejects(client({}, { fetch: silent as typeof fetch, timeout: 50 }).made.put("a", {}), OutcomeUnknownError);
  await assert.rejects(client({}, { fetch: silent as typeof fetch, timeout: 50 }).made.get("a"), UnreachableError);
});

test("the session token of the last answer is shown, and the bearer token always", async () => {
  const answer = Response.json(written, { headers: { "Session-Token": "s1" } });
  const { made, seen } = client({ n1: [answer] }, { token: "secret" });
  await made.put("a", {});
  await made.cluster();
  assert.deepEqual(seen.map(({ headers }) => headers.get("Session-Token")), [null, "s1"]);
  assert.deepEqual(seen.map(({ headers }) => headers.get("Authorization")), ["Bearer secret", "Bearer secret"]);
});

test("a version that was read is sent, and none where there was none", async () => {
  const { made, seen } = client({});
  await made.put({ id: "a", version: ["x", "y"] }, {});
  await made.put({ id: "a", version: [] }, {});
  await made.put("a", {});
  assert.deepEqual(seen.map(({ headers }) => headers.get("Parents")), ['"x", "y"', "", null]);
});

test("wrong arguments are refused before anything is sent", async () => {
  assert.throws(() => new Syncline({ nodes: [] }), TypeError);
  assert.throws(() => new Syncline({ nodes: "ftp://n1" }), TypeError);
  const { made, seen } = client({});
  for (const id of ["", ".", ".."]) await assert.rejects(made.get(id), TypeError);
  assert.equal(seen.length, 0);
});
