/** The basket. It exists in this tab only, until the order is placed. */

import { byId, el, onSubmit, setText, showList } from "./dom.js";
import { money } from "./format.js";
import { productOf, products } from "./products.js";
import { showProblem } from "./problem.js";
import { placeOrder } from "./order_actions.js";
import { signal } from "./signal.js";
import { user } from "./session.js";

/**
 * Quantity of each product, NaN while its field is not valid. Keeps the product, because another user may not have
 * read it.
 *
 * @type {{value: Map<string, {product: import("./products.js").Product, quantity: number}>}}
 */
const basket = signal(new Map());
// Stored per tab, so that a reload keeps it.
const BASKET_KEY = "console.basket";

/** Add one unit of the product. */
export function add(product) {
  put(product, (basket.value.get(product.productId)?.quantity || 0) + 1);
  const line = [...byId("basket").children].find((child) => child.dataset.key === product.productId);
  line.scrollIntoView({ block: "nearest" });
}

/** Return the ids of the products in the basket. */
export function productsInBasket() {
  return [...basket.value.keys()];
}

export function startBasket() {
  byId("basket-empty").addEventListener("click", () => basket.set(new Map()));
  // The browser submits only valid quantities. It reports the others with the field's own message.
  onSubmit("basket-form", place);
  // JSON has no NaN: an invalid quantity becomes null.
  const stored = JSON.parse(sessionStorage.getItem(BASKET_KEY) ?? "[]");
  basket.set(new Map(stored.map(([id, { product, quantity }]) => [id, { product, quantity: quantity ?? 1 }])));
  basket.watch(show);
  basket.watch((lines) => sessionStorage.setItem(BASKET_KEY, JSON.stringify([...lines])));
  products.watch(show);
  user.watch(() => showProblem(byId("basket-problem"), null));
}

async function place() {
  const items = [...basket.value].map(([productId, { quantity }]) => ({ productId, quantity }));
  const buyer = user.value;
  const problem = await placeOrder(items, buyer);
  if (user.value === buyer) showProblem(byId("basket-problem"), problem);
  if (!problem) {
    basket.set(new Map());
    // The button disappears with the basket, so move the focus to the next step.
    byId("order-heading").focus();
  }
}

function put(product, quantity) {
  basket.value.set(product.productId, { product, quantity });
  basket.touch();
}

function lines() {
  return [...basket.value.values()].map(({ product, quantity }) => ({
    product: productOf(product.productId) ?? product,
    quantity,
  }));
}

function show() {
  const shown = lines();
  const hasLines = shown.length > 0;
  byId("basket-none").hidden = hasLines;
  byId("basket-empty").hidden = byId("basket-foot").hidden = !hasLines;
  showList(byId("basket"), shown, ({ product }) => product.productId, row);
  if (!hasLines) return;
  const total = shown.reduce((sum, { product, quantity }) => sum + product.unitPrice * quantity, 0);
  setText(byId("basket-total"), priceOf(total, shown[0].product.currency));
}

function priceOf(amount, currency) {
  return Number.isNaN(amount) ? "–" : money(amount, currency);
}

function row({ product }) {
  const { productId, name } = product;
  const label = `Quantity of ${name}`;
  const input = el("input", { type: "number", min: 1, max: 10_000, required: true, "aria-label": label });
  input.addEventListener("input", () => put(product, input.validity.valid ? input.valueAsNumber : NaN));
  const amount = el("span", { class: "number" });
  const warning = el("p", { class: "warning" });
  const remove = el("button", { type: "button", class: "link", "aria-label": `Remove ${name}`, onclick: drop }, "✕");
  const parts = [el("span", { class: "name" }, name), input, amount, remove, warning];
  return Object.assign(el("li", {}, ...parts), {
    update({ product: now, quantity }) {
      // The user is typing, or must see what to correct.
      if (document.activeElement !== input && !Number.isNaN(quantity)) input.value = String(quantity);
      setText(amount, priceOf(now.unitPrice * quantity, now.currency));
      setText(warning, quantity > now.available ? `Only ${now.available} for sale. A payment will fail.` : "");
    },
  });

  function drop() {
    basket.value.delete(productId);
    basket.touch();
  }
}
