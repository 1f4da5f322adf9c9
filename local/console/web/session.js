/** The signed-in user, with a token of the local stack's identity provider. */

import { byId, el } from "./dom.js";
import { signal } from "./signal.js";

/** @typedef {{name: string, sub: string, roles: string[], token: string}} User */

const LABELS = { buyer: "Buyer", buyer2: "Second buyer", seller: "Seller", admin: "Admin", expired: "Expired token" };
// Stored per tab, so that two tabs can have different users.
const USER_KEY = "console.user";

/** @type {{value: User | null}} */
export const user = signal(null);

/** Return whether the signed-in user has the role. */
export function hasRole(role) {
  return Boolean(user.value?.roles.includes(role));
}

export function isExpired() {
  return user.value?.name === "expired";
}

/** Load the stack's users, show them, and sign in the remembered one. */
export async function startSession() {
  const response = await fetch("/session.json", { cache: "no-store" });
  if (!response.ok) throw new Error(
      `The local stack refused to send its tokens (${response.status}). Open the console at 127.0.0.1 or localhost.`,
    );
  /** @type {{users: User[]}} */
  const { users } = await response.json();
  const remembered = sessionStorage.getItem(USER_KEY);
  const first = users.find((each) => each.name === remembered) ?? users[0];
  byId("sign-in").append(...users.map((each) => choice(each, each === first)));
  user.set(first);
}

function choice(known, checked) {
  const radio = el("input", { type: "radio", name: "user", value: known.name, checked, onchange: signIn });
  const title = `${known.sub}, ${known.roles.join(" and ")}${known.name === "expired" ? ", expired" : ""}`;
  return el("label", { title }, radio, el("span", {}, LABELS[known.name] ?? known.name));

  function signIn() {
    sessionStorage.setItem(USER_KEY, known.name);
    user.set(known);
  }
}
