/** Orders of the service, joined with the dummy Stripe's ledger. */

import { call } from "./api.js";
import { byId, el, setText, showList } from "./dom.js";
import { money, shortId, timeOf } from "./format.js";
import { openInPanel } from "./order_panel.js";
import { chip } from "./order_view.js";
import { orders, recordOrder } from "./orders.js";
import { hasRole, isExpired, user } from "./session.js";
import { signal } from "./signal.js";

const ROWS_PER_STEP = 10;
// The limit of the ledger and of a page of orders.
const MAX_ROWS = 100;
const MAX_READS_PER_REFRESH = 10;
// Classes of all cells except the first.
const CELL_CLASSES = [
  ...["buyer", "placed", "total number", "status"],
  ...["intent stripe", "charge stripe", "moved stripe number"],
];

/** The dummy Stripe's PaymentIntents, `null` with another Stripe. @type {{value: any[] | null}} */
const intents = signal([]);
let rowLimit = ROWS_PER_STEP;
// The buyer has older orders that were not read.
let hasOlderOrders = false;

export function startLedger() {
  byId("more-orders").addEventListener("click", showMore);
  for (const changing of [intents, orders]) changing.watch(show);
}

/** Read the ledger and the orders that the signed-in user may read. */
export async function refreshLedger() {
  const response = await fetch("/stripe/ledger.json", { cache: "no-store" }).catch(() => null);
  if (response?.ok) intents.set((await response.json()).intents);
  if (isExpired()) return;
  const reader = user.value;
  const background = true;
  if (hasRole("buyer")) {
    const listed = await call("GET", `/orders?limit=${rowLimit}`, reader, { background });
    if (!listed.ok || user.value !== reader) return;
    hasOlderOrders = listed.body.cursor !== null;
    listed.body.orders.forEach(recordOrder);
  } else hasOlderOrders = false;
  show();
  if (hasRole("admin")) {
    const shown = rows().slice(0, rowLimit).map((row) => row.id);
    const unsettled = shown.filter((id) => (orders.value.get(id)?.order.status ?? "pending") === "pending");
    for (const id of unsettled.slice(0, MAX_READS_PER_REFRESH)) {
      const read = await call("GET", `/orders/${encodeURIComponent(id)}/status`, reader, { background });
      if (read.ok) recordOrder(read.body);
    }
  }
}

/** Return the orders of both sides, joined by id, newest first. */
function rows() {
  const joined = new Map();
  const rowOf = (id, createdAt) => {
    if (!joined.has(id)) joined.set(id, { id, createdAt, order: null, intents: [] });
    return joined.get(id);
  };
  for (const { order } of orders.value.values()) rowOf(order.orderId, order.createdAt).order = order;
  for (const intent of intents.value ?? []) {
    if (intent.orderId) rowOf(intent.orderId, intent.createdAt).intents.push(intent);
  }
  return [...joined.values()].sort((one, other) => other.createdAt.localeCompare(one.createdAt));
}

async function showMore() {
  const { rows: lines } = byId("ledger").tBodies[0];
  const first = lines.length;
  rowLimit += ROWS_PER_STEP;
  // Unread orders may be newer than the intents already read.
  if (hasOlderOrders) await refreshLedger();
  show();
  // The button moved below the new rows, or is hidden.
  lines[first]?.querySelector("button").focus();
}

function show() {
  const all = rows();
  const shown = all.slice(0, rowLimit);
  const hasMore = hasOlderOrders || all.length > shown.length;
  setText(byId("ledger-note"), hasMore ? `Showing the newest ${shown.length}; there are more.` : "");
  byId("more-orders").hidden = !hasMore || rowLimit >= MAX_ROWS;
  byId("ledger").hidden = shown.length === 0;
  byId("ledger-none").hidden = shown.length > 0;
  byId("ledger").classList.toggle("without-stripe", intents.value === null);
  showList(byId("ledger").tBodies[0], shown, (row) => row.id, tableRow);
}

function tableRow({ id }) {
  const open = el("button", { type: "button", class: "link", title: id, onclick: () => openInPanel(id) }, shortId(id));
  const [heading, ...headings] = [...byId("ledger").tHead.rows[0].cells].map((cell) => cell.textContent);
  const cells = CELL_CLASSES.map((kind, place) => el("td", { class: kind, "data-heading": headings[place] }));
  let shownState = "";
  return Object.assign(el("tr", {}, el("th", { scope: "row", "data-heading": heading }, open), ...cells), {
    update(row) {
      const state = JSON.stringify([row, user.value?.sub]);
      if (state === shownState) return;
      shownState = state;
      contents(row).forEach((content, place) => cells[place].replaceChildren(...content));
    },
  });
}

function contents(row) {
  const { order } = row;
  const source = order ?? row.intents[0];
  return [
    [el("code", { title: source.buyerId }, source.buyerId ?? "")],
    [timeOf(row.createdAt)],
    [money(order?.totalAmount ?? source.amount, source.currency)],
    [order ? chip(order.status) : quiet(missingStatus(source.buyerId))],
    row.intents.length ? row.intents.map(intentLine) : [quiet("no PaymentIntent")],
    chargeLines(row),
    netCharge(row),
  ];
}

/** Return what stands for the status of an order that the user has not read. */
function missingStatus(buyerId) {
  return hasRole("admin") || buyerId === user.value?.sub ? "not loaded" : "another buyer’s";
}

function intentLine({ id, status }) {
  return el("div", {}, el("code", { title: id }, shortId(id)), ` ${status}`);
}

function chargeLines({ order, intents: all }) {
  const charges = all.flatMap((intent) => intent.charges);
  if (!charges.length) return [quiet("no charge")];
  const lines = charges.map(({ status, paymentMethod, failureCode }) =>
    el("div", {}, `${failureCode ?? status} `, el("code", { class: "quiet" }, paymentMethod)),
  );
  const isUnreported = order?.status === "pending" && charges.some((charge) => charge.status === "succeeded");
  return isUnreported ? [...lines, el("div", { class: "warning" }, "charged, outcome not reported")] : lines;
}

function netCharge({ intents: all }) {
  const paid = all.flatMap((intent) => intent.charges).filter((charge) => charge.status === "succeeded");
  const net = paid.reduce((sum, charge) => sum + charge.amount - charge.amountRefunded, 0);
  const refunded = paid.some((charge) => charge.amountRefunded > 0);
  return [net ? money(net, all[0].currency) : refunded ? "refunded" : "–"];
}

function quiet(text) {
  return el("span", { class: "quiet" }, text);
}
