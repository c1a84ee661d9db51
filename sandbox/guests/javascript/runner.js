// Runs one JavaScript tool. Each call has a memory of its own, so nothing here has to be defended
// from the source: what it breaks is gone with the call.
//
// A source that defines `call` is a tool: its result is what `call(input)` returns or resolves to.
// Any other is a script, and its result is the value of its last expression, as in a console.
import log from "nexus:tool/log@1.0.0";
import http from "nexus:tool/http@1.0.0";

const show = (value) => {
  if (typeof value === "string") return value;
  if (value instanceof Error) return `${value}`;
  try {
    return JSON.stringify(value) ?? String(value);
  } catch {
    return String(value);
  }
};

const print = (...values) => log.write(values.map(show).join(" "));

const bytes = (body) => {
  if (body === undefined || body === null) return new Uint8Array();
  if (body instanceof Uint8Array) return body;
  return encode(typeof body === "string" ? body : JSON.stringify(body));
};

const encode = (text) => {
  const escaped = unescape(encodeURIComponent(text));
  return Uint8Array.from(escaped, (one) => one.charCodeAt(0));
};

const decode = (body) => {
  let text = "";
  for (let at = 0; at < body.length; at += 4096) {
    text += String.fromCharCode(...body.slice(at, at + 4096));
  }
  return decodeURIComponent(escape(text));
};

// Synchronous, unlike `fetch`: a call has nothing else to do meanwhile.
const request = (url, { method = "GET", headers = {}, body } = {}) => {
  const sent = { method, url, headers: Object.entries(headers), body: bytes(body) };
  let answer;
  try {
    answer = http.send(sent);
  } catch (refused) {
    throw new Error(String(refused?.payload ?? refused));
  }
  const received = Uint8Array.from(answer.body);
  return {
    status: answer.status,
    headers: Object.fromEntries(answer.headers),
    bytes: received,
    text: () => decode(received),
    json: () => JSON.parse(decode(received)),
  };
};

const describe = (error) => {
  if (!(error instanceof Error)) return `threw ${show(error)}`;
  const where = error.stack?.split("\n", 1)[0]?.trim();
  return where ? `${error} (${where})` : `${error}`;
};

// The interpreter is a snapshot: its own random numbers would be the same in every call.
const random = (seed) => () => {
  seed = (seed + 0x6d2b79f5) | 0;
  let mixed = Math.imul(seed ^ (seed >>> 15), 1 | seed);
  mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed);
  return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
};

const result = (value) => {
  try {
    return JSON.stringify(value) ?? "null";
  } catch (error) {
    throw `the result is not JSON: ${describe(error)}`;
  }
};

let promise;

export function run(source, input, seed) {
  Math.random = random(seed);
  // Of the bindings: of no use to a tool, and not to be pulled from under them.
  delete globalThis.wit;
  const fixed = { enumerable: false, configurable: false, writable: false };
  Object.freeze(globalThis.__cqjs.asyncExports);
  Object.defineProperty(globalThis, "__cqjs", { ...fixed, value: Object.freeze(globalThis.__cqjs) });
  globalThis.console = { log: print, info: print, warn: print, error: print, debug: print };
  globalThis.http = { request };
  globalThis.input = JSON.parse(input);
  let value;
  try {
    // Indirect, so that it runs at the top level and sees nothing of this file.
    value = (0, eval)(source);
    if (typeof globalThis.call === "function") value = globalThis.call(globalThis.input);
  } catch (error) {
    throw describe(error);
  }
  if (typeof value?.then !== "function") return result(value);
  promise = value;
  return null;
}

// Nothing here waits for anything outside, so a promise that is still open after so many rounds of
// jobs stays open. Awaiting it would never return to the host.
const ROUNDS = 200_000;

export async function settled() {
  let outcome;
  Promise.resolve(promise).then(
    (value) => (outcome = { value }),
    (error) => (outcome = { error, failed: true }),
  );
  for (let round = 0; !outcome; round++) {
    if (round === ROUNDS) throw `the result is a promise that is open after ${ROUNDS} rounds of jobs`;
    await null;
  }
  if (outcome.failed) throw describe(outcome.error);
  return result(outcome.value);
}
