// What the package offers in Node.js: the same, with a WebSocket of its own.

import { Syncline as Anywhere, type Options } from "./client.js";
import { openNodeSocket } from "./node-socket.js";

export * from "./index.js";
export { openNodeSocket } from "./node-socket.js";

export class Syncline extends Anywhere {
  constructor(options: Options = {}) {
    super({ openSocket: openNodeSocket, ...options });
  }
}
