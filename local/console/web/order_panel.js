/** The panel of one order: its states, what it is, and the steps that it went through. */

import { drawDiagram } from "./diagram.js";
import { byId, el, onSubmit, setText } from "./dom.js";
import { duration, money, timeOfDay } from "./format.js";
import { openOrder } from "./order_actions.js";
import { current, currentRecord, orders } from "./orders.js";
import { showProblem } from "./problem.js";
import { user } from "./session.js";

const TICK_MS = 500;

// What is shown stays as it is while the order does: a person may be copying its id.
let shown = "";

export function startOrderPanel() {
  const showState = drawDiagram(byId("diagram"));
  onSubmit("open-order", async () => {
    const id = byId("open-id").value.trim();
    if (id) await openInPanel(id);
  });
  const show = () => {
    const record = currentRecord();
    showState(record);
    showOrder(record);
  };
  orders.watch(show);
  current.watch(show);
  setInterval(showWaiting, TICK_MS);
}

/** Open an order, say so if that is refused, and go there. */
export async function openInPanel(orderId) {
  const problem = await openOrder(orderId, user.value);
  showProblem(byId("open-problem"), problem);
  if (!problem) byId("open-id").value = "";
  byId("order-heading").focus();
}

function showOrder(record) {
  byId("order-none").hidden = Boolean(record);
  byId("order-details").hidden = !record;
  const state = JSON.stringify(record);
  if (!record || state === shown) return;
  shown = state;
  const { order } = record;
  byId("order-facts").replaceChildren(...facts(order));
  byId("order-items").replaceChildren(
    ...(order.items ?? []).map(({ name, quantity, unitPrice }) => {
      const price = el("span", { class: "quiet" }, money(unitPrice * quantity, order.currency));
      return el("li", {}, `${quantity} × ${name}`, price);
    }),
  );
  showProblem(byId("order-problem"), record.problem);
  byId("steps").replaceChildren(...record.steps.map((step) => stepItem(step, Date.parse(order.createdAt))));
  showWaiting();
}

function facts(order) {
  const { reason } = order;
  const why = reason && [reason.message, [reason.code, reason.declineCode].filter(Boolean).join(" / ")];
  const rows = [
    ["Order", el("code", {}, order.orderId)],
    ["Status", el("span", { class: `chip ${order.status}` }, order.status)],
    ["Total", money(order.totalAmount, order.currency)],
    ["Buyer", el("code", {}, order.buyerId)],
    ["PaymentIntent", el("code", {}, order.paymentIntentId ?? "none")],
    ...(why ? [["Reason", el("span", {}, `${why[0]} `, el("code", {}, why[1]))]] : []),
    ["Placed", timeOfDay(order.createdAt)],
  ];
  return rows.map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value)));
}

function stepItem({ label, detail, at, took, kind }, placed) {
  return el(
    "li",
    { class: kind },
    el("span", { class: "since" }, `+${duration(at - placed)}`),
    el("span", {}, label, detail ? el("span", { class: "quiet" }, ` ${detail}`) : null),
    el("span", { class: "took" }, took === undefined || took === null ? "" : duration(took)),
  );
}

function showWaiting() {
  const lookAt = currentRecord()?.lookAt ?? null;
  byId("waiting").hidden = lookAt === null;
  if (lookAt === null) return;
  const seconds = Math.ceil((lookAt - Date.now()) / 1000);
  const next = seconds > 0 ? `looking again in ${seconds} s` : "looking";
  setText(byId("waiting"), `Stripe did not report the outcome; the reconciler will. The stock stays held; ${next}.`);
}
