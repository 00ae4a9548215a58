"""A picture of a hotel in a few hundred bytes: its house, drawn from its id in front of a sky.

The same id gives the same house. Windows are the dashes of a few thick lines.
"""

from __future__ import annotations

import hashlib

from markupsafe import Markup

WIDTH, HEIGHT = 640, 300
_GROUND_Y = 282
# Walls, and the light in the windows: dark against any sky of static/art.
_WALLS = ("#10243a", "#1c2f4d", "#2a2347", "#3a2431", "#143b3f", "#2b3a33", "#43302a", "#0f2f4a")
_LIGHTS = ("#ffd98a", "#ffe7b0", "#ffc46b", "#f9e3c0")


def facade(hotel_id: str, stars: int, mirrored: bool = False) -> Markup:
    """The house as an inline SVG of 640 by 300, without a ground: it lies on a picture."""
    dice = hashlib.blake2b(f"{hotel_id}:{mirrored}".encode(), digest_size=16).digest()
    wall, light = _WALLS[dice[0] % len(_WALLS)], _LIGHTS[dice[1] % len(_LIGHTS)]
    floors = 3 + stars + dice[2] % 3 - 1
    width = 130 + dice[3] % 5 * 22
    left = 60 + dice[4] % 260
    top = _GROUND_Y - floors * 22
    parts = [_block(left, top, width, dice[5] % 4)]
    windows = [_windows(left, top, width, floors, dice[6])]
    # A lower wing beside it, on the side that has more room.
    wing_floors = 1 + dice[7] % max(1, floors - 2)
    wing = 70 + dice[8] % 3 * 22
    wing_left = left - wing if left > WIDTH - left - width else left + width
    wing_top = _GROUND_Y - wing_floors * 22
    parts.append(f"M{wing_left} {_GROUND_Y + 18}V{wing_top}h{wing}V{_GROUND_Y + 18}z")
    windows.append(_windows(wing_left, wing_top, wing, wing_floors, dice[9]))
    door = left + width // 2 - 9
    return Markup(  # noqa: S704 (numbers and our own colours)
        f'<svg class="facade" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" '
        f'preserveAspectRatio="xMidYMax slice" aria-hidden="true" focusable="false">'
        f'<path fill="{wall}" d="{"".join(parts)}M0 {_GROUND_Y}h{WIDTH}v18H0z"/>'
        f'<g stroke="{light}" stroke-width="9" stroke-dasharray="8 14">{"".join(windows)}</g>'
        f'<path fill="{light}" d="M{door} {_GROUND_Y}v-18a9 9 0 0 1 18 0v18z"/></svg>'
    )


def _block(left: int, top: int, width: int, roof: int) -> str:
    """The main house with one of four roofs: flat, gabled, stepped, domed."""
    right, middle, foot = left + width, left + width // 2, _GROUND_Y + 18
    line = {
        0: f"V{top}H{right}V{foot}",
        1: f"V{top}L{middle} {top - 34}L{right} {top}V{foot}",
        2: f"V{top}h{width // 4}v-16h{width // 2}v16H{right}V{foot}",
        3: f"V{top}a{width // 2} 40 0 0 1 {width} 0V{foot}",
    }[roof]
    return f"M{left} {foot}{line}z"


def _windows(left: int, top: int, width: int, floors: int, die: int) -> str:
    """A line of dashes per floor; some floors sleep."""
    count = (width - 16) // 22
    first = left + (width - (22 * count - 14)) // 2
    lines = []
    for floor in range(floors):
        if floor and (die >> floor % 8) & 1 and floor % 2:
            continue
        y = top + 12 + 22 * floor
        if y < _GROUND_Y - 24 or floors == 1:
            lines.append(f"M{first} {y}h{22 * count - 14}")
    return f'<path d="{"".join(lines)}"/>' if lines else ""
