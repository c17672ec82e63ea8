// @ts-check
/** Questions and enlarged pictures in native dialogs: focus stays inside, Escape closes, screen readers are told. */

import { el } from "./dom.js";
import { icon } from "./icons.js";

/**
 * Ask before something that can't be undone by one click. Resolves to whether the person agreed.
 * @param {HTMLElement} mount @param {{title: string, text: string, yes: string}} question @returns {Promise<boolean>}
 */
export function confirm(mount, { title, text, yes }) {
  const document = mount.ownerDocument;
  return new Promise((resolve) => {
    const close = (/** @type {boolean} */ agreed) => () => {
      dialog.close();
      dialog.remove();
      resolve(agreed);
    };
    const cancel = el(
      document,
      "button",
      { type: "button", class: "wz-button", onclick: close(false) },
      "Cancel",
    );
    const agree = el(
      document,
      "button",
      { type: "button", class: "wz-button wz-danger", onclick: close(true) },
      yes,
    );
    const dialog = el(
      document,
      "dialog",
      { class: "wz-dialog", "aria-label": title, oncancel: close(false) },
      el(document, "h3", null, title),
      el(document, "p", null, text),
      el(document, "div", { class: "wz-row wz-end" }, cancel, agree),
    );
    mount.append(dialog);
    dialog.showModal();
    cancel.focus();
  });
}

/**
 * Show pictures large, one at a time; arrow keys go on.
 * @param {HTMLElement} mount @param {{url: string, caption: string}[]} pictures @param {number} first
 */
export function enlarge(mount, pictures, first) {
  const document = mount.ownerDocument;
  let at = first;
  const image = el(document, "img", { alt: "" });
  const caption = el(document, "p", { class: "wz-muted", role: "status" });
  const show = (/** @type {number} */ index) => {
    at = (index + pictures.length) % pictures.length;
    image.src = pictures[at].url;
    image.alt = pictures[at].caption;
    caption.textContent = `${pictures[at].caption} (${at + 1} of ${pictures.length})`;
  };
  const close = () => {
    dialog.close();
    dialog.remove();
  };
  const button = (
    /** @type {string} */ label,
    /** @type {import("./icons.js").IconName} */ name,
    /** @type {() => void} */ act,
  ) =>
    el(
      document,
      "button",
      { type: "button", class: "wz-button wz-quiet", "aria-label": label, title: label, onclick: act },
      icon(document, name),
    );
  const dialog = el(
    document,
    "dialog",
    {
      class: "wz-dialog wz-lightbox",
      "aria-label": "Picture",
      oncancel: close,
      onkeydown: (/** @type {KeyboardEvent} */ event) => {
        if (event.key === "ArrowLeft") show(at - 1);
        if (event.key === "ArrowRight") show(at + 1);
        event.stopPropagation();
      },
      onclick: (/** @type {Event} */ event) => event.target === dialog && close(),
    },
    el(
      document,
      "div",
      { class: "wz-row wz-end" },
      button("Previous picture", "back", () => show(at - 1)),
      button("Next picture", "next", () => show(at + 1)),
      button("Close", "close", close),
    ),
    image,
    caption,
  );
  mount.append(dialog);
  show(first);
  dialog.showModal();
}
