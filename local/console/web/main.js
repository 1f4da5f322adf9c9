/**
 * Checkout console of the local stack. It uses the public API, and two resources of the local stack: the tokens of its
 * users and the dummy Stripe's ledger.
 */

import { startBasket } from "./basket.js";
import { refreshCatalogue, startCatalogue } from "./catalogue.js";
import { startCalls } from "./calls.js";
import { byId, setText } from "./dom.js";
import { refreshLedger, startLedger } from "./ledger.js";
import { announcement } from "./order_actions.js";
import { startOrderPanel } from "./order_panel.js";
import { startPaymentForm } from "./payment_form.js";
import { startProductEditor } from "./product_editor.js";
import { isExpired, startSession, user } from "./session.js";

const POLL_MS = 3000;

async function refresh(options) {
  if (document.visibilityState !== "visible") return;
  await Promise.all([refreshCatalogue(options), refreshLedger()]);
}

/** Refresh stock and ledger while the page is visible. */
async function poll() {
  if (!isExpired()) await refresh({ onePage: true });
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
  document.querySelector("main").inert = false;
  user.watch(() => void refresh());
  announcement.watch((text) => {
    setText(byId("announcement"), text);
    if (text) void refresh();
  });
  // Catch up when the page becomes visible.
  document.addEventListener("visibilitychange", () => isExpired() || void refresh());
  setTimeout(poll, POLL_MS);
}

start().catch((failure) => {
  byId("page-problem").hidden = false;
  setText(byId("page-problem"), String(failure.message ?? failure));
});
