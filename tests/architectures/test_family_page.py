"""docs/families.md says what the families say."""

from scripts.family_pages import PAGE, page


def test_the_page_of_families_is_written_from_the_list():
    """`python -m scripts.family_pages` writes it anew."""
    assert PAGE.read_text("utf-8") == page()
