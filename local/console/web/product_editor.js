/**
 * The admin's forms for one product: name and price, and stock adjustments with a reason.
 *
 * Neither sends the stock itself, which payments change while the forms are open.
 */

import { call } from "./api.js";
import { byId, onSubmit, setText } from "./dom.js";
import { money } from "./format.js";
import { showProblem } from "./problem.js";
import { recordProduct } from "./products.js";
import { hasRole, user } from "./session.js";

/** The product in the forms, with its ETag. */
let edited = null;
/** Idempotency key of the stock adjustment. It is kept until the outcome is known. */
let adjustmentKey = null;

export function startProductEditor() {
  byId("product-editor-close").addEventListener("click", close);
  onSubmit("offer", saveOffer);
  onSubmit("stock-change", changeStock);
  byId("stock-change").addEventListener("input", () => {
    adjustmentKey = null;
  });
  user.watch(() => hasRole("admin") || close());
}

/** Read the product and show it in the forms. */
export async function editProduct(productId) {
  const problem = await read(productId);
  if (problem) {
    close();
    showProblem(byId("catalogue-problem"), problem);
    return;
  }
  byId("offer-name").value = edited.product.name;
  byId("offer-price").value = String(edited.product.unitPrice);
  byId("stock-change").reset();
  adjustmentKey = null;
  setText(byId("product-editor-heading"), `Edit ${productId}`);
  setText(byId("offer-currency"), edited.product.currency.toUpperCase());
  report(null, null);
  byId("product-editor").hidden = false;
  byId("product-editor-heading").focus();
}

function close() {
  byId("product-editor").hidden = true;
}

function report(offerProblem, stockProblem, note = "") {
  showProblem(byId("offer-problem"), offerProblem);
  showProblem(byId("stock-problem"), stockProblem);
  setText(byId("product-editor-note"), note);
}

async function read(productId) {
  const answer = await call("GET", path("/products", productId), user.value);
  if (!answer.ok) return answer.body;
  setEdited(answer);
  return null;
}

function setEdited(answer) {
  edited = { product: answer.body, etag: answer.headers.get("ETag") };
  recordProduct(answer.body);
}

async function saveOffer() {
  const { productId, currency } = edited.product;
  const body = { name: byId("offer-name").value, unitPrice: byId("offer-price").valueAsNumber, currency };
  const options = { body, ifMatch: edited.etag };
  const answer = await call("PUT", path("/admin/products", productId), user.value, options);
  if (answer.ok) {
    setEdited(answer);
    report(null, null, "Saved. The stock is unchanged.");
  } else {
    report(answer.status === 412 ? await describeConflict(productId, answer.body) : answer.body, null);
  }
}

/** Return a problem that shows the current product, so that saving again is deliberate. */
async function describeConflict(productId, problem) {
  const gone = await read(productId);
  if (gone) return gone;
  const { name, unitPrice, currency, stock } = edited.product;
  const now = `${name}, ${money(unitPrice, currency)}, ${stock} in stock`;
  return { ...problem, detail: `Not saved: the product changed after you opened it. It is now: ${now}. Save again to overwrite.` };
}

async function changeStock() {
  const { productId } = edited.product;
  adjustmentKey ??= crypto.randomUUID();
  const body = { change: byId("stock-units").valueAsNumber, reason: byId("stock-reason").value };
  const options = { body, idempotencyKey: adjustmentKey };
  const answer = await call("POST", path("/admin/products", productId, "/stock-adjustments"), user.value, options);
  // Without a response, or after a 5xx, the outcome is unknown. A retry with the same key applies the change once.
  if (answer.status !== 0 && answer.status < 500) adjustmentKey = null;
  if (!answer.ok) {
    report(null, answer.body);
    return;
  }
  const { name, unitPrice } = edited.product;
  // If another admin changed the name or price, keep the old ETag, so that saving does not overwrite it unseen.
  if (answer.body.name === name && answer.body.unitPrice === unitPrice) setEdited(answer);
  else recordProduct(answer.body);
  byId("stock-units").value = "";
  report(null, null, `There are now ${answer.body.stock} in stock.`);
}

function path(collection, productId, rest = "") {
  return `${collection}/${encodeURIComponent(productId)}${rest}`;
}
