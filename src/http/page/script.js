"use strict";
// Shows the description that is in this page. Everything is made of nodes and text, never of markup: what is
// described stays text, whatever is in it.

const description = JSON.parse(document.getElementById("description").textContent);
const METHODS = ["get", "put", "patch", "post", "delete"];
const base = location.protocol.startsWith("http") ? location.origin : "http://127.0.0.1:4380";

function make(name, attributes, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes ?? {})) node.setAttribute(key, value);
  node.append(...children.flat(Infinity).filter((child) => child != null && child !== ""));
  return node;
}

// Text in which `…` is code.
const inline = (text) => (text ?? "").split("`").map((part, i) => (i % 2 ? make("code", {}, part) : part));
const paragraphs = (text) => (text ?? "").split("\n\n").filter(Boolean).map((part) => make("p", {}, inline(part)));

const shapeName = (reference) => reference.split("/").pop();
const shapeLink = (reference) => make("a", { href: "#shape-" + shapeName(reference) }, shapeName(reference));

function joined(parts, between) {
  return parts.flatMap((part, i) => (i ? [between, part] : [part])).flat();
}

// A shape in one line of words and links.
function words(shape) {
  if (!shape || shape === true) return ["anything"];
  if (shape.$ref) return [shapeLink(shape.$ref)];
  if (shape.allOf) return words(shape.allOf[0]);
  const choices = shape.oneOf ?? shape.anyOf;
  if (choices) return joined(choices.map(words), " or ");
  if (shape.enum) return joined(shape.enum.map((value) => [make("code", {}, JSON.stringify(value))]), " or ");
  const types = [shape.type ?? "anything"].flat();
  if (types.includes("array")) {
    if (shape.prefixItems) return ["[", ...joined(shape.prefixItems.map(words), ", "), "]"];
    return ["list of ", ...words(shape.items)];
  }
  const bounds = [];
  if (shape.minimum > 0) bounds.push("from " + shape.minimum);
  if (shape.maximum != null) bounds.push("to " + shape.maximum);
  if (shape.maxLength) bounds.push("at most " + shape.maxLength + " characters");
  if (shape.default != null) bounds.push("default " + JSON.stringify(shape.default));
  return [[types.join(" or "), ...bounds].join(", ")];
}

const row = (term, ...contents) => make("div", {}, make("dt", {}, term), make("dd", {}, contents));
const type = (shape) => make("span", { class: "type" }, words(shape));

// What an object has, a row a member; of other shapes one line.
function shapeBody(shape) {
  const choices = shape.oneOf ?? shape.anyOf;
  if (choices?.some((choice) => choice.properties || choice.allOf)) return choices.map(shapeBody);
  const parts = (shape.allOf ?? [shape]).filter((part) => part.properties);
  if (!parts.length) return [make("p", { class: "type" }, words(shape))];
  return [make("dl", {}, parts.flatMap((part) =>
    Object.entries(part.properties).map(([name, member]) => {
      const rare = part.required?.includes(name) ? null : make("small", {}, "may be absent");
      return row([name, rare].filter(Boolean), type(member), ...paragraphs(member.description));
    })))];
}

const quoted = (text) => "'" + text.replaceAll("'", "'\\''") + "'";

// One line of a list in JSON stays one line: what is short enough to be read so.
function compact(value) {
  const line = JSON.stringify(value).replaceAll('":', '": ').replaceAll(',"', ', "').replaceAll(",{", ", {");
  return line.length <= 70 ? line : null;
}

function pretty(value, indent = "") {
  if (typeof value !== "object" || value === null || compact(value)) return compact(value) ?? JSON.stringify(value);
  const deeper = indent + "  ";
  const [open, close] = Array.isArray(value) ? "[]" : "{}";
  const rows = Object.entries(value).map(([key, member]) =>
    deeper + (Array.isArray(value) ? "" : JSON.stringify(key) + ": ") + pretty(member, deeper));
  return open + "\n" + rows.join(",\n") + "\n" + indent + close;
}

function curl(method, path, parameters, mediaType, content) {
  const filled = path.replace(/\{(\w+)\}/g, (_, name) =>
    encodeURI(parameters.find((p) => p.in === "path" && p.name === name)?.example ?? name));
  const lines = method === "get" ? ["curl -i " + base + filled] : ["curl -X " + method.toUpperCase(), base + filled];
  if (mediaType) {
    lines.push("-H " + quoted("Content-Type: " + mediaType));
    const example = content.example;
    lines.push(example === undefined ? "--data-binary @FILE"
      : "--data-binary " + quoted(typeof example === "string" ? example : pretty(example)));
  }
  return make("pre", {}, lines.join(" \\\n  "));
}

function parameterList(parameters, place, title) {
  const found = parameters.filter((parameter) => parameter.in === place);
  if (!found.length) return [];
  const rows = found.map((parameter) =>
    row(parameter.name, type(parameter.schema), ...paragraphs(parameter.description)));
  return [make("h4", {}, title), make("dl", {}, rows)];
}

function answer([status, response]) {
  const kind = status < "300" ? "good" : status < "400" ? "moved" : "bad";
  const problem = response.content?.["application/problem+json"];
  const contents = Object.entries(problem ? {} : response.content ?? {}).map(([mediaType, content]) =>
    make("p", {}, make("code", {}, mediaType), " ", content.schema ? type(content.schema) : ""));
  const headers = Object.entries(response.headers ?? {}).map(([name, header]) =>
    make("p", {}, make("code", {}, name), " ", make("span", { class: "soft" }, inline(header.description))));
  return row(make("span", { class: "status " + kind }, status), ...paragraphs(response.description), ...contents, ...headers);
}

function call(path, method, operation, item) {
  const parameters = operation.parameters ?? [];
  const answers = Object.entries(operation.responses).sort();
  const good = answers.filter(([status]) => status < "400");
  const bad = answers.filter(([status]) => status >= "400");
  const open = operation.security?.length === 0 ? make("span", { class: "open" }, "no token") : null;
  const head = method === "get" && item.head ? make("span", { class: "open" }, "also HEAD") : null;
  const bodies = Object.entries(operation.requestBody?.content ?? {});
  const examples = bodies.length
    ? bodies.map(([mediaType, content]) => curl(method, path, parameters, mediaType, content))
    : [curl(method, path, parameters)];
  const answered = good.flatMap(([status, response]) =>
    Object.entries(response.content ?? {}).filter(([, content]) => content.example !== undefined).slice(0, 1)
      .flatMap(([mediaType, content]) => [
        make("p", { class: "caption" }, status + ", " + mediaType),
        make("pre", {}, typeof content.example === "string" ? content.example : pretty(content.example)),
      ]));
  const body = bodies.length && [
    make("h4", {}, "Body"), ...paragraphs(operation.requestBody.description),
    make("dl", {}, bodies.map(([mediaType, content]) =>
      row(content.schema ? words(content.schema) : "bytes", make("code", {}, mediaType)))),
  ];
  return make("article", { id: operation.operationId },
    make("h3", {}, make("span", { class: "method " + method }, method), make("span", { class: "path" }, path), head, open),
    make("p", { class: "summary" }, inline(operation.summary)),
    paragraphs(operation.description),
    make("div", { class: "columns" },
      make("div", {},
        parameterList(parameters, "path", "In the path"), parameterList(parameters, "query", "Query"),
        parameterList(parameters, "header", "Headers"), body || [],
        make("h4", {}, "Answers"), make("dl", {}, good.map(answer)),
        bad.length ? make("details", {}, make("summary", {}, "Problems: " + bad.map(([status]) => status).join(", ")),
          make("dl", {}, bad.map(answer))) : null),
      make("div", {}, make("h4", {}, "Example"), examples, answered.length ? [make("h4", {}, "Answered"), answered] : [])));
}

const nav = document.querySelector("nav");
const main = document.querySelector("main");
nav.append(make("a", { class: "title", href: "#" }, description.info.title),
  make("span", { class: "version" }, description.info.version));
main.append(make("h1", {}, description.info.title + ": REST"), ...paragraphs(description.info.description),
  make("p", { class: "soft" }, "The same for programs: ", make("a", { href: "/openapi.json" }, "openapi.json"),
    " (OpenAPI " + description.openapi + ")."));

for (const tag of description.tags) {
  const links = make("ul");
  const section = make("section", {}, make("h2", {}, tag.name), make("p", { class: "soft" }, inline(tag.description)));
  for (const [path, item] of Object.entries(description.paths)) {
    for (const method of METHODS.filter((name) => item[name]?.tags.includes(tag.name))) {
      section.append(call(path, method, item[method], item));
      links.append(make("li", {}, make("a", { href: "#" + item[method].operationId },
        make("span", { class: "method " + method }, method), make("span", { class: "path" }, path))));
    }
  }
  nav.append(make("h2", {}, tag.name), links);
  main.append(section);
}

const shapes = Object.entries(description.components.schemas);
const links = make("ul");
const section = make("section", {}, make("h2", {}, "Shapes"));
for (const [name, shape] of shapes) {
  section.append(make("article", { id: "shape-" + name }, make("h3", {}, name), paragraphs(shape.description),
    shapeBody(shape), (shape.examples ?? []).map((example) => make("pre", {}, pretty(example)))));
  links.append(make("li", {}, make("a", { href: "#shape-" + name }, name)));
}
nav.append(make("h2", {}, "Shapes"), links);
main.append(section);
if (location.hash) document.getElementById(location.hash.slice(1))?.scrollIntoView();
