/**
 * The checkout console of the local stack. It does what any client of the public API could do; beyond that it reads
 * two things that only this stack has: the run's tokens and the dummy Stripe's ledger.
 */

import { startBasket } from "./basket.js";
import { refreshCatalogue, startCatalogue } from "./catalogue.js";
import { startCalls } from "./calls.js";
import { byId, setText } from "./dom.js";
import { refreshLedger, startLedger } from "./ledger.js";
import { news } from "./order_actions.js";
import { startOrderPanel } from "./order_panel.js";
import { startPaymentForm } from "./payment_form.js";
import { startProductEditor } from "./product_editor.js";
import { isExpired, startSession, user } from "./session.js";

const POLL_MS = 3000;

async function refresh(how) {
  if (document.visibilityState !== "visible") return;
  await Promise.all([refreshCatalogue(how), refreshLedger()]);
}

/** Keep stock and ledger up to date while somebody looks. */
async function poll() {
  if (!isExpired()) await refresh({ gently: true });
  setTimeout(poll, POLL_MS);
}

async function start() {
  startCalls();
  startCatalogue();
  startProductEditor();
  startBasket();
  startOrderPanel();
  startLedger();
  await startPaymentForm();
  await startSession();
  user.watch(() => void refresh());
  news.watch((text) => {
    setText(byId("announcement"), text);
    if (text) void refresh();
  });
  // What has happened while nobody looked.
  document.addEventListener("visibilitychange", () => isExpired() || void refresh());
  setTimeout(poll, POLL_MS);
}

start().catch((failure) => {
  byId("page-problem").hidden = false;
  setText(byId("page-problem"), String(failure.message ?? failure));
});
