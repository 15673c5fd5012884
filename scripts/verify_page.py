"""Writes the self-contained verifier page from `verify-js/`: make verify-page.

The modules are joined into one script without a bundler: each becomes a function of its own, so
that names do not meet, and what it exports is handed to those that import it. The policy in the
page names script and style by their hashes, so nothing else can run in it.
"""

import base64
import hashlib
import re
import sys
from pathlib import Path
from urllib.parse import quote

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "verify-js"
ENTRY = FOLDER / "page" / "main.js"
TEMPLATE = FOLDER / "page" / "template.html"
STYLE = FOLDER / "page" / "style.css"
PAGE = ROOT / "src" / "verismo" / "pages" / "verify.html"

ICON = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32" fill="none" stroke-width="3"'
    ' stroke-linecap="round" stroke-linejoin="round"><path stroke="#808080"'
    ' d="M5 7l9.4 19h3.2L27 7"/><path stroke="#2f9e5b" d="M11.5 13.5l3.6 4 6-8"/></svg>'
)
# Anything on https, or this machine: an upper bound. The page closes itself further before it
# reads anything, and a gateway that serves it names itself alone in a header.
CONNECT = "'self' https: http://localhost:* http://127.0.0.1:*"
_IMPORT = re.compile(r'(?ms)^import \{([^}]*)\} from "(\.[^"]+)";\n')
_EXPORT = re.compile(r"(?m)^export (?=(?:async )?(?:function\*?|class|const) (\w+))")
_PLAIN = re.compile(r"\w+")


class PageRefused(ValueError):
    """The sources hold what this does not join, and where."""


def page() -> str:
    """Return the page."""
    script = joined(ENTRY)
    style = STYLE.read_text(encoding="utf-8").rstrip()
    if "</" in style or re.search(r"(?i)</script|<!--", script):
        raise PageRefused("script or style would end its element early")
    parts = {
        "policy": policy(script, style),
        "icon": "data:image/svg+xml," + quote(ICON, safe=" =:/'"),
        "style": style,
        "script": script,
    }
    template = TEMPLATE.read_text(encoding="utf-8")
    return re.sub(r"\{\{(\w+)\}\}", lambda found: parts[found[1]], template)


def policy(script: str, style: str) -> str:
    """Return the page's Content-Security-Policy.

    Source: CSP Level 3, sections 2.3.1 and 6.7.3.
    """
    return "; ".join(
        [
            "default-src 'none'",
            f"script-src {_hash(script)}",
            f"style-src {_hash(style)}",
            f"connect-src {CONNECT}",
            "img-src data:",
            "base-uri 'none'",
            "form-action 'none'",
            "require-trusted-types-for 'script'",
            "trusted-types 'none'",
        ]
    )


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode("utf-8")).digest()
    return f"'sha256-{base64.b64encode(digest).decode('ascii')}'"


def joined(entry: Path) -> str:
    """Return a module and all that it imports as one script.

    Raises:
        PageRefused: an import or export in a spelling that is not known here.
    """
    order: list[Path] = []
    _visit(entry, order, ())
    names = {path: f"module{number}" for number, path in enumerate(order)}
    pieces = [_wrapped(path, names) for path in order]
    return "\n".join(pieces).rstrip()


def _visit(path: Path, order: list[Path], above: tuple[Path, ...]) -> None:
    """Put what a module imports before it."""
    if path in above:
        raise PageRefused(f"{path.name} imports itself by way of others")
    if path in order:
        return
    for _, target in _IMPORT.findall(path.read_text(encoding="utf-8")):
        _visit((path.parent / target).resolve(), order, (*above, path))
    order.append(path)


def _wrapped(path: Path, names: dict[Path, str]) -> str:
    text = path.read_text(encoding="utf-8")

    def import_from(found: re.Match[str]) -> str:
        imported = ", ".join(_names(found[1], path))
        return f"const {{ {imported} }} = {names[(path.parent / found[2]).resolve()]};\n"

    body = _IMPORT.sub(import_from, text)
    exported = _EXPORT.findall(body)
    body = _EXPORT.sub("", body)
    left = re.search(r"(?m)^(?:import|export)\b.*|\bimport\s*[.(].*", body)
    if left is not None:
        raise PageRefused(f"{path.name}: {left[0]}")
    inner = body.strip()
    returned = f"return {{ {', '.join(exported)} }};\n" if exported else ""
    return (
        f"// {path.relative_to(FOLDER).as_posix()}\n"
        f"const {names[path]} = (() => {{\n{inner}\n{returned}}})();\n"
    )


def _names(listed: str, path: Path) -> list[str]:
    found = [name.strip() for name in listed.split(",") if name.strip()]
    for name in found:
        if not _PLAIN.fullmatch(name):
            raise PageRefused(f"{path.name} imports under another name: {name}")
    return found


def main() -> int:
    """Write the page; with `--check` only compare, exit code 1 if it is out of date."""
    text = page()
    if "--check" in sys.argv[1:]:
        return int(not PAGE.is_file() or PAGE.read_text(encoding="utf-8") != text)
    PAGE.parent.mkdir(parents=True, exist_ok=True)
    PAGE.write_text(text, encoding="utf-8", newline="\n")
    sys.stdout.write(f"wrote {PAGE.relative_to(ROOT)}, {len(text.encode('utf-8')):,} bytes\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
