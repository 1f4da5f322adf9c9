/** State diagram of an order, with the path that it took and the duration. */

import { svg } from "./dom.js";
import { duration } from "./format.js";
import { isPaymentInFlight, settledAfter } from "./orders.js";

const STATES = {
  pending: { x: 92, y: 68 },
  confirmed: { x: 252, y: 10, edge: "M198 88 C 226 88, 216 39, 246 39" },
  cancelled: { x: 252, y: 126, edge: "M198 106 C 226 106, 216 155, 246 155" },
};
const WIDTH = 106;
const HEIGHT = 58;
const LINE_HEIGHT = 13;
const MAX_LINE_CHARACTERS = 14;

/** Draw the diagram into `place`. Returns a function that shows an order record in it, or none for `null`. */
export function drawDiagram(place) {
  const parts = {
    placing: edge("M22 97 L 86 97", 52, 87),
    confirmed: edge(STATES.confirmed.edge, 206, 40),
    cancelled: edge(STATES.cancelled.edge, 206, 164),
    nodes: Object.fromEntries(Object.entries(STATES).map(([name, at]) => [name, node(name, at)])),
  };
  const picture = svg(
    "svg",
    { viewBox: "0 0 366 194", role: "img", class: "diagram" },
    svg("defs", {}, arrowHead("idle"), arrowHead("taken")),
    ...["placing", "confirmed", "cancelled"].map((name) => parts[name].group),
    svg("circle", { cx: 14, cy: 97, r: 7, class: "start" }),
    ...Object.values(parts.nodes).map(({ group }) => group),
  );
  place.replaceChildren(picture);
  return (record) => show(picture, parts, record);
}

function show(picture, parts, record) {
  const status = record?.order.status;
  const inFlight = status === "pending" && (record.busy || isPaymentInFlight(record));
  parts.placing.show(Boolean(record), false, record?.steps[0].took);
  for (const end of ["confirmed", "cancelled"]) {
    parts[end].show(status === end, inFlight, status === end ? settledAfter(record) : undefined);
  }
  for (const [name, { group, say }] of Object.entries(parts.nodes)) {
    const way = status === name ? "here" : record && name === "pending" ? "been" : "idle";
    group.setAttribute("class", `node ${name} ${way}`);
    say(way === "here" ? hint(record) : "");
  }
  picture.setAttribute("aria-label", describe(record));
}

/** Return the detail of the current state. */
function hint(record) {
  const { status, reason } = record.order;
  if (status === "confirmed") return "stock reduced";
  if (status === "cancelled") return reason?.declineCode ?? reason?.code ?? "";
  if (record.busy) return "in flight";
  return isPaymentInFlight(record) ? "outcome unknown" : "nothing held";
}

function describe(record) {
  if (!record) return "States of an order: pending when placed, then confirmed or cancelled by a payment.";
  const detail = hint(record);
  return `The order is ${record.order.status}${detail ? `: ${detail}` : ""}.`;
}

function node(name, { x, y }) {
  const middle = x + WIDTH / 2;
  const title = svg("text", { class: "name", x: middle }, name);
  const details = [svg("text", { x: middle }), svg("text", { x: middle })];
  const box = svg("rect", { x, y, width: WIDTH, height: HEIGHT, rx: 10 });
  return { group: svg("g", {}, box, title, ...details), say };

  function say(text) {
    const lines = splitLines(text);
    const top = y + HEIGHT / 2 + 4.5 - (lines.length * LINE_HEIGHT) / 2;
    title.setAttribute("y", top);
    details.forEach((detail, place) => {
      detail.setAttribute("y", top + 1 + LINE_HEIGHT * (place + 1));
      detail.textContent = lines[place] ?? "";
    });
  }
}

/** Split a long text, such as a decline code, into two lines. */
function splitLines(text) {
  if (text.length <= MAX_LINE_CHARACTERS) return text ? [text] : [];
  const breaks = [...text.matchAll(/[_ ]/g)].map((match) => match.index + 1);
  const best = Math.min(...breaks.map((at) => Math.max(at, text.length - at)));
  const at = breaks.find((place) => Math.max(place, text.length - place) === best) ?? MAX_LINE_CHARACTERS;
  return [text.slice(0, at), text.slice(at)];
}

function edge(path, x, y) {
  const line = svg("path", { d: path });
  const time = svg("text", { x, y, class: "time" });
  return {
    group: svg("g", {}, line, time),
    show(taken, inFlight, took) {
      line.setAttribute("class", `edge${taken ? " taken" : ""}${inFlight ? " flight" : ""}`);
      line.setAttribute("marker-end", `url(#arrow-${taken ? "taken" : "idle"})`);
      time.textContent = typeof took === "number" ? duration(took) : "";
    },
  };
}

function arrowHead(name) {
  const box = { viewBox: "0 0 8 8", refX: 5, refY: 4, markerWidth: 6, markerHeight: 6, orient: "auto" };
  return svg(
    "marker",
    { id: `arrow-${name}`, class: `arrow ${name}`, ...box },
    svg("path", { d: "M0 0 L 8 4 L 0 8 z" }),
  );
}
