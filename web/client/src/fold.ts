// Typed operations applied to JSON: what a node sends as a patch makes one whole value out of another.

import type { Json, JsonObject, Operation } from "./generated.js";

/**
 * The value after the operations, or undefined where they do not fit. The value itself stays as it was: what is
 * changed is copied, once, and what is not is shared.
 */
export function fold(value: JsonObject, operations: readonly Operation[]): JsonObject | undefined {
  const owned = new Set<object>();
  let root: Json = value;
  for (const operation of operations) {
    const next = change(root, steps(operation.path), 0, operation, owned);
    if (next === undefined) return undefined;
    root = next;
  }
  return isObject(root) ? root : undefined;
}

/** `at` after one operation, which is meant for what the steps from `depth` on lead to. */
function change(at: Json, path: string[], depth: number, operation: Operation, owned: Set<object>): Json | undefined {
  const step = path[depth];
  if (step === undefined) return here(at, operation, owned);
  const isLast = depth === path.length - 1;
  if (Array.isArray(at)) {
    const index = Number(step);
    const inner = at[index];
    if (inner === undefined) return undefined;
    const next = isLast && operation.op === "put" ? operation.value : change(inner, path, depth + 1, operation, owned);
    if (next === undefined) return undefined;
    const list = own(at, owned);
    list[index] = next;
    return list;
  }
  if (!isObject(at)) return undefined;
  if (isLast && operation.op === "delete") {
    if (!Object.hasOwn(at, step)) return undefined;
    const map = own(at, owned);
    delete map[step];
    return map;
  }
  let next: Json | undefined;
  if (isLast && operation.op === "put") {
    next = operation.value;
  } else {
    const inner = Object.hasOwn(at, step) ? at[step] : undefined;
    if (inner !== undefined) next = change(inner, path, depth + 1, operation, owned);
  }
  if (next === undefined) return undefined;
  const map = own(at, owned);
  // By assignment a member called `__proto__` would not become one.
  Object.defineProperty(map, step, { value: next, writable: true, enumerable: true, configurable: true });
  return map;
}

function here(at: Json, operation: Operation, owned: Set<object>): Json | undefined {
  switch (operation.op) {
    case "put":
      return operation.value;
    case "increment":
      return typeof at === "number" ? at + operation.by : undefined;
    case "text.splice":
      return typeof at === "string" ? splice(at, operation.pos, operation.delete ?? 0, operation.insert ?? "") : undefined;
    case "list.insert": {
      if (!Array.isArray(at) || operation.index > at.length) return undefined;
      const list = own(at, owned);
      list.splice(operation.index, 0, operation.value);
      return list;
    }
    case "list.delete": {
      if (!Array.isArray(at) || operation.index + operation.count > at.length) return undefined;
      const list = own(at, owned);
      list.splice(operation.index, operation.count);
      return list;
    }
    default:
      return undefined;
  }
}

/** Positions count code points, and a string's own count halves of surrogate pairs. */
function splice(text: string, pos: number, count: number, insert: string): string | undefined {
  const start = offset(text, 0, pos);
  const end = start === undefined ? undefined : offset(text, start, count);
  return end === undefined ? undefined : text.slice(0, start) + insert + text.slice(end);
}

/** Where one is after so many code points from `from` on. */
function offset(text: string, from: number, count: number): number | undefined {
  let at = from;
  for (let left = count; left > 0; left -= 1) {
    const point = text.codePointAt(at);
    if (point === undefined) return undefined;
    at += point > 0xffff ? 2 : 1;
  }
  return at;
}

function steps(pointer: string): string[] {
  return pointer
    .split("/")
    .slice(1)
    .map((step) => step.replaceAll("~1", "/").replaceAll("~0", "~"));
}

/** A copy to be changed, made once in a fold. */
function own<T extends Json[] | JsonObject>(of: T, owned: Set<object>): T {
  if (owned.has(of)) return of;
  const copy = (Array.isArray(of) ? [...of] : { ...of }) as T;
  owned.add(copy);
  return copy;
}

function isObject(value: Json): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
