// @ts-check
/** The smoothed loss: twin of `kohya_bridge/smoothing.py`, equal to the bit. Change both together. */

const DECAY = 0.98;
const SETTLED = 2000;
/** @type {number[]} */
const WEIGHTS = [];
for (let left = DECAY; WEIGHTS.length < SETTLED; left *= DECAY) WEIGHTS.push((1 - DECAY) / (1 - left));

/** The average of `count + 1` losses, the newest being `loss`, from that of the `count` before it. @param {number} average @param {number} count @param {number} loss */
export function smoothed(average, count, loss) {
  return average + WEIGHTS[Math.min(count, SETTLED - 1)] * (loss - average);
}
