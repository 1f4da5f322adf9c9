/** Creates and updates elements. Text stays text: nothing parses markup. */

const SVG = "http://www.w3.org/2000/svg";

/**
 * Create an element with attributes, listeners (`onclick`) and children.
 *
 * @param {string} tag
 * @param {Record<string, unknown>} [attributes] `false`, `null` and `undefined` omit the attribute
 * @param {...(Node | string | null | undefined)} children
 */
export function el(tag, attributes = {}, ...children) {
  return furnish(document.createElement(tag), attributes, children);
}

/** Create an SVG element. */
export function svg(tag, attributes = {}, ...children) {
  return furnish(document.createElementNS(SVG, tag), attributes, children);
}

/** Return the element with this id. */
export function byId(id) {
  return document.getElementById(id);
}

/**
 * Call `send` with the form when it is submitted, instead of the browser's own request. Ignore further submissions
 * until it is done.
 */
export function onSubmit(id, send) {
  const form = byId(id);
  const button = form.querySelector("[type=submit]");
  let isSending = false;
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (isSending) return;
    isSending = true;
    // Not `disabled`, which would remove the focus.
    button.setAttribute("aria-disabled", "true");
    try {
      await send(form);
    } finally {
      isSending = false;
      button.removeAttribute("aria-disabled");
    }
  });
}

/** Set a text only if it differs, so that the user's selection stays. */
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/**
 * Show `items` in `parent`, in order. Keep the elements of items that it already shows.
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
    // Moving an element removes its focus.
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
