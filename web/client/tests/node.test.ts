// The claims in Node.js, and the README's.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { readFile, rm, writeFile } from "node:fs/promises";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";

import { claims, type Cluster } from "./claims.js";
import { cluster } from "./cluster.js";

let nodes: Cluster & { end(): Promise<void> };
before(async () => {
  nodes = await cluster();
});
after(() => nodes.end());

for (const [name, claim] of Object.entries(claims)) test(name, () => claim(nodes));

test("the first five minutes of the README are as it says", async (context) => {
  const readme = await readFile(new URL("../README.md", import.meta.url), "utf8");
  const [, example = ""] = /```js\n(.*?)```/s.exec(readme) ?? [];
  const { a, b } = nodes.urls;
  const here = example.replace("http://127.0.0.1:4381", a).replace("http://127.0.0.1:4382", b);
  assert.equal(here.includes(a) && here.includes(b), true);
  const script = new URL("readme.mjs", import.meta.url);
  await writeFile(script, here);
  context.after(() => rm(script));
  const run = spawn(process.execPath, [fileURLToPath(script)], { stdio: ["ignore", "pipe", "inherit"] });
  context.after(() => run.kill());
  // It follows the document without end.
  const value = "{ note: 'by Saturday', title: 'For Sunday', views: 1 }";
  const wanted = `lists/groceries ${value}\n${value}\n`;
  let output = "";
  for await (const chunk of run.stdout) if ((output += chunk).length >= wanted.length) break;
  assert.equal(output, wanted);
});
