// @ts-check
/** Line icons on a 16 x 16 grid, as path data; they take the colour of the text beside them. */

export const ICONS = Object.freeze({
  back: "M10 3 5 8l5 5",
  best: "M8 2.2l1.8 3.7 4 .6-2.9 2.8.7 4L8 11.4l-3.6 1.9.7-4L2.2 6.5l4-.6z",
  checkpoint: "M3 3h8l2 2v8H3zM5.5 3v3.5h5V3M5 13V9.5h6V13",
  chart: "M2.5 2.5v11h11M5 10l2.5-3 2 1.5L13 4.5",
  close: "M4 4l8 8M12 4l-8 8",
  copy: "M5.5 5.5h8v8h-8zM10.5 5.5v-3h-8v8h3",
  done: "M3 8.5 6.5 12 13 4.5",
  down: "M8 3v10M4 9l4 4 4-4",
  failed: "M8 2 14.5 13.5h-13zM8 6.5v3.5M8 11.8v.2",
  folder: "M2 4h4.5L8 5.5h6v7.5H2z",
  info: "M8 2a6 6 0 1 0 0 12A6 6 0 1 0 8 2M8 7.3v3.7M8 5v.2",
  more: "M3.5 8h.01M8 8h.01M12.5 8h.01",
  next: "M6 3l5 5-5 5",
  package: "M8 2l5.5 3v6L8 14l-5.5-3V5zM2.5 5 8 8l5.5-3M8 8v6",
  pause: "M5.5 3.5v9M10.5 3.5v9",
  play: "M5 3l8 5-8 5z",
  resume: "M3 8a5 5 0 1 0 1.7-3.7M4.5 1.8v2.7h2.7",
  retry: "M13 8a5 5 0 1 1-1.7-3.7M11.5 1.8v2.7H8.8",
  sample: "M2.5 3h11v10h-11zM2.5 11l3.5-3.5 2.5 2.5 2-2 3 3M10.5 6h.01",
  stop: "M4 4h8v8H4z",
  trash: "M3 4.5h10M6 4.5V2.5h4v2M4.5 4.5l.6 9h5.8l.6-9",
  up: "M8 13V3M4 7l4-4 4 4",
  zoomOut: "M7 2.5a4.5 4.5 0 1 0 0 9 4.5 4.5 0 1 0 0-9M10.5 10.5l3.5 3.5M5 7h4",
});

/** @typedef {keyof typeof ICONS} IconName */

/** An icon for the eye only: what it means is said by the text or the label of its button. @param {Document} document @param {IconName} name */
export function icon(document, name) {
  const space = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(space, "svg");
  for (const [key, value] of [
    ["viewBox", "0 0 16 16"],
    ["class", `wz-icon wz-icon-${name}`],
    ["aria-hidden", "true"],
    ["focusable", "false"],
  ]) {
    svg.setAttribute(key, value);
  }
  const path = document.createElementNS(space, "path");
  path.setAttribute("d", ICONS[name]);
  svg.append(path);
  return svg;
}
