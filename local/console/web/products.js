/**
 * The products, read page by page: nobody knows how many there are, and what nobody looks at is not read again.
 *
 * A page's cursor is that of who read the page before it, and moves as products come and go.
 */

import { call } from "./api.js";
import { user } from "./session.js";
import { signal } from "./signal.js";

/**
 * @typedef {{productId: string, name: string, unitPrice: number, currency: string, stock: number, reserved: number,
 *   available: number}} Product
 *
 * @typedef {{ids: string[], next: string | null, readAt: number}} ProductPage  `next` is the cursor of what follows
 */

const PRODUCTS_OF_A_PAGE = 100;

/** Those that were read, by name, and whether there may be more. @type {{value: {list: Product[], more: boolean}}} */
export const products = signal({ list: [], more: true });

/** @type {Map<string, Product>} */
const known = new Map();
/** @type {ProductPage[]} */
let pages = [];
let wanted = 1;
let reader = null;
let work = Promise.resolve(null);

/** What was last read of a product. @returns {Product | undefined} */
export function productOf(productId) {
  return known.get(productId);
}

/** Take in what the API says of one product. */
export function learnProduct(product) {
  known.set(product.productId, product);
  const { list } = products.value;
  products.set({ ...products.value, list: list.map((other) => known.get(other.productId)) });
}

/**
 * Read the pages again that hold one of these products, those first that were not read for the longest time.
 *
 * @param {() => Iterable<string>} ids
 * @param {number} most  how many pages at most
 * @returns {Promise<any>}  the problem, if the API refused
 */
export function readAgain(ids, most) {
  return inTurn(async () => {
    const looked = new Set(ids());
    const due = pages.filter((page) => page.ids.some((id) => looked.has(id)));
    due.sort((one, other) => one.readAt - other.readAt);
    for (const page of due.slice(0, most)) {
      // A page before it may have turned out to be the last one.
      const place = pages.indexOf(page);
      const problem = place < 0 ? null : await readPage(place);
      if (problem || reader !== user.value) return problem;
    }
    return readWanted();
  });
}

/** Read one page more. Returns the problem, if the API refused. */
export function readMore() {
  return inTurn(() => {
    wanted = pages.length + 1;
    return readWanted();
  });
}

/** One after the other: two that read at once would tear the pages apart. */
function inTurn(read) {
  work = work.then(() => {
    if (reader !== user.value) pages = [];
    reader = user.value;
    return read();
  });
  return work;
}

async function readWanted() {
  while (pages.length < wanted && pages.at(-1)?.next !== null) {
    const problem = await readPage(pages.length);
    if (problem || reader !== user.value) return problem;
  }
  tell();
  return null;
}

async function readPage(place) {
  const cursor = pages[place - 1]?.next;
  const query = new URLSearchParams({ limit: String(PRODUCTS_OF_A_PAGE), ...(cursor ? { cursor } : {}) });
  const answer = await call("GET", `/products?${query}`, reader, { background: true });
  if (reader !== user.value) return null;
  if (!answer.ok) return answer.body;
  for (const product of answer.body.products) known.set(product.productId, product);
  replace(place, { ids: answer.body.products.map((product) => product.productId), next: answer.body.cursor });
  return null;
}

function replace(place, { ids, next }) {
  const page = (pages[place] ??= { ids: [], next: null, readAt: 0 });
  // What has come into a full page drives out others, into the page behind it.
  const driven = page.ids.filter((id) => !ids.includes(id));
  Object.assign(page, { ids, next, readAt: performance.now() });
  if (next === null) pages.length = place + 1;
  else pages[place + 1]?.ids.push(...driven);
}

function tell() {
  const ids = new Set(pages.flatMap((page) => page.ids));
  const list = [...ids].map((id) => known.get(id)).sort((one, other) => one.name.localeCompare(other.name));
  products.set({ list, more: pages.length > 0 && pages.at(-1).next !== null });
}
