/** The catalogue, with the stock as it is now: on the shelf, held by payments in flight, for sale. */

import { call } from "./api.js";
import { add } from "./basket.js";
import { byId, el, setText, showList } from "./dom.js";
import { money } from "./format.js";
import { showProblem } from "./problem.js";
import { products } from "./products.js";
import { has, user } from "./session.js";

const MOST_PRODUCTS = 500;

let turns = 0;

export function startCatalogue() {
  products.watch(show);
  user.watch(show);
}

/** Read all pages of the catalogue. */
export async function refreshCatalogue() {
  const asked = user.value;
  const turn = ++turns;
  const found = [];
  let cursor = null;
  do {
    const query = cursor ? `?limit=100&cursor=${encodeURIComponent(cursor)}` : "?limit=100";
    const answer = await call("GET", `/products${query}`, asked, { background: true });
    // Somebody else has signed in, or has asked after us.
    if (user.value !== asked || turn !== turns) return;
    showProblem(byId("catalogue-problem"), answer.ok ? null : answer.body);
    if (!answer.ok) return;
    found.push(...answer.body.products);
    cursor = answer.body.cursor;
  } while (cursor && found.length < MOST_PRODUCTS);
  found.sort((one, other) => one.name.localeCompare(other.name));
  products.set(found);
  setText(byId("stock-age"), `live stock, ${new Date().toLocaleTimeString("en-GB")}`);
}

function show() {
  showList(byId("catalogue").tBodies[0], products.value, (product) => `${product.productId} ${has("admin")}`, row);
}

function row(product) {
  const name = el("span", { class: "name" });
  const price = el("span", { class: "quiet" });
  const numbers = { reserved: el("td", { class: "number" }), available: el("td", { class: "number" }) };
  const [shelf, action, showShelf] = has("admin") ? stockForm(product.productId) : addButton(product.productId);
  const cells = [el("th", { scope: "row" }, name, price), shelf, numbers.reserved, numbers.available];
  return Object.assign(el("tr", {}, ...cells, el("td", { class: "act" }, action)), {
    update(now) {
      setText(name, now.name);
      setText(price, money(now.unitPrice, now.currency));
      action.setAttribute("aria-label", `${has("admin") ? "Set the stock of" : "Add"} ${now.name}`);
      showShelf(now);
      for (const [field, cell] of Object.entries(numbers)) showNumber(cell, now[field]);
      numbers.reserved.classList.toggle("some", now.reserved > 0);
      numbers.available.classList.toggle("none", now.available === 0);
    },
  });
}

function addButton(productId) {
  const shelf = el("td", { class: "number" });
  const button = el("button", { type: "button", onclick: () => add(productId) }, "Add");
  return [shelf, button, (now) => showNumber(shelf, now.stock)];
}

function stockForm(productId) {
  const input = el("input", { type: "number", min: 0, max: 1_000_000_000, required: true, class: "stock" });
  const button = el("button", { type: "button", onclick: save }, "Set");
  let known = null;
  input.addEventListener("keydown", (event) => event.key === "Enter" && save());
  return [el("td", { class: "number" }, input), button, update];

  function update(now) {
    input.setAttribute("aria-label", `Stock of ${now.name}`);
    // What an admin is typing stays.
    if (known === null || input.value === String(known)) input.value = String(now.stock);
    known = now.stock;
  }

  async function save() {
    if (!input.reportValidity()) return;
    const { name, unitPrice, currency } = products.value.find((product) => product.productId === productId);
    const body = { name, unitPrice, currency, stock: input.valueAsNumber };
    const answer = await call("PUT", `/admin/products/${encodeURIComponent(productId)}`, user.value, { body });
    if (answer.ok) known = input.valueAsNumber;
    await refreshCatalogue();
    showProblem(byId("catalogue-problem"), answer.ok ? null : answer.body);
  }
}

function showNumber(cell, number) {
  const before = cell.textContent;
  setText(cell, String(number));
  if (before === "" || before === String(number)) return;
  cell.classList.remove("changed");
  // Reading the layout makes the browser see the class go and come: the animation starts again.
  void cell.offsetWidth;
  cell.classList.add("changed");
}
