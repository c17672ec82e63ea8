// @ts-check
/**
 * Nodes, widgets and wires of the open workflow, used as a person uses them.
 *
 * In: ComfyUI's `app`, graphs and nodes. Out: nodes; changes of the graph. A value that is set is the value that counts: a wire
 * that would outrank it is taken off, and its name given back.
 */

import { Failure } from "./failure.js";

/** Room between nodes that are added beside each other, in the canvas' own units. */
export const GAP = 60;
/** A node's title stands above its `pos`. */
const TITLE = 30;
/** How far apart the places are that are tried, and how many of them in each direction. */
const STRIDE = 40;
const REACH = 200;
/** Mode of a node that runs; others are muted or stepped over. */
const RUNS = 0;

/**
 * Add a node at the free place that is nearest to the wished one. Raises Failure for a type that ComfyUI does not know.
 * @param {any} app @param {string} type @param {(node: any) => [number, number]} [wish] where it would stand best; the middle of what is seen otherwise
 * @param {any} [graph] the graph or subgraph that it belongs to
 */
export function add(app, type, wish, graph = app.graph) {
  const node = /** @type {any} */ (window).LiteGraph.createNode(type);
  if (!node)
    throw new Failure(
      `ComfyUI does not know the node ${type}.`,
      "Restart ComfyUI; its console says why the pack's nodes did not load.",
    );
  const [x, y, width, height] = app.canvas.visible_area ?? [0, 0, 800, 600];
  const place = freePlace(graph, node, wish?.(node) ?? [x + width / 2 - 160, y + height / 2 - 120]);
  node.pos = place;
  graph.add(node);
  return node;
}

/** Move a node to the free place nearest to `wish`. @param {any} graph @param {any} node @param {[number, number]} wish */
export function place(graph, node, wish) {
  node.pos = freePlace(graph, node, wish);
}

/**
 * The place nearest to `wish` where a node of that size lies on no other. @param {any} graph @param {any} node
 * @param {[number, number]} wish @returns {[number, number]}
 */
export function freePlace(graph, node, wish) {
  const [width, height] = sizeOf(node);
  const others = graph._nodes.filter((/** @type {any} */ each) => each !== node).map(boxOf);
  const free = (/** @type {number} */ x, /** @type {number} */ y) =>
    others.every(
      (/** @type {any} */ box) =>
        x + width + GAP / 2 <= box.left ||
        x >= box.right + GAP / 2 ||
        y + height + GAP / 2 <= box.top ||
        y - TITLE >= box.bottom + GAP / 2,
    );
  for (let ring = 0; ring <= REACH; ring += 1) {
    const found = around(ring)
      .map(([right, down]) => ({ x: wish[0] + right * STRIDE, y: wish[1] + down * STRIDE, far: right ** 2 + down ** 2 }))
      .sort((a, b) => a.far - b.far)
      .find(({ x, y }) => free(x, y));
    if (found) return [found.x, found.y];
  }
  return [Math.max(0, ...others.map((/** @type {any} */ box) => box.right)) + GAP, wish[1]];
}

/** The whole steps right and down that lie on a square around the middle. @param {number} ring @returns {[number, number][]} */
function around(ring) {
  if (ring === 0) return [[0, 0]];
  /** @type {[number, number][]} */
  const found = [];
  for (let at = -ring; at <= ring; at += 1) found.push([at, -ring], [at, ring]);
  for (let at = 1 - ring; at < ring; at += 1) found.push([-ring, at], [ring, at]);
  return found;
}

/** Width and height of a node; one that was not drawn yet may be given less than its widgets need. @param {any} node */
function sizeOf(node) {
  const needed = node.computeSize?.() ?? [0, 0];
  return [Math.max(node.size[0], needed[0]), Math.max(node.size[1], needed[1])];
}

/** @param {any} node */
function boxOf(node) {
  const [width, height] = sizeOf(node);
  const [left, top] = node.pos;
  return { left, right: left + width, top: top - TITLE, bottom: top + height };
}

/** Nodes of a type, those inside of subgraphs too. @param {any} graph @param {string} type @returns {any[]} */
export function ofType(graph, type) {
  return graph._nodes.flatMap((/** @type {any} */ node) => [
    ...(node.type === type ? [node] : []),
    ...(node.isSubgraphNode?.() ? ofType(node.subgraph, type) : []),
  ]);
}

/** The one of several nodes that a person means: the selected one, else the first that runs. @param {any} app @param {any[]} nodes */
export function meant(app, nodes) {
  const selected = app.canvas.selected_nodes ?? {};
  return nodes.find((node) => selected[node.id] === node) ?? nodes.find((node) => (node.mode ?? RUNS) === RUNS) ?? nodes[0];
}

/** Let a node run that was muted or stepped over. @param {any} node */
export function wake(node) {
  if ((node.mode ?? RUNS) !== RUNS) node.mode = RUNS;
}

/** The node that feeds an input, or null. @param {any} graph @param {any} node @param {string} input */
export function sourceOf(graph, node, input) {
  const link = linkOf(graph, node.inputs?.find((/** @type {any} */ each) => each.name === input)?.link);
  return link ? graph.getNodeById(link.origin_id) : null;
}

/** Older graphs keep their links in an object, newer ones in a map. @param {any} graph @param {any} id */
export function linkOf(graph, id) {
  if (id === null || id === undefined) return null;
  return graph.links.get?.(id) ?? graph.links[id] ?? null;
}

/** @param {any[]|undefined} slots @param {string} type */
export function slot(slots, type) {
  return (slots ?? []).findIndex((each) => each.type === type);
}

/** @param {any} node @param {string} name */
export function widget(node, name) {
  const found = node.widgets?.find((/** @type {any} */ each) => each.name === name);
  if (!found)
    throw new Failure(
      `The node ${node.title} has no ${name}.`,
      "Restart ComfyUI so that page and pack are of the same version.",
    );
  return found;
}

/**
 * Set a widget, and take off a wire that would outrank it.
 * @param {any} node @param {string} name @param {any} value @returns {string[]} the name of the input whose wire was taken off, if one was
 */
export function set(node, name, value) {
  const found = widget(node, name);
  const at = node.inputs?.findIndex((/** @type {any} */ each) => each.name === name) ?? -1;
  const wired = at >= 0 && node.inputs[at].link !== null && node.inputs[at].link !== undefined;
  if (wired) node.disconnectInput(at);
  found.value = value;
  found.callback?.(value, undefined, node);
  return wired ? [name] : [];
}

/** Say which wires were taken off, or nothing. @param {any} node @param {string[]} names */
export function takenOff(node, names) {
  if (!names.length) return "";
  const wires = names.length === 1 ? `Its wire into ${names[0]} was` : `Its wires into ${names.join(", ")} were`;
  return ` ${wires} taken off ${node.title}; undo brings ${names.length === 1 ? "it" : "them"} back.`;
}
