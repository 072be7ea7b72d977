// The same claims in a browser: a page that loads the package as it is published, without a bundler.

import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { after, before, test } from "node:test";

import { chromium, type Browser, type Page } from "playwright-core";

import { claims, type Cluster } from "./claims.js";
import { cluster } from "./cluster.js";

const CHROMIUM = process.env.CHROMIUM ?? "/usr/bin/chromium";

/** No sandbox, since tests may run as root; and nothing of its own to fetch. */
const FLAGS = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];

const PAGE = `<!doctype html>
<title>Claims</title>
<script type="importmap">{"imports": {"@syncline/client": "/dist/index.js"}}</script>
<script type="module">
  import { claims } from "/build/claims.js";
  window.claims = claims;
</script>`;

const root = new URL("../", import.meta.url);
const server = createServer((request, response) => {
  const path = request.url ?? "/";
  if (path === "/") return void response.setHeader("Content-Type", "text/html").end(PAGE);
  if (!/^\/(dist|build)\/[\w-]+\.js$/.test(path)) return void response.writeHead(404).end();
  readFile(new URL(`.${path}`, root)).then(
    (script) => response.setHeader("Content-Type", "text/javascript").end(script),
    () => response.writeHead(404).end(),
  );
});

let browser: Browser | undefined;
let nodes: (Cluster & { end(): Promise<void> }) | undefined;
let page: Page;

const isThere = existsSync(CHROMIUM);
if (!isThere) console.error(`client: the claims in a browser are SKIPPED, since there is no ${CHROMIUM}`);

if (isThere) {
  before(async () => {
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    const running = await cluster(origin);
    nodes = running;
    browser = await chromium.launch({ executablePath: CHROMIUM, args: FLAGS });
    page = await browser.newPage();
    page.on("pageerror", (error) => console.error(error));
    await page.exposeFunction("stop", (name: string) => running.stop(name));
    await page.exposeFunction("start", (name: string) => running.start(name));
    await page.goto(origin);
    await page.waitForFunction("window.claims !== undefined");
  });
  after(async () => {
    await browser?.close();
    await nodes?.end();
    server.close();
  });
}

for (const name of Object.keys(claims)) {
  test(`in a browser: ${name}`, { skip: !isThere }, () =>
    page.evaluate(
      ({ name, urls, token }) => {
        const { claims, stop, start } = globalThis as unknown as Cluster & { claims: Record<string, (nodes: Cluster) => Promise<void>> };
        return claims[name]!({ urls, token, stop, start });
      },
      { name, urls: nodes!.urls, token: nodes!.token },
    ),
  );
}
