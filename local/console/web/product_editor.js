/**
 * The admin's forms for one product: name and price, and stock adjustments with a reason.
 *
 * Neither sends the stock itself, which payments change while the forms are open.
 */

import { call } from "./api.js";
import { byId, onSubmit, setText } from "./dom.js";
import { money } from "./format.js";
import { idempotentPost } from "./idempotent_post.js";
import { showProblem } from "./problem.js";
import { recordProduct } from "./products.js";
import { user } from "./session.js";

/** The product in the forms, with its ETag. */
let edited = null;
/** The id of the product that was last chosen. Its response may not have arrived. */
let chosenId = "";
const adjustment = idempotentPost("stock");

export function startProductEditor() {
  byId("product-editor-close").addEventListener("click", close);
  onSubmit("offer", saveOffer);
  onSubmit("stock-change", changeStock);
  byId("stock-change").addEventListener("input", () => {
    if (adjustment.isUnresolved()) setText(byId("product-editor-note"), stockHint());
  });
}

/** Read the product and show it in the forms. */
export async function editProduct({ productId }) {
  chosenId = productId;
  const response = await read(productId);
  if (chosenId !== productId) return;
  if (!response.ok) {
    close();
    showProblem(byId("catalogue-problem"), response.body);
    return;
  }
  const isReopened = isEdited(productId);
  setEdited(response);
  byId("offer-name").value = edited.product.name;
  byId("offer-price").value = String(edited.product.unitPrice);
  if (!isReopened || !adjustment.isUnresolved()) byId("stock-change").reset();
  setText(byId("product-editor-heading"), `Edit ${productId}`);
  setText(byId("offer-currency"), edited.product.currency.toUpperCase());
  report(null, null, stockHint());
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
  const response = await call("GET", path("/products", productId), user.value);
  if (response.ok) recordProduct(response.body);
  return response;
}

function setEdited(response) {
  edited = { product: response.body, etag: response.headers.get("ETag") };
}

/** Return whether the forms show this product. After a request, they may show another one. */
function isEdited(productId) {
  return edited?.product.productId === productId;
}

async function saveOffer() {
  const { productId, currency } = edited.product;
  const body = { name: byId("offer-name").value, unitPrice: byId("offer-price").valueAsNumber, currency };
  const options = { body, ifMatch: edited.etag };
  const response = await call("PUT", path("/admin/products", productId), user.value, options);
  if (response.ok) recordProduct(response.body);
  if (!isEdited(productId)) return;
  if (response.ok) {
    setEdited(response);
    report(null, null, "Saved. The stock is unchanged.");
  } else if (response.status === 412) {
    await reportConflict(productId, response.body);
  } else {
    report(response.body, null);
  }
}

/** Report a problem that shows the current product, so that saving again is deliberate. */
async function reportConflict(productId, problem) {
  const response = await read(productId);
  if (!isEdited(productId)) return;
  if (!response.ok) {
    report(response.body, null);
    return;
  }
  setEdited(response);
  const { name, unitPrice, currency, stock } = edited.product;
  const now = `${name}, ${money(unitPrice, currency)}, ${stock} in stock`;
  const detail = `Not saved: the product changed after you opened it. It is now: ${now}. Save again to overwrite.`;
  report({ ...problem, detail }, null);
}

async function changeStock() {
  const { productId } = edited.product;
  const response = await adjustment.send(stockPath(), stockChange(), user.value);
  if (response.ok) recordProduct(response.body);
  if (!isEdited(productId)) return;
  if (!response.ok) {
    report(null, response.body, stockHint());
    return;
  }
  const { name, unitPrice } = edited.product;
  // If another admin changed the name or price, keep the old ETag, so that saving does not overwrite it unseen.
  if (response.body.name === name && response.body.unitPrice === unitPrice) setEdited(response);
  byId("stock-units").value = "";
  report(null, null, `There are now ${response.body.stock} in stock.`);
}

function stockHint() {
  return adjustment.hint(stockPath(), stockChange());
}

function stockPath() {
  return path("/admin/products", edited.product.productId, "/stock-adjustments");
}

/** Return the body of a stock adjustment. */
function stockChange() {
  return { change: byId("stock-units").valueAsNumber, reason: byId("stock-reason").value };
}

function path(collection, productId, rest = "") {
  return `${collection}/${encodeURIComponent(productId)}${rest}`;
}
