// How long to wait before another try: full jitter, so that clients of a node that has gone do not return at once.

/** A random time up to `first`, twice that at each further attempt (from 0), at most `most`; in milliseconds. */
export function pause(attempt: number, first: number, most: number, random: () => number): number {
  return random() * Math.min(most, first * 2 ** Math.min(attempt, 30));
}

/** Rejects with the signal's reason when that comes first. */
export function sleep(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    signal?.throwIfAborted();
    const stop = () => {
      clearTimeout(timer);
      reject(signal?.reason);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", stop);
      resolve();
    }, ms);
    signal?.addEventListener("abort", stop, { once: true });
  });
}
