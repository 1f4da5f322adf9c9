/** The page of one order: facts, items, history and refunds. */

import { call } from "./api.js";
import { byId, el, setText } from "./dom.js";
import { money, timeOf } from "./format.js";
import { chip, factRows, itemRows, reasonText } from "./order_view.js";
import { showProblem } from "./problem.js";
import { user } from "./session.js";
import { signal } from "./signal.js";

/** Label and kind by event. A refund ends as its current status says. */
const EVENTS = {
  placed: ["Placed", ""],
  payment_started: ["Payment started", "wait"],
  confirmed: ["Confirmed", "good"],
  cancelled: ["Cancelled", "bad"],
  refund_requested: ["Refund requested", ""],
  refund_pending: ["Refund pending", "wait"],
  refund_succeeded: ["Refund succeeded", "good"],
  refund_failed: ["Refund failed", "bad"],
  refund_refused: ["Refund refused", "bad"],
};
const REFUND_KINDS = { late_payment: "of a late payment, by the service", external: "made at Stripe" };

/** The order with its refunds and history, `null` until it is read. @type {{value: any}} */
export const details = signal(null);

/** Whether to poll the order: after the first response, unless that was a refusal such as 404. */
export let isPolled = false;

let orderId = "";
let readCount = 0;
let shownRead = 0;
// Unchanged content is not rendered again, because the user may be selecting it.
let shown = "";

export function startOrderPage(id) {
  orderId = id;
  document.title = `${id} – office`;
  byId("open-in-shop").href = `/?order=${encodeURIComponent(id)}`;
  const rest = new URLSearchParams(location.search);
  rest.delete("order");
  byId("back-to-orders").href = rest.size ? `/office?${rest}` : "/office";
  details.watch(show);
}

/** Return the API's path of the order. */
export function orderPath(rest = "") {
  return `/admin/orders/${encodeURIComponent(orderId)}${rest}`;
}

/** Read the order. A background call leaves the open call in the panel unchanged. */
export async function readOrder({ background }) {
  const thisRead = ++readCount;
  const reader = user.value;
  const response = await call("GET", orderPath(), reader, { background });
  // Responses may arrive out of order.
  if (reader !== user.value || thisRead < shownRead) return;
  shownRead = thisRead;
  showProblem(byId("order-problem"), response.ok ? null : response.body);
  if (response.ok) details.set(response.body);
  isPolled = details.value !== null || !isRefusal(response.status);
}

function isRefusal(status) {
  return status >= 400 && status < 500 && status !== 429;
}

function show(order) {
  const state = JSON.stringify(order);
  if (!order || state === shown) return;
  shown = state;
  const attempts = order.refusedAttempts ? [["Refused attempts", String(order.refusedAttempts)]] : [];
  byId("order-facts").replaceChildren(...factRows(order, attempts));
  byId("order-items").replaceChildren(...itemRows(order));
  byId("history").replaceChildren(...order.history.map((entry) => historyItem(entry, order)));
  byId("refunds").replaceChildren(...order.refunds.map((refund) => refundItem(refund, order)));
  const { refundableAmount, currency } = order;
  const left = refundableAmount ? `${money(refundableAmount, currency)} can be refunded` : "nothing to refund";
  setText(byId("refundable"), left);
}

function historyItem(entry, { currency }) {
  const { event, at, actor, requestId, reason, paymentMethodId, amount } = entry;
  const [label, kind] = EVENTS[event];
  const byHand = reason?.code === "admin_override" ? " by hand" : "";
  const detail = amount === null ? paymentMethodId : money(amount, currency);
  const request = requestId ? [" · request ", el("code", {}, requestId)] : [];
  return el(
    "li",
    { class: kind },
    el("time", { class: "since", datetime: at }, timeOf(at)),
    el(
      "div",
      {},
      el("p", {}, el("strong", {}, `${label}${byHand}`), detail ? ` ${detail}` : null),
      reason ? el("p", {}, reasonText(reason)) : null,
      el("p", { class: "quiet" }, `by ${actor ?? "the service or Stripe"}`, ...request),
    ),
  );
}

function refundItem(refund, { items, currency }) {
  const { amount, status, kind, reason, failure, restock, stripeRefundId, updatedAt } = refund;
  const nameOf = (id) => items.find(({ productId }) => productId === id)?.name ?? id;
  const restocked = restock.map(({ productId, quantity }) => `${quantity} × ${nameOf(productId)}`).join(", ");
  return el(
    "li",
    {},
    el("div", { class: "row" }, el("strong", {}, money(amount, currency)), chip(status)),
    kind in REFUND_KINDS ? el("p", {}, REFUND_KINDS[kind]) : null,
    reason ? el("p", {}, reason) : null,
    failure ? el("p", { class: "warning" }, reasonText(failure)) : null,
    restocked ? el("p", { class: "quiet" }, `Back on the shelf: ${restocked}`) : null,
    el("p", { class: "quiet" }, timeOf(updatedAt), ...(stripeRefundId ? [" · ", el("code", {}, stripeRefundId)] : [])),
  );
}
