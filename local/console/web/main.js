/**
 * Checkout console of the local stack. It uses the public API, and two resources of the local stack: the tokens of its
 * users and the dummy Stripe's ledger.
 */

import { add, productsInBasket, startBasket } from "./basket.js";
import { refreshCatalogue, startCatalogue } from "./catalogue.js";
import { startCalls } from "./calls.js";
import { byId, setText } from "./dom.js";
import { refreshLedger, startLedger } from "./ledger.js";
import { announcement } from "./order_actions.js";
import { startOrderPanel } from "./order_panel.js";
import { startPage } from "./page.js";
import { startPaymentForm } from "./payment_form.js";

startPage({ role: "buyer", start, refresh });

async function start() {
  startCalls();
  startCatalogue({ verb: "Add", act: add, otherIds: productsInBasket });
  startBasket();
  startOrderPanel();
  startLedger();
  await startPaymentForm();
  announcement.watch((text) => {
    setText(byId("announcement"), text);
    if (text) void refresh({ isPoll: false });
  });
}

async function refresh({ isPoll }) {
  await Promise.all([refreshCatalogue({ onePage: isPoll }), refreshLedger()]);
}
