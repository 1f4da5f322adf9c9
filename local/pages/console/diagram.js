/** The states of an order as a diagram: where it is, the way that it took, and how long that was. */

import { svg } from "./dom.js";
import { duration } from "./format.js";
import { settledAfter } from "./orders.js";

const STATES = {
  pending: { x: 100, y: 72 },
  confirmed: { x: 252, y: 17, edge: "M192 88 C 222 88, 216 42, 246 42" },
  cancelled: { x: 252, y: 127, edge: "M192 106 C 222 106, 216 152, 246 152" },
};
const WIDTH = 92;
const HEIGHT = 50;

/** Draw the diagram into `place`. Returns what shows an order in it, or none for `null`. */
export function drawDiagram(place) {
  const parts = {
    placing: edge("M25 97 L 94 97", 58, 86),
    confirmed: edge(STATES.confirmed.edge, 208, 34),
    cancelled: edge(STATES.cancelled.edge, 208, 172),
    nodes: Object.fromEntries(Object.entries(STATES).map(([name, at]) => [name, node(name, at)])),
  };
  const picture = svg(
    "svg",
    { viewBox: "0 0 352 194", role: "img", class: "diagram" },
    svg("defs", {}, arrowHead("idle"), arrowHead("taken")),
    ...["placing", "confirmed", "cancelled"].map((name) => parts[name].group),
    svg("circle", { cx: 17, cy: 97, r: 7, class: "start" }),
    ...Object.values(parts.nodes).map(({ group }) => group),
  );
  place.replaceChildren(picture);
  return (record) => show(picture, parts, record);
}

function show(picture, parts, record) {
  const status = record?.order.status;
  const inFlight = status === "pending" && (record.busy || record.lookAt !== null);
  parts.placing.show(Boolean(record), false, record?.steps[0].took);
  for (const end of ["confirmed", "cancelled"]) {
    parts[end].show(status === end, inFlight, status === end ? settledAfter(record) : undefined);
  }
  for (const [name, { group, detail }] of Object.entries(parts.nodes)) {
    const way = status === name ? "here" : record && name === "pending" ? "been" : "idle";
    group.setAttribute("class", `node ${name} ${way}`);
    detail.textContent = way === "here" ? hint(record) : "";
  }
  picture.setAttribute("aria-label", spoken(record));
}

/** What to know of the state besides its name. */
function hint(record) {
  const { status, reason } = record.order;
  if (status === "confirmed") return "stock reduced";
  if (status === "cancelled") return reason?.declineCode ?? reason?.code ?? "";
  if (record.busy) return "in flight";
  return record.lookAt !== null ? "outcome unknown" : "nothing held";
}

function spoken(record) {
  if (!record) return "States of an order: placed, it is pending; a payment confirms or cancels it.";
  const detail = hint(record);
  return `The order is ${record.order.status}${detail ? `: ${detail}` : ""}.`;
}

function node(name, { x, y }) {
  const detail = svg("text", { x: x + WIDTH / 2, y: y + 39, class: "detail" });
  const group = svg(
    "g",
    {},
    svg("rect", { x, y, width: WIDTH, height: HEIGHT, rx: 10 }),
    svg("text", { x: x + WIDTH / 2, y: y + 23, class: "name" }, name),
    detail,
  );
  return { group, detail };
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
  return svg("marker", { id: `arrow-${name}`, class: `arrow ${name}`, ...box }, svg("path", { d: "M0 0 L 8 4 L 0 8 z" }));
}
