"""What a user says trials shall know a problem by, in place of what is found out."""

from __future__ import annotations

from typing import Any

from subspan.canonical import canonical_json, strict_json
from subspan.errors import invalid, text_name
from subspan.printable import shown


def check_identity(identity: object) -> None:
    """Refuse what is no JSON object with a name.

    Raises:
        InputError: as said.
    """
    if identity is None:
        return
    name: Any = identity.get("name") if isinstance(identity, dict) else None
    if not isinstance(name, str) or not name:
        raise invalid(
            "identity",
            expected="a dict with a 'name', a text by which trials know the problem",
            got=shown(identity),
            remedy='Example: {"name": "mine", "version": 1}.',
        )
    text_name("identity's name", name)
    try:
        same = strict_json(canonical_json(identity)) == identity
    except (TypeError, ValueError, RecursionError) as error:
        why = str(error)
    else:
        if same:
            return
        why = "other keys than texts, or tuples"
    raise invalid(
        "identity",
        expected="plain JSON data: texts, finite numbers, truth values, None, lists, dicts",
        got=why,
    )
