"""JSON that nobody signed, held to one reading: in no object does a member stand twice.

Of two members of one name parsers take the first, the last or neither, so that two readers of one
key set or one saved exchange could see two. Signed JSON needs no such look: it is compared with its
canonical spelling (`model.canonical`), which has each member once.
"""

import json


class MemberTwice(ValueError):
    """An object has two members of one name, or the document is no JSON at all."""


def check_members(document: bytes) -> None:
    """Refuse a member that stands twice in one object, however deep.

    Args:
        document: JSON in UTF-8 that the caller also reads by its type; what a strict parser
            refuses otherwise may pass here.

    Raises:
        MemberTwice: which member counts would depend on the parser; refuse the document.

    Source: RFC 8259, section 4.
    """
    try:
        # Numbers stay text: Python would refuse integers of more than 4,300 digits, others not.
        json.loads(
            document.decode("utf-8"), object_pairs_hook=_distinct, parse_int=str, parse_float=str
        )
    except RecursionError as error:
        raise MemberTwice("nested too deep") from error
    except ValueError as error:
        raise MemberTwice(str(error)) from error


def _distinct(members: list[tuple[str, object]]) -> None:
    if len({name for name, _ in members}) != len(members):
        raise MemberTwice("a member stands twice in one object")
