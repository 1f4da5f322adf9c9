/** Shows problem details (RFC 9457). */

import { el } from "./dom.js";

const shown = new WeakMap();

/** Show a problem in `place`, or clear it for `null`. A repeated problem is not announced again. */
export function showProblem(place, problem) {
  const state = JSON.stringify(problem);
  if (shown.get(place) === state) return;
  shown.set(place, state);
  place.replaceChildren(...(problem ? [asElement(problem)] : []));
}

function asElement(problem) {
  const errors = (problem.errors ?? []).map(({ location, message }) =>
    el("li", {}, el("code", {}, location.join(".")), ` ${message}`),
  );
  return el(
    "div",
    { class: "problem", role: "alert" },
    // The title says the same as the code.
    el("p", {}, el("strong", {}, problem.detail ?? problem.title ?? "Error"), " ", el("code", {}, problem.code ?? "")),
    errors.length ? el("ul", {}, ...errors) : null,
    problem.requestId ? el("p", { class: "quiet" }, "requestId ", el("code", {}, problem.requestId)) : null,
  );
}
