/** The office of the local stack, for admins: all orders and the catalogue, or one order. */

import { startCalls } from "./calls.js";
import { refreshCatalogue, startCatalogue } from "./catalogue.js";
import { byId } from "./dom.js";
import { refreshOrderList, startOrderList } from "./order_list.js";
import { isPolled, readOrder, startOrderPage } from "./order_page.js";
import { startOverrideForm } from "./override_form.js";
import { startPage } from "./page.js";
import { editProduct, startProductEditor } from "./product_editor.js";
import { startRefundForm } from "./refund_form.js";
import { hasRole, user } from "./session.js";

const orderId = new URLSearchParams(location.search).get("order");
const page = orderId ? "order" : "orders";

startPage({ role: "admin", start, refresh });

function start() {
  byId("main").dataset.page = page;
  startCalls();
  if (page === "order") {
    startOrderPage(orderId);
    startRefundForm();
    startOverrideForm();
  } else {
    startOrderList();
    startCatalogue({ verb: "Edit", act: editProduct });
    startProductEditor();
  }
  user.watch((signedIn) => {
    byId("admins-only").hidden = !signedIn || hasRole("admin");
    for (const part of document.querySelectorAll("main > [data-page]")) {
      part.hidden = !hasRole("admin") || part.dataset.page !== page;
    }
  });
}

async function refresh({ isPoll }) {
  if (!hasRole("admin")) return;
  if (page === "orders") await Promise.all([refreshCatalogue({ onePage: isPoll }), isPoll || refreshOrderList()]);
  else if (!isPoll || isPolled) await readOrder({ background: isPoll });
}
