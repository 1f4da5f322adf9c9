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
let adjustment;

export function startProductEditor() {
  byId("product-editor-close").addEventListener("click", close);
  onSubmit("offer", saveOffer);
  adjustment = idempotentPost(byId("stock-change"));
  onSubmit("stock-change", changeStock);
}

/** Read the product and show it in the forms. */
export async function editProduct({ productId }) {
  const problem = await read(productId);
  if (problem) {
    close();
    showProblem(byId("catalogue-problem"), problem);
    return;
  }
  byId("offer-name").value = edited.product.name;
  byId("offer-price").value = String(edited.product.unitPrice);
  byId("stock-change").reset();
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
  const response = await call("GET", path("/products", productId), user.value);
  if (!response.ok) return response.body;
  setEdited(response);
  return null;
}

function setEdited(response) {
  edited = { product: response.body, etag: response.headers.get("ETag") };
  recordProduct(response.body);
}

async function saveOffer() {
  const { productId, currency } = edited.product;
  const body = { name: byId("offer-name").value, unitPrice: byId("offer-price").valueAsNumber, currency };
  const options = { body, ifMatch: edited.etag };
  const response = await call("PUT", path("/admin/products", productId), user.value, options);
  if (response.ok) {
    setEdited(response);
    report(null, null, "Saved. The stock is unchanged.");
  } else {
    report(response.status === 412 ? await describeConflict(productId, response.body) : response.body, null);
  }
}

/** Return a problem that shows the current product, so that saving again is deliberate. */
async function describeConflict(productId, problem) {
  const readProblem = await read(productId);
  if (readProblem) return readProblem;
  const { name, unitPrice, currency, stock } = edited.product;
  const now = `${name}, ${money(unitPrice, currency)}, ${stock} in stock`;
  return { ...problem, detail: `Not saved: the product changed after you opened it. It is now: ${now}. Save again to overwrite.` };
}

async function changeStock() {
  const { productId } = edited.product;
  const body = { change: byId("stock-units").valueAsNumber, reason: byId("stock-reason").value };
  const response = await adjustment.send(path("/admin/products", productId, "/stock-adjustments"), body, user.value);
  if (!response.ok) {
    report(null, response.body);
    return;
  }
  const { name, unitPrice } = edited.product;
  // If another admin changed the name or price, keep the old ETag, so that saving does not overwrite it unseen.
  if (response.body.name === name && response.body.unitPrice === unitPrice) setEdited(response);
  else recordProduct(response.body);
  byId("stock-units").value = "";
  report(null, null, `There are now ${response.body.stock} in stock.`);
}

function path(collection, productId, rest = "") {
  return `${collection}/${encodeURIComponent(productId)}${rest}`;
}
