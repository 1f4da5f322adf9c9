/**
 * Products, read page by page, or one by its id. Only pages with shown products are read again.
 *
 * A cursor is bound to the user who read the previous page. It changes when products are added or removed.
 */

import { call } from "./api.js";
import { user } from "./session.js";
import { signal } from "./signal.js";

/**
 * @typedef {{productId: string, name: string, unitPrice: number, currency: string, stock: number, reserved: number,
 *   available: number}} Product
 *
 * @typedef {{ids: string[], next: string | null, readAt: number}} ProductPage  `next` is the cursor of the next page
 */

const PRODUCTS_PER_PAGE = 100;
// Faster than `localeCompare` by an order of magnitude.
const byName = new Intl.Collator().compare;

/** The products read so far, sorted by name, and whether there may be more. @type {{value: {list: Product[], more: boolean}}} */
export const products = signal({ list: [], more: true });

/** @type {Map<string, Product>} */
const known = new Map();
/** @type {ProductPage[]} */
let pages = [];
/** Ids of products that were read one by one. @type {Set<string>} */
let singles = new Set();
let pagesWanted = 1;
let reader = null;
let lastTask = Promise.resolve(null);

/** Return a product as it was last read. @returns {Product | undefined} */
export function productOf(productId) {
  return known.get(productId);
}

/** Record a product from the API. */
export function recordProduct(product) {
  known.set(product.productId, product);
  const { list } = products.value;
  products.set({ ...products.value, list: list.map((other) => known.get(other.productId)) });
}

/**
 * Read the pages again that hold one of these products, least recently read first.
 *
 * @param {() => Iterable<string>} ids
 * @param {number} maxPages
 * @returns {Promise<any>}  the problem if the API refused
 */
export function readAgain(ids, maxPages) {
  return inTurn(async () => {
    const shownIds = new Set(ids());
    const due = pages.filter((page) => page.ids.some((id) => shownIds.has(id)));
    due.sort((one, other) => one.readAt - other.readAt);
    for (const page of due.slice(0, maxPages)) {
      // An earlier page may have become the last one.
      const place = pages.indexOf(page);
      const problem = place < 0 ? null : await readPage(place);
      if (problem || reader !== user.value) return problem;
    }
    const paged = new Set(pages.flatMap((page) => page.ids));
    for (const id of singles) if (shownIds.has(id) && !paged.has(id)) await readSingle(id);
    return readWanted();
  });
}

/** Read one product. An unknown id is not a problem: the text that the user typed may be part of a name. */
export function readProduct(productId) {
  return inTurn(async () => {
    await readSingle(productId);
    publish();
  });
}

/** Read the next page. Returns the problem if the API refused. */
export function readMore() {
  return inTurn(() => {
    pagesWanted = pages.length + 1;
    return readWanted();
  });
}

/** Run reads one after another. Parallel reads would corrupt the list of pages. */
function inTurn(read) {
  lastTask = lastTask.then(() => {
    if (reader !== user.value) {
      pages = [];
      singles = new Set();
    }
    reader = user.value;
    return read();
  });
  return lastTask;
}

async function readWanted() {
  while (pages.length < pagesWanted && pages.at(-1)?.next !== null) {
    const problem = await readPage(pages.length);
    if (problem || reader !== user.value) return problem;
  }
  publish();
  return null;
}

async function readSingle(productId) {
  const response = await call("GET", `/products/${encodeURIComponent(productId)}`, reader, { background: true });
  if (reader !== user.value) return;
  if (response.status === 404) singles.delete(productId);
  if (!response.ok) return;
  known.set(productId, response.body);
  singles.add(productId);
}

async function readPage(place) {
  const cursor = pages[place - 1]?.next;
  const query = new URLSearchParams({ limit: String(PRODUCTS_PER_PAGE), ...(cursor ? { cursor } : {}) });
  const response = await call("GET", `/products?${query}`, reader, { background: true });
  if (reader !== user.value) return null;
  if (!response.ok) return response.body;
  for (const product of response.body.products) known.set(product.productId, product);
  replace(place, { ids: response.body.products.map((product) => product.productId), next: response.body.cursor });
  return null;
}

function replace(place, { ids, next }) {
  const page = (pages[place] ??= { ids: [], next: null, readAt: 0 });
  // New products in a full page push others into the next page.
  const pushedOut = page.ids.filter((id) => !ids.includes(id));
  Object.assign(page, { ids, next, readAt: performance.now() });
  if (next === null) pages.length = place + 1;
  else pages[place + 1]?.ids.push(...pushedOut);
}

function publish() {
  const ids = new Set([...pages.flatMap((page) => page.ids), ...singles]);
  // Those already in order come first, because they make the sort fast.
  const kept = products.value.list.map((product) => product.productId).filter((id) => ids.has(id));
  const list = [...new Set([...kept, ...ids])].map((id) => known.get(id)).sort((one, other) => byName(one.name, other.name));
  products.set({ list, more: pages.at(-1)?.next !== null });
}
