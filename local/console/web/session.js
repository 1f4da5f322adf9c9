/** The signed-in user, with a token of the local stack's identity provider. */

import { byId, el } from "./dom.js";
import { signal } from "./signal.js";

/** @typedef {{name: string, sub: string, roles: string[], token: string}} User */

const LABELS = { buyer: "Buyer", buyer2: "Second buyer", seller: "Seller", admin: "Admin", expired: "Expired token" };
// Stored per tab, so that two tabs can have different users.
const USER_KEY = "console.user";

/** @type {{value: User | null}} */
export const user = signal(null);

/** The request for new tokens that is in flight. @type {Promise<User[]> | null} */
let renewing = null;

/** Return whether the signed-in user has the role. */
export function hasRole(role) {
  return Boolean(user.value?.roles.includes(role));
}

export function isExpired() {
  return user.value?.name === "expired";
}

/** Return whether the time of the token has passed. */
export function isTokenExpired(token) {
  return claims(token, 1).exp * 1000 <= Date.now();
}

/** Load the stack's users, show them, and sign in the one that was chosen, or else the first with the role. */
export async function startSession(role) {
  const users = await readUsers();
  const remembered = sessionStorage.getItem(USER_KEY);
  const first = users.find((each) => each.name === remembered) ?? users.find((each) => each.roles.includes(role));
  byId("sign-in").append(...users.map((each) => choice(each, each === first)));
  user.set(first);
}

/** Give the user a new token, because the API refused `token`. Returns whether the user now has another one. */
export async function renewToken(refused, token) {
  if (refused.name === "expired") return false;
  if (refused.token === token) {
    renewing ??= readUsers().finally(() => (renewing = null));
    const users = await renewing.catch(() => []);
    const renewed = users.find(({ name }) => name === refused.name);
    // Each run of the stack signs with a key of its own.
    if (renewed && claims(renewed.token, 0).kid !== claims(token, 0).kid) byId("restarted").hidden = false;
    refused.token = renewed?.token ?? token;
  }
  return refused.token !== token;
}

/** @returns {Promise<User[]>} */
async function readUsers() {
  const response = await fetch("/session.json", { cache: "no-store" });
  if (response.ok) return (await response.json()).users;
  throw new Error(
    `The local stack refused to send its tokens (${response.status}). Open the console at 127.0.0.1 or localhost.`,
  );
}

/** Decode the header (0) or the payload (1) of a token. */
function claims(token, part) {
  return JSON.parse(atob(token.split(".")[part].replaceAll("-", "+").replaceAll("_", "/")));
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
