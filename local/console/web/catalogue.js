/** The catalogue with live stock: on the shelf, held by payments in flight, and for sale. */

import { byId, el, setText, showList } from "./dom.js";
import { money } from "./format.js";
import { showProblem } from "./problem.js";
import { productOf, products, readAgain, readMore, readProduct } from "./products.js";
import { user } from "./session.js";

const ROWS_PER_STEP = 100;
// While the user types, a search reads pages until it has found this many products, up to a maximum of pages.
const SEARCH_RESULTS = 20;
const MAX_SEARCH_PAGES = 10;
const PRODUCT_ID = /^[a-z0-9][a-z0-9._-]{0,63}$/i;
// Delay of a search after the last key.
const SEARCH_DELAY_MS = 250;

let rowLimit = ROWS_PER_STEP;
let searchCount = 0;
// The search to the end of the catalogue, by its count.
let searchToEnd = null;
let action;

/**
 * @param {object} rowAction  the button of each product
 * @param {string} rowAction.verb
 * @param {(product: import("./products.js").Product) => unknown} rowAction.act
 * @param {() => string[]} [rowAction.otherIds]  returns products to refresh besides the shown ones
 */
export function startCatalogue({ verb, act, otherIds = () => [] }) {
  action = { verb, act, otherIds };
  let typing;
  byId("product-search").addEventListener("input", () => {
    rowLimit = ROWS_PER_STEP;
    stopSearch();
    clearTimeout(typing);
    typing = setTimeout(() => void searchFirstPages(), SEARCH_DELAY_MS);
  });
  byId("more-products").addEventListener("click", readOn);
  products.watch(show);
  user.watch(() => showProblem(byId("catalogue-problem"), null));
}

/**
 * Read the shown products again.
 *
 * @param {{onePage?: boolean}} [options]  onePage: only the least recently read page, to keep polls cheap
 */
export async function refreshCatalogue({ onePage = false } = {}) {
  const ids = () => [...shownProducts().map((product) => product.productId), ...action.otherIds()];
  report(await readAgain(ids, onePage ? 1 : Infinity));
}

async function readOn() {
  const button = byId("more-products");
  if (searchToEnd !== null) {
    stopSearch();
    return;
  }
  if (button.getAttribute("aria-disabled") === "true") return;
  if (isSearchUnfinished()) {
    await searchAll();
  } else {
    button.setAttribute("aria-disabled", "true");
    rowLimit += ROWS_PER_STEP;
    if (found().length < rowLimit && products.value.more) report(await readMore());
    button.removeAttribute("aria-disabled");
    show();
  }
  // A hidden button loses the focus.
  if (button.hidden) byId("product-list").focus();
}

async function searchFirstPages() {
  const thisSearch = searchCount;
  const text = byId("product-search").value.trim();
  const hasId = () => found().some((product) => product.productId === text);
  if (PRODUCT_ID.test(text) && products.value.more && !hasId()) await readProduct(text);
  if (hasId()) return;
  await search(thisSearch, (read) => read >= MAX_SEARCH_PAGES || found().length >= SEARCH_RESULTS);
}

async function searchAll() {
  searchToEnd = ++searchCount;
  show();
  await search(searchToEnd, () => false);
  if (searchToEnd === searchCount) stopSearch();
}

/** Read pages until the search has enough, or is not the current one. */
async function search(thisSearch, hasEnough) {
  for (let read = 0; products.value.more && searchWords().length; read += 1) {
    if (thisSearch !== searchCount || hasEnough(read)) return;
    const problem = await readMore();
    report(problem);
    if (problem) return;
  }
}

function stopSearch() {
  searchCount += 1;
  searchToEnd = null;
  show();
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

function shownProducts() {
  return found().slice(0, rowLimit);
}

/** Return whether all found products are shown and the rest of the catalogue is not searched. */
function isSearchUnfinished() {
  return searchWords().length > 0 && products.value.more && found().length <= rowLimit;
}

function show() {
  const all = found();
  const shown = all.slice(0, rowLimit);
  const { list, more } = products.value;
  const isRead = list.length > 0 || !more;
  const isSearching = searchWords().length > 0;
  showList(byId("catalogue").tBodies[0], shown, (product) => product.productId, row);
  byId("catalogue").hidden = shown.length === 0;
  byId("catalogue").classList.toggle("searched", isSearching);
  setText(byId("catalogue-note"), isRead ? (isSearching ? searchNote(all.length) : note(shown.length)) : "");
  byId("more-products").hidden = !isRead || (!more && all.length <= shown.length);
  const next = isSearchUnfinished() ? "Search all" : "Show more";
  setText(byId("more-products"), searchToEnd === null ? next : "Stop");
}

function note(shown) {
  const { list, more } = products.value;
  if (more || list.length > shown) return `Showing the first ${shown} products; there are more.`;
  return shown ? "" : "The catalogue is empty. To load one: ./shop seed local/shop/catalogue.json";
}

function searchNote(count) {
  const { list, more } = products.value;
  const read = list.length.toLocaleString("en-US");
  const matches = count ? `${count.toLocaleString("en-US")} found` : "None found";
  if (searchToEnd !== null) return `Searching: ${matches} among ${read} products so far.`;
  if (more) return `${matches} among ${read} products; there are more.`;
  return `${matches} among ${list.length === 1 ? "one product" : `${read} products`}.`;
}

function row(product) {
  const name = el("span", { class: "name" });
  const price = el("span", { class: "quiet" });
  const offer = el("div", { class: "offer" }, name, price, el("code", { class: "quiet" }, product.productId));
  const number = () => el("td", { class: "number" });
  const numbers = { stock: number(), reserved: number(), available: number() };
  const cells = [el("th", { scope: "row" }, offer), ...Object.values(numbers)];
  const { verb, act } = action;
  const button = el("button", { type: "button", onclick: () => act(productOf(product.productId)) }, verb);
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
