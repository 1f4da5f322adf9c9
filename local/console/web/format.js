/** Amounts, times and names as people read them. */

// The decimals that Stripe counts. A browser's own differ: it shows a forint without decimals.
import { DECIMALS } from "./currencies.js";

/** An amount in the currency's minor unit: 4599 usd is $45.99. */
export function money(amount, currency) {
  const decimals = DECIMALS[currency] ?? 2;
  const digits = { minimumFractionDigits: decimals, maximumFractionDigits: decimals };
  const format = new Intl.NumberFormat("en-US", { style: "currency", currency: currency.toUpperCase(), ...digits });
  return format.format(amount / 10 ** decimals);
}

/** A duration in milliseconds: `84 ms`, `1.32 s`, `2 min 5 s`. */
export function duration(milliseconds) {
  if (milliseconds < 1000) return `${Math.max(0, Math.round(milliseconds))} ms`;
  if (milliseconds < 60_000) return `${(milliseconds / 1000).toFixed(2)} s`;
  const seconds = Math.round(milliseconds / 1000);
  return `${Math.floor(seconds / 60)} min ${seconds % 60} s`;
}

/** The time of day of an RFC 3339 time, in the reader's zone. */
export function timeOfDay(text) {
  return new Date(text).toLocaleTimeString("en-GB");
}

/** A path in which ids are cut short, so that its end is seen. */
export function withShortIds(path) {
  return path.replace(/ord_\w+/g, shortId);
}

/** The part of an id that tells it from others at a glance. */
export function shortId(id) {
  return id.length > 14 ? `${id.slice(0, 12)}…` : id;
}
