/** Client of the public API. Records every call. */

import { isTokenExpired, renewToken } from "./session.js";
import { signal } from "./signal.js";

export const API = "/v1";
// Per kind, so that polls do not remove a call that the user may be reading.
const MAX_CALLS_PER_KIND = 60;

/**
 * All calls, newest first. A background call is a poll. The status is null until the response arrives, and 0 if none
 * arrives.
 */
export const calls = signal([]);

let callCount = 0;

/**
 * Call the API as `user`. If it refuses the token, call it again with a new one.
 *
 * @returns {Promise<{ok: boolean, status: number, headers: Headers, body: any, ms: number}>}  It never rejects. Without
 *   a response, `status` is 0 and `body` is a problem.
 */
export async function call(method, path, user, options = {}) {
  const { token } = user;
  const response = await callOnce(method, path, user, options);
  if (response.status !== 401) return response;
  if (await renewToken(user, token)) return callOnce(method, path, user, options);
  if (isTokenExpired(token)) response.body.detail = "The token has expired. Choose another user.";
  return response;
}

async function callOnce(method, path, user, { body, idempotencyKey, ifMatch, background = false }) {
  const headers = [["Authorization", "Bearer $TOKEN"]];
  if (body !== undefined) headers.push(["Content-Type", "application/json"]);
  if (idempotencyKey) headers.push(["Idempotency-Key", idempotencyKey]);
  if (ifMatch) headers.push(["If-Match", ifMatch]);
  const record = {
    number: ++callCount,
    ...{ method, path: `${API}${path}`, headers, body: body === undefined ? null : JSON.stringify(body) },
    ...{ token: user.token, as: user.sub, background },
    ...{ status: null, responseHeaders: [], responseBody: "", ms: 0 },
  };
  calls.set(newest([record, ...calls.value]));
  const started = performance.now();
  const response = await send(record);
  record.ms = performance.now() - started;
  calls.touch();
  return { ...response, ms: record.ms };
}

/** Remove all finished calls from the record. */
export function clearCalls() {
  calls.set(calls.value.filter((call) => call.status === null));
}

function newest(all) {
  const [requested, polls] = [false, true].map((background) => all.filter((call) => call.background === background));
  const kept = new Set([...requested.slice(0, MAX_CALLS_PER_KIND), ...polls.slice(0, MAX_CALLS_PER_KIND)]);
  return all.filter((call) => kept.has(call));
}

async function send(record) {
  try {
    const response = await fetch(record.path, {
      method: record.method,
      headers: record.headers.map(([name, value]) => [name, value.replace("$TOKEN", record.token)]),
      body: record.body,
      cache: "no-store",
      credentials: "omit",
    });
    record.responseBody = await response.text();
    record.responseHeaders = [...response.headers];
    record.status = response.status;
    return { ok: response.ok, status: response.status, headers: response.headers, body: parse(record.responseBody) };
  } catch (failure) {
    record.status = 0;
    record.responseBody = String(failure);
    const problem = { title: "No response", detail: "The stack did not respond. Start it again: make run", code: "no_response" };
    return { ok: false, status: 0, headers: new Headers(), body: problem };
  }
}

function parse(text) {
  try {
    return JSON.parse(text);
  } catch {
    return { title: "Not JSON", detail: `The response is not JSON: ${text.slice(0, 200)}`, code: "not_json" };
  }
}
