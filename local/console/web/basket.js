/** The basket: what will be ordered. It is this page's alone; the API hears of it when the order is placed. */

import { byId, el, setText, showList } from "./dom.js";
import { money } from "./format.js";
import { productOf, products } from "./products.js";
import { showProblem } from "./problem.js";
import { placeOrder } from "./order_actions.js";
import { signal } from "./signal.js";
import { user } from "./session.js";

/**
 * How many of which product, as it was when it was put in: the page may have forgotten it since.
 *
 * @type {{value: Map<string, {product: import("./products.js").Product, quantity: number}>}}
 */
const basket = signal(new Map());
let placing = false;

/** Put one more of the product in. */
export function add(product) {
  put(product, (basket.value.get(product.productId)?.quantity ?? 0) + 1);
}

/** Ids of the products in it. */
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
  if (placing) return;
  placing = true;
  const button = byId("place-order");
  button.setAttribute("aria-disabled", "true");
  const items = [...basket.value].map(([productId, { quantity }]) => ({ productId, quantity }));
  const problem = await placeOrder(items, user.value);
  showProblem(byId("basket-problem"), problem);
  if (!problem) {
    basket.set(new Map());
    // The button is gone with the basket; what comes next is there.
    byId("order-heading").focus();
  }
  button.removeAttribute("aria-disabled");
  placing = false;
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
  const some = shown.length > 0;
  byId("basket-none").hidden = some;
  byId("basket-empty").hidden = byId("basket-foot").hidden = !some;
  showList(byId("basket"), shown, ({ product }) => product.productId, row);
  if (!some) return;
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
      setText(warning, quantity > now.available ? `Only ${now.available} for sale: the payment will say so.` : "");
    },
  });

  function drop() {
    basket.value.delete(productId);
    basket.touch();
  }
}
