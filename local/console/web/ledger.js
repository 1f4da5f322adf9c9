/** Orders beside the dummy Stripe's ledger: what the service says, and what Stripe's side of it is. */

import { call } from "./api.js";
import { byId, el, setText, showList } from "./dom.js";
import { money, shortId, timeOfDay } from "./format.js";
import { openInPanel } from "./order_panel.js";
import { learn, orders } from "./orders.js";
import { has, isExpired, user } from "./session.js";
import { signal } from "./signal.js";

const ROWS_AT_ONCE = 10;
// As many as the ledger tells, and as one page of orders can have.
const MOST_ROWS = 100;
const READ_AT_ONCE = 10;
// The classes of all cells but the first.
const CELLS = [
  ...["buyer", "placed", "total number", "status"],
  ...["intent stripe", "charge stripe", "moved stripe number"],
];

/** Stripe's PaymentIntents, `null` where it is not the dummy. @type {{value: any[] | null}} */
const intents = signal([]);
let most = ROWS_AT_ONCE;
// Whether the buyer has orders that were not read.
let areOlder = false;

export function startLedger() {
  byId("more-orders").addEventListener("click", showMore);
  for (const changing of [intents, orders]) changing.watch(show);
}

/** Read the ledger, and the orders that the signed-in user may see. */
export async function refreshLedger() {
  const answer = await fetch("/stripe/ledger.json", { cache: "no-store" }).catch(() => null);
  if (answer?.ok) intents.set((await answer.json()).intents);
  if (isExpired()) return;
  const asked = user.value;
  const background = true;
  if (has("buyer")) {
    const listed = await call("GET", `/orders?limit=${most}`, asked, { background });
    if (!listed.ok || user.value !== asked) return;
    areOlder = listed.body.cursor !== null;
    listed.body.orders.forEach(learn);
  } else areOlder = false;
  show();
  if (has("admin")) {
    const shown = rows().slice(0, most).map((row) => row.id);
    const unsettled = shown.filter((id) => (orders.value.get(id)?.order.status ?? "pending") === "pending");
    for (const id of unsettled.slice(0, READ_AT_ONCE)) {
      const read = await call("GET", `/orders/${encodeURIComponent(id)}/status`, asked, { background });
      if (read.ok) learn(read.body);
    }
  }
}

/** The orders of either side, joined by their ids, the newest first. */
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
  return [...joined.values()].sort((one, other) => other.createdAt.localeCompare(one.createdAt));
}

async function showMore() {
  const { rows: lines } = byId("ledger").tBodies[0];
  const first = lines.length;
  most += ROWS_AT_ONCE;
  // Orders that were not read may be newer than intents that were.
  if (areOlder) await refreshLedger();
  show();
  // The button has moved below the new ones, or is gone.
  lines[first]?.querySelector("button").focus();
}

function show() {
  const all = rows();
  const shown = all.slice(0, most);
  const more = areOlder || all.length > shown.length;
  setText(byId("ledger-note"), more ? `Showing the newest ${shown.length}; there are more.` : "");
  byId("more-orders").hidden = !more || most >= MOST_ROWS;
  byId("ledger").hidden = shown.length === 0;
  byId("ledger-none").hidden = shown.length > 0;
  byId("ledger").classList.toggle("without-stripe", intents.value === null);
  showList(byId("ledger").tBodies[0], shown, (row) => row.id, tableRow);
}

function tableRow({ id }) {
  const open = el("button", { type: "button", class: "link", title: id, onclick: () => openInPanel(id) }, shortId(id));
  const cells = CELLS.map((kind) => el("td", { class: kind }));
  let known = "";
  return Object.assign(el("tr", {}, el("th", { scope: "row" }, open), ...cells), {
    update(row) {
      const state = JSON.stringify(row);
      if (state === known) return;
      known = state;
      contents(row).forEach((content, place) => cells[place].replaceChildren(...content));
    },
  });
}

function contents(row) {
  const { order } = row;
  const some = order ?? row.intents[0];
  return [
    [el("code", { title: some.buyerId }, some.buyerId ?? "")],
    [timeOfDay(row.createdAt)],
    [money(order?.totalAmount ?? some.amount, some.currency)],
    [order ? el("span", { class: `chip ${order.status}` }, order.status) : quiet("not read")],
    row.intents.length ? row.intents.map(intentLine) : [quiet("no PaymentIntent")],
    chargeLines(row),
    moneyMoved(row),
  ];
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
  const untold = order?.status === "pending" && charges.some((charge) => charge.status === "succeeded");
  return untold ? [...lines, el("div", { class: "warning" }, "charged, outcome not told")] : lines;
}

function moneyMoved({ intents: all }) {
  const paid = all.flatMap((intent) => intent.charges).filter((charge) => charge.status === "succeeded");
  const moved = paid.reduce((sum, charge) => sum + charge.amount - charge.amountRefunded, 0);
  const refunded = paid.some((charge) => charge.amountRefunded > 0);
  return [moved ? money(moved, all[0].currency) : refunded ? "refunded" : "–"];
}

function quiet(text) {
  return el("span", { class: "quiet" }, text);
}
