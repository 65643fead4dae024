"""Vega-Lite figures: their JavaScript for a page that needs no network, and their pictures for a talk.

vl-convert brings Vega, Vega-Lite and Vega-Embed along (0.9 MB together; plotly's script is 4.7 MB, Bokeh makes no SVG
without a browser) and draws SVG and PNG by itself.
"""

import json
import os
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from swarm_lightning.errors import InputError, StorageError
from swarm_lightning.files import write_whole

PACKAGE = "vl-convert-python"
HINT = "Install the extra `report`: pip install 'swarm-lightning[report]'"
GREY = "#888888"  # is read on white and on black
CONFIG: dict[str, Any] = {
    "background": "transparent",
    "view": {"stroke": None},
    "axis": {"labelColor": GREY, "titleColor": GREY, "gridColor": "#88888833", "domainColor": GREY, "tickColor": GREY},
    "legend": {"labelColor": GREY, "titleColor": GREY},
    "title": {"color": GREY},
    "numberFormat": ",.6~r",  # by itself, an axis with a single value is labelled without decimals: 0.5 as 1
}


def installed() -> bool:
    """Tell whether figures can be made."""
    return find_spec("vl_convert") is not None


def require() -> None:
    """Refuse to go on without the library.

    Raises:
        InputError: If it is not installed.
    """
    if not installed():
        raise InputError(f"Expected the package {PACKAGE} for figures, but it is not installed. {HINT}.")


def script() -> str:
    """Return the JavaScript that draws figures, without any request.

    It takes some seconds to be put together, so it is kept in the user's folder for caches.
    """
    try:
        kept = _cache() / f"vega-{version(PACKAGE)}.js"
    except PackageNotFoundError:
        return _bundle()
    if kept.is_file():
        return kept.read_text(encoding="utf-8")
    text = _bundle()
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        write_whole(kept, text)
    except (OSError, StorageError):  # a home that can't be written to costs the seconds again
        pass
    return text


def svg(figure: Mapping[str, Any]) -> str:
    """Return a figure as SVG."""
    import vl_convert

    return str(vl_convert.vegalite_to_svg(json.dumps(_fixed(figure))))


def png(figure: Mapping[str, Any]) -> bytes:
    """Return a figure as PNG, on white."""
    import vl_convert

    return bytes(vl_convert.vegalite_to_png(json.dumps({**_fixed(figure), "background": "white"}), scale=2))


def embedded(value: Any) -> str:
    r"""Return a value as JSON that may stand in a script of a page.

    >>> embedded({"a": "</script>"})
    '{"a": "\\u003c/script>"}'
    """
    text = json.dumps(value, allow_nan=False).replace("<", "\\u003c")
    return text.replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def _fixed(figure: Mapping[str, Any]) -> dict[str, Any]:
    """Give a figure that follows the width of its page one of its own."""
    return {**figure, "width": 640} if figure.get("width") == "container" else dict(figure)


def _bundle() -> str:
    import vl_convert

    text = vl_convert.javascript_bundle()  # type: ignore[call-arg]  # its types ask for what is optional
    return str(text).replace("</script", "<\\/script")


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "swarm_lightning"
