/** What can be done with an order: place it, open it, pay it, settle it by hand, and wait for an outcome. */

import { call } from "./api.js";
import { duration } from "./format.js";
import { addStep, current, learn, orders } from "./orders.js";
import { signal } from "./signal.js";

const RETRY_SECONDS = 5;
// The reconciler settles within two minutes what Stripe did not tell.
const PATIENCE_MS = 5 * 60 * 1000;

/** The last thing that happened, in words; it changes whenever stock, orders or ledger may have. */
export const news = signal("");

/** Order these items. Returns the problem, if the API refused. */
export async function placeOrder(items, user) {
  const idempotencyKey = crypto.randomUUID();
  const answer = await call("POST", "/orders", user, { body: { items }, idempotencyKey });
  if (!answer.ok) return answer.body;
  const record = learn(answer.body);
  Object.assign(record.steps[0], { detail: `POST /orders answered ${answer.status}`, took: answer.ms });
  current.set(answer.body.orderId);
  news.set("The order is placed and pending.");
  return null;
}

/** Read an order's status and show it. Returns the problem, if the API refused. */
export async function openOrder(orderId, user) {
  const answer = await call("GET", `/orders/${encodeURIComponent(orderId)}/status`, user);
  if (!answer.ok) return answer.body;
  learn(answer.body);
  current.set(answer.body.orderId);
  return null;
}

/** Pay an order. A second call while the first is under way does nothing. */
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

/** Settle an order by hand, as an admin. */
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
  if (order?.orderId === record.order.orderId) learn(order);
  const replayed = answer.headers.get("Idempotent-Replayed") === "true";
  const kind = answer.status === 202 ? "wait" : answer.ok ? "good" : "bad";
  addStep(record, { label: outcome(answer, replayed), at: sent + answer.ms, took: answer.ms, kind });
  Object.assign(record, { busy: false, problem: answer.ok ? null : answer.body });
  orders.touch();
  news.set(answer.ok ? `The order is ${record.order.status}.` : `Refused: ${answer.body.title}.`);
}

function outcome(answer, replayed) {
  const code = answer.ok ? "" : ` ${answer.body.code}`;
  const unknown = answer.status === 202 ? ", outcome not known yet" : "";
  return `${answer.status ? `Answered ${answer.status}` : "No answer"}${code}${unknown}${replayed ? ", replayed" : ""}`;
}

/** Look at a pending order again and again, as often as `Retry-After` said. */
async function waitForOutcome(record, user, seconds) {
  if (record.lookAt !== null) return;
  const { orderId } = record.order;
  const started = Date.now();
  let looks = 0;
  while (record.order.status === "pending" && Date.now() - started < PATIENCE_MS) {
    record.lookAt = Date.now() + seconds * 1000;
    orders.touch();
    await new Promise((wake) => setTimeout(wake, seconds * 1000));
    // In the background, so that the panel of calls stays open where somebody is reading.
    const answer = await call("GET", `/orders/${encodeURIComponent(orderId)}/status`, user, { background: true });
    looks += 1;
    if (answer.ok) learn(answer.body);
    else record.problem = answer.body;
    if (answer.status >= 400 && answer.status < 500) break;
  }
  record.lookAt = null;
  const waited = duration(Date.now() - started);
  const times = looks === 1 ? "once" : `${looks} times`;
  addStep(record, { label: `Looked again ${times} in ${waited}`, at: Date.now() });
  orders.touch();
  news.set(`The order is ${record.order.status}.`);
}
