/**
 * The admin's forms for one product: its name and price, and changes of its stock with their reason.
 *
 * Neither sends the stock itself, which payments move while the forms are open.
 */

import { call } from "./api.js";
import { byId, onSubmit, setText } from "./dom.js";
import { money } from "./format.js";
import { showProblem } from "./problem.js";
import { learnProduct } from "./products.js";
import { has, user } from "./session.js";

/** The product as it was last read for the forms, with its ETag. */
let seen = null;
/** Identifies the change that is being sent. It stays until the outcome of the change is known. */
let changeKey = null;

export function startProductEditor() {
  byId("product-editor-close").addEventListener("click", close);
  onSubmit("offer", saveOffer);
  onSubmit("stock-change", changeStock);
  byId("stock-change").addEventListener("input", () => {
    changeKey = null;
  });
  user.watch(() => has("admin") || close());
}

/** Read the product and show it in the forms. */
export async function editProduct(productId) {
  const problem = await read(productId);
  if (problem) {
    close();
    showProblem(byId("catalogue-problem"), problem);
    return;
  }
  byId("offer-name").value = seen.product.name;
  byId("offer-price").value = String(seen.product.unitPrice);
  byId("stock-change").reset();
  changeKey = null;
  setText(byId("product-editor-heading"), `Edit ${productId}`);
  setText(byId("offer-currency"), seen.product.currency.toUpperCase());
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
  learn(answer);
  return null;
}

function learn(answer) {
  seen = { product: answer.body, etag: answer.headers.get("ETag") };
  learnProduct(answer.body);
}

async function saveOffer() {
  const { productId, currency } = seen.product;
  const body = { name: byId("offer-name").value, unitPrice: byId("offer-price").valueAsNumber, currency };
  const options = { body, ifMatch: seen.etag };
  const answer = await call("PUT", path("/admin/products", productId), user.value, options);
  if (answer.ok) {
    learn(answer);
    report(null, null, "Saved. The stock was left as it is.");
  } else {
    report(answer.status === 412 ? await changedMeanwhile(productId, answer.body) : answer.body, null);
  }
}

/** What to show an admin whose form is older than the product: saving again is then a decision. */
async function changedMeanwhile(productId, problem) {
  const gone = await read(productId);
  if (gone) return gone;
  const { name, unitPrice, currency, stock } = seen.product;
  const now = `${name}, ${money(unitPrice, currency)}, ${stock} in stock`;
  return { ...problem, detail: `Not saved: the product changed after you opened it. It is now: ${now}. Save again to overwrite.` };
}

async function changeStock() {
  const { productId } = seen.product;
  changeKey ??= crypto.randomUUID();
  const body = { change: byId("stock-units").valueAsNumber, reason: byId("stock-reason").value };
  const options = { body, idempotencyKey: changeKey };
  const answer = await call("POST", path("/admin/products", productId, "/stock-adjustments"), user.value, options);
  // Without an answer, or after a 5xx, the change may have been made: the same key sends it once.
  if (answer.status !== 0 && answer.status < 500) changeKey = null;
  if (!answer.ok) {
    report(null, answer.body);
    return;
  }
  const { name, unitPrice } = seen.product;
  // If somebody else changed the name or the price, the older ETag keeps the form from overwriting that unseen.
  if (answer.body.name === name && answer.body.unitPrice === unitPrice) learn(answer);
  else learnProduct(answer.body);
  byId("stock-units").value = "";
  report(null, null, `There are now ${answer.body.stock} in stock.`);
}

function path(collection, productId, rest = "") {
  return `${collection}/${encodeURIComponent(productId)}${rest}`;
}
