/** The form that refunds an order in part or in full, and puts units back on the shelf. */

import { byId, el, onSubmit, setText, showList } from "./dom.js";
import { decimalsOf, money } from "./format.js";
import { idempotentPost } from "./idempotent_post.js";
import { details, orderPath, readOrder } from "./order_page.js";
import { showProblem } from "./problem.js";
import { user } from "./session.js";

const post = idempotentPost("refunds");
/** The order as the form shows it. */
let shown = null;

export function startRefundForm() {
  byId("refund").addEventListener("input", () => {
    showButton();
    if (post.isUnresolved()) setText(byId("refund-note"), hint());
  });
  onSubmit("refund", refund);
  details.watch(show);
}

async function refund(form) {
  setText(byId("refund-note"), "");
  const response = await post.send(orderPath("/refunds"), requestBody(), user.value);
  showProblem(byId("refund-problem"), response.ok ? null : response.body);
  setText(byId("refund-note"), outcome(response));
  if (response.ok) {
    form.reset();
    showButton();
  }
  await readOrder({ background: true });
}

function outcome({ ok, status, body }) {
  if (!ok) return hint();
  const amount = money(body.amount, body.currency);
  if (status === 202) return `The refund of ${amount} is pending. Its status changes here when Stripe completes it.`;
  return body.status === "succeeded" ? `${amount} refunded.` : `The refund of ${amount} is ${body.status}.`;
}

function hint() {
  return post.hint(orderPath("/refunds"), requestBody());
}

/** Return the body of the request. */
function requestBody() {
  const restock = restockFields()
    .map((field) => ({ productId: field.name, quantity: field.valueAsNumber || 0 }))
    .filter(({ quantity }) => quantity > 0);
  return {
    amount: amountToRefund(),
    reason: byId("refund-reason").value,
    ...(restock.length ? { restock } : {}),
  };
}

/** Return the amount in the currency's minor unit: the entered one, or else all that is left. */
function amountToRefund() {
  const entered = byId("refund-amount").valueAsNumber;
  return Number.isNaN(entered) ? shown.refundableAmount : Math.round(entered * 10 ** decimalsOf(shown.currency));
}

function restockFields() {
  return [...byId("restock-lines").querySelectorAll("input")];
}

function show(order) {
  // A request with an unknown outcome must stay as it was sent.
  if (!order || post.isUnresolved()) return;
  shown = order;
  const { currency, refundableAmount, restockable, items } = order;
  const isRefundable = refundableAmount > 0;
  if (!isRefundable && byId("refund").contains(document.activeElement)) byId("refunds-heading").focus();
  byId("refund").hidden = !isRefundable;
  setText(byId("refund-currency"), currency.toUpperCase());
  const decimals = decimalsOf(currency);
  const smallest = (10 ** -decimals).toFixed(decimals);
  const rest = (refundableAmount / 10 ** decimals).toFixed(decimals);
  Object.assign(byId("refund-amount"), { min: smallest, step: smallest, max: rest, placeholder: rest });
  const nameOf = (id) => items.find(({ productId }) => productId === id).name;
  const lines = restockable.map((line) => ({ ...line, name: nameOf(line.productId) }));
  showList(byId("restock-lines"), lines, (line) => line.productId, restockLine);
  byId("restock").hidden = lines.length === 0;
  showButton();
}

function restockLine({ productId, name }) {
  const id = `restock-${productId}`;
  const field = el("input", { id, name: productId, type: "number", min: 0, value: 0 });
  const label = el("label", { for: id });
  return Object.assign(el("li", {}, label, field), {
    update({ quantity }) {
      field.max = String(quantity);
      setText(label, `${name} (up to ${quantity})`);
    },
  });
}

function showButton() {
  setText(byId("refund-button"), `Refund ${money(amountToRefund(), shown.currency)}`);
}
