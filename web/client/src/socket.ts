// What the client needs of a WebSocket, and how a browser's gives it.

export interface Socket {
  send(text: string): void;
  close(code: number, reason: string): void;
  /** Where it can: nothing more is read from the network until `resume`. What is on its way may still come. */
  pause?(): void;
  resume?(): void;
}

export interface SocketEvents {
  opened(): void;
  received(text: string): void;
  /** Once, after which nothing comes; also where it never opened. */
  closed(code: number, reason: string): void;
}

export type OpenSocket = (url: string, protocol: string, events: SocketEvents) => Socket;

/** With the `WebSocket` that is there. */
export const openWebSocket: OpenSocket = (url, protocol, events) => {
  const socket = new WebSocket(url, protocol);
  socket.onopen = () => events.opened();
  socket.onmessage = ({ data }) => {
    if (typeof data === "string") events.received(data);
  };
  socket.onclose = ({ code, reason }) => events.closed(code, reason);
  return {
    send: (text) => socket.send(text),
    // Of the codes that a page may send, this is the plain one.
    close: (_code, reason) => socket.close(1000, reason),
  };
};
