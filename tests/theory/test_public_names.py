import inspect
import re

import pytest

from subspan import theory


@pytest.mark.parametrize("name", theory.__all__)
def test_every_name_of_the_theory_has_a_docstring_and_a_row_in_the_reference(name, repo_root):
    value = getattr(theory, name)
    assert inspect.getdoc(value)
    reference = (repo_root / "docs" / "api.md").read_text(encoding="utf-8")
    assert f"::: {value.__module__}.{name}\n" in reference


def test_the_reference_lists_nothing_of_the_theory_that_is_not_at_hand_there(repo_root):
    reference = (repo_root / "docs" / "api.md").read_text(encoding="utf-8")
    listed = re.findall(r"^::: subspan\.theory\.\w+\.(\w+)$", reference, re.M)
    assert sorted(listed) == sorted(theory.__all__)


@pytest.mark.parametrize("name", theory.__all__)
def test_every_name_of_the_theory_stands_in_its_page(name, repo_root):
    page = (repo_root / "docs" / "theory.md").read_text(encoding="utf-8")
    assert re.search(rf"\b{name}\b", page)
