"""Make one SVG fit a light and a dark page."""

# Colours on white, and their replacements on a dark page.
_FILLS = {"#ffffff": "#191919", "#4d4d4d": "#9a9a9a"}
_STROKES = {"#000000": "#e8e8e6", "#d9d9d9": "#3d3d3d", "#555555": "#a9a9a6", "#ffffff": "#191919"}
_TEXT = "#e8e8e6"


def fit_to_scheme(svg: bytes) -> bytes:
    """Add dark colours to an SVG of matplotlib's, for browsers that prefer a dark scheme.

    Browsers also apply them to an SVG in an image of a page; other programs ignore them.
    """
    rules = [f"svg {{ fill: {_TEXT} }}"]  # matplotlib leaves out black, SVG's default
    for name, colours in (("fill", _FILLS), ("stroke", _STROKES)):
        rules += [
            f'[style*="{name}: {on_light}"] {{ {name}: {on_dark} !important }}'
            for on_light, on_dark in colours.items()
        ]
    style = f"<style>@media (prefers-color-scheme: dark) {{ {' '.join(rules)} }}</style>"
    begin = svg.index(b">", svg.index(b"<svg")) + 1
    return svg[:begin] + style.encode() + svg[begin:]
