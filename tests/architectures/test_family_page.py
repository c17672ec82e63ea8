"""docs/families.md and the templates say what the families say."""

from scripts.family_configs import templates
from scripts.family_pages import PAGE, page


def test_the_page_of_families_is_written_from_the_list():
    """`python -m scripts.family_pages` writes it anew."""
    assert PAGE.read_text("utf-8") == page()


def test_the_templates_are_written_from_the_list():
    """`python -m scripts.family_configs` writes them anew."""
    for file, text in templates().items():
        assert file.read_text("utf-8") == text, file.name
