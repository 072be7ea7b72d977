// Makes src/generated.ts out of docs/openapi.json and docs/subscriptions.schema.json: the calls and frames that
// the client uses, and the types that these need. With --check it writes nothing, and fails where the file is not
// what it would write.
//
// A generator of our own, since both files are plain JSON Schema of few words: a hundred lines stand for the twenty
// packages of the usual one, and frames get the same types as REST.

import { readFileSync, writeFileSync } from "node:fs";

/** The calls that the client makes, by `operationId`. */
const CALLS = [
  "isLive",
  "listDocuments",
  "readDocument",
  "putDocument",
  "patchDocument",
  "deleteDocument",
  "readCluster",
];

const read = (path) => JSON.parse(readFileSync(new URL(`../../../docs/${path}`, import.meta.url), "utf8"));
const openapi = read("openapi.json");
const frames = read("subscriptions.schema.json");

const TARGET = new URL("../src/generated.ts", import.meta.url);

/** Schemas that are named by what is written, in the order in which they are met. */
class Names {
  #schemas;
  #rename;
  #inlines;
  #seen = [];

  /** `inlines`: strings and lists need no name. */
  constructor(schemas, rename, inlines) {
    this.#schemas = schemas;
    this.#rename = rename;
    this.#inlines = inlines;
  }

  of(ref) {
    const name = ref.slice(ref.lastIndexOf("/") + 1);
    if (!(name in this.#schemas)) throw new Error(`${ref} is not there`);
    const schema = this.#schemas[name];
    const isPlain = ["string", "array"].includes(schema.type) && !schema.enum;
    if (isPlain && this.#inlines) return type(schema, this);
    if (!this.#seen.includes(name)) this.#seen.push(name);
    return this.#rename(name, schema);
  }

  /** Declarations of all that were met, and of what these name. */
  declared() {
    const lines = [];
    for (let at = 0; at < this.#seen.length; at += 1) {
      const name = this.#seen[at];
      const schema = this.#schemas[name];
      lines.push(...doc(schema.description), `export type ${this.#rename(name, schema)} = ${type(schema, this)};`, "");
    }
    return lines;
  }
}

const doc = (text, indent = "") => (text ? [`${indent}/** ${text.replaceAll("*/", "* /").replaceAll("\n", " ")} */`] : []);
const key = (name) => (/^[A-Za-z_$][\w$]*$/.test(name) ? name : JSON.stringify(name));
const union = (types) => [...new Set(types)].join(" | ") || "never";
const inList = (text) => (/[|{]/.test(text) && !text.startsWith("{") ? `(${text})` : text);

/** A schema as a type. A word that is not known here fails, so that nothing is left out unseen. */
function type(schema, names) {
  if (schema === true || schema === undefined) return "Json";
  if (schema.$ref) return names.of(schema.$ref);
  if ("const" in schema) return JSON.stringify(schema.const);
  if (schema.enum) return union(schema.enum.map((value) => JSON.stringify(value)));
  const choices = schema.oneOf ?? schema.anyOf;
  if (choices) return union(choices.map((choice) => type(choice, names)));
  if (Array.isArray(schema.type)) return union(schema.type.map((one) => type({ ...schema, type: one }, names)));
  switch (schema.type) {
    case undefined:
      return "Json";
    case "null":
    case "boolean":
    case "string":
      return schema.type;
    case "integer":
    case "number":
      return "number";
    case "array":
      if (schema.prefixItems) return `[${schema.prefixItems.map((item) => type(item, names)).join(", ")}]`;
      return `${inList(type(schema.items, names))}[]`;
    case "object":
      return object(schema, names);
    default:
      throw new Error(`a schema of type ${schema.type}`);
  }
}

function object(schema, names) {
  if (!schema.properties) return "JsonObject";
  if (Object.keys(schema.properties).length === 0) return "{}";
  const lines = Object.entries(schema.properties).flatMap(([name, member]) => {
    const mark = schema.required?.includes(name) ? "" : "?";
    return [...doc(member.description, "  "), ...`${key(name)}${mark}: ${type(member, names)};`.split("\n").map((line) => `  ${line}`)];
  });
  return ["{", ...lines, "}"].join("\n");
}

/** `up-to-date` is `UpToDateFrame`; what is only part of frames has no such ending. */
function frameName(name, schema) {
  const pascal = name.replace(/(?:^|-)(.)/g, (_, letter) => letter.toUpperCase());
  if (schema.properties?.type?.const || ["client", "node"].includes(name)) return `${pascal}Frame`;
  return name === "problem" ? "LiveProblem" : pascal;
}

function calls(names) {
  const types = [];
  const routes = [];
  for (const [path, methods] of Object.entries(openapi.paths)) {
    for (const [method, call] of Object.entries(methods)) {
      if (!CALLS.includes(call.operationId)) continue;
      const members = (where) => {
        const schemas = (call.parameters ?? []).filter((parameter) => parameter.in === where);
        const properties = Object.fromEntries(schemas.map(({ name, schema, description }) => [name, { ...schema, description }]));
        return type({ type: "object", properties }, names);
      };
      const good = Object.entries(call.responses).filter(([status]) => status.startsWith("2"));
      const bodies = Object.entries(call.requestBody?.content ?? {});
      const body = { type: "object", required: bodies.map(([media]) => media) };
      body.properties = Object.fromEntries(bodies.map(([media, { schema }]) => [media, schema]));
      const answers = good.map(([, answer]) => answer.content?.["application/json"]?.schema);
      const headers = good.flatMap(([, answer]) => Object.keys(answer.headers ?? {}));
      const lines = [
        `query: ${members("query")};`,
        `headers: ${members("header")};`,
        `body: ${bodies.length ? type(body, names) : "never"};`,
        `answer: ${union(answers.map((schema) => (schema ? type(schema, names) : "undefined")))};`,
        `answerHeaders: ${union(headers.sort().map((name) => JSON.stringify(name)))};`,
      ];
      const indented = lines.flatMap((line) => line.split("\n")).map((line) => `    ${line}`);
      types.push(...doc(call.summary, "  "), `  ${call.operationId}: {`, ...indented, "  };");
      routes.push(`  ${call.operationId}: { method: "${method.toUpperCase()}", path: "${path}" },`);
    }
  }
  if (routes.length !== CALLS.length) throw new Error("docs/openapi.json lacks a call that the client makes");
  return ["export interface Calls {", ...types, "}", "", "export const ROUTES = {", ...routes, "} as const;", ""];
}

const rest = new Names(openapi.components.schemas, (name) => name, false);
const live = new Names(frames.$defs, frameName, true);
rest.of("#/Problem");
live.of("#/client");
live.of("#/node");
const text = [
  "// What is said between client and node. Made by scripts/types.mjs out of docs/: do not edit.",
  "",
  "export type Json = null | boolean | number | string | Json[] | JsonObject;",
  "export type JsonObject = { [key: string]: Json };",
  "",
  ...calls(rest),
  ...rest.declared(),
  ...live.declared(),
].join("\n");

if (process.argv.includes("--check")) {
  if (readFileSync(TARGET, "utf8") !== text) {
    console.error("web/client/src/generated.ts is not what docs/ say now: make fix");
    process.exit(1);
  }
} else {
  writeFileSync(TARGET, text);
}
