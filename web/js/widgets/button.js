// @ts-check
/** Buttons: an icon and a word, or an icon with an accessible name; and one that acts differently when held. */

import { el } from "../dom.js";
import { icon } from "../icons.js";

const HOLD_MS = 900;

/**
 * @typedef {{
 *   label: string, icon?: import("../icons.js").IconName, hint?: string, kind?: string, bare?: boolean,
 *   act?: () => void, name?: string,
 * }} Look `bare` shows the icon alone; `name` is the accessible name where it says more than the label
 */

/** @param {Document} document @param {Look} look */
export function button(document, { label, icon: iconName, hint, kind = "", bare = false, act, name }) {
  return el(
    document,
    "button",
    {
      type: "button",
      class: `wz-button ${kind} ${bare ? "wz-bare" : ""}`.trim(),
      title: hint ?? (bare ? label : null),
      "aria-label": name ?? (bare ? label : null),
      onclick: act,
    },
    iconName && icon(document, iconName),
    !bare && el(document, "span", { class: "wz-label" }, label),
  );
}

/**
 * A button with a second, stronger meaning when held for a second by pointer or key. A click from a screen reader has
 * neither press nor release and counts as a short one.
 * @param {Document} document @param {Look} look @param {{short: () => void, held: () => void}} acts
 */
export function holdButton(document, look, { short, held }) {
  const element = button(document, { ...look, act: undefined });
  element.style.setProperty("--wz-hold", `${HOLD_MS}ms`);
  /** @type {ReturnType<typeof setTimeout>|null} */
  let timer = null;
  let pressed = false;
  const press = () => {
    if (pressed || element.disabled) return;
    pressed = true;
    element.classList.add("wz-holding");
    timer = setTimeout(() => release(held), HOLD_MS);
  };
  const release = (/** @type {(() => void)|null} */ act) => {
    if (timer) clearTimeout(timer);
    timer = null;
    element.classList.remove("wz-holding");
    act?.();
  };
  const end = (/** @type {boolean} */ counts) => {
    const waiting = timer !== null;
    pressed = false;
    release(waiting && counts ? short : null);
  };
  element.addEventListener("pointerdown", (event) => event.button === 0 && press());
  element.addEventListener("pointerup", () => end(true));
  element.addEventListener("pointerleave", () => end(false));
  element.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" && event.key !== " ") return;
    event.preventDefault();
    press();
  });
  element.addEventListener("keyup", (event) => (event.key === "Enter" || event.key === " ") && end(true));
  element.addEventListener("blur", () => end(false));
  element.addEventListener("click", (event) => {
    const assistive = event.detail === 0 && !pressed;
    if (assistive) short();
  });
  return element;
}
