// Draws pictures of the demo character with DiceBear's Lorelei art and writes them as PNG.
//
// In: on stdin, JSON {style, pictures: [{file, width, height, options}]}; options are Lorelei's, see scripts/demo_character.json.
// Out: the files. The same input draws the same picture. Run through scripts/make_demo_dataset.py.
import { readFileSync, writeFileSync } from "node:fs";
import { createAvatar } from "@dicebear/core";
import * as lorelei from "@dicebear/lorelei";
import { Resvg } from "@resvg/resvg-js";

const { pictures } = JSON.parse(readFileSync(0, "utf8"));
for (const { file, width, height, options } of pictures) {
  const svg = createAvatar(lorelei, options).toString();
  const background = `#${options.backgroundColor[0]}`;
  // The art is square: a taller picture gets its background colour above the head, as a photographer would frame it.
  const framed = svg.replace(/viewBox="0 0 (\d+) (\d+)"/, (_, w, h) => {
    const tall = (Number(h) * height) / width;
    return `viewBox="0 ${Number(h) - tall} ${w} ${tall}"`;
  });
  writeFileSync(file, new Resvg(framed, { background, fitTo: { mode: "width", value: width } }).render().asPng());
}
