/** The public API, and a record of every call to it. */

import { signal } from "./signal.js";

export const API = "/v1";
// Of either kind, so that no number of polls drives out what somebody has asked for and may be reading.
const KEPT_CALLS = 60;

/**
 * All calls, the newest first. A call in the background keeps the page up to date. Its status is null until the answer
 * comes, and 0 if none came.
 */
export const calls = signal([]);

let made = 0;

/**
 * Call the API as `user`.
 *
 * @returns {Promise<{ok: boolean, status: number, headers: Headers, body: any, ms: number}>}  It never fails: where no
 *   answer comes, `status` is 0 and `body` tells why in the form of a problem.
 */
export async function call(method, path, user, { body, idempotencyKey, ifMatch, background = false } = {}) {
  const headers = [["Authorization", "Bearer $TOKEN"]];
  if (body !== undefined) headers.push(["Content-Type", "application/json"]);
  if (idempotencyKey) headers.push(["Idempotency-Key", idempotencyKey]);
  if (ifMatch) headers.push(["If-Match", ifMatch]);
  const record = {
    number: ++made,
    ...{ method, path: `${API}${path}`, headers, body: body === undefined ? null : JSON.stringify(body) },
    ...{ token: user.token, as: user.sub, background },
    ...{ status: null, answerHeaders: [], answerBody: "", ms: 0 },
  };
  calls.set(newest([record, ...calls.value]));
  const started = performance.now();
  const answer = await answerTo(record);
  record.ms = performance.now() - started;
  calls.touch();
  return { ...answer, ms: record.ms };
}

/** Forget all calls that were answered. */
export function forgetCalls() {
  calls.set(calls.value.filter((call) => call.status === null));
}

function newest(all) {
  const [asked, polls] = [false, true].map((background) => all.filter((call) => call.background === background));
  const kept = new Set([...asked.slice(0, KEPT_CALLS), ...polls.slice(0, KEPT_CALLS)]);
  return all.filter((call) => kept.has(call));
}

async function answerTo(record) {
  try {
    const response = await fetch(record.path, {
      method: record.method,
      headers: record.headers.map(([name, value]) => [name, value.replace("$TOKEN", record.token)]),
      body: record.body,
      cache: "no-store",
      credentials: "omit",
    });
    record.answerBody = await response.text();
    record.answerHeaders = [...response.headers];
    record.status = response.status;
    return { ok: response.ok, status: response.status, headers: response.headers, body: parsed(record.answerBody) };
  } catch (failure) {
    record.status = 0;
    record.answerBody = String(failure);
    const problem = { title: "No answer", detail: "The stack did not answer. Is it still running?", code: "no_answer" };
    return { ok: false, status: 0, headers: new Headers(), body: problem };
  }
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return { title: "The answer is not JSON", detail: text.slice(0, 200), code: "not_json" };
  }
}
