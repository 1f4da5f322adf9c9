/** The catalogue, with the stock as it is now: on the shelf, held by payments in flight, for sale. */

import { add, productsInBasket } from "./basket.js";
import { byId, el, setText, showList } from "./dom.js";
import { money } from "./format.js";
import { showProblem } from "./problem.js";
import { editProduct } from "./product_editor.js";
import { productOf, products, readAgain, readMore } from "./products.js";
import { has, user } from "./session.js";

// A search reads on until so many are found, but no more pages than these before somebody wants it to.
const ENOUGH_FOUND = 20;
const PAGES_OF_A_SEARCH = 10;
// What is typed fast is one search.
const TYPING_MS = 250;

let searches = 0;

export function startCatalogue() {
  let typing;
  byId("product-search").addEventListener("input", () => {
    show();
    clearTimeout(typing);
    typing = setTimeout(() => void search(ENOUGH_FOUND), TYPING_MS);
  });
  byId("more-products").addEventListener("click", readOn);
  products.watch(show);
  user.watch(show);
}

/**
 * Read again what is shown.
 *
 * @param {{gently?: boolean}} [how]  gently: one page, in turn, so that a large catalogue costs no more than a small one
 */
export async function refreshCatalogue({ gently = false } = {}) {
  const ids = () => [...found().map((product) => product.productId), ...productsInBasket()];
  report(await readAgain(ids, gently ? 1 : Infinity));
}

async function readOn() {
  const button = byId("more-products");
  if (button.getAttribute("aria-disabled") === "true") return;
  button.setAttribute("aria-disabled", "true");
  if (searched().length) await search(found().length + ENOUGH_FOUND);
  else report(await readMore());
  button.removeAttribute("aria-disabled");
  // Where there is no more, the button is gone and the focus with it.
  if (button.hidden) byId("product-list").focus();
}

async function search(enough) {
  const mine = ++searches;
  for (let read = 0; read < PAGES_OF_A_SEARCH && products.value.more; read += 1) {
    // Somebody goes on typing, or this will do.
    if (mine !== searches || !searched().length || found().length >= enough) return;
    const problem = await readMore();
    report(problem);
    if (problem) return;
  }
}

function report(problem) {
  showProblem(byId("catalogue-problem"), problem);
  if (!problem) setText(byId("stock-age"), `live stock, ${new Date().toLocaleTimeString("en-GB")}`);
}

/** The words that are searched for. */
function searched() {
  return byId("product-search").value.toLowerCase().split(/\s+/).filter(Boolean);
}

function found() {
  const words = searched();
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
  showList(byId("catalogue").tBodies[0], shown, (product) => `${product.productId} ${has("admin")}`, row);
  byId("catalogue").hidden = shown.length === 0;
  byId("catalogue").classList.toggle("searched", searched().length > 0);
  setText(byId("catalogue-note"), isRead ? note(shown.length, list.length, more) : "");
  byId("more-products").hidden = !more;
  setText(byId("more-products"), searched().length ? "Search further" : "Show more");
}

function note(shown, read, more) {
  const all = more ? `the first ${read} products; there are more` : read === 1 ? "one product" : `${read} products`;
  if (searched().length) return shown ? `${shown} found among ${all}.` : `None found among ${all}.`;
  if (more) return `Showing ${all}.`;
  return read ? "" : "There is nothing in it yet. To fill it: ./shop seed local/shop/catalogue.json";
}

function row(product) {
  const name = el("span", { class: "name" });
  const price = el("span", {});
  const about = el("span", { class: "quiet" }, price, " ", el("code", {}, product.productId));
  const number = () => el("td", { class: "number" });
  const numbers = { stock: number(), reserved: number(), available: number() };
  const cells = [el("th", { scope: "row" }, name, about), ...Object.values(numbers)];
  const [verb, act] = has("admin") ? ["Edit", editProduct] : ["Add", (id) => add(productOf(id))];
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
  // Reading the layout makes the browser see the class go and come: the animation starts again.
  void cell.offsetWidth;
  cell.classList.add("changed");
}
