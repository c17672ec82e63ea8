// @ts-check
/** Elements, made so that data can only ever become text. */

/**
 * @typedef {Node|string|number|null|undefined|false} Child
 * @typedef {Record<string, any>} Props
 */

/**
 * An element with attributes, listeners (`onclick` and the like, as functions) and children. `class`, `text` and every
 * attribute are set as plain values; there is no way to pass markup.
 * @template {keyof HTMLElementTagNameMap} T
 * @param {Document} document @param {T} tag @param {Props|null} [props] @param {...Child} children
 * @returns {HTMLElementTagNameMap[T]}
 */
export function el(document, tag, props, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(props ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "text") element.textContent = String(value);
    else if (name.startsWith("on") && typeof value === "function")
      element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  put(/** @type {HTMLElement} */ (element), children);
  return element;
}

/**
 * Text that keeps its own direction, such as `16 / 8` or `512 px` on a page that is written from right to left.
 * @param {Document} document @param {string} [text]
 */
export function isolated(document, text = "") {
  return el(document, "bdi", null, text);
}

/** Append children; null and false are left out. @param {HTMLElement} parent @param {Child[]} children */
export function put(parent, children) {
  for (const child of children) {
    if (child === null || child === undefined || child === false) continue;
    parent.appendChild(
      typeof child === "object" ? child : parent.ownerDocument.createTextNode(String(child)),
    );
  }
}

/** Change text only where it differs: a live region and a selection stay undisturbed. @param {Node} node @param {string} text */
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/** @param {HTMLElement} element @param {boolean} shown */
export function show(element, shown) {
  if (element.hidden === shown) element.hidden = !shown;
}

/** What each element of a list was made from, as JSON. @type {WeakMap<Element, string>} */
const madeFrom = new WeakMap();

/**
 * Keep `parent`'s children in step with `items`. `fixedOf` says what of an item its element is made from; `make` sees that and nothing
 * else, so an element is used again exactly while all of that is the same, and moved where it belongs. What may change while the
 * element stays, as under a finger or the keyboard's focus, is put in by `update`, each time. An item that can't be drawn, such as one
 * of a later version, has a line that says so in its place; it costs the others nothing.
 * @template Item, Fixed
 * @param {HTMLElement} parent @param {Item[]} items @param {(item: Item) => Fixed} fixedOf a plain value
 * @param {(fixed: Fixed) => HTMLElement} make @param {(element: HTMLElement, item: Item) => void} [update]
 */
export function keyed(parent, items, fixedOf, make, update) {
  const old = new Map([...parent.children].map((child) => [madeFrom.get(child), /** @type {HTMLElement} */ (child)]));
  let at = parent.firstElementChild;
  for (const item of Array.isArray(items) ? items : []) {
    const element = drawn(parent, old, item, fixedOf, make, update);
    old.delete(madeFrom.get(element));
    if (at && element === at) at = at.nextElementSibling;
    else parent.insertBefore(element, at);
  }
  for (const gone of old.values()) gone.remove();
}

/**
 * The element of an item, as it is now.
 * @template Item, Fixed
 * @param {HTMLElement} parent @param {Map<string|undefined, HTMLElement>} old @param {Item} item @param {(item: Item) => Fixed} fixedOf
 * @param {(fixed: Fixed) => HTMLElement} make @param {(element: HTMLElement, item: Item) => void} [update]
 */
function drawn(parent, old, item, fixedOf, make, update) {
  try {
    const key = JSON.stringify(fixedOf(item));
    const element = old.get(key) ?? make(JSON.parse(key));
    madeFrom.set(element, key);
    update?.(element, item);
    return element;
  } catch (error) {
    console.error("An entry can't be shown.", item, error);
    const tag = { UL: "li", OL: "li", TBODY: "tr" }[parent.tagName] ?? "div";
    const words = el(parent.ownerDocument, tag === "tr" ? "td" : "span", { class: "wz-muted", colspan: tag === "tr" ? 9 : null });
    setText(words, "An entry can't be shown; the browser's console says why.");
    return el(parent.ownerDocument, /** @type {"li"} */ (tag), { class: "wz-odd" }, words);
  }
}
