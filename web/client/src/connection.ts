// The one WebSocket that all subscriptions of a client share, opened with the first and closed with the last; and
// opened again, on another node if need be, when it ends.

import { ClosedError } from "./errors.js";
import type { ClientFrame, NodeFrame } from "./generated.js";
import { pause } from "./jitter.js";
import type { Nodes } from "./nodes.js";
import type { OpenSocket, Socket } from "./socket.js";
import type { Source, Subscription } from "./subscription.js";

const PROTOCOL = "syncline.sub.v1";

/** Before another try: a random time up to this, doubled at each that leads to nothing. */
const AGAIN_MS = 250;
const AGAIN_MOST_MS = 10_000;

/** From the first try to connect until the node's welcome. It may wait 5 s for what the session has seen. */
const WELCOME_MS = 10_000;

/** Nothing heard for so long: the node is asked whether it is there, and left when as long again it says nothing. */
const QUIET_MS = 15_000;

/** How the connection of the subscriptions stands. */
export type ConnectionState =
  | { state: "idle" }
  | { state: "connecting"; node: string }
  | { state: "open"; node: string; name: string; role: "master" | "replica" }
  /** Until the next try. */
  | { state: "waiting"; ms: number; reason: string };

export interface ConnectionOptions {
  nodes: Nodes;
  openSocket: OpenSocket;
  token: string | undefined;
  session: () => string | undefined;
  changed: (state: ConnectionState) => void;
}

export class Connection implements Source {
  readonly #options: ConnectionOptions;
  readonly #followed = new Map<string, Subscription>();
  #ids = 0;
  #socket: Socket | undefined;
  #node = "";
  #isWelcome = false;
  #isPaused = false;
  /** Tries that led to nothing. */
  #tries = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #heard = true;

  constructor(options: ConnectionOptions) {
    this.#options = options;
  }

  follow(subscription: Subscription): void {
    if (subscription.isOver) return;
    const id = this.#add(subscription);
    if (this.#isWelcome) this.#say(subscription.request(id));
    else if (!this.#socket && this.#timer === undefined) this.#open();
  }

  unfollow(subscription: Subscription): void {
    for (const [id, one] of this.#followed) {
      if (one !== subscription) continue;
      this.#followed.delete(id);
      if (this.#isWelcome) this.#say({ type: "unsubscribe", id });
    }
    if (this.#followed.size > 0) return this.balance();
    this.#leave("nothing is followed any more");
    this.#options.changed({ state: "idle" });
  }

  balance(): void {
    const isFull = [...this.#followed.values()].some((subscription) => subscription.isFull);
    if (isFull === this.#isPaused || !this.#socket?.pause) return;
    this.#isPaused = isFull;
    if (isFull) this.#socket.pause();
    else this.#socket.resume?.();
    this.#heard = true;
  }

  close(): void {
    for (const subscription of [...this.#followed.values()]) subscription.close();
  }

  #add(subscription: Subscription): string {
    this.#ids += 1;
    const id = String(this.#ids);
    this.#followed.set(id, subscription);
    return id;
  }

  #open(): void {
    const { nodes, openSocket, changed } = this.#options;
    const [node = ""] = nodes.order(false);
    this.#node = node;
    changed({ state: "connecting", node });
    const url = `${node.replace(/^http/, "ws")}/v1/subscribe`;
    // What a connection says that was left behind is of no interest.
    const mine = (act: () => void): void => {
      if (this.#socket === socket) act();
    };
    const socket: Socket = openSocket(url, PROTOCOL, {
      opened: () => mine(() => this.#hello()),
      received: (text) => mine(() => this.#received(text)),
      closed: (code, reason) => mine(() => this.#ended(code, reason)),
    });
    this.#socket = socket;
    this.#timer = setTimeout(() => this.#lost("no welcome"), WELCOME_MS);
  }

  #hello(): void {
    const session = this.#options.session();
    const { token } = this.#options;
    this.#say({ type: "hello", ...(token === undefined ? {} : { token }), ...(session === undefined ? {} : { session }) });
  }

  #received(text: string): void {
    this.#heard = true;
    let frame: NodeFrame;
    try {
      frame = JSON.parse(text) as NodeFrame;
    } catch {
      return this.#lost("a frame that is not JSON");
    }
    if (frame.type === "welcome") return this.#welcome(frame);
    if (!("id" in frame) || frame.id === undefined) return;
    const subscription = this.#followed.get(frame.id);
    if (!subscription) return;
    // Only now has the connection come to anything.
    if (frame.type === "up-to-date") this.#tries = 0;
    if (!subscription.take(frame, this.#node)) return;
    // By another name, so that what is on its way of the old one is known for that.
    this.#followed.delete(frame.id);
    if (frame.type !== "refetch") this.#say({ type: "unsubscribe", id: frame.id });
    this.#say(subscription.request(this.#add(subscription)));
  }

  #welcome({ node: name, role }: Extract<NodeFrame, { type: "welcome" }>): void {
    this.#isWelcome = true;
    this.#options.nodes.answered(this.#node);
    this.#options.changed({ state: "open", node: this.#node, name, role });
    clearTimeout(this.#timer);
    this.#watch();
    for (const [id, subscription] of this.#followed) this.#say(subscription.request(id));
    this.balance();
  }

  /** Looks now and then whether the node is still there. */
  #watch(): void {
    this.#heard = true;
    let isAsked = false;
    const look = (): void => {
      if (this.#heard || this.#isPaused) isAsked = false;
      else if (isAsked) return this.#lost("the node says nothing");
      else {
        isAsked = true;
        this.#say({ type: "ping" });
      }
      this.#heard = false;
      this.#timer = setTimeout(look, QUIET_MS);
    };
    this.#timer = setTimeout(look, QUIET_MS);
  }

  #lost(reason: string): void {
    const socket = this.#socket;
    this.#ended(1006, reason);
    socket?.close(1000, reason);
  }

  #ended(code: number, reason: string): void {
    this.#reset();
    if (code >= 4400 && code < 4500) {
      for (const subscription of [...this.#followed.values()]) subscription.fail(new ClosedError(code, reason));
      return;
    }
    const { nodes, changed } = this.#options;
    nodes.failed(this.#node);
    const ms = pause(this.#tries, AGAIN_MS, AGAIN_MOST_MS, nodes.random);
    this.#tries += 1;
    changed({ state: "waiting", ms, reason: `${code} ${reason}` });
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      this.#open();
    }, ms);
  }

  #leave(reason: string): void {
    const socket = this.#socket;
    this.#reset();
    socket?.close(1000, reason);
  }

  #reset(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#socket = undefined;
    this.#isWelcome = false;
    this.#isPaused = false;
  }

  #say(frame: ClientFrame): void {
    this.#socket?.send(JSON.stringify(frame));
  }
}
