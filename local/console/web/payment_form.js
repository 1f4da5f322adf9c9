/** The forms that settle an order: the buyer's payment, and the admin's override. */

import { byId, el, onSubmit, setText } from "./dom.js";
import { money } from "./format.js";
import { override, pay } from "./order_actions.js";
import { current, currentRecord, isUnderWay, orders } from "./orders.js";
import { has, isExpired, user } from "./session.js";

export async function startPaymentForm() {
  const groups = await (await fetch("/console/cards.json")).json();
  const cards = new Map(groups.flatMap((group) => group.cards).map((card) => [card.id, card]));
  const showChosen = () => showCard(cards.get(byId("card").value));
  byId("card").append(...groups.map(optionGroup));
  byId("card").addEventListener("change", showChosen);
  showChosen();

  byId("payment-key").addEventListener("input", () => setKey(byId("payment-key").value));
  byId("new-key").addEventListener("click", () => setKey(crypto.randomUUID()));
  // The forms are hidden while no order is shown.
  onSubmit("pay", () => pay(currentRecord(), byId("card").value, user.value));
  onSubmit("override", (form) => {
    const given = new FormData(form);
    return override(currentRecord(), given.get("status"), given.get("reason"), user.value);
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
  const admin = has("admin");
  byId("pay").hidden = admin;
  byId("override").hidden = !admin;
  if (!record) return;
  const note = noteOn(record);
  // Neither settled nor waiting for its outcome: then a payment can be expected to change something.
  const payable = record.order.status === "pending" && !isUnderWay(record);
  byId("pay-note").hidden = !note;
  byId("pay-note").classList.toggle("calm", !payable);
  setText(byId("pay-note"), note);
  const key = byId("payment-key");
  if (key.value !== record.key) key.value = record.key;
  const total = money(record.order.totalAmount, record.order.currency);
  setText(byId("pay-button"), record.busy ? "Paying…" : `${payable ? "Pay" : "Try to pay again"} ${total}`);
  byId("pay-button").classList.toggle("primary", payable);
  for (const button of [byId("pay-button"), byId("override-button")]) {
    // Not `disabled`: that would take the focus from whoever pressed it. A second press does nothing, see `pay`.
    button.setAttribute("aria-disabled", String(record.busy));
  }
}

/** What to expect of a payment of this order by who is signed in, where that is not the usual. */
function noteOn(record) {
  const { order } = record;
  if (isExpired()) return "This token has expired: the API will answer 401.";
  if (!has("buyer")) return "A seller may do nothing with payments: the API will answer 403.";
  if (user.value && order.buyerId !== user.value.sub) return "It is another buyer’s order: the API will answer 403.";
  if (isUnderWay(record)) return "A payment of it is under way: until its outcome is told the API will answer 409.";
  if (order.status !== "pending") {
    return "It is settled. Under the key of its payment the same answer comes again, under a new one 409.";
  }
  return "";
}
