// What the package offers, with what browsers have.

export { Syncline } from "./client.js";
export type { Doc, ListOptions, Options, Place, ReadOptions, SubscribeOptions, WriteOptions, WriteResult } from "./client.js";
export type { ConnectionState } from "./connection.js";
export { ClosedError, OutcomeUnknownError, ProblemError, SlowReaderError, SynclineError, UnreachableError } from "./errors.js";
export type { LiveEvent, ValueEvent } from "./events.js";
export type {
  ClusterView,
  Json,
  JsonObject,
  JsonPatch,
  ListedDocument,
  LiveProblem,
  Mode,
  NodeRow,
  Op,
  Operation,
  Problem,
  Since,
  Target,
  Version,
} from "./generated.js";
export { openWebSocket } from "./socket.js";
export type { OpenSocket, Socket, SocketEvents } from "./socket.js";
export type { Subscription } from "./subscription.js";
