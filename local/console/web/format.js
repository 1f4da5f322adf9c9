/** Formats amounts, times and ids. */

// Stripe's number of decimals. Browsers differ: they show HUF without decimals.
import { DECIMALS } from "./currencies.js";

/** Return the number of decimals of the currency's amounts. */
export function decimalsOf(currency) {
  return DECIMALS[currency] ?? 2;
}

/** Format an amount in the currency's minor unit: 4599 usd is $45.99. */
export function money(amount, currency) {
  const decimals = decimalsOf(currency);
  const digits = { minimumFractionDigits: decimals, maximumFractionDigits: decimals };
  const format = new Intl.NumberFormat("en-US", { style: "currency", currency: currency.toUpperCase(), ...digits });
  return format.format(amount / 10 ** decimals);
}

/** Format milliseconds: `84 ms`, `1.32 s`, `2 min 5 s`. */
export function duration(milliseconds) {
  if (milliseconds < 1000) return `${Math.max(0, Math.round(milliseconds))} ms`;
  if (milliseconds < 60_000) return `${(milliseconds / 1000).toFixed(2)} s`;
  const seconds = Math.round(milliseconds / 1000);
  return `${Math.floor(seconds / 60)} min ${seconds % 60} s`;
}

/** Format an RFC 3339 time as local date and time: `30 Nov 2026, 19:24:15`. */
export function timeOf(text) {
  return new Date(text).toLocaleString("en-GB", { dateStyle: "medium", timeStyle: "medium" });
}

/** Shorten the order ids in a path, so that its end stays visible. */
export function withShortIds(path) {
  return path.replace(/ord_\w+/g, shortId);
}

/** Shorten an id to its first characters. */
export function shortId(id) {
  return id.length > 14 ? `${id.slice(0, 12)}…` : id;
}
