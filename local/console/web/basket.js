/** The basket. It exists in this page only, until the order is placed. */

import { byId, el, setText, showList } from "./dom.js";
import { money } from "./format.js";
import { productOf, products } from "./products.js";
import { showProblem } from "./problem.js";
import { placeOrder } from "./order_actions.js";
import { signal } from "./signal.js";
import { user } from "./session.js";

/**
 * Quantity of each product. Keeps the product, because another user may not have read it.
 *
 * @type {{value: Map<string, {product: import("./products.js").Product, quantity: number}>}}
 */
const basket = signal(new Map());
let isPlacing = false;

/** Add one unit of the product. */
export function add(product) {
  put(product, (basket.value.get(product.productId)?.quantity ?? 0) + 1);
}

/** Return the ids of the products in the basket. */
export function productsInBasket() {
  return [...basket.value.keys()];
}

export function startBasket() {
  byId("basket-empty").addEventListener("click", () => basket.set(new Map()));
  byId("place-order").addEventListener("click", place);
  basket.watch(show);
  products.watch(show);
}

async function place() {
  if (isPlacing) return;
  isPlacing = true;
  const button = byId("place-order");
  button.setAttribute("aria-disabled", "true");
  const items = [...basket.value].map(([productId, { quantity }]) => ({ productId, quantity }));
  const problem = await placeOrder(items, user.value);
  showProblem(byId("basket-problem"), problem);
  if (!problem) {
    basket.set(new Map());
    // The button disappears with the basket, so move the focus to the next step.
    byId("order-heading").focus();
  }
  button.removeAttribute("aria-disabled");
  isPlacing = false;
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
  setText(byId("basket-total"), money(total, shown[0].product.currency));
}

function row({ product }) {
  const { productId, name } = product;
  const label = `Quantity of ${name}`;
  const input = el("input", { type: "number", min: 1, max: 10_000, required: true, "aria-label": label });
  input.addEventListener("input", () => {
    if (input.checkValidity()) put(product, input.valueAsNumber);
  });
  const amount = el("span", { class: "number" });
  const warning = el("p", { class: "warning" });
  const remove = el("button", { type: "button", class: "link", "aria-label": `Remove ${name}`, onclick: drop }, "✕");
  const parts = [el("span", { class: "name" }, name), input, amount, remove, warning];
  return Object.assign(el("li", {}, ...parts), {
    update({ product: now, quantity }) {
      if (document.activeElement !== input) input.value = String(quantity);
      setText(amount, money(now.unitPrice * quantity, now.currency));
      setText(warning, quantity > now.available ? `Only ${now.available} for sale. A payment will fail.` : "");
    },
  });

  function drop() {
    basket.value.delete(productId);
    basket.touch();
  }
}
