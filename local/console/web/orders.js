/** The orders that this page knows, each with the steps that it went through. */

import { signal } from "./signal.js";

/**
 * @typedef {{label: string, detail?: string, at: number, took?: number, kind?: "good" | "bad" | "wait"}} Step
 *   `at` in Unix milliseconds, `took` in milliseconds
 *
 * @typedef {object} OrderRecord
 * @property {any} order  the status object, with the lines where they are known
 * @property {Step[]} steps
 * @property {string} key  the Idempotency-Key of its payment
 * @property {boolean} busy  a payment or override of ours is under way
 * @property {number | null} lookAt  when its status will be asked for again, in Unix milliseconds
 * @property {number | null} sentAt  when what may settle it was sent
 * @property {any} problem  how the last call about it was refused
 */

/** By their ids. @type {{value: Map<string, OrderRecord>}} */
export const orders = signal(new Map());

/** Id of the order that is shown. @type {{value: string | null}} */
export const current = signal(null);

/** The record of the order that is shown. */
export function currentRecord() {
  return orders.value.get(current.value) ?? null;
}

/** Take in what the API says of an order, unless something newer is known. */
export function learn(order) {
  const known = orders.value.get(order.orderId);
  if (known && order.updatedAt < known.order.updatedAt) return known;
  const record = known ?? fresh(order);
  const wasPending = !known || known.order.status === "pending";
  const before = JSON.stringify(known?.order);
  record.order = { ...known?.order, ...order };
  if (JSON.stringify(record.order) === before) return record;
  orders.value.set(order.orderId, record);
  if (wasPending && order.status !== "pending") addStep(record, settlement(record));
  orders.touch();
  return record;
}

/** Add a step in the order of time. */
export function addStep(record, step) {
  record.steps.push(step);
  record.steps.sort((one, other) => one.at - other.at);
}

/** Whether a payment of an order is under way, whoever sent it: its stock is held until the outcome is known. */
export function isUnderWay({ order, lookAt }) {
  return order.status === "pending" && (lookAt !== null || order.paymentIntentId !== null);
}

/** Milliseconds from the placing of an order to its end, or from what was sent to settle it; `null` while pending. */
export function settledAfter({ order, sentAt }) {
  if (order.status === "pending") return null;
  const settled = Date.parse(order.updatedAt);
  return settled - (sentAt !== null && sentAt <= settled ? sentAt : Date.parse(order.createdAt));
}

function fresh(order) {
  return {
    ...{ order, steps: [{ label: "Placed", at: Date.parse(order.createdAt) }], key: crypto.randomUUID() },
    ...{ busy: false, lookAt: null, sentAt: null, problem: null },
  };
}

function settlement(record) {
  const { order } = record;
  const confirmed = order.status === "confirmed";
  return {
    label: confirmed ? "Confirmed" : "Cancelled",
    detail: order.reason ? order.reason.message : confirmed ? "the stock is reduced" : "",
    at: Date.parse(order.updatedAt),
    took: settledAfter(record),
    kind: confirmed ? "good" : "bad",
  };
}
