// Real nodes on this machine, for the claims.

import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";

import type { Cluster } from "./claims.js";

const BINARY = process.env.SYNCLINE ?? new URL("../../../target/release/syncline", import.meta.url).pathname;

const TOKEN = "0123456789-token-of-tests";

/** `origin`: of the page that is to use it. */
export async function cluster(origin?: string): Promise<Cluster & { end(): Promise<void> }> {
  const folder = await mkdtemp(join(tmpdir(), "syncline-client-"));
  const running = new Map<string, ChildProcess>();
  const urls: Record<string, string> = {};
  const more: Record<string, string[]> = {};
  const tokens = join(folder, "tokens");
  await writeFile(tokens, `${TOKEN} read,write,peer\n`, { mode: 0o600 });

  const start = async (name: string): Promise<void> => {
    const listen = urls[name]?.replace("http://", "") ?? "127.0.0.1:0";
    const common = ["serve", "--name", name, "--listen", listen, "--data-dir", join(folder, name)];
    const allowed = origin ? ["--allow-origin", origin] : [];
    const node = spawn(BINARY, [...common, ...allowed, ...(more[name] ?? [])], { stdio: ["ignore", "pipe", "pipe"] });
    running.set(name, node);
    let log = "";
    node.stderr.on("data", (chunk: Buffer) => (log = (log + chunk.toString()).slice(-10_000)));
    const ended = once(node, "exit").then(() => Promise.reject(new Error(`${name} has ended:\n${log}`)));
    const listens = (async () => {
      for await (const line of createInterface(node.stdout)) {
        const [, url] = / listens on (\S+)/.exec(line) ?? [];
        if (url) return url;
      }
      return ended;
    })();
    urls[name] = await Promise.race([listens, ended]);
    node.stdout.resume();
    ended.catch(() => {});
  };

  const stop = async (name: string): Promise<void> => {
    const node = running.get(name);
    if (!node || node.exitCode !== null) return;
    running.delete(name);
    const ended = once(node, "exit");
    // As a crash does it: nobody is told.
    node.kill("SIGKILL");
    await ended;
  };

  const end = async (): Promise<void> => {
    await Promise.all([...running.keys()].map(stop));
    await rm(folder, { recursive: true, force: true });
  };

  try {
    await start("a");
    more.b = ["--peer", urls.a!];
    await start("b");
    // When it comes back it looks for the others itself, and does not wait until they try again.
    more.a = ["--peer", urls.b!];
    more.r = ["--role", "replica", "--upstream", urls.b!];
    await start("r");
    more.guarded = ["--token-file", tokens];
    await start("guarded");
  } catch (error) {
    await end();
    throw error;
  }
  return { urls: urls as Cluster["urls"], token: TOKEN, stop, start, end };
}
