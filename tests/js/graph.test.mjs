import assert from "node:assert/strict";
import { test } from "node:test";

import { addTrainNode, refreshChoices, trainAgain, tryCheckpoint } from "../../web/js/graph.js";
import { fedBy, SmallApi, smallApp, valueOf } from "./small_graph.mjs";

const CHECKPOINT = { run_id: "0123456789ab", slug: "wren", step: 900 };
const of = (app, type) => app.graph._nodes.filter((each) => each.type === type);
const put = (app, type) => app.graph.add(window.LiteGraph.createNode(type));
const tryOn = async (app, checkpoint = CHECKPOINT, told = () => {}) => {
  const api = new SmallApi();
  return { api, said: await tryCheckpoint(app, api, checkpoint, told) };
};
/** A loader with a sampler and a Save Image behind it. */
function render(app, loader = put(app, "WizdroidLoadTrainedLora")) {
  const [sampler, save] = [put(app, "KSampler"), put(app, "SaveImage")];
  loader.connect(0, sampler, 0);
  sampler.connect(0, save, 0);
  return { loader, sampler, save };
}

test("without a loader one is put between the checkpoint loader and what used it, and the picture alone is queued", async () => {
  const app = smallApp();
  const base = put(app, "CheckpointLoaderSimple");
  const { sampler, save } = render(app, base);
  const texts = [put(app, "CLIPTextEncode"), put(app, "CLIPTextEncode")];
  const grid = put(app, "WizdroidLoraValidateGrid");
  for (const text of texts) base.connect(1, text, 0);
  base.connect(0, grid, 1);
  const { api, said } = await tryOn(app);
  const [loader] = of(app, "WizdroidLoadTrainedLora");
  assert.equal(fedBy(app, sampler, "model"), "WizdroidLoadTrainedLora.0");
  for (const text of texts) assert.equal(fedBy(app, text, "clip"), "WizdroidLoadTrainedLora.1");
  assert.equal(fedBy(app, loader, "model"), "CheckpointLoaderSimple.0");
  assert.equal(fedBy(app, loader, "clip"), "CheckpointLoaderSimple.1");
  assert.equal(fedBy(app, grid, "model"), "CheckpointLoaderSimple.0", "the grid wants the base as it is");
  assert.equal(fedBy(app, loader, "run"), "WizdroidTrainingRun.0");
  assert.equal(valueOf(of(app, "WizdroidTrainingRun")[0], "run_name"), "wren/0123456789ab");
  assert.deepEqual(
    ["package", "which", "step"].map((name) => valueOf(loader, name)),
    ["(the run's checkpoint)", "step", 900],
  );
  assert.deepEqual(
    api.queued.map((each) => each.outputs),
    [[String(save.id)]],
  );
  assert.equal(app.graph.changes, 0, "one step to undo");
  assert.match(said, /step 900 of wren/);
});

test("a loader that is there is used again, however often", async () => {
  const app = smallApp();
  render(app);
  await tryOn(app);
  await tryOn(app, { ...CHECKPOINT, step: 300 });
  assert.equal(of(app, "WizdroidLoadTrainedLora").length, 1);
  assert.equal(of(app, "WizdroidTrainingRun").length, 1);
  assert.equal(valueOf(of(app, "WizdroidLoadTrainedLora")[0], "step"), 300);
  assert.equal(app.refreshed, 2);
});

test("a loader fed by a training node opens the finished run instead of training", async () => {
  const app = smallApp();
  const train = put(app, "WizdroidKohyaTrain");
  const { loader, save } = render(app);
  train.connect(0, loader, 2);
  const { api } = await tryOn(app);
  assert.equal(fedBy(app, loader, "run"), "WizdroidTrainingRun.0");
  assert.deepEqual(api.queued[0].outputs, [String(save.id)], "the training is an output too, and is not queued");
});

test("a wire that would outrank the checkpoint is taken off, and said", async () => {
  const app = smallApp();
  const pack = put(app, "WizdroidPackageLora");
  const { loader } = render(app);
  pack.connect(0, loader, 3);
  const { api, said } = await tryOn(app);
  assert.equal(fedBy(app, loader, "package"), null);
  assert.equal(api.queued[0].prompt[String(loader.id)].inputs.package, "(the run's checkpoint)");
  assert.match(said, /wire into package was taken off/);
});

test("a stock loader of the packaged LoRA is stepped around, so that one LoRA is tried and not two", async () => {
  const app = smallApp();
  const [base, pack, stock] = ["CheckpointLoaderSimple", "WizdroidPackageLora", "LoraLoader"].map((type) => put(app, type));
  base.connect(0, stock, 0);
  base.connect(1, stock, 1);
  pack.connect(0, stock, 2);
  const { sampler } = render(app, stock);
  const { api } = await tryOn(app);
  assert.equal(fedBy(app, sampler, "model"), "WizdroidLoadTrainedLora.0");
  assert.equal(fedBy(app, of(app, "WizdroidLoadTrainedLora")[0], "model"), "CheckpointLoaderSimple.0");
  assert.equal(api.queued.length, 1);
});

test("an output that needs a training is left out, and where there is no other, the person is told", async () => {
  const app = smallApp();
  const train = put(app, "WizdroidKohyaTrain");
  const { loader, sampler, save } = render(app);
  const text = put(app, "CLIPTextEncode");
  train.connect(1, text, 1); // a prompt from the training's report
  text.connect(0, sampler, 1);
  await assert.rejects(tryOn(app), (error) => /would train first/.test(error.problem));
  const other = render(app, loader).save;
  const { api } = await tryOn(app);
  assert.deepEqual(api.queued[0].outputs, [String(other.id)]);
  assert.notEqual(other.id, save.id);
});

test("the pictures of a try are told, those that come before the answer too, and no others", async () => {
  const app = smallApp();
  render(app);
  const api = new SmallApi();
  const heard = [];
  const queue = api.queuePrompt.bind(api);
  api.queuePrompt = async (...asked) => {
    api.tell("executed", { prompt_id: "prompt-1", output: { images: [{ filename: "early.png" }] } });
    api.tell("executed", { prompt_id: "of another page", output: { images: [{ filename: "foreign.png" }] } });
    return queue(...asked);
  };
  await tryCheckpoint(app, api, CHECKPOINT, (pictures, ended) => heard.push([pictures.map((each) => each.filename), ended]));
  api.tell("executed", { prompt_id: "prompt-1", output: { text: ["no picture"] } });
  api.tell("executed", { prompt_id: "prompt-1", output: { images: [{ filename: "late.png" }] } });
  api.tell("execution_success", { prompt_id: "prompt-1" });
  api.tell("executed", { prompt_id: "prompt-1", output: { images: [{ filename: "after the end.png" }] } });
  assert.deepEqual(heard, [
    [["early.png"], ""],
    [["early.png", "late.png"], ""],
    [["early.png", "late.png"], "done"],
  ]);
});

test("what ComfyUI does not take is told in words", async () => {
  const app = smallApp();
  const { sampler } = render(app);
  const api = new SmallApi();
  api.queuePrompt = async () => {
    const errors = [{ message: "Required input is missing", details: "positive" }];
    throw Object.assign(new Error("refused"), { response: { error: {}, node_errors: { [sampler.id]: { errors } } } });
  };
  await assert.rejects(
    tryCheckpoint(app, api, CHECKPOINT, () => {}),
    (error) => /is not ready/.test(error.problem) && error.fix === "Required input is missing: positive",
  );
});

test("on an empty canvas the loader is added, nothing is queued, and the person is told what is missing", async () => {
  const { api, said } = await tryOn(smallApp());
  assert.match(said, /Connect its model and clip/);
  assert.equal(api.queued.length, 0);
});

test("nodes that are added lie on no other node, however crowded the canvas is", async () => {
  const app = smallApp();
  for (let row = 0; row < 6; row += 1)
    for (let column = 0; column < 6; column += 1) {
      const node = put(app, "KSampler");
      Object.assign(node, { pos: [column * 240, row * 140] });
    }
  const { loader } = render(app);
  loader.pos = [480, 300 + 1000];
  await tryOn(app);
  await trainAgain(app, { ...REQUEST, settings: { ...REQUEST.settings, flip_aug: true } });
  const added = app.graph._nodes.filter((each) => each.type.startsWith("Wizdroid"));
  for (const node of added)
    for (const other of app.graph._nodes.filter((each) => each !== node))
      assert.ok(!overlaps(node, other), `${node.type} at ${node.pos} lies on ${other.type} at ${other.pos}`);
});

const overlaps = (a, b) =>
  [0, 1].every((axis) => a.pos[axis] < b.pos[axis] + b.size[axis] && b.pos[axis] < a.pos[axis] + a.size[axis]);

const REQUEST = {
  dataset: "wren",
  base_model: "a.safetensors",
  preset: "careful",
  engine: "native",
  character: "wren",
  trigger: "char_wren",
  settings: { max_train_steps: 900, unet_lr: 2e-4, seed: 7 },
  kohya: {},
};

test("train again fills the dials, leaves the rest to the preset and queues nothing", async () => {
  const app = smallApp();
  await trainAgain(app, REQUEST);
  const [train] = of(app, "WizdroidKohyaTrain");
  const values = Object.fromEntries(train.widgets.map((each) => [each.name, each.value]));
  assert.deepEqual(values, {
    base_model: "a.safetensors",
    preset: "careful",
    engine: "native",
    mode: "wait",
    steps: 900,
    rank: 0,
    alpha: 0,
    learning_rate: 2e-4,
    resolution: 0,
    batch_size: 0,
    seed: 7,
    trigger: "char_wren",
    character: "",
  });
  assert.equal(of(app, "WizdroidTrainingSettings").length, 0);
  assert.equal(fedBy(app, train, "dataset"), "WizdroidDatasetLint.0");
  assert.equal(valueOf(of(app, "WizdroidDatasetLint")[0], "dataset_name"), "wren");
});

test("train again takes off a wire that would outrank a number of the run", async () => {
  const app = smallApp();
  const [builder, train] = [put(app, "WizdroidTrainingRun"), put(app, "WizdroidKohyaTrain")];
  builder.connect(1, train, 2);
  assert.match(await trainAgain(app, REQUEST), /wire into trigger was taken off/);
  assert.equal(fedBy(app, train, "trigger"), null);
});

test("train again leaves a dataset that comes from another node as it is", async () => {
  const app = smallApp();
  const [before, lint, train] = ["WizdroidDatasetLint", "WizdroidDatasetLint", "WizdroidKohyaTrain"].map(
    (type) => put(app, type),
  );
  before.connect(0, lint, 0);
  lint.connect(0, train, 0);
  await trainAgain(app, REQUEST);
  assert.equal(valueOf(lint, "dataset_name"), "(wired)");
  assert.equal(of(app, "WizdroidDatasetLint").length, 2);
});

test("nodes that are added stand beside what is there, wired, and the page is told what to choose", async () => {
  const app = smallApp();
  put(app, "CheckpointLoaderSimple");
  assert.match(await addTrainNode(app), /Choose a dataset .* and a base model/);
  const [lint, train] = [of(app, "WizdroidDatasetLint")[0], of(app, "WizdroidKohyaTrain")[0]];
  assert.equal(fedBy(app, train, "dataset"), "WizdroidDatasetLint.0");
  assert.ok(lint.pos[0] >= 200 && train.pos[0] >= lint.pos[0] + 200);
  assert.equal(app.graph.changes, 0, "one step to undo");
});

test("where ComfyUI can refresh its choices without a message of its own, that is taken", async () => {
  const app = smallApp();
  let quietly = 0;
  app.reloadNodeDefs = async () => (quietly += 1);
  render(app);
  await tryOn(app);
  assert.deepEqual([quietly, app.refreshed], [1, 0]);
});

test("an older page refreshes its choices without saying so, and is as ready as before afterwards, also when that fails", async () => {
  const app = smallApp();
  app.vueAppReady = true;
  const seen = [];
  app.refreshComboInNodes = async () => void seen.push(app.vueAppReady);
  await refreshChoices(app);
  app.refreshComboInNodes = async () => {
    throw new Error("away");
  };
  await assert.rejects(refreshChoices(app));
  assert.deepEqual([seen, app.vueAppReady], [[false], true]);
});

test("numbers without a dial go into a Training Settings node, and everything else there back to the preset", async () => {
  const app = smallApp();
  const settings = {
    flip_aug: false,
    max_token_length: 150,
    network_weights: "f".repeat(64),
    optimizer_args: { weight_decay: 0.01 },
  };
  const request = {
    ...REQUEST,
    settings: { ...REQUEST.settings, ...settings },
    kohya: { debiased_estimation_loss: true },
  };
  await trainAgain(app, request);
  await trainAgain(app, request);
  const [node, ...more] = of(app, "WizdroidTrainingSettings");
  assert.equal(more.length, 0);
  assert.equal(fedBy(app, of(app, "WizdroidKohyaTrain")[0], "settings"), "WizdroidTrainingSettings.0");
  assert.deepEqual(Object.fromEntries(node.widgets.map((each) => [each.name, each.value])), {
    flip_aug: "off",
    optimizer_type: "preset",
    max_token_length: "150",
    noise_offset: -1,
    network_weights: "(none)",
    more: 'optimizer_args: {"weight_decay":0.01}\nkohya: {"debiased_estimation_loss":true}',
  });
});

test("a pack whose nodes did not load is told of with what to do", async () => {
  const app = smallApp();
  window.LiteGraph.createNode = () => null;
  await assert.rejects(
    addTrainNode(app),
    (error) => error.problem.includes("WizdroidDatasetLint") && error.fix.length > 0,
  );
});
