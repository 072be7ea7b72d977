// The WebSocket of Node.js, against a server that writes bytes as it likes.

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { createServer, type Server, type Socket as Connection } from "node:net";
import type { AddressInfo } from "node:net";
import { test, type TestContext } from "node:test";

import { openNodeSocket, type Socket } from "@syncline/client";

/** A frame of a server. */
function frame(opcode: number, payload: Buffer | string, { isFinal = true, masked = false } = {}): Buffer {
  const bytes = Buffer.from(payload as string);
  const head = Buffer.alloc(bytes.length < 126 ? 2 : bytes.length < 65_536 ? 4 : 10);
  head[0] = (isFinal ? 0x80 : 0) | opcode;
  head[1] = (masked ? 0x80 : 0) | (head.length === 2 ? bytes.length : head.length === 4 ? 126 : 127);
  if (head.length === 4) head.writeUInt16BE(bytes.length, 2);
  if (head.length === 10) head.writeBigUInt64BE(BigInt(bytes.length), 2);
  return Buffer.concat([head, bytes]);
}

const goodbye = (code: number, reason: string) => frame(8, Buffer.concat([Buffer.from([code >> 8, code & 255]), Buffer.from(reason)]));

/** Frames of a client, unmasked. */
function* frames(bytes: Buffer): Generator<[number, string]> {
  for (let at = 0; at < bytes.length; ) {
    assert.equal(bytes[at + 1]! & 0x80, 0x80, "frames of a client are masked");
    let length = bytes[at + 1]! & 0x7f;
    let start = at + 2;
    if (length === 126) [length, start] = [bytes.readUInt16BE(start), start + 2];
    const mask = bytes.subarray(start, start + 4);
    const payload = bytes.subarray(start + 4, start + 4 + length).map((byte, n) => byte ^ mask[n & 3]!);
    yield [bytes[at]! & 0x0f, Buffer.from(payload).toString("latin1")];
    at = start + 4 + length;
  }
}

/** A connection to a server that answers the handshake, and both ends of it. */
async function open(context: TestContext, more = "", status = "101 Switching Protocols") {
  const server: Server = createServer();
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  context.after(() => server.close());
  const received: string[] = [];
  let over: (end: [number, string]) => void;
  const closed = new Promise<[number, string]>((resolve) => (over = resolve));
  const { port } = server.address() as AddressInfo;
  let socket!: Socket;
  const opened = new Promise<void>((resolve) => {
    socket = openNodeSocket(`ws://127.0.0.1:${port}/v1/subscribe`, "p", {
      opened: resolve,
      received: (text) => received.push(text),
      closed: (code, reason) => over([code, reason]),
    });
  });
  const [connection] = (await once(server, "connection")) as [Connection];
  context.after(() => connection.destroy());
  const [head] = (await once(connection, "data")) as [Buffer];
  const [, key] = /sec-websocket-key: (.*)\r\n/i.exec(head.toString()) ?? [];
  assert.match(head.toString(), /^GET \/v1\/subscribe HTTP\/1.1\r\n/);
  const accept = createHash("sha1").update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest("base64");
  const headers = more || `Sec-WebSocket-Accept: ${accept}\r\nSec-WebSocket-Protocol: p\r\n`;
  const answer = `HTTP/1.1 ${status}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n${headers}\r\n`;
  const sent: Buffer[] = [];
  connection.on("data", (chunk: Buffer) => sent.push(chunk));
  return { socket, connection, received, closed, opened, answer, sent: () => [...frames(Buffer.concat(sent))] };
}

async function until(is: () => boolean): Promise<void> {
  while (!is()) await new Promise((resolve) => setTimeout(resolve, 1));
}

test("texts of any length come whole, however their bytes are cut", async (context) => {
  const texts = ["", "ä🦊", "x".repeat(125), "y".repeat(126), "é".repeat(40_000), "z".repeat(70_000)];
  const { connection, received, answer } = await open(context);
  const pieces = [frame(1, "in ", { isFinal: false }), frame(9, "ping"), frame(0, "three ", { isFinal: false }), frame(0, "pieces")];
  const bytes = Buffer.concat([Buffer.from(answer), ...texts.map((text) => frame(1, text)), ...pieces]);
  for (let at = 0; at < bytes.length; ) {
    // Byte by byte where frames begin, and in odd lengths elsewhere.
    const length = at < 2_000 ? 1 : 1_237;
    connection.write(bytes.subarray(at, at + length));
    at += length;
    if (at % 50 === 0) await new Promise((resolve) => setImmediate(resolve));
  }
  await until(() => received.length === texts.length + 1);
  assert.deepEqual(received, [...texts, "in three pieces"]);
});

test("what is sent is masked, pings are answered, and both sides may close", async (context) => {
  const { socket, connection, answer, opened, sent, closed } = await open(context);
  connection.write(answer);
  await opened;
  socket.send("hello");
  socket.send("m".repeat(300));
  connection.write(frame(9, "are you there"));
  await until(() => sent().length === 3);
  assert.deepEqual(sent(), [[1, "hello"], [1, "m".repeat(300)], [10, "are you there"]]);
  connection.write(goodbye(4503, "come back"));
  assert.deepEqual(await closed, [4503, "come back"]);
  await until(() => sent().length === 4);
  assert.deepEqual(sent().at(-1), [8, "\x11\x97"]);

  const other = await open(context);
  other.connection.write(other.answer);
  await other.opened;
  other.socket.close(1000, "done");
  await until(() => other.sent().length === 1);
  assert.deepEqual(other.sent(), [[8, "\x03\xe8done"]]);
  other.connection.write(Buffer.concat([frame(1, "too late"), goodbye(1000, "")]));
  assert.deepEqual(await other.closed, [1000, "done"]);
  assert.deepEqual(other.received, []);
});

test("what a node never sends closes the connection", async (context) => {
  const cases: [Buffer, number][] = [
    [frame(1, "masked", { masked: true }), 1002],
    [frame(0, "no beginning"), 1002],
    [Buffer.concat([frame(1, "a", { isFinal: false }), frame(1, "b")]), 1002],
    [frame(9, "in pieces", { isFinal: false }), 1002],
    [Buffer.from([0xc1, 0]), 1002],
    [frame(2, "binary"), 1003],
    [frame(1, Buffer.from([0xff])), 1007],
    [Buffer.from([0x81, 127, 0, 0, 1, 0, 0, 0, 0, 0]), 1009],
  ];
  for (const [bytes, code] of cases) {
    const { connection, answer, closed, received } = await open(context);
    connection.write(Buffer.concat([Buffer.from(answer), bytes]));
    assert.equal((await closed)[0], code, bytes.toString("hex"));
    assert.deepEqual(received, []);
  }
});

test("a handshake that is refused, or answered wrongly, is a connection that never was", async (context) => {
  const refused = await open(context, "Content-Length: 0\r\n", "503 Service Unavailable");
  refused.connection.write(refused.answer.replace(/(Upgrade|Connection): .*\r\n/g, ""));
  assert.deepEqual(await refused.closed, [1006, "the handshake was answered 503"]);
  const wrong = await open(context, "Sec-WebSocket-Accept: x\r\nSec-WebSocket-Protocol: p\r\n");
  wrong.connection.write(wrong.answer);
  assert.deepEqual(await wrong.closed, [1006, "the handshake was answered wrongly"]);
  const cut = await open(context);
  cut.connection.write(cut.answer);
  await cut.opened;
  cut.connection.destroy();
  assert.equal((await cut.closed)[0], 1006);
});

test("while it pauses nothing comes, and then all of it", async (context) => {
  const { socket, connection, received, answer, opened } = await open(context);
  connection.write(answer);
  await opened;
  socket.pause?.();
  let isTaken = false;
  // More than all buffers between the two ends hold.
  const bytes = frame(1, "x".repeat(60_000));
  for (let n = 0; n < 1_000; n += 1) connection.write(bytes);
  connection.write(frame(9, ""), () => (isTaken = true));
  // Something else goes to and fro meanwhile.
  const witness = await open(context);
  witness.connection.write(Buffer.concat([Buffer.from(witness.answer), frame(1, "seen")]));
  await until(() => witness.received.length === 1);
  assert.deepEqual([received.length, isTaken], [0, false]);
  socket.resume?.();
  await until(() => received.length === 1_000);
});
