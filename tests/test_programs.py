"""Programs that tests need are installed where that may be done, else a line says what is not tested."""

from __future__ import annotations

import pytest

from scripts import programs


class Machine:
    """What is on the path, who we are, and what apt-get makes of a call."""

    def __init__(self, monkeypatch, *, there=(), root=True, sudo=False, apt_works=True):
        self.there, self.calls = set(there), []
        self._sudo, self._apt_works = sudo, apt_works
        monkeypatch.delenv("CHROMIUM", raising=False)
        monkeypatch.setattr(
            programs.shutil, "which", lambda name: f"/usr/bin/{name}" if name in self.there else None
        )
        monkeypatch.setattr(programs.os, "geteuid", lambda: 0 if root else 1000, raising=False)
        monkeypatch.setattr(programs, "_run", self._run)

    def _run(self, command):
        self.calls.append(" ".join(command))
        if command[-1] == "true":
            return 0 if self._sudo else 1
        if "install" in command and self._apt_works:
            self.there.add({"nodejs": "node"}.get(command[-1], command[-1]))
        return 0


def test_what_is_there_is_left_alone(monkeypatch, capsys):
    machine = Machine(monkeypatch, there=("google-chrome", "node", "apt-get"))
    assert programs.main(["chromium", "node"]) == 0
    assert machine.calls == [] and capsys.readouterr().out == ""


@pytest.mark.parametrize(("root", "before"), [(True, ""), (False, "sudo -n ")])
def test_what_is_missing_is_installed_where_nobody_has_to_be_asked(monkeypatch, capsys, root, before):
    machine = Machine(monkeypatch, there=("apt-get",), root=root, sudo=not root)
    assert programs.main(["chromium", "node"]) == 0
    installed = [call for call in machine.calls if "install" in call]
    assert installed == [
        f"{before}apt-get -qq install -y --no-install-recommends {name}" for name in ("chromium", "nodejs")
    ]
    assert capsys.readouterr().out == "install: chromium node (apt-get)\n"


@pytest.mark.parametrize(
    "found",
    [{"there": ("apt-get",), "root": False}, {"there": ()}, {"there": ("apt-get",), "apt_works": False}],
)
def test_where_it_may_not_a_line_each_says_what_is_not_tested(monkeypatch, capsys, found):
    Machine(monkeypatch, **found)
    assert programs.main(["chromium", "node"]) == 0
    said = [line for line in capsys.readouterr().out.splitlines() if "not tested" in line]
    assert len(said) == 2 and "the panel in a browser" in said[0] and "the panel's scripts" in said[1]


def test_a_browser_that_is_named_counts(monkeypatch):
    machine = Machine(monkeypatch)
    monkeypatch.setenv("CHROMIUM", "/opt/browser")
    assert programs.main(["chromium"]) == 0 and machine.calls == []


def test_an_unknown_program_is_named(capsys):
    assert programs.main(["chromum"]) == 2
    assert "'chromum'" in capsys.readouterr().err
