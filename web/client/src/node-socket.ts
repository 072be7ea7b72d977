// A WebSocket (RFC 6455, the client's side) over what Node.js has. Node.js 20 has none of its own; and that of later
// ones cannot pause, so whoever reads slowly would have to keep, or lose, what comes meanwhile.

import { createHash, randomBytes } from "node:crypto";
import { request as plain } from "node:http";
import { request as secure } from "node:https";
import type { Duplex } from "node:stream";

import type { OpenSocket, Socket, SocketEvents } from "./socket.js";

/** Bytes of one message: far above any document. A larger one closes the connection. */
const MESSAGE_BYTES = 256 << 20;

/** The other end gets this long to answer a close frame. */
const GOODBYE_MS = 1_000;

/** What RFC 6455 has both ends append to the key. */
const GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

const TEXT = 1;
const BINARY = 2;
const CLOSE = 8;
const PING = 9;
const PONG = 10;

export const openNodeSocket: OpenSocket = (url, protocol, events) => {
  const target = new URL(url);
  const isSecure = target.protocol === "wss:";
  target.protocol = isSecure ? "https:" : "http:";
  const key = randomBytes(16).toString("base64");
  const request = (isSecure ? secure : plain)(target, {
    // No agent: the connection is used once, and not kept.
    agent: false,
    headers: {
      Connection: "Upgrade",
      Upgrade: "websocket",
      "Sec-WebSocket-Version": "13",
      "Sec-WebSocket-Key": key,
      "Sec-WebSocket-Protocol": protocol,
    },
  });
  let open: Framed | undefined;
  let isOver = false;
  const over = (code: number, reason: string): void => {
    if (isOver) return;
    isOver = true;
    request.destroy();
    events.closed(code, reason);
  };
  request.on("error", (error) => over(1006, error.message));
  request.on("response", (response) => {
    response.resume();
    over(1006, `the handshake was answered ${response.statusCode}`);
  });
  request.on("upgrade", (response, stream: Duplex, head: Buffer) => {
    const accept = createHash("sha1").update(key + GUID).digest("base64");
    const { "sec-websocket-accept": accepted, "sec-websocket-protocol": chosen } = response.headers;
    if (isOver || accepted !== accept || chosen !== protocol) {
      stream.destroy();
      return over(1006, "the handshake was answered wrongly");
    }
    open = new Framed(stream, events, over);
    events.opened();
    open.take(head);
  });
  request.end();
  return {
    send: (text) => open?.send(text),
    close: (code, reason) => (open ? open.close(code, reason) : over(1006, reason)),
    pause: () => open?.pause(),
    resume: () => open?.resume(),
  };
};

/** Frames on an open connection. */
class Framed implements Socket {
  #chunks: Buffer[] = [];
  #bytes = 0;
  /** Bytes that have to be there before there is a point in looking again. */
  #wanted = 2;
  /** The pieces of a message so far. */
  #pieces: Buffer[] | undefined;
  #pieceBytes = 0;
  #isPaused = false;
  #ending: { code: number; reason: string } | undefined;

  constructor(
    readonly stream: Duplex,
    readonly events: SocketEvents,
    readonly over: (code: number, reason: string) => void,
  ) {
    stream.on("data", (chunk: Buffer) => this.take(chunk));
    stream.on("error", (error) => this.#gone(error.message));
    stream.on("close", () => this.#gone("the connection ended"));
    stream.on("end", () => stream.destroy());
  }

  send(text: string): void {
    if (!this.#ending) this.#write(TEXT, Buffer.from(text));
  }

  close(code: number, reason: string): void {
    if (this.#ending) return;
    this.#ending = { code, reason };
    const payload = Buffer.concat([Buffer.alloc(2), Buffer.from(reason).subarray(0, 120)]);
    payload.writeUInt16BE(code);
    this.#write(CLOSE, payload);
    // What it answers is of no interest, but has to be read for the connection to end.
    this.resume();
    setTimeout(() => this.stream.destroy(), GOODBYE_MS).unref();
  }

  pause(): void {
    this.#isPaused = true;
    this.stream.pause();
  }

  resume(): void {
    if (!this.#isPaused) return;
    this.#isPaused = false;
    this.stream.resume();
    // Not at once: whoever resumes is in the midst of taking something.
    queueMicrotask(() => this.take(Buffer.alloc(0)));
  }

  take(chunk: Buffer): void {
    if (chunk.length > 0) {
      this.#chunks.push(chunk);
      this.#bytes += chunk.length;
    }
    while (!this.#isPaused && this.#bytes >= this.#wanted) {
      const all = this.#chunks.length === 1 ? this.#chunks[0]! : Buffer.concat(this.#chunks);
      const rest = this.#frame(all);
      if (!rest) {
        this.#chunks = [all];
        break;
      }
      this.#chunks = rest.length > 0 ? [rest] : [];
      this.#bytes = rest.length;
      this.#wanted = 2;
    }
  }

  /** Takes the first frame, and gives what is after it; nothing where it is not all there yet. */
  #frame(bytes: Buffer): Buffer | undefined {
    const [first = 0, second = 0] = bytes;
    const isControl = (first & 0x08) !== 0;
    let length = second & 0x7f;
    let start = 2;
    if (length === 126) start = 4;
    if (length === 127) start = 10;
    if (bytes.length < start) return this.#wants(start);
    if (start === 4) length = bytes.readUInt16BE(2);
    if (start === 10) length = Number(bytes.readBigUInt64BE(2));
    const isFinal = (first & 0x80) !== 0;
    if ((first & 0x70) !== 0 || (second & 0x80) !== 0 || (isControl && (length > 125 || !isFinal))) {
      return this.#broken(1002, "a frame that no node sends");
    }
    if (this.#pieceBytes + length > MESSAGE_BYTES) return this.#broken(1009, "a message is too large");
    if (bytes.length < start + length) return this.#wants(start + length);
    this.#took(first & 0x0f, isFinal, bytes.subarray(start, start + length));
    return bytes.subarray(start + length);
  }

  #wants(bytes: number): undefined {
    this.#wanted = bytes;
  }

  #broken(code: number, reason: string): Buffer {
    this.close(code, reason);
    this.stream.destroy();
    return Buffer.alloc(0);
  }

  #took(opcode: number, isFinal: boolean, payload: Buffer): void {
    // Who has said goodbye listens for nothing but that of the other end.
    if (this.#ending && opcode !== CLOSE) return;
    switch (opcode) {
      case PING:
        return this.#write(PONG, payload);
      case PONG:
        return;
      case CLOSE: {
        const code = payload.length >= 2 ? payload.readUInt16BE(0) : 1005;
        if (!this.#ending) {
          this.#write(CLOSE, payload.subarray(0, 2));
          this.#ending = { code, reason: payload.subarray(2).toString() };
        }
        this.stream.end(() => this.stream.destroy());
        return;
      }
      case 0:
      case TEXT:
        return this.#piece(opcode, isFinal, payload);
      case BINARY:
      default:
        this.#broken(1003, "only texts are taken");
    }
  }

  #piece(opcode: number, isFinal: boolean, payload: Buffer): void {
    if ((opcode === TEXT) !== (this.#pieces === undefined)) {
      this.#broken(1002, "pieces out of order");
      return;
    }
    const pieces = this.#pieces ?? [];
    pieces.push(payload);
    this.#pieces = isFinal ? undefined : pieces;
    this.#pieceBytes = isFinal ? 0 : this.#pieceBytes + payload.length;
    if (!isFinal) return;
    let text: string;
    try {
      text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(pieces.length === 1 ? pieces[0]! : Buffer.concat(pieces));
    } catch {
      this.#broken(1007, "a text that is not UTF-8");
      return;
    }
    this.events.received(text);
  }

  /** Frames of a client are masked. */
  #write(opcode: number, payload: Buffer): void {
    const mask = randomBytes(4);
    const { length } = payload;
    const extended = length < 126 ? 0 : length < 65_536 ? 2 : 8;
    const frame = Buffer.alloc(2 + extended + 4 + length);
    frame[0] = 0x80 | opcode;
    frame[1] = 0x80 | (extended === 0 ? length : extended === 2 ? 126 : 127);
    if (extended === 2) frame.writeUInt16BE(length, 2);
    if (extended === 8) frame.writeBigUInt64BE(BigInt(length), 2);
    mask.copy(frame, 2 + extended);
    const start = 2 + extended + 4;
    for (let at = 0; at < length; at += 1) frame[start + at] = payload[at]! ^ mask[at & 3]!;
    this.stream.write(frame);
  }

  #gone(why: string): void {
    this.over(this.#ending?.code ?? 1006, this.#ending?.reason ?? why);
  }
}
