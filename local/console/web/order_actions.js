/** Actions of the shop on an order: place, open, pay, and wait for the outcome. */

import { call } from "./api.js";
import { duration } from "./format.js";
import { addStep, current, orders, recordOrder } from "./orders.js";
import { user as signedIn } from "./session.js";
import { signal } from "./signal.js";

const RETRY_SECONDS = 5;
// Longer than the reconciler needs to settle an order.
const MAX_WAIT_MS = 5 * 60 * 1000;

/** The latest event in words. It changes whenever stock, orders or ledger may have changed. */
export const announcement = signal("");

/** Place an order. Returns the problem if the API refused it. */
export async function placeOrder(items, user) {
  const idempotencyKey = crypto.randomUUID();
  const response = await call("POST", "/orders", user, { body: { items }, idempotencyKey });
  if (!response.ok) return response.body;
  const record = recordOrder(response.body);
  Object.assign(record.steps[0], { detail: `POST /orders returned ${response.status}`, took: response.ms });
  current.set(response.body.orderId);
  announcement.set("The order is placed and pending.");
  return null;
}

/** Read an order's status and show it. Returns the problem if the API refused. */
export async function openOrder(orderId, user) {
  const response = await call("GET", `/orders/${encodeURIComponent(orderId)}/status`, user);
  if (!response.ok) return response.body;
  recordOrder(response.body);
  current.set(response.body.orderId);
  return null;
}

/** Pay an order. A second call during the first does nothing. */
export async function pay(record, card, user) {
  if (record.busy) return;
  const sent = Date.now();
  const wasPending = record.order.status === "pending";
  Object.assign(record, { busy: true, problem: null });
  if (wasPending) record.sentAt = sent;
  addStep(record, { label: "Payment sent", detail: card, at: sent });
  orders.touch();

  const response = await call("POST", `/orders/${encodeURIComponent(record.order.orderId)}/payment`, user, {
    body: { paymentMethodId: card },
    idempotencyKey: record.key,
  });
  if (response.status === 202 || response.body.code === "payment_in_progress") {
    void waitForOutcome(record, user, Number(response.headers.get("Retry-After")) || RETRY_SECONDS);
  }

  const order = response.ok ? response.body : response.body.order;
  if (order?.orderId === record.order.orderId) recordOrder(order);
  const replayed = response.headers.get("Idempotent-Replayed") === "true";
  const kind = response.status === 202 ? "wait" : response.ok ? "good" : "bad";
  addStep(record, { label: outcome(response, replayed), at: sent + response.ms, took: response.ms, kind });
  record.busy = false;
  if (!response.ok) recordProblem(record, user, response.body);
  orders.touch();
  announcement.set(response.ok ? `The order is ${record.order.status}.` : `Refused: ${response.body.title}.`);
}

/** Record the problem, unless another user has signed in since. */
function recordProblem(record, user, problem) {
  if (user === signedIn.value) record.problem = problem;
}

function outcome(response, replayed) {
  const code = response.ok ? "" : ` ${response.body.code}`;
  const unknown = response.status === 202 ? ", outcome unknown" : "";
  return `${response.status ? `Response ${response.status}` : "No response"}${code}${unknown}${replayed ? ", replayed" : ""}`;
}

/** Poll a pending order at the interval of `Retry-After`. */
async function waitForOutcome(record, user, seconds) {
  if (record.nextPollAt !== null) return;
  const { orderId } = record.order;
  const started = Date.now();
  let polls = 0;
  while (record.order.status === "pending" && Date.now() - started < MAX_WAIT_MS) {
    record.nextPollAt = Date.now() + seconds * 1000;
    orders.touch();
    await new Promise((wake) => setTimeout(wake, seconds * 1000));
    // A background call leaves the open call in the panel unchanged.
    const response = await call("GET", `/orders/${encodeURIComponent(orderId)}/status`, user, { background: true });
    polls += 1;
    if (response.ok) recordOrder(response.body);
    else recordProblem(record, user, response.body);
    if (response.status >= 400 && response.status < 500) break;
  }
  record.nextPollAt = null;
  const waited = duration(Date.now() - started);
  const times = polls === 1 ? "once" : `${polls} times`;
  addStep(record, { label: `Checked ${times} in ${waited}`, at: Date.now() });
  orders.touch();
  announcement.set(`The order is ${record.order.status}.`);
}
