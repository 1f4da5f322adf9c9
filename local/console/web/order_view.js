/** Elements that show an order on each page: facts and items. */

import { el } from "./dom.js";
import { money, timeOf } from "./format.js";

/** Return the facts of an order, and more facts of the page, as rows of a description list. */
export function factRows(order, more = []) {
  const { reason, currency } = order;
  return [
    ["Order", el("code", {}, order.orderId)],
    ["Status", chip(order.status)],
    ["Total", money(order.totalAmount, currency)],
    ...(order.refundedAmount ? [["Refunded", money(order.refundedAmount, currency)]] : []),
    ["Buyer", el("code", {}, order.buyerId)],
    ["PaymentIntent", el("code", {}, order.paymentIntentId ?? "none")],
    ...(reason ? [["Reason", reasonText(reason)]] : []),
    ["Placed", timeOf(order.createdAt)],
    ...(order.status === "pending" && order.expiresAt ? [["Expires", timeOf(order.expiresAt)]] : []),
    ...more,
  ].map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value)));
}

/** Return the items of an order, as items of a list. */
export function itemRows({ items = [], currency }) {
  return items.map(({ name, quantity, unitPrice }) =>
    el("li", {}, `${quantity} × ${name}`, el("span", { class: "quiet" }, money(unitPrice * quantity, currency))),
  );
}

/** Return a status as a coloured label. */
export function chip(status) {
  return el("span", { class: `chip ${status}` }, status);
}

/** Return a reason's message and codes. */
export function reasonText({ message, code, declineCode }) {
  return el("span", {}, `${message} `, el("code", {}, [code, declineCode].filter(Boolean).join(" / ")));
}
