"""Reads the pages that come with the package."""

from importlib.resources import files

from verismo.gateway.pages import VerifyPage
from verismo.model.errors import StateError


def open_verify_page() -> VerifyPage:
    """Return the verifier's page.

    Raises:
        StateError: it is missing from the package, or is not the one that was made for it.
    """
    try:
        document = files("verismo").joinpath("pages", "verify.html").read_bytes()
    except OSError as error:
        raise StateError(
            "the package has no verifier's page",
            next_step="Install the package again; from a checkout run `make verify-page`.",
        ) from error
    return VerifyPage(document)
