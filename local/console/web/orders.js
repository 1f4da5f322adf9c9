/** The orders known to this page, with their steps. */

import { signal } from "./signal.js";

/**
 * @typedef {{label: string, detail?: string, at: number, took?: number, kind?: "good" | "bad" | "wait"}} Step
 *   `at` in Unix milliseconds, `took` in milliseconds
 *
 * @typedef {object} OrderRecord
 * @property {any} order  the status object, with the items if known
 * @property {Step[]} steps
 * @property {string} key  the Idempotency-Key of its payment
 * @property {boolean} busy  a payment sent by this page is in flight
 * @property {number | null} nextPollAt  time of the next status poll, in Unix milliseconds
 * @property {number | null} sentAt  time of the latest payment, in Unix milliseconds
 * @property {any} problem  the problem of the last refused call
 */

/** Order records by id. @type {{value: Map<string, OrderRecord>}} */
export const orders = signal(new Map());

/** Id of the shown order. @type {{value: string | null}} */
export const current = signal(null);

/** Return the record of the shown order. */
export function currentRecord() {
  return orders.value.get(current.value) ?? null;
}

/** Record an order from the API, unless a newer state is known. */
export function recordOrder(order) {
  const known = orders.value.get(order.orderId);
  if (known && order.updatedAt < known.order.updatedAt) return known;
  const record = known ?? createRecord(order);
  const wasPending = !known || known.order.status === "pending";
  const before = JSON.stringify(known?.order);
  record.order = { ...known?.order, ...order };
  if (JSON.stringify(record.order) === before) return record;
  orders.value.set(order.orderId, record);
  if (wasPending && order.status !== "pending") addStep(record, settlement(record));
  orders.touch();
  return record;
}

/** Add a step in chronological order. */
export function addStep(record, step) {
  record.steps.push(step);
  record.steps.sort((one, other) => one.at - other.at);
}

/** Return whether a payment of the order is in flight, sent by this page or another client. */
export function isPaymentInFlight({ order, nextPollAt }) {
  return order.status === "pending" && (nextPollAt !== null || order.paymentIntentId !== null);
}

/** Return the milliseconds from the request that settled the order, or from its placement. `null` while pending. */
export function settledAfter({ order, sentAt }) {
  if (order.status === "pending") return null;
  const settled = Date.parse(order.updatedAt);
  return settled - (sentAt !== null && sentAt <= settled ? sentAt : Date.parse(order.createdAt));
}

function createRecord(order) {
  return {
    ...{ order, steps: [{ label: "Placed", at: Date.parse(order.createdAt) }], key: crypto.randomUUID() },
    ...{ busy: false, nextPollAt: null, sentAt: null, problem: null },
  };
}

function settlement(record) {
  const { order } = record;
  const isConfirmed = order.status === "confirmed";
  return {
    label: isConfirmed ? "Confirmed" : "Cancelled",
    // The facts show the message.
    detail: order.reason?.declineCode ?? order.reason?.code ?? (isConfirmed ? "stock reduced" : ""),
    at: Date.parse(order.updatedAt),
    took: settledAfter(record),
    kind: isConfirmed ? "good" : "bad",
  };
}
