"""The shell does what the nodes do, tells problems in words, and ends with a documented code."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from kohya_bridge.__main__ import make_parser
from kohya_bridge.cli import exit_codes
from kohya_bridge.device.description import Device
from kohya_bridge.device.finding import find_device
from kohya_bridge.device.precision import usual
from kohya_bridge.engines import child
from kohya_bridge.engines.contract import python_module_command
from kohya_bridge.run_folder import RunFolder
from kohya_bridge.workspace import PACK_ROOT
from tests.doubles.quick_engine import QuickEngine
from tests.waiting import wait_until

CLI_DOC = (PACK_ROOT / "docs" / "cli.md").read_text("utf-8")


def run_id_of(answer) -> str:
    return re.search(r"Run \w+/([0-9a-f]{12})", answer.out).group(1)


def test_a_config_is_trained_to_its_end_with_wait(shell):
    answer = shell("train", shell.config(), "--wait")
    assert answer.code == exit_codes.DONE, answer.err
    assert "Completed. Best:" in answer.out
    assert "Traceback" not in answer.out + answer.err


def test_without_wait_the_run_is_left_in_the_background_and_can_be_watched(shell):
    shell.engine = QuickEngine(seconds_per_step=0.1)
    answer = shell("train", shell.config())
    assert answer.code == exit_codes.DONE
    told = re.search(r": (.*)\.", answer.out)[1]
    assert not re.search("failed|stopped|waits", told), (
        answer.out
    )  # how far it is by now depends on the machine
    watched = shell("watch", run_id_of(answer))
    assert (watched.code, "Completed" in watched.out) == (exit_codes.DONE, True)


def test_the_same_config_again_names_the_finished_run(shell):
    first = shell("train", shell.config(), "--wait")
    again = shell("train", shell.config(), "--wait")
    assert run_id_of(first) == run_id_of(again)
    assert "It is complete" in again.out


def test_json_gives_events_and_a_result_that_a_program_can_read(shell):
    shell.engine = QuickEngine(seconds_per_step=0.05)
    rows = shell("train", shell.config(), "--wait", "--json").rows
    assert rows[0]["status"] in ("queued", "starting", "training")
    kinds = [row["kind"] for row in rows if "kind" in row]
    assert kinds.count("run_finished") == 1 and "progress" in kinds
    assert rows[-1]["status"] == "completed"


def test_values_are_replaced_from_the_command_line(shell):
    name = shell.config()
    answer = shell(
        "plan", name, "--set", "unet_lr=5e-5", "--set", "character=hero", "--set", "network_dim=4", "--json"
    )
    (row,) = answer.rows
    assert row["plan"]["settings"]["unet_lr"] == 5e-5
    assert row["plan"]["settings"]["network_dim"] == 4
    assert row["plan"]["character"] == "hero"


def test_the_format_that_auto_became_is_told_with_its_reason(shell):
    shell.engine = QuickEngine(trains_on=Device("cpu", "AMD EPYC", "avx2"))
    name, reason = shell.config(), "no: this CPU has no bf16 arithmetic; bf16 would be about 40 times slower"
    assert f"mixed_precision {reason}." in shell("plan", name).out.splitlines()
    assert f"mixed_precision {reason}." in shell("train", name).out.splitlines()
    (row,) = shell("plan", name, "--json").rows
    assert row["precision_reason"] == reason and row["plan"]["settings"]["mixed_precision"] == "no"
    named = shell("plan", name, "--set", "mixed_precision=no")
    assert "mixed_precision no:" not in named.out


def test_what_a_training_will_take_is_told_before_it_starts(shell):
    card = Device("cuda", "NVIDIA GeForce RTX 3060", "8.6", 12.0)
    shell.engine = QuickEngine(trains_on=card)
    name = shell.config()
    (row,) = shell("plan", name, "--json").rows
    told = row["forecast"]["sentence"]
    assert told.startswith("Estimate: ") and " of 12 GiB" in told and "by its data sheet" in told
    assert told in shell("plan", name).out.splitlines()
    assert told in shell("train", name).out.splitlines()


def test_a_plan_that_is_blocked_says_by_what_and_starts_nothing(shell):
    (shell.workspace.dataset_dir("alice") / "captions.jsonl").write_text("")
    answer = shell("plan", shell.config())
    assert answer.code == exit_codes.REFUSED
    assert "Blocks: 0001.png" in answer.out
    assert "No runs" in shell("runs").out


def test_a_typo_in_a_config_is_told_with_the_right_name_and_no_traceback(shell):
    answer = shell("train", shell.config(base_modle="x"))
    assert answer.code == exit_codes.INVALID_INPUT
    assert "Did you mean 'base_model'?" in answer.err
    assert "Traceback" not in answer.err
    assert "Traceback" in (shell.workspace.logs_dir / "shell.log").read_text()


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("train", "nothing"), exit_codes.NOT_FOUND),
        (("status", "abcdefabcdef"), exit_codes.NOT_FOUND),
        (("stop", "../x"), exit_codes.INVALID_INPUT),
        (("lint", "../x"), exit_codes.INVALID_INPUT),
        (("lint", "nobody"), exit_codes.NOT_FOUND),
        (("train",), exit_codes.USAGE),
        (("dance",), exit_codes.USAGE),
    ],
)
def test_every_mistake_has_its_own_exit_code(shell, words, code):
    answer = shell(*words)
    assert answer.code == code
    assert "Traceback" not in answer.out + answer.err


def test_an_error_is_json_where_json_was_asked_for(shell):
    answer = shell("status", "abcdefabcdef", "--json")
    assert answer.rows[0]["error"]["kind"] == "NotFound"


def test_a_fault_of_ours_is_a_sentence_with_the_place_of_its_traceback(shell):
    shell.workspace.experiments_file.parent.mkdir(parents=True, exist_ok=True)
    shell.engine = "no engine at all"
    answer = shell("train", shell.config())
    assert answer.code == exit_codes.UNEXPECTED
    assert "shell.log" in answer.err and "Traceback" not in answer.err


def test_runs_are_stopped_resumed_checked_packaged_and_deleted_by_name(shell):
    shell.engine = QuickEngine(seconds_per_step=0.05)
    run_id = run_id_of(
        shell("train", shell.config(settings={"max_train_steps": 60, "save_every_n_steps": 20}))
    )
    wait_for_training(shell, run_id)
    assert shell("pause", run_id).code == exit_codes.DONE
    assert shell("unpause", run_id[:6]).code == exit_codes.DONE
    assert "Asked run" in shell("stop", run_id).out
    assert shell("watch", run_id).code == exit_codes.STOPPED
    assert shell("resume", run_id, "--wait").code == exit_codes.DONE
    validated = shell("validate", run_id, "--no-pictures")
    assert (validated.code, "sound" in validated.out) == (exit_codes.DONE, True)
    status = shell("status", run_id)
    assert "completed at step 60 of 60" in status.out
    packaged = shell("package", run_id)
    assert packaged.code == exit_codes.DONE, packaged.err
    assert list((shell.root / "models" / "loras").rglob("*.safetensors"))
    assert shell("delete", run_id).code == exit_codes.CONFLICT


def wait_for_training(shell, run_id: str) -> None:
    wait_until(lambda: "training" in shell("status", run_id).out)


def test_a_packaged_lora_is_made_again_from_its_own_plan_with_the_same_weights(shell):
    run_id = run_id_of(shell("train", shell.config(), "--wait"))
    assert shell("package", run_id, "--which", "latest").code == exit_codes.DONE
    (packaged,) = (shell.root / "models" / "loras").rglob("*.safetensors")
    shutil.move(shell.workspace.runs_dir, shell.root / "forgotten")
    answer = shell("reproduce", str(packaged))
    assert answer.code == exit_codes.DONE, answer.err
    assert "Identical: the tensors of" in answer.out


def test_graphs_can_be_written_again_from_the_events(shell):
    run_id = run_id_of(shell("train", shell.config(), "--wait"))
    (row,) = shell("tensorboard", run_id, "--json").rows
    assert list(Path(row["folder"]).glob("events.out.tfevents.*"))


def test_a_checkpoint_of_which_one_bit_flipped_is_never_sound(shell):
    """It parses and all its numbers are finite: only the digest tells."""
    run_id = run_id_of(shell("train", shell.config(), "--wait"))
    run = RunFolder(shell.workspace.find_run(run_id))
    files = sorted(run.checkpoints_dir.glob("*.safetensors"))
    spoilt, gone = files[0], files[1]
    data = bytearray(spoilt.read_bytes())
    data[-1] ^= 0x01
    spoilt.write_bytes(data)
    gone.unlink()
    answer = shell("validate", run.run_id, "--no-pictures")
    assert answer.code == exit_codes.NOT_WELL
    rows = {line.split("\t")[3]: line for line in answer.out.splitlines() if line.count("\t") == 4}
    assert f"{spoilt.name} is not the file that the run wrote" in rows[f"checkpoints/{spoilt.name}"]
    assert f"{gone.name} of run {run.run_id} is gone." in rows[f"checkpoints/{gone.name}"]
    assert "sound" in rows[f"checkpoints/{files[2].name}"]
    told = {
        row["file"]: row["problems"]
        for row in shell("validate", run.run_id, "--no-pictures", "--json").rows
        if "file" in row
    }
    assert told[f"checkpoints/{spoilt.name}"] and told[f"checkpoints/{files[2].name}"] == []


def test_a_damaged_checkpoint_is_found_by_validate(shell):
    run_id = run_id_of(shell("train", shell.config(), "--wait"))
    file = next(shell.workspace.runs_dir.glob("*/*/checkpoints/*step00000004*"))
    file.write_bytes(file.read_bytes()[:-1])
    answer = shell("validate", run_id, "--no-pictures")
    assert (answer.code, "cut off" in answer.out) == (exit_codes.NOT_WELL, True)


def test_waiting_runs_are_shown_moved_and_taken_out(shell):
    shell.engine = QuickEngine(seconds_per_step=0.2)
    slow = run_id_of(shell("train", shell.config(settings={"max_train_steps": 100})))
    first, second = (run_id_of(shell("train", shell.config(), "--set", f"seed={seed}")) for seed in (1, 2))
    assert "number 2 in line" in shell("status").out
    assert shell("move", second, "1", "--json").rows == [{"queue": [second, first]}]
    for run_id in (first, second):
        assert "stopped" in shell("stop", run_id).out
    shell("stop", slow, "--at-once")
    assert shell("watch", slow).code == exit_codes.STOPPED
    assert "Nothing trains" in shell("status").out
    assert shell("advance").code == exit_codes.DONE


def test_lint_and_caption_speak_for_the_dataset_and_the_builder(shell):
    assert shell("lint", "alice").code == exit_codes.DONE
    answer = shell(
        "caption", "--trigger", "char_alice", "--seed", "3", "--count", "2", "--character", "alice", "--json"
    )
    assert [row["seed"] for row in answer.rows] == [3, 4]
    assert all("char_alice" in row["caption"] for row in answer.rows)
    assert shell.workspace.prompts_file("alice").read_text().count("\n") == 2


def test_the_doctor_names_what_is_missing_with_a_command(shell):
    rows = shell("doctor", "--json").rows
    assert {row["subject"] for row in rows} >= {
        "python",
        "torch",
        "gpu",
        "disk",
        "workspace",
        "base models",
        "tokenizer",
    }
    assert all(row["fix"] for row in rows if row["verdict"] != "ok")
    (precision,) = [row["found"] for row in rows if row["subject"] == "mixed_precision"]
    assert precision == f"auto is {usual(find_device(shell.workspace.cache_dir)).reason}"


def start_in_a_terminal(shell, *words: str, before: str = "") -> subprocess.Popen[str]:
    script = before + (
        "import sys\n"
        "from kohya_bridge.__main__ import main\n"
        "from tests.doubles.quick_engine import QuickEngine\n"
        "sys.exit(main(engines={'native': QuickEngine(seconds_per_step=0.05)}))"
    )
    places = [
        "--workspace",
        str(shell.workspace.root),
        "--checkpoints",
        str(shell.root / "models" / "checkpoints"),
    ]
    return subprocess.Popen(
        [sys.executable, "-c", script, *words, *places],
        cwd=PACK_ROOT,
        env={**os.environ, **python_module_command("-").environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def read_until(process: subprocess.Popen[str], words: str) -> str:
    seen = ""
    while words not in seen:
        line = process.stdout.readline()
        assert line, seen
        seen += line
    return seen


def test_the_first_ctrl_c_while_waiting_stops_the_run_softly(shell):
    name = shell.config(settings={"max_train_steps": 400, "save_every_n_steps": 100})
    with start_in_a_terminal(shell, "train", name, "--wait") as process:
        read_until(process, "training: step")
        process.send_signal(signal.SIGINT)
        said = process.stdout.read()
        assert process.wait() == exit_codes.STOPPED
    assert "Asked the run to stop" in said
    assert "Resume continues from here." in said
    assert "Traceback" not in said


def test_ctrl_c_while_watching_leaves_the_run_alone(shell):
    shell.engine = QuickEngine(seconds_per_step=0.05)
    run_id = run_id_of(shell("train", shell.config(settings={"max_train_steps": 100})))
    assert (
        shell("pause", run_id).code == exit_codes.DONE
    )  # until somebody watches, however long that takes to start
    with start_in_a_terminal(shell, "watch", run_id) as process:
        read_until(process, "paused")
        assert shell("unpause", run_id).code == exit_codes.DONE
        read_until(process, "training: step")
        process.send_signal(signal.SIGINT)
        said = process.stdout.read()
        assert process.wait() == exit_codes.INTERRUPTED
    assert "it goes on" in said
    assert shell("watch", run_id).code == exit_codes.DONE


def test_a_disk_that_takes_nothing_is_told_in_a_sentence(shell):
    """A file size limit of 64 bytes stands for a full disk: every write that matters fails."""
    name = shell.config()
    script = (
        "import resource, signal; resource.setrlimit(resource.RLIMIT_FSIZE, (64, 64))\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
    )
    with start_in_a_terminal(shell, "train", name, before=script) as process:
        said = process.stdout.read()
        assert process.wait() == exit_codes.STORAGE, said
    assert "could not be written" in said and "Fix: Free disk space" in said
    assert "Traceback" not in said


def test_every_verb_is_documented_and_no_other(shell):
    documented = set(re.findall(r"^\| `([a-z]+)` \|", CLI_DOC.split("## Options")[0], re.MULTILINE))
    assert documented == set(make_parser()[1].parsers)


def test_every_exit_code_is_documented_with_its_meaning():
    own, _, trainers = CLI_DOC.partition("### Exit codes of a trainer")
    rows = dict(re.findall(r"^\| (\d+) \| (.*) \|$", own, re.MULTILINE))
    assert {int(code): meaning for code, meaning in rows.items()} == exit_codes.MEANINGS
    documented = {int(code) for code in re.findall(r"^\| (\d+) \|", trainers, re.MULTILINE)}
    assert documented == {getattr(child, name) for name in dir(child) if name.startswith("EXIT_")}


def test_options_that_every_verb_takes_are_documented():
    for option in ("--workspace", "--checkpoints", "--loras", "--json"):
        assert f"`{option}" in CLI_DOC
        for parser in make_parser()[1].parsers.values():
            assert option in parser.format_help()


def test_the_shell_answers_help_without_loading_torch():
    script = "import sys\nfrom kohya_bridge.__main__ import make_parser\nmake_parser()\nprint('torch' in sys.modules)"
    answer = subprocess.run(
        [sys.executable, "-c", script], cwd=PACK_ROOT, capture_output=True, text=True, check=True
    )
    assert answer.stdout.strip() == "False"
