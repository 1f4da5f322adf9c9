/** The form that settles a pending order by hand. */

import { call } from "./api.js";
import { byId, onSubmit, setText } from "./dom.js";
import { details, orderPath, readOrder } from "./order_page.js";
import { showProblem } from "./problem.js";
import { user } from "./session.js";

export function startOverrideForm() {
  onSubmit("override", override);
  details.watch(show);
}

async function override(form) {
  const body = Object.fromEntries(new FormData(form));
  const response = await call("PUT", orderPath("/status"), user.value, { body });
  showProblem(byId("override-problem"), response.ok ? null : response.body);
  if (response.ok) setText(byId("order-note"), `The order is ${response.body.status}.`);
  await readOrder({ background: true });
}

function show(order) {
  const isPending = order?.status === "pending";
  if (!isPending && byId("override-panel").contains(document.activeElement)) byId("order-heading").focus();
  byId("override-panel").hidden = !isPending;
}
