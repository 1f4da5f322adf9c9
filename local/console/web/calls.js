/** Panel of API calls with their requests and responses. */

import { calls, clearCalls } from "./api.js";
import { copyButton } from "./curl.js";
import { byId, el, setText, showList } from "./dom.js";
import { duration, withShortIds } from "./format.js";

const REASONS = {
  ...{ 200: "OK", 201: "Created", 202: "Accepted", 400: "Bad Request", 401: "Unauthorized", 402: "Payment Required" },
  ...{ 403: "Forbidden", 404: "Not Found", 409: "Conflict", 413: "Content Too Large", 422: "Unprocessable Content" },
  ...{ 429: "Too Many Requests", 500: "Internal Server Error", 502: "Bad Gateway", 503: "Service Unavailable" },
  504: "Gateway Timeout",
};

// The newest call stays open until the next one, or until the user closes it.
let opened = null;

export function startCalls() {
  byId("show-background").addEventListener("change", show);
  byId("clear-calls").addEventListener("click", clearCalls);
  calls.watch(show);
}

function show() {
  const showPolls = byId("show-background").checked;
  const shown = calls.value.filter((call) => showPolls || !call.background);
  byId("calls-none").hidden = shown.length > 0;
  showList(byId("calls"), shown, (call) => String(call.number), row);
}

function row(call) {
  const status = el("span", { class: "badge" }, "…");
  const took = el("span", { class: "took" });
  const title = el("span", { class: "line" }, el("b", {}, call.method), ` ${withShortIds(call.path)}`);
  const details = el("details", { class: "call" }, el("summary", {}, status, title, took));
  if (!call.background) openOnly(details);
  let isFinished = false;

  return Object.assign(el("li", {}, details), {
    update() {
      if (isFinished || call.status === null) return;
      isFinished = true;
      setText(status, call.status ? String(call.status) : "none");
      status.className = `badge s${Math.floor(call.status / 100)}`;
      setText(took, duration(call.ms));
      details.append(exchange(call));
    },
  });
}

function openOnly(details) {
  if (opened) opened.open = false;
  details.open = true;
  opened = details;
}

function exchange(call) {
  const request = [`${call.method} ${call.path} HTTP/1.1`, ...call.headers.map(line), "", pretty(call.body ?? "")];
  const response = [
    `HTTP/1.1 ${call.status} ${REASONS[call.status] ?? ""}`.trim(),
    ...call.responseHeaders.map(line),
    "",
    pretty(call.responseBody),
  ];
  return el(
    "div",
    { class: "exchange" },
    el("div", { class: "row" }, el("p", { class: "quiet" }, `as ${call.as}`), copyButton(call)),
    block("Request", request),
    block("Response", call.status ? response : [call.responseBody]),
  );
}

function block(label, lines) {
  // Focusable, so that the keyboard can scroll it.
  return el("pre", { tabindex: "0", role: "region", "aria-label": label }, lines.join("\n").trimEnd());
}

function line([name, value]) {
  return `${name}: ${value}`;
}

function pretty(text) {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}
