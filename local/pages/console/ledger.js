/** Orders beside the dummy Stripe's ledger: what the service says, and what Stripe's side of it is. */

import { call } from "./api.js";
import { byId, el, showList } from "./dom.js";
import { money, shortId, timeOfDay } from "./format.js";
import { openInPanel } from "./order_panel.js";
import { learn, orders } from "./orders.js";
import { has, isExpired, user } from "./session.js";
import { signal } from "./signal.js";

const SHOWN_ROWS = 20;
const READ_AT_ONCE = 10;

/** Stripe's PaymentIntents, `null` where it is not the dummy. @type {{value: any[] | null}} */
const intents = signal([]);

export function startLedger() {
  for (const changing of [intents, orders]) changing.watch(show);
}

/** Read the ledger, and the orders that the signed-in user may see. */
export async function refreshLedger() {
  const answer = await fetch("/stripe/ledger.json", { cache: "no-store" }).catch(() => null);
  if (answer?.ok) intents.set((await answer.json()).intents);
  if (isExpired()) return;
  const background = true;
  if (has("buyer")) {
    const listed = await call("GET", "/orders?limit=20", user.value, { background });
    if (listed.ok) listed.body.orders.forEach(learn);
  } else if (has("admin")) {
    const ids = rows().map((row) => row.id);
    const unsettled = ids.filter((id) => (orders.value.get(id)?.order.status ?? "pending") === "pending");
    for (const id of unsettled.slice(0, READ_AT_ONCE)) {
      const read = await call("GET", `/orders/${encodeURIComponent(id)}/status`, user.value, { background });
      if (read.ok) learn(read.body);
    }
  }
}

/** The newest orders of either side, joined by their ids. */
function rows() {
  const joined = new Map();
  const at = (id, createdAt) => {
    if (!joined.has(id)) joined.set(id, { id, createdAt, order: null, intents: [] });
    return joined.get(id);
  };
  for (const { order } of orders.value.values()) at(order.orderId, order.createdAt).order = order;
  for (const intent of intents.value ?? []) {
    if (intent.orderId) at(intent.orderId, intent.createdAt).intents.push(intent);
  }
  return [...joined.values()].sort((one, other) => other.createdAt.localeCompare(one.createdAt)).slice(0, SHOWN_ROWS);
}

function show() {
  const shown = rows();
  byId("ledger").hidden = shown.length === 0;
  byId("ledger-none").hidden = shown.length > 0;
  byId("ledger").classList.toggle("without-stripe", intents.value === null);
  showList(byId("ledger").tBodies[0], shown, (row) => row.id, tableRow);
}

function tableRow({ id }) {
  const open = el("button", { type: "button", class: "link", title: id, onclick: () => openInPanel(id) }, shortId(id));
  const cells = ["Buyer", "Placed", "Total", "Order status", "PaymentIntent", "Charge", "Money moved"].map((label) =>
    el("td", { "data-label": label, class: className(label) }),
  );
  let known = "";
  return Object.assign(el("tr", {}, el("th", { scope: "row", "data-label": "Order" }, open), ...cells), {
    update(row) {
      const state = JSON.stringify(row);
      if (state === known) return;
      known = state;
      contents(row).forEach((content, place) => cells[place].replaceChildren(...content));
    },
  });
}

function className(label) {
  const stripe = ["PaymentIntent", "Charge", "Money moved"].includes(label) ? "stripe" : "";
  return `${stripe} ${["Total", "Money moved"].includes(label) ? "number" : ""}`.trim();
}

function contents(row) {
  const { order } = row;
  const some = order ?? row.intents[0];
  return [
    [el("code", {}, some.buyerId ?? "")],
    [timeOfDay(row.createdAt)],
    [money(order?.totalAmount ?? some.amount, some.currency)],
    [order ? el("span", { class: `chip ${order.status}` }, order.status) : quiet("not read")],
    row.intents.length ? row.intents.map(intentLine) : [quiet("none")],
    chargeLines(row),
    moneyMoved(row),
  ];
}

function intentLine({ id, status }) {
  return el("div", {}, el("code", { title: id }, shortId(id)), ` ${status}`);
}

function chargeLines({ intents: all }) {
  const charges = all.flatMap((intent) => intent.charges);
  if (!charges.length) return [quiet("none")];
  return charges.map(({ status, paymentMethod, failureCode }) =>
    el("div", {}, `${failureCode ?? status} `, el("code", { class: "quiet" }, paymentMethod)),
  );
}

function moneyMoved({ order, intents: all }) {
  const paid = all.flatMap((intent) => intent.charges).filter((charge) => charge.status === "succeeded");
  const moved = paid.reduce((sum, charge) => sum + charge.amount - charge.amountRefunded, 0);
  const refunded = paid.some((charge) => charge.amountRefunded > 0);
  const text = moved ? money(moved, all[0].currency) : refunded ? "refunded" : "–";
  const open = order?.status === "pending" && moved > 0;
  return [el("div", {}, text), ...(open ? [el("div", { class: "warning" }, "outcome not told")] : [])];
}

function quiet(text) {
  return el("span", { class: "quiet" }, text);
}
