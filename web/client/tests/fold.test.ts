// Operations on JSON.

import assert from "node:assert/strict";
import { test } from "node:test";

import { fold } from "../dist/fold.js";
import type { JsonObject, Operation } from "@syncline/client";

const folded = (value: JsonObject, ...operations: Operation[]) => fold(value, operations);

test("each operation does what it says, one after the other", () => {
  const value = { a: { b: 1 }, text: "héllo 🦊!", list: [1, 2, 3], "x/y~z": 0 };
  const cases: [Operation[], JsonObject][] = [
    [[{ op: "put", path: "/a/c", value: [] }], { ...value, a: { b: 1, c: [] } }],
    [[{ op: "put", path: "/list/1", value: null }], { ...value, list: [1, null, 3] }],
    [[{ op: "delete", path: "/a/b" }], { ...value, a: {} }],
    [[{ op: "increment", path: "/x~1y~0z", by: -2 }], { ...value, "x/y~z": -2 }],
    [[{ op: "text.splice", path: "/text", pos: 7, insert: "?" }], { ...value, text: "héllo 🦊?!" }],
    [[{ op: "text.splice", path: "/text", pos: 6, delete: 2 }], { ...value, text: "héllo " }],
    [[{ op: "list.insert", path: "/list", index: 3, value: 4 }], { ...value, list: [1, 2, 3, 4] }],
    [[{ op: "list.delete", path: "/list", index: 0, count: 2 }], { ...value, list: [3] }],
    [
      [
        { op: "put", path: "/a", value: { in: ["x"] } },
        { op: "text.splice", path: "/a/in/0", pos: 1, insert: "y" },
        { op: "list.insert", path: "/a/in", index: 0, value: "w" },
      ],
      { ...value, a: { in: ["w", "xy"] } },
    ],
  ];
  for (const [operations, wanted] of cases) assert.deepEqual(fold(value, operations), wanted);
});

test("the value before stays as it was, and what has not changed is the same object", () => {
  const put = { inner: [1] };
  const before: JsonObject = { a: { b: [1, 2] }, c: { d: 1 } };
  const copy = structuredClone(before);
  const after = folded(
    before,
    { op: "list.delete", path: "/a/b", index: 0, count: 1 },
    { op: "put", path: "/e", value: put },
    { op: "list.insert", path: "/e/inner", index: 0, value: 0 },
  );
  assert.deepEqual(before, copy);
  assert.deepEqual(after, { a: { b: [2] }, c: { d: 1 }, e: { inner: [0, 1] } });
  assert.equal(after?.c, before.c);
  assert.deepEqual(put, { inner: [1] });
});

test("operations that do not fit make nothing", () => {
  const value: JsonObject = { text: "🦊", list: [1], n: 1 };
  const misfits: Operation[] = [
    { op: "text.splice", path: "/text", pos: 2, insert: "x" },
    { op: "text.splice", path: "/text", pos: 0, delete: 2 },
    { op: "text.splice", path: "/n", pos: 0 },
    { op: "list.insert", path: "/list", index: 2, value: 0 },
    { op: "list.delete", path: "/list", index: 0, count: 2 },
    { op: "put", path: "/list/1", value: 0 },
    { op: "put", path: "/none/x", value: 0 },
    { op: "delete", path: "/none" },
    { op: "increment", path: "/text", by: 1 },
    { op: "increment", path: "/toString/length", by: 1 },
    { op: "put", path: "/constructor/prototype/x", value: 1 },
  ];
  for (const operation of misfits) assert.equal(folded(value, operation), undefined, JSON.stringify(operation));
  assert.equal(({} as JsonObject).x, undefined);
});

test("members of any name are only members", () => {
  const after = folded({}, { op: "put", path: "/__proto__", value: { polluted: true } });
  assert.equal(JSON.stringify(after), '{"__proto__":{"polluted":true}}');
  assert.equal(Object.getPrototypeOf(after), Object.prototype);
  const deeper = fold(after!, [{ op: "put", path: "/__proto__/polluted", value: false }]);
  assert.equal(JSON.stringify(deeper), '{"__proto__":{"polluted":false}}');
});
