/** The catalogue with live stock: on the shelf, held by payments in flight, and for sale. */

import { add, productsInBasket } from "./basket.js";
import { byId, el, setText, showList } from "./dom.js";
import { money } from "./format.js";
import { showProblem } from "./problem.js";
import { editProduct } from "./product_editor.js";
import { productOf, products, readAgain, readMore } from "./products.js";
import { hasRole, user } from "./session.js";

// A search reads pages until it has found this many products, up to a maximum of pages.
const SEARCH_RESULTS = 20;
const MAX_SEARCH_PAGES = 10;
// Delay of a search after the last key.
const SEARCH_DELAY_MS = 250;

let searchCount = 0;

export function startCatalogue() {
  let typing;
  byId("product-search").addEventListener("input", () => {
    show();
    clearTimeout(typing);
    typing = setTimeout(() => void search(SEARCH_RESULTS), SEARCH_DELAY_MS);
  });
  byId("more-products").addEventListener("click", readOn);
  products.watch(show);
  user.watch(show);
}

/**
 * Read the shown products again.
 *
 * @param {{onePage?: boolean}} [options]  onePage: only the least recently read page, to keep polls cheap
 */
export async function refreshCatalogue({ onePage = false } = {}) {
  const ids = () => [...found().map((product) => product.productId), ...productsInBasket()];
  report(await readAgain(ids, onePage ? 1 : Infinity));
}

async function readOn() {
  const button = byId("more-products");
  if (button.getAttribute("aria-disabled") === "true") return;
  button.setAttribute("aria-disabled", "true");
  if (searchWords().length) await search(found().length + SEARCH_RESULTS);
  else report(await readMore());
  button.removeAttribute("aria-disabled");
  // A hidden button loses the focus.
  if (button.hidden) byId("product-list").focus();
}

async function search(minResults) {
  const thisSearch = ++searchCount;
  for (let read = 0; read < MAX_SEARCH_PAGES && products.value.more; read += 1) {
    // A newer search started, or this one has enough results.
    if (thisSearch !== searchCount || !searchWords().length || found().length >= minResults) return;
    const problem = await readMore();
    report(problem);
    if (problem) return;
  }
}

function report(problem) {
  showProblem(byId("catalogue-problem"), problem);
  if (!problem) setText(byId("stock-age"), `live stock, ${new Date().toLocaleTimeString("en-GB")}`);
}

/** Return the words of the search. */
function searchWords() {
  return byId("product-search").value.toLowerCase().split(/\s+/).filter(Boolean);
}

function found() {
  const words = searchWords();
  return products.value.list.filter(({ name, productId }) => {
    const text = `${name} ${productId}`.toLowerCase();
    return words.every((word) => text.includes(word));
  });
}

function show() {
  const shown = found();
  const { list } = products.value;
  const isRead = list.length > 0 || !products.value.more;
  const more = products.value.more && isRead;
  showList(byId("catalogue").tBodies[0], shown, (product) => `${product.productId} ${hasRole("admin")}`, row);
  byId("catalogue").hidden = shown.length === 0;
  byId("catalogue").classList.toggle("searched", searchWords().length > 0);
  setText(byId("catalogue-note"), isRead ? note(shown.length, list.length, more) : "");
  byId("more-products").hidden = !more;
  setText(byId("more-products"), searchWords().length ? "Search further" : "Show more");
}

function note(shown, read, more) {
  const all = more ? `the first ${read} products; there are more` : read === 1 ? "one product" : `${read} products`;
  if (searchWords().length) return shown ? `${shown} found among ${all}.` : `None found among ${all}.`;
  if (more) return `Showing ${all}.`;
  return read ? "" : "The catalogue is empty. To load one: ./shop seed local/shop/catalogue.json";
}

function row(product) {
  const name = el("span", { class: "name" });
  const price = el("span", {});
  const about = el("span", { class: "quiet" }, price, " ", el("code", {}, product.productId));
  const number = () => el("td", { class: "number" });
  const numbers = { stock: number(), reserved: number(), available: number() };
  const cells = [el("th", { scope: "row" }, name, about), ...Object.values(numbers)];
  const [verb, act] = hasRole("admin") ? ["Edit", editProduct] : ["Add", (id) => add(productOf(id))];
  const button = el("button", { type: "button", onclick: () => act(product.productId) }, verb);
  return Object.assign(el("tr", {}, ...cells, el("td", { class: "act" }, button)), {
    update(now) {
      setText(name, now.name);
      setText(price, money(now.unitPrice, now.currency));
      button.setAttribute("aria-label", `${verb} ${now.name}`);
      for (const [field, cell] of Object.entries(numbers)) showNumber(cell, now[field]);
      numbers.reserved.classList.toggle("some", now.reserved > 0);
      numbers.available.classList.toggle("none", now.available === 0);
    },
  });
}

function showNumber(cell, number) {
  const before = cell.textContent;
  setText(cell, String(number));
  if (before === "" || before === String(number)) return;
  cell.classList.remove("changed");
  // Reading the layout restarts the animation, because the browser then sees the class removed.
  void cell.offsetWidth;
  cell.classList.add("changed");
}
