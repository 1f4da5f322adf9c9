/** The list of all orders with its filter, which the page's URL contains. */

import { call } from "./api.js";
import { byId, el, onSubmit, setText, showList } from "./dom.js";
import { money, shortId, timeOf } from "./format.js";
import { chip } from "./order_view.js";
import { showProblem } from "./problem.js";
import { user } from "./session.js";

const ORDERS_PER_STEP = 25;
// A page of a filtered list may be short or empty, although there are more orders.
const MAX_READS_PER_STEP = 10;
const TIMES = ["placedFrom", "placedTo"];
// Classes of all cells except the first.
const CELL_CLASSES = ["buyer", "placed", "ordered", "status", "total number", "number"];

/** The orders read so far, and the cursor of the next page, `null` at the end. */
let listed = { orders: [], cursor: null };
/** The filter of the shown list. The form may differ until it is submitted. */
let applied = new URLSearchParams();
let readCount = 0;

export function startOrderList() {
  const inUrl = new URLSearchParams(location.search);
  for (const field of fields()) field.value = inUrl.get(field.name) ?? "";
  applied = readFilter();
  onSubmit("order-filter", () => {
    applied = readFilter();
    history.replaceState(null, "", `?${applied}`);
    // It would read on from a cursor of the previous filter.
    byId("more-orders").hidden = true;
    // Not awaited, so that another filter can be submitted meanwhile.
    void read({ orders: [], cursor: null }, ORDERS_PER_STEP);
  });
  onSubmit("open-order", () => {
    const orderId = byId("open-id").value.trim();
    if (orderId) location.assign(orderUrl(orderId));
  });
  byId("more-orders").addEventListener("click", readMore);
}

/** Read the list again, as far as it is shown. */
export async function refreshOrderList() {
  await read({ orders: [], cursor: null }, Math.max(ORDERS_PER_STEP, listed.orders.length), listed);
}

async function readMore() {
  const { rows } = byId("all-orders").tBodies[0];
  const first = rows.length;
  await read(listed, first + ORDERS_PER_STEP);
  // The button moved below the new rows, or is hidden.
  rows[first]?.querySelector("a").focus();
}

/**
 * Read pages after `start` until there are `count` orders. A later call of this function takes precedence.
 *
 * A refresh passes the `previous` list: it reads as many orders, and keeps this list if it cannot read any.
 */
async function read(start, count, previous = null) {
  const previousCount = previous?.orders.length ?? 0;
  const thisRead = ++readCount;
  let { orders, cursor } = start;
  let problem = null;
  const canRead = (reads) => reads < MAX_READS_PER_STEP || orders.length < previousCount;
  for (let reads = 0; orders.length < count && canRead(reads); reads += 1) {
    const options = { background: previousCount > 0 };
    const response = await call("GET", `/admin/orders?${query(cursor)}`, user.value, options);
    if (thisRead !== readCount) return;
    if (!response.ok) {
      problem = response.body;
      break;
    }
    orders = [...orders, ...response.body.orders];
    cursor = response.body.cursor;
    if (cursor === null) break;
  }
  listed = problem && previous && !orders.length ? previous : { orders, cursor };
  showProblem(byId("orders-problem"), problem);
  show(problem);
}

function fields() {
  return [...byId("order-filter").elements].filter((field) => field.name);
}

/** Return the filter as the user entered it. */
function readFilter() {
  const values = fields().map((field) => [field.name, field.value.trim()]);
  return new URLSearchParams(values.filter(([, value]) => value));
}

/** Return the query of a page. Entered times are local. */
function query(cursor) {
  const parameters = new URLSearchParams(applied);
  for (const name of TIMES) {
    if (parameters.has(name)) parameters.set(name, new Date(parameters.get(name)).toISOString());
  }
  parameters.set("limit", String(ORDERS_PER_STEP));
  if (cursor) parameters.set("cursor", cursor);
  return parameters;
}

/** Return the URL of an order's page. It contains the filter, so that the way back does, too. */
function orderUrl(orderId) {
  const parameters = new URLSearchParams(applied);
  parameters.set("order", orderId);
  return `?${parameters}`;
}

function show(problem) {
  const { orders, cursor } = listed;
  byId("all-orders").hidden = orders.length === 0;
  byId("more-orders").hidden = cursor === null;
  setText(byId("orders-note"), problem && !orders.length ? "" : note(orders.length, cursor !== null));
  showList(byId("all-orders").tBodies[0], orders, (order) => order.orderId, tableRow);
}

function note(count, hasMore) {
  if (hasMore) return `${count ? `Showing ${count}` : "None found yet"}; there may be more.`;
  return count ? `${count === 1 ? "One order" : `${count} orders`}.` : "No order matches.";
}

function tableRow({ orderId }) {
  const open = el("a", { title: orderId }, shortId(orderId));
  const [heading, ...headings] = [...byId("all-orders").tHead.rows[0].cells].map((cell) => cell.textContent);
  const cells = CELL_CLASSES.map((kind, place) => el("td", { class: kind, "data-heading": headings[place] }));
  return Object.assign(el("tr", {}, el("th", { scope: "row", "data-heading": heading }, open), ...cells), {
    update(order) {
      open.href = orderUrl(orderId);
      contents(order).forEach((content, place) => cells[place].replaceChildren(content));
    },
  });
}

function contents(order) {
  const { buyerId, currency, refundedAmount } = order;
  return [
    el("code", { title: buyerId }, buyerId),
    timeOf(order.createdAt),
    order.items.map(({ name, quantity }) => `${quantity} × ${name}`).join(", "),
    chip(order.status),
    money(order.totalAmount, currency),
    refundedAmount ? money(refundedAmount, currency) : "",
  ];
}
