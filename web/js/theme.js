// @ts-check
/** Whether the page is dark, read from the colour that is really painted: ComfyUI's versions mark it in different ways. */

/**
 * Keep the class `wz-dark` on `element` in step with its background, also when the person changes the palette.
 * @param {HTMLElement} element @param {() => void} [changed] called after each change
 * @returns {() => void} ends it
 */
export function followTheme(element, changed) {
  const document = element.ownerDocument;
  const look = () => {
    const dark = isDark(getComputedStyle(element).backgroundColor);
    if (element.classList.contains("wz-dark") === dark) return;
    element.classList.toggle("wz-dark", dark);
    changed?.();
  };
  const observer = new MutationObserver(look);
  for (const each of [document.documentElement, document.body]) {
    observer.observe(each, { attributes: true, attributeFilter: ["class", "style", "data-theme"] });
  }
  look();
  return () => observer.disconnect();
}

/** Perceived lightness below the middle. @param {string} colour as `getComputedStyle` gives it */
export function isDark(colour) {
  const parts = (colour.match(/[\d.]+/g) ?? []).map(Number);
  if (parts.length < 3 || parts[3] === 0) return false;
  const scale = colour.startsWith("color(") ? 255 : 1;
  const [red, green, blue] = parts.map((each) => each * scale);
  return 0.299 * red + 0.587 * green + 0.114 * blue < 128;
}
