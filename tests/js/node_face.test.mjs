import assert from "node:assert/strict";
import { test } from "node:test";

import { Followed } from "../../web/js/node_face.js";

const RUN = "0123456789ab";

/** A Kohya Train node whose text can be read, with ComfyUI's red frame of a failed prompt. */
function trainNode() {
  const node = {
    type: "WizdroidKohyaTrain",
    widgets: [{ name: "told", value: "Run of last week" }],
    size: [200, 100],
    strokeStyles: { executionError: () => "red" },
    computeSize: () => [200, 100],
    setSize() {},
    said: () => node.widgets[0].value,
  };
  return node;
}

function following(node, id = "5") {
  const followed = new Followed(() => ({ getNodeById: (asked) => (String(asked) === id ? node : null) }));
  followed.begin({ node: id, run_id: RUN });
  return followed;
}

test("a node tells what its own run does after its prompt has ended, and nothing of other runs", () => {
  const node = trainNode();
  const followed = following(node);
  assert.equal(node.said(), `Run ${RUN}`, "the text of an older run is gone");
  followed.take(RUN, { seq: 1, time: 1, kind: "run_finished", outcome: "stopped", problem: "Stopped.", fix: "Resume goes on." });
  assert.match(node.said(), /Stopped\.\nResume goes on\./);
  followed.take("ffffffffffff", { seq: 1, time: 1, kind: "run_finished", outcome: "completed" });
  assert.match(node.said(), /Stopped/);
  followed.take(RUN, { seq: 2, time: 1, kind: "run_started", resumed_from: 12 });
  assert.match(node.said(), /trains again, from step 12 on/);
  followed.take(RUN, { seq: 3, time: 1, kind: "constructor" });
  followed.take(RUN, { seq: 4, time: 1, kind: "run_finished", outcome: "completed" });
  assert.match(node.said(), /the LoRA is ready/);
});

test("the red frame of a run that failed goes away while it trains again, and may come back", () => {
  const node = trainNode();
  const followed = following(node);
  assert.equal(node.strokeStyles.executionError(), "red");
  followed.take(RUN, { seq: 1, time: 1, kind: "run_started", resumed_from: 12 });
  assert.equal(node.strokeStyles.executionError(), undefined);
  followed.take(RUN, { seq: 2, time: 1, kind: "run_finished", outcome: "failed", problem: "Out of memory." });
  assert.equal(node.strokeStyles.executionError(), "red");
});

test("another node under that number, as of another workflow, is left alone", () => {
  const node = { ...trainNode(), type: "KSampler" };
  following(node).take(RUN, { seq: 1, time: 1, kind: "run_started", resumed_from: 0 });
  assert.equal(node.widgets[0].value, "Run of last week");
});
