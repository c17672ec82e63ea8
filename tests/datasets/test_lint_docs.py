"""docs/lint.md says what the code does."""

from kohya_bridge.lint.catalogue import RULES
from kohya_bridge.lint.documentation import DOCS_FILE, written
from kohya_bridge.lint.finding import LintSettings


def test_every_rule_and_threshold_stands_in_the_documentation_as_it_is_in_the_code():
    text = DOCS_FILE.read_text("utf-8")
    assert written(text) == text, "run: python -m kohya_bridge.lint.documentation"
    assert all(f"### {rule.id} {rule.title}\n" in text for rule in RULES)
    assert all(f"| `{name}` |" in text for name in LintSettings.model_fields)
