/** Who is signed in: one of the run's users, by the token that this run's identity provider signed. */

import { byId, el } from "./dom.js";
import { signal } from "./signal.js";

/** @typedef {{name: string, sub: string, roles: string[], token: string}} User */

const LABELS = { buyer: "Buyer", buyer2: "Second buyer", seller: "Seller", admin: "Admin", expired: "Expired token" };
// Of this tab alone, so that two tabs can be two buyers.
const REMEMBERED = "console.user";

/** @type {{value: User | null}} */
export const user = signal(null);

/** Whether the user who is signed in has the role. */
export function has(role) {
  return Boolean(user.value?.roles.includes(role));
}

export function isExpired() {
  return user.value?.name === "expired";
}

/** Ask the local stack for its users, offer them, and sign in who was signed in before. */
export async function startSession() {
  const answer = await fetch("/session.json", { cache: "no-store" });
  if (!answer.ok) throw new Error(`The local stack does not hand its tokens to this page (${answer.status}).`);
  /** @type {{users: User[]}} */
  const { users } = await answer.json();
  const remembered = sessionStorage.getItem(REMEMBERED);
  const first = users.find((known) => known.name === remembered) ?? users[0];
  byId("sign-in").append(...users.map((known) => choice(known, known === first)));
  user.set(first);
}

function choice(known, checked) {
  const radio = el("input", { type: "radio", name: "user", value: known.name, checked, onchange: signIn });
  const title = `${known.sub}, ${known.roles.join(" and ")}${known.name === "expired" ? ", expired" : ""}`;
  return el("label", { title }, radio, el("span", {}, LABELS[known.name] ?? known.name));

  function signIn() {
    sessionStorage.setItem(REMEMBERED, known.name);
    user.set(known);
  }
}
