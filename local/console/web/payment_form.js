/** The form that pays an order. */

import { byId, el, setText } from "./dom.js";
import { money } from "./format.js";
import { pay } from "./order_actions.js";
import { current, currentRecord, isPaymentInFlight, orders } from "./orders.js";
import { hasRole, isExpired, user } from "./session.js";

export async function startPaymentForm() {
  const groups = await (await fetch("/console/cards.json")).json();
  const cards = new Map(groups.flatMap((group) => group.cards).map((card) => [card.id, card]));
  const showChosen = () => showCard(cards.get(byId("card").value));
  byId("card").append(...groups.map(optionGroup));
  byId("card").addEventListener("change", showChosen);
  showChosen();

  byId("payment-key").addEventListener("input", () => setKey(byId("payment-key").value));
  byId("new-key").addEventListener("click", () => setKey(crypto.randomUUID()));
  byId("pay").addEventListener("submit", (event) => {
    event.preventDefault();
    // The form is hidden while no order is shown.
    void pay(currentRecord(), byId("card").value, user.value);
  });
  for (const changing of [orders, current, user]) changing.watch(show);
}

function optionGroup({ label, cards }) {
  const options = cards.map(({ id, name, outcome }) => el("option", { value: id }, `${name} – ${outcome}`));
  return el("optgroup", { label }, ...options);
}

function showCard({ id, note }) {
  byId("card-token").replaceChildren(el("code", {}, id));
  setText(byId("card-note"), note ?? "");
}

function setKey(key) {
  const record = currentRecord();
  if (!record) return;
  record.key = key;
  orders.touch();
}

function show() {
  const record = currentRecord();
  if (!record) return;
  const note = noteOn(record);
  const isPayable = record.order.status === "pending" && !isPaymentInFlight(record);
  byId("pay-note").hidden = !note;
  byId("pay-note").classList.toggle("calm", !isPayable);
  setText(byId("pay-note"), note);
  const key = byId("payment-key");
  if (key.value !== record.key) key.value = record.key;
  const total = money(record.order.totalAmount, record.order.currency);
  setText(byId("pay-button"), record.busy ? "Paying…" : `${isPayable ? "Pay" : "Try to pay again"} ${total}`);
  byId("pay-button").classList.toggle("primary", isPayable);
  // Not `disabled`, which would remove the focus. `pay` ignores a second press.
  byId("pay-button").setAttribute("aria-disabled", String(record.busy));
}

/** Return a warning if a payment by the signed-in user will not settle the order. */
function noteOn(record) {
  const { order } = record;
  if (isExpired()) return "This token has expired. The API will return 401.";
  if (!hasRole("buyer")) return "Only buyers can pay. The API will return 403.";
  if (user.value && order.buyerId !== user.value.sub) return "This order belongs to another buyer. The API will return 403.";
  if (isPaymentInFlight(record)) return "A payment is in flight. The API will return 409 until its outcome is known.";
  if (order.status !== "pending") {
    return "This order is settled. The same key returns the recorded response, a new key 409.";
  }
  return "";
}
