/** A call as a command for a shell: what is pasted runs as it is, and shows the token once, in its first line. */

import { el } from "./dom.js";

const COPIED_MS = 1500;

export function asCurl(call) {
  const target = quoted(new URL(call.path, location.origin).href);
  const headers = call.headers.map(([name, value]) =>
    value.includes("$TOKEN") ? `-H "${name}: ${value}"` : `-H ${quoted(`${name}: ${value}`)}`,
  );
  const body = call.body === null ? [] : [`--data-raw ${quoted(call.body)}`];
  const options = [`-i -X ${call.method}`, ...headers, ...body];
  return `TOKEN=${quoted(call.token)}\ncurl ${target} \\\n  ${options.join(" \\\n  ")}\n`;
}

/** A button that copies the call and says that it did. */
export function copyButton(call) {
  const button = el("button", { type: "button", onclick: copy }, "Copy as curl");
  return button;

  async function copy() {
    try {
      await navigator.clipboard.writeText(asCurl(call));
      button.textContent = "Copied";
    } catch {
      button.textContent = "Not allowed to copy";
    }
    setTimeout(() => (button.textContent = "Copy as curl"), COPIED_MS);
  }
}

function quoted(text) {
  return `'${text.replaceAll("'", "'\\''")}'`;
}
