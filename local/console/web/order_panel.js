/** Panel of one order: state diagram, facts and steps. */

import { drawDiagram } from "./diagram.js";
import { byId, el, onSubmit, setText } from "./dom.js";
import { duration } from "./format.js";
import { openOrder } from "./order_actions.js";
import { factRows, itemRows } from "./order_view.js";
import { current, currentRecord, orders } from "./orders.js";
import { showProblem } from "./problem.js";
import { hasRole, user } from "./session.js";

const TICK_MS = 500;
const ORDER_PARAMETER = "order";

// Unchanged content is not rendered again, because the user may be selecting it.
let shown = "";

export function startOrderPanel() {
  const showState = drawDiagram(byId("diagram"));
  onSubmit("open-order", async () => {
    const id = byId("open-id").value.trim();
    if (id) await openInPanel(id);
  });
  addEventListener("popstate", openFromUrl);
  const show = () => {
    const record = currentRecord();
    showState(record);
    showOrder(record);
  };
  orders.watch(show);
  current.watch(show);
  current.watch((orderId) => {
    showProblem(byId("open-problem"), null);
    // A reload, a copied URL, and the browser's history open the order again.
    if (orderId && orderId !== idInUrl()) {
      history.pushState(null, "", `?${ORDER_PARAMETER}=${encodeURIComponent(orderId)}`);
    }
  });
  user.watch((signedIn) => {
    byId("open-in-office").hidden = !hasRole("admin");
    clearProblems();
    // The previous user may not have been allowed to read it.
    if (signedIn && !currentRecord()) openFromUrl();
  });
  setInterval(showWaiting, TICK_MS);
}

/** Remove the errors, which belong to the previous user. */
function clearProblems() {
  showProblem(byId("open-problem"), null);
  for (const record of orders.value.values()) record.problem = null;
  orders.touch();
}

function idInUrl() {
  return new URLSearchParams(location.search).get(ORDER_PARAMETER);
}

/** Open the order that the page's URL names, or none. */
function openFromUrl() {
  const orderId = idInUrl();
  if (orderId === null || orders.value.has(orderId)) current.set(orderId);
  else void open(orderId);
}

/** Open an order, or show why the API refused, and focus the panel. */
export async function openInPanel(orderId) {
  const problem = await open(orderId);
  if (!problem) byId("open-id").value = "";
  byId("order-heading").focus();
}

async function open(orderId) {
  const reader = user.value;
  const problem = await openOrder(orderId, reader);
  if (user.value === reader) showProblem(byId("open-problem"), problem);
  return problem;
}

function showOrder(record) {
  byId("order-none").hidden = Boolean(record);
  for (const id of ["order-facts", "order-items", "order-details"]) byId(id).hidden = !record;
  const state = JSON.stringify(record);
  if (!record || state === shown) return;
  shown = state;
  const { order, problem } = record;
  // The problem below may already say the reason.
  const reason = problem && order.reason?.message === problem.detail ? { ...order.reason, message: "" } : order.reason;
  byId("order-facts").replaceChildren(...factRows({ ...order, reason }));
  byId("order-items").replaceChildren(...itemRows(order));
  byId("open-in-office").firstChild.href = `/office?order=${encodeURIComponent(order.orderId)}`;
  showProblem(byId("order-problem"), problem);
  byId("steps").replaceChildren(...record.steps.map((step) => stepItem(step, Date.parse(order.createdAt))));
  showWaiting();
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
  const nextPollAt = currentRecord()?.nextPollAt ?? null;
  byId("waiting").hidden = nextPollAt === null;
  if (nextPollAt === null) return;
  const seconds = Math.ceil((nextPollAt - Date.now()) / 1000);
  const next = seconds > 0 ? `Checking again in ${seconds} s.` : "Checking.";
  const state = "Stripe did not report the outcome. The stock stays held until the reconciler settles the order.";
  setText(byId("waiting"), `${state} ${next}`);
}
