"""The panel's routes over real HTTP: what they answer, and what they refuse."""

import gzip
import http.client
import json
import os
import shutil
import socket
import struct
import time
from contextlib import contextmanager

import pytest
from PIL import Image

from kohya_bridge.run_folder import RunFolder
from kohya_bridge.runs.choices import Choices, keep_choices
from kohya_bridge.workspace import Workspace
from tests.panel.loaded_pack import pack_module
from tests.panel.stage import Stage
from tests.rehearsed_runs import rehearse, rehearsed_plan

BASE = "/wizdroid/training"


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """A stage with a run that trains and one that failed; `told` is the stage, with their ids."""
    workspace = Workspace.at(tmp_path_factory.mktemp("base") / "training")
    training = rehearse(workspace, rehearsed_plan(max_train_steps=400)).start().train(1, 220)
    failed = rehearse(workspace, rehearsed_plan(dataset="smith", max_train_steps=300)).start().train(1, 120)
    failed.finish("failed", problem="Memory ran out.", fix="Use less.", code="out_of_memory")
    grids = workspace.validation_dir("herbalist", training.run.run_id)
    grids.mkdir(parents=True)
    Image.new("RGB", (640, 320), "teal").save(grids / "grid-step00000200.png")
    with Stage(workspace.root) as stage:
        stage.training, stage.failed = training.run.run_id, failed.run.run_id
        yield stage


def ask(stage, method, path, *, body=None, headers=None):
    """One request exactly as written: no library tidies the path. Returns status, headers and body."""
    connection = http.client.HTTPConnection("127.0.0.1", stage.port, timeout=20)
    data = None if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    sent = (
        {"Content-Type": "application/json", **(headers or {})} if data is not None else dict(headers or {})
    )
    connection.putrequest(method, path, skip_host="Host" in sent)
    if data is not None:
        sent.setdefault("Content-Length", str(len(data)))
    for name, value in sent.items():
        connection.putheader(name, value)
    connection.endheaders(data)
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    return answer.status, answer.headers, content


def get(stage, path, **more):
    status, _, content = ask(stage, "GET", f"{BASE}/{path}", **more)
    return status, json.loads(content)


def post(stage, path, body=None, **more):
    status, _, content = ask(stage, "POST", f"{BASE}/{path}", body=body or {}, **more)
    return status, json.loads(content)


# --- what they answer ------------------------------------------------------------------------------------------------


def test_the_list_tells_of_every_run_newest_first(told):
    status, body = get(told, "runs")
    assert status == 200
    assert {line["run_id"] for line in body["runs"]} == {told.training, told.failed}
    line = next(line for line in body["runs"] if line["run_id"] == told.failed)
    assert (
        line["state"]["status"] == "failed"
        and line["dataset"] == "smith"
        and line["counts"]["checkpoints"] == 1
    )
    assert "losses" not in line["state"]


def test_a_snapshot_and_the_events_behind_it_give_the_whole_state(told):
    _, view = get(told, f"runs/{told.training}")
    assert view["state"]["step"] == 220 and len(view["state"]["losses"]) == 220
    assert view["plan"]["settings"]["max_train_steps"] == 400
    _, tail = get(told, f"runs/{told.training}/events?after={view['state']['last_seq'] - 3}")
    assert [event["seq"] for event in tail["events"]] == [view["state"]["last_seq"] - 2 + n for n in range(3)]
    assert tail["more"] is False


def test_a_failed_run_comes_with_a_suggestion_that_retry_submits(told):
    _, view = get(told, f"runs/{told.failed}")
    suggestion, *further = view["suggestions"]
    assert further and all(each["why"] for each in further)
    assert suggestion["code"] == "out_of_memory" and suggestion["settings"]["train_batch_size"] == 1
    status, _ = post(told, f"runs/{told.failed}/retry", {"code": "out_of_memory"})
    assert status == 200
    kind, settings = told.desk.asked[-1]
    assert kind == "submit" and settings["train_batch_size"] == 1 and settings["max_train_steps"] == 300


def test_losses_of_a_range_are_thinned_to_what_was_asked(told):
    _, body = get(told, f"runs/{told.training}/losses?from=50&to=149&points=20")
    assert 5 < len(body["losses"]) <= 20 and body["losses"][0][0] >= 50 and body["losses"][-1][0] == 149


def test_pictures_are_listed_served_and_never_kept_by_the_browser(told):
    _, body = get(told, f"runs/{told.training}/pictures")
    names = {picture["name"]: picture for picture in body["pictures"]}
    assert {picture["kind"] for picture in names.values()} == {"sample", "grid"}
    assert names["grid-grid-step00000200.png"]["step"] == 200
    for name in names:
        for query in ("", "?size=96", "?size=320"):
            status, headers, content = ask(told, "GET", f"{BASE}/runs/{told.training}/pictures/{name}{query}")
            assert status == 200 and headers["Cache-Control"] == "no-store"
            assert headers["Content-Type"] == ("image/webp" if query else "image/png")
            assert len(content) > 50
    status, headers, _ = ask(told, "GET", f"{BASE}/runs/{told.training}/thumbnail")
    assert status == 200 and headers["Cache-Control"] == "no-store"


def test_every_request_of_a_person_reaches_the_desk(told):
    for action in ("pause", "unpause", "checkpoint", "sample"):
        assert post(told, f"runs/{told.training}/{action}")[0] == 200
        assert told.desk.asked[-1] == (action, told.training)


def test_the_queue_is_put_in_another_order(told):
    told.desk.line = ["a" * 12, told.failed]
    status, body = post(told, "queue", {"run_id": told.failed, "position": 1})
    assert status == 200 and body["queue"] == [told.failed, "a" * 12]
    told.desk.line = []


def test_a_refusal_of_the_desk_is_a_problem_and_a_fix(told):
    status, body = post(told, "queue", {"run_id": told.failed, "position": 1})
    assert status == 409 and body["problem"].startswith("Run ") and body["fix"]


def test_runs_are_compared_curve_by_curve_and_number_by_number(told):
    status, body = get(told, f"compare?runs={told.training},{told.failed}")
    assert status == 200 and len(body["runs"]) == 2
    fields = {row["field"]: row["values"] for row in body["differences"]}
    assert fields["settings.max_train_steps"] == [400, 300] and fields["dataset.slug"] == [
        "herbalist",
        "smith",
    ]


def test_a_secret_in_a_plan_that_somebody_wrote_is_not_shown(workspace, stage):
    """No door of ours lets one in; a folder that was received may bring one."""
    story = rehearse(workspace, rehearsed_plan(max_train_steps=40)).start().train(1, 3)
    text = story.run.plan_file.read_text().replace("kohya: {}", "kohya:\n  network_args: [token=s3cr3t-w0rd]")
    story.run.plan_file.write_text(text)
    assert "s3cr3t-w0rd" in text
    for path in (f"runs/{story.run.run_id}", f"runs/{story.run.run_id}/plan"):
        status, _, content = ask(stage, "GET", f"{BASE}/{path}")
        assert status == 200 and b"s3cr3t-w0rd" not in content and b"token=(left out)" in content


def test_the_choices_of_a_run_leave_to_the_preset_what_it_gave(told):
    _, body = get(told, f"runs/{told.training}/request")
    settings = body["request"]["settings"]
    assert settings["max_train_steps"] == 400 and "network_dim" not in settings


def test_a_run_tells_what_was_chosen_for_it_and_its_choices_leave_that_to_the_machine_again(told):
    run = RunFolder(told.workspace.run_named(told.training))
    named = get(told, f"runs/{told.training}/request")[1]["request"]["settings"]
    assert named["mixed_precision"] == "bf16" and get(told, f"runs/{told.training}")[1]["choices"] == []
    keep_choices(run, Choices("Engine native: so.", "bf16: this CPU has bf16 arithmetic (amx_bf16)"))
    try:
        _, body = get(told, f"runs/{told.training}")
        assert body["choices"] == ["mixed_precision bf16: this CPU has bf16 arithmetic (amx_bf16)."]
        left = get(told, f"runs/{told.training}/request")[1]["request"]["settings"]
        assert "mixed_precision" not in left
    finally:
        run.choices_file.unlink()


def test_a_checkpoint_is_named_by_step_or_by_what_it_is(told):
    _, best = get(told, f"runs/{told.training}/checkpoints/best")
    _, first = get(told, f"runs/{told.training}/checkpoints/100")
    assert best["step"] == 200 and first["step"] == 100 and first["slug"] == "herbalist"
    status, body = get(told, f"runs/{told.training}/checkpoints/150")
    assert status == 404 and "100, 200" in body["fix"]


def test_the_log_ends_where_the_file_ends(told):
    _, body = get(told, f"runs/{told.training}/log?lines=2")
    assert body["text"].splitlines()[-1].startswith("steps: 100%")


def test_packaging_is_refused_in_words_when_the_dataset_is_gone(told):
    status, body = post(told, f"runs/{told.training}/package", {"which": "best"})
    assert 400 <= status < 500 and body["problem"] and body["fix"]


def test_the_routes_answer_under_api_too_as_comfyui_serves_them(told):
    assert ask(told, "GET", f"/api{BASE}/runs")[0] == 200


def test_an_event_of_the_desk_reaches_the_page_with_its_run(told):
    seen = []
    told.routes_module.live_events(lambda name, detail: seen.append((name, detail)))(
        type("Run", (), {"run_id": "0" * 12, "slug": "x"})(), {"seq": 1}
    )
    assert seen == [("wizdroid.training", {"run_id": "0" * 12, "slug": "x", "event": {"seq": 1}})]


# --- what they refuse ------------------------------------------------------------------------------------------------

FOREIGN = {"Origin": "https://evil.example"}
NAMES = [
    "..", "../..", "%2e%2e", "%2e%2e%2f%2e%2e%2fetc", "..%2f..%2f..%2fetc%2fpasswd", "..%5c..%5cwindows",
    "%252e%252e%252f", "....//....//", "/etc/passwd", "%2fetc%2fpasswd", "C:%5cWindows", "%00", "abc%00def",
    "0123456789ab%00", "0123456789abc", "0123456789a", "0123456789AB", "0123456789a%0a", "%0a0123456789ab",
    "0123456789ab.", "0123456789ab%20", "~root", "$HOME", "*", "?", "0123456789a*", "%ef%bc%8e%ef%bc%8e",
    "con", "a" * 5000,
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES, ids=lambda name: name[:24])
def test_no_name_leads_out_of_the_workspace(told, name):
    for path in (f"runs/{name}", f"runs/{name}/log", f"runs/{told.training}/pictures/{name}"):
        status, _, content = ask(told, "GET", f"{BASE}/{path}")
        assert 400 <= status < 500, f"{path}: {status}"
        assert b"root:" not in content
    status, _, _ = ask(told, "POST", f"{BASE}/runs/{name}/delete", body={})
    assert 400 <= status < 500
    assert not any(call[0] == "delete" for call in told.desk.asked)


REQUESTS = {
    "a foreign origin": ("POST", "runs/{run}/stop", {}, FOREIGN),
    "the null origin of a sandboxed frame": ("POST", "runs/{run}/stop", {}, {"Origin": "null"}),
    "the same host on another port": ("POST", "runs/{run}/stop", {}, {"Origin": "http://127.0.0.1:1"}),
    "a host that begins like ours": ("POST", "runs/{run}/stop", {}, {"Origin": "http://127.0.0.1.evil.example"}),
    "ours as the user of a foreign origin": ("POST", "runs/{run}/stop", {}, {"Origin": "http://{host}@evil.example"}),
    "a cross-site fetch": ("POST", "runs/{run}/stop", {}, {"Sec-Fetch-Site": "cross-site"}),
    "a same-site fetch of another port": ("POST", "runs/{run}/stop", {}, {"Sec-Fetch-Site": "same-site"}),
    "a form's content type": ("POST", "runs/{run}/stop", {}, {"Content-Type": "text/plain"}),
    "an upload's content type": ("POST", "runs/{run}/stop", {}, {"Content-Type": "multipart/form-data; boundary=x"}),
    "a foreign page reading": ("GET", "runs", None, {"Sec-Fetch-Site": "cross-site"}),
    "a foreign picture tag": ("GET", "runs/{run}/thumbnail", None, {"Sec-Fetch-Site": "cross-site"}),
    "a state change by GET": ("GET", "runs/{run}/stop", None, {}),
    "a state change by PUT": ("PUT", "runs/{run}/stop", {}, {}),
    "a deletion by DELETE": ("DELETE", "runs/{run}", None, {}),
    "an unknown address": ("GET", "files/plan.yaml", None, {}),
    "a body that is no object": ("POST", "runs/{run}/stop", [], {}),
    "a body that is no JSON": ("POST", "runs/{run}/stop", b"{", {}),
    "a body nested 20,000 deep": ("POST", "runs/{run}/stop", b"[" * 20_000, {}),
    "a body of objects nested 10,000 deep": ("POST", "runs/{run}/stop", b'{"a":' * 10_000, {}),
    "a number of 50,000 digits": ("POST", "runs/{run}/stop", b'{"at_once": ' + b"9" * 50_000 + b"}", {}),
    "a body that is no gzip": ("POST", "runs/{run}/stop", b"{}", {"Content-Encoding": "gzip"}),
    "a body that is half of a gzip": ("POST", "runs/{run}/stop", gzip.compress(bytes(range(250)) * 9)[:300], {"Content-Encoding": "gzip"}),
    "a megabyte in a kilobyte of gzip": ("POST", "runs/{run}/stop", gzip.compress(b" " * 1_000_000), {"Content-Encoding": "gzip"}),
    "a body of a megabyte": ("POST", "runs/{run}/stop", b" " * 1_000_000, {}),
    "a switch that is no switch": ("POST", "runs/{run}/stop", {"at_once": "yes"}, {}),
    "a place in the queue that is none": ("POST", "queue", {"run_id": "{run}", "position": -1}, {}),
    "a place in the queue that is true": ("POST", "queue", {"run_id": "{run}", "position": True}, {}),
    "a queue entry with a path": ("POST", "queue", {"run_id": "../../etc", "position": 1}, {}),
    "events after text": ("GET", "runs/{run}/events?after=x", None, {}),
    "events after a negative number": ("GET", "runs/{run}/events?after=-1", None, {}),
    "events after a huge number": ("GET", "runs/{run}/events?after=99999999999999999999", None, {}),
    "more log than there may be": ("GET", "runs/{run}/log?lines=1000000", None, {}),
    "a thumbnail of any size": ("GET", "runs/{run}/pictures/grid-grid-step00000200.png?size=97", None, {}),
    "one run compared with itself": ("GET", "compare?runs={run},{run}", None, {}),
    "a path to compare": ("GET", "compare?runs={run},../../etc/passwd", None, {}),
    "a checkpoint by path": ("GET", "runs/{run}/checkpoints/..%2f..%2fplan.yaml", None, {}),
    "a retry nobody knows": ("POST", "runs/{run}/retry", {"code": "rm -rf"}, {}),
    "a package by path": ("POST", "runs/{run}/package", {"which": "../../../etc/passwd"}, {}),
    "a run that is not there": ("GET", "runs/ffffffffffff", None, {}),
}  # fmt: skip


@pytest.mark.parametrize("name", REQUESTS)
def test_an_attack_gets_a_clear_answer_and_nothing_else(told, name):
    method, path, body, headers = REQUESTS[name]
    text = json.dumps(body).replace("{run}", told.training) if isinstance(body, (dict, list)) else body
    headers = {key: value.replace("{host}", f"127.0.0.1:{told.port}") for key, value in headers.items()}
    before = list(told.desk.asked)
    status, _, content = ask(
        told,
        method,
        f"{BASE}/{path.replace('{run}', told.training)}",
        body=text.encode() if isinstance(text, str) else text,
        headers=headers,
    )
    assert 400 <= status < 500
    answer = json.loads(content)
    assert answer["problem"] and answer["fix"] and len(answer["problem"]) < 500
    assert told.desk.asked == before


@pytest.mark.parametrize(
    "sent",
    [
        b'POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{"at',
        b'POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{"at',
        b"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Encoding: gzip\r\nContent-Length: 99\r\n\r\n\x1f\x8b\x08",
        b"GET /wizdroid/training/runs HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /wizdroid/training/runs HTTP/1.1\r\nHost",
    ],
    ids=("in the body", "in a chunk", "in a gzip", "before the answer", "in the headers"),
)
def test_a_client_that_leaves_costs_no_traceback(told, caplog, sent):
    path = f"{BASE}/runs/{told.training}/stop".encode()
    with caplog.at_level("DEBUG"):
        for _ in range(3):
            with socket.create_connection(("127.0.0.1", told.port)) as client:
                client.setsockopt(
                    socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
                )  # leave with a reset
                client.sendall(sent.replace(b"{path}", path))
        assert get(told, "runs")[0] == 200
    assert not [record for record in caplog.records if record.exc_info or "Traceback" in record.getMessage()]


def test_a_run_that_is_deleted_while_it_is_asked_for_is_a_404_with_words(told, monkeypatch):
    """Between the look for it and the answer another page deletes it."""
    panel_answers = pack_module("nodes.panel_answers")
    for name in (
        "plan",
        "request",
        "run",
        "retry",
        "package",
        "checkpoint",
        "log_tail",
        "events",
        "losses",
        "pictures",
        "thumbnail",
    ):
        story = (
            rehearse(
                Workspace.at(told.desk.workspace.root), rehearsed_plan(dataset="gone", max_train_steps=60)
            )
            .start()
            .train(1, 3)
            .finish("stopped")
        )
        route = next(
            each for each in pack_module("nodes.routes").ROUTES if each.answer is getattr(panel_answers, name)
        )

        def deleted_first(workspace, run_id, story=story):
            run = pack_module("kohya_bridge.run_folder").RunFolder(story.run.dir)
            shutil.rmtree(story.run.dir)
            return run

        monkeypatch.setattr(pack_module("nodes.routes"), "run_of", deleted_first)
        path = route.path.format(run=story.run.run_id, which="best", name="x", what="x")
        status, body = post(told, path) if route.method == "POST" else get(told, path)
        assert status in (200, 400, 404), (name, body)
        assert status == 200 or (body["problem"] and body["fix"]), name
        monkeypatch.undo()


def test_a_page_of_our_own_origin_and_a_program_are_let_in(told):
    own = {"Origin": f"http://127.0.0.1:{told.port}", "Sec-Fetch-Site": "same-origin"}
    assert post(told, f"runs/{told.training}/pause", headers=own)[0] == 200
    assert post(told, f"runs/{told.training}/unpause")[0] == 200


def test_a_proxy_that_renames_the_host_is_let_in_by_what_it_forwards(told):
    headers = {"Origin": "https://comfy.home", "X-Forwarded-Host": "comfy.home"}
    assert post(told, f"runs/{told.training}/pause", headers=headers)[0] == 200


@pytest.mark.skipif(os.name == "nt", reason="symbolic links need privileges on Windows")
def test_links_that_lead_out_of_the_workspace_are_not_followed(told, tmp_path):
    secret = tmp_path / "secret"
    (secret / "samples").mkdir(parents=True)
    Image.new("RGB", (8, 8)).save(secret / "samples" / "private.png")
    (secret / "plan.yaml").write_text("secret: 1\n")
    (secret / "train.log").write_text("the secret log\n")
    outside = told.workspace.runs_dir / "herbalist" / "eeeeeeeeeeee"
    outside.symlink_to(secret)
    picture = told.workspace.validation_dir("herbalist", told.training) / "leak.png"
    picture.symlink_to(secret / "samples" / "private.png")
    with _removed_afterwards(outside, picture):
        assert get(told, "runs/eeeeeeeeeeee/log")[0] == 404
        assert get(told, f"runs/{told.training}/pictures/grid-leak.png")[0] == 404
        assert "leak" not in str(get(told, f"runs/{told.training}/pictures")[1])
        assert "eeeeeeeeeeee" not in str(get(told, "runs")[1])


@contextmanager
def _removed_afterwards(*links):
    try:
        yield
    finally:
        for link in links:
            link.unlink()


def test_a_client_that_leaves_in_the_middle_leaves_no_traceback(told, caplog):
    for said in (b"", b'{"at_once"'):
        connection = http.client.HTTPConnection("127.0.0.1", told.port, timeout=20)
        connection.putrequest("POST", f"{BASE}/runs/{told.training}/stop")
        for name, value in {"Content-Type": "application/json", "Content-Length": "9000"}.items():
            connection.putheader(name, value)
        connection.endheaders(said)
        connection.sock.shutdown(2)
        connection.close()
    assert get(told, "runs")[0] == 200
    assert [record for record in caplog.records if record.exc_info] == []


def test_a_body_that_comes_in_pieces_is_read_whole(told):
    connection = http.client.HTTPConnection("127.0.0.1", told.port, timeout=20)
    connection.putrequest("POST", f"{BASE}/runs/{told.training}/stop")
    for name, value in {"Content-Type": "application/json", "Content-Length": "18"}.items():
        connection.putheader(name, value)
    connection.endheaders(b'{"at_once"')
    time.sleep(0.2)
    connection.send(b": true} ")
    assert connection.getresponse().status == 200
    assert told.desk.asked[-1] == ("stop", told.training, True)
