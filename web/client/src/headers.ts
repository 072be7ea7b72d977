// Versions and names as headers carry them.

import type { Version } from "./generated.js";

/** As in `Version` and `Parents`: quoted strings with commas between. */
export function writeVersion(version: Version): string {
  return version.map((hash) => `"${hash}"`).join(", ");
}

export function readVersion(header: string | null): Version {
  return Array.from((header ?? "").matchAll(/"([^"]*)"/g), ([, hash]) => hash ?? "");
}

/** `fetch` takes one character for one byte, and nodes take UTF-8. */
export function utf8(text: string): string {
  return String.fromCharCode(...new TextEncoder().encode(text));
}
