/** Elements made of data. Text is only ever text: nothing here, or elsewhere, parses markup. */

const SVG = "http://www.w3.org/2000/svg";

/**
 * An element with attributes, listeners (`onclick`) and children.
 *
 * @param {string} tag
 * @param {Record<string, unknown>} [attributes] `false`, `null` and `undefined` leave one out
 * @param {...(Node | string | null | undefined)} children
 */
export function el(tag, attributes = {}, ...children) {
  return furnish(document.createElement(tag), attributes, children);
}

/** The same for SVG. */
export function svg(tag, attributes = {}, ...children) {
  return furnish(document.createElementNS(SVG, tag), attributes, children);
}

/** The element of the page with this id. */
export function byId(id) {
  return document.getElementById(id);
}

/** Let `send` handle the form with this id, which the browser would send otherwise. It gets the form. */
export function onSubmit(id, send) {
  byId(id).addEventListener("submit", (event) => {
    event.preventDefault();
    void send(event.currentTarget);
  });
}

/** Write a text where it differs, so that what a person has selected stays selected. */
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/**
 * Make `parent` show `items` in their order, and keep the elements of those that it shows already.
 *
 * @param {Element} parent
 * @param {object[]} items
 * @param {(item: object) => string} keyOf
 * @param {(item: object) => Element & {update: (item: object) => void}} create
 */
export function showList(parent, items, keyOf, create) {
  const shown = new Map([...parent.children].map((child) => [child.dataset.key, child]));
  const wanted = items.map((item) => {
    const key = keyOf(item);
    const child = shown.get(key) ?? create(item);
    child.dataset.key = key;
    child.update(item);
    return child;
  });
  const kept = new Set(wanted);
  for (const child of [...parent.children]) if (!kept.has(child)) child.remove();
  wanted.forEach((child, place) => {
    // An element that is moved loses the focus.
    if (parent.children[place] !== child) parent.insertBefore(child, parent.children[place] ?? null);
  });
}

function furnish(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === false || value === null || value === undefined) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}
