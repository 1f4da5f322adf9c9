/** A call as a shell command. The token appears once, in the first line. */

import { el } from "./dom.js";

const COPIED_MS = 1500;

export function asCurl(call) {
  const target = quote(new URL(call.path, location.origin).href);
  const headers = call.headers.map(([name, value]) =>
    value.includes("$TOKEN") ? `-H "${name}: ${value}"` : `-H ${quote(`${name}: ${value}`)}`,
  );
  const body = call.body === null ? [] : [`--data-raw ${quote(call.body)}`];
  const options = [`-i -X ${call.method}`, ...headers, ...body];
  return `TOKEN=${quote(call.token)}\ncurl ${target} \\\n  ${options.join(" \\\n  ")}\n`;
}

/** Return a button that copies the call as a curl command. */
export function copyButton(call) {
  const button = el("button", { type: "button", onclick: copy }, "Copy as curl");
  return button;

  async function copy() {
    try {
      await navigator.clipboard.writeText(asCurl(call));
      button.textContent = "Copied";
    } catch {
      button.textContent = "Copying not allowed";
    }
    setTimeout(() => (button.textContent = "Copy as curl"), COPIED_MS);
  }
}

function quote(text) {
  return `'${text.replaceAll("'", "'\\''")}'`;
}
