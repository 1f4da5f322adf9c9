/** Actions on an order: place, open, pay, override, and wait for the outcome. */

import { call } from "./api.js";
import { duration } from "./format.js";
import { addStep, current, orders, recordOrder } from "./orders.js";
import { signal } from "./signal.js";

const RETRY_SECONDS = 5;
// Longer than the reconciler needs to settle an order.
const MAX_WAIT_MS = 5 * 60 * 1000;

/** The latest event in words. It changes whenever stock, orders or ledger may have changed. */
export const announcement = signal("");

/** Place an order. Returns the problem if the API refused it. */
export async function placeOrder(items, user) {
  const idempotencyKey = crypto.randomUUID();
  const answer = await call("POST", "/orders", user, { body: { items }, idempotencyKey });
  if (!answer.ok) return answer.body;
  const record = recordOrder(answer.body);
  Object.assign(record.steps[0], { detail: `POST /orders returned ${answer.status}`, took: answer.ms });
  current.set(answer.body.orderId);
  announcement.set("The order is placed and pending.");
  return null;
}

/** Read an order's status and show it. Returns the problem if the API refused. */
export async function openOrder(orderId, user) {
  const answer = await call("GET", `/orders/${encodeURIComponent(orderId)}/status`, user);
  if (!answer.ok) return answer.body;
  recordOrder(answer.body);
  current.set(answer.body.orderId);
  return null;
}

/** Pay an order. A second call during the first does nothing. */
export async function pay(record, card, user) {
  const { orderId } = record.order;
  await settle(record, ["Payment sent", card], () =>
    call("POST", `/orders/${encodeURIComponent(orderId)}/payment`, user, {
      body: { paymentMethodId: card },
      idempotencyKey: record.key,
    }).then((answer) => {
      if (answer.status === 202 || answer.body.code === "payment_in_progress") {
        void waitForOutcome(record, user, Number(answer.headers.get("Retry-After")) || RETRY_SECONDS);
      }
      return answer;
    }),
  );
}

/** Override an order's status as an admin. */
export async function override(record, status, reason, user) {
  const { orderId } = record.order;
  await settle(record, ["Override sent", status], () =>
    call("PUT", `/admin/orders/${encodeURIComponent(orderId)}/status`, user, { body: { status, reason } }),
  );
}

async function settle(record, [label, detail], send) {
  if (record.busy) return;
  const sent = Date.now();
  const wasPending = record.order.status === "pending";
  Object.assign(record, { busy: true, problem: null });
  if (wasPending) record.sentAt = sent;
  addStep(record, { label, detail, at: sent });
  orders.touch();

  const answer = await send();

  const order = answer.ok ? answer.body : answer.body.order;
  if (order?.orderId === record.order.orderId) recordOrder(order);
  const replayed = answer.headers.get("Idempotent-Replayed") === "true";
  const kind = answer.status === 202 ? "wait" : answer.ok ? "good" : "bad";
  addStep(record, { label: outcome(answer, replayed), at: sent + answer.ms, took: answer.ms, kind });
  Object.assign(record, { busy: false, problem: answer.ok ? null : answer.body });
  orders.touch();
  announcement.set(answer.ok ? `The order is ${record.order.status}.` : `Refused: ${answer.body.title}.`);
}

function outcome(answer, replayed) {
  const code = answer.ok ? "" : ` ${answer.body.code}`;
  const unknown = answer.status === 202 ? ", outcome unknown" : "";
  return `${answer.status ? `Response ${answer.status}` : "No response"}${code}${unknown}${replayed ? ", replayed" : ""}`;
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
    const answer = await call("GET", `/orders/${encodeURIComponent(orderId)}/status`, user, { background: true });
    polls += 1;
    if (answer.ok) recordOrder(answer.body);
    else record.problem = answer.body;
    if (answer.status >= 400 && answer.status < 500) break;
  }
  record.nextPollAt = null;
  const waited = duration(Date.now() - started);
  const times = polls === 1 ? "once" : `${polls} times`;
  addStep(record, { label: `Checked ${times} in ${waited}`, at: Date.now() });
  orders.touch();
  announcement.set(`The order is ${record.order.status}.`);
}
