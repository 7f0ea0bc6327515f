"""The demo's product images, drawn with a few shapes each on a field of 400 by 300."""

from __future__ import annotations

from PIL import Image, ImageDraw

SIZE = (400, 300)
SCALE = 2.4  # the result has 960 by 720 pixels
_FINE = 2  # drawn at twice the size, so that the edges are smooth

type Shape = tuple[str, str, tuple[float, ...]]

# SKU: background, ground, and from back to front the shapes: polygons, ellipses (boxes), rounded
# boxes and lines.
_DRAWN: dict[str, tuple[str, str, list[Shape]]] = {
    "TNT-LARK2": ("#d8e5dc", "#4f7f6b", [
        ("ellipse", "#f3c46b", (300, 36, 352, 88)), ("polygon", "#a9c6b1", (0, 246, 110, 96, 270, 246)),
        ("polygon", "#d9743f", (200, 78, 66, 246, 334, 246)), ("polygon", "#b9582a", (200, 78, 272, 246, 334, 246)),
        ("polygon", "#2b2320", (196, 120, 150, 246, 240, 246)), ("polygon", "#f2b187", (196, 120, 150, 246, 176, 246)),
    ]),
    "SLP-WREN0": ("#2c3e57", "#1f3a36", [
        ("ellipse", "#f4e7c3", (304, 34, 356, 86)), ("ellipse", "#2c3e57", (322, 26, 374, 78)),
        ("box", "#7fa0a8", (44, 226, 360, 250)), ("box", "#c9563c", (60, 164, 346, 232)),
        ("ellipse", "#8f3524", (48, 160, 128, 236)), ("ellipse", "#f2dcc2", (66, 178, 112, 222)),
        ("line", "#a8412b", (180, 166, 180, 230)), ("line", "#a8412b", (232, 166, 232, 230)),
    ]),
    "PCK-ELM30": ("#e6dfc9", "#b9ad86", [
        ("line", "#5a3b2a", (172, 74, 172, 52, 228, 52, 228, 74)), ("box", "#2f6b54", (126, 70, 274, 258)),
        ("box", "#3c8268", (118, 64, 282, 136)), ("box", "#275a47", (148, 172, 252, 242)),
        ("line", "#1c4436", (148, 196, 252, 196)), ("line", "#d9973f", (164, 118, 164, 172)),
        ("line", "#d9973f", (236, 118, 236, 172)),
    ]),
    "KIT-SYSTEM": ("#efdcc5", "#7c7a4c", [
        ("box", "#44525a", (140, 70, 250, 186)), ("box", "#5c6c75", (132, 62, 258, 84)),
        ("line", "#3a3a3a", (250, 104, 292, 104, 292, 156, 250, 156)),
        ("polygon", "#e2703a", (170, 226, 196, 186, 222, 226)),
        ("box", "#8a9aa3", (150, 222, 240, 262)), ("line", "#7c8c95", (162, 104, 162, 164)),
    ]),
    "BEA-HOUSE": ("#ecd9c0", "#b98d63", [
        ("polygon", "#4a2b1c", (132, 66, 268, 66, 280, 258, 120, 258)), ("box", "#6b3f28", (128, 50, 272, 84)),
        ("box", "#fff8ec", (146, 124, 254, 214)), ("ellipse", "#6b3f28", (178, 140, 222, 198)),
        ("line", "#fff8ec", (206, 142, 194, 168, 206, 196)),
    ]),
    "BEA-TASTE": ("#e2c7a3", "#a87a52", [
        ("box", "#8a6140", (70, 170, 330, 258)), ("box", "#4a2b1c", (86, 110, 128, 214)),
        ("box", "#c9563c", (134, 110, 176, 214)), ("box", "#1f5a43", (182, 110, 224, 214)),
        ("box", "#d9973f", (230, 110, 272, 214)), ("box", "#2c3e57", (278, 110, 316, 214)),
        ("box", "#b98d63", (70, 190, 330, 258)),
    ]),
    "BRW-DRIPC": ("#dfe6df", "#b08d68", [
        ("polygon", "#fff8ec", (122, 82, 278, 82, 228, 164, 172, 164)),
        ("polygon", "#6b3f28", (136, 92, 264, 92, 250, 114, 150, 114)),
        ("box", "#fff8ec", (138, 160, 262, 174)), ("line", "#5b3320", (200, 176, 200, 204)),
        ("box", "#f7fbfa", (146, 202, 254, 258)), ("box", "#5b3320", (152, 224, 248, 252)),
    ]),
    "BRW-KETTLEE": ("#dde3ea", "#8a6140", [
        ("line", "#2b2f33", (132, 220, 84, 196, 84, 122, 56, 112)),
        ("polygon", "#3a4148", (146, 108, 254, 108, 278, 246, 122, 246)),
        ("box", "#2b2f33", (150, 92, 250, 114)), ("ellipse", "#c9a26a", (190, 76, 210, 96)),
        ("line", "#c9a26a", (258, 120, 316, 112, 322, 196)), ("box", "#2b2f33", (104, 244, 296, 262)),
    ]),
    "GRD-HILL": ("#e7ddd0", "#a87a52", [
        ("line", "#44525a", (200, 74, 286, 56)), ("ellipse", "#5b3320", (272, 36, 304, 68)),
        ("box", "#8a9aa3", (164, 70, 236, 98)), ("box", "#44525a", (158, 94, 242, 190)),
        ("box", "#c9a26a", (158, 186, 242, 200)), ("box", "#5b3320", (162, 198, 238, 260)),
    ]),
    "WRT-A5DOT": ("#f4ead2", "#c9a26a", [
        ("box", "#16443a", (122, 58, 290, 258)), ("box", "#fff8ec", (116, 50, 282, 250)),
        ("box", "#1f5a43", (110, 44, 276, 246)), ("line", "#d9973f", (246, 46, 246, 244)),
        ("box", "#f4ead2", (138, 92, 222, 130)), ("line", "#c9563c", (166, 246, 166, 272)),
    ]),
    "WRT-BLOTTER": ("#cfd8e6", "#8a6140", [
        ("polygon", "#4a5563", (64, 130, 336, 130, 376, 256, 24, 256)),
        ("polygon", "#5c6978", (76, 138, 324, 138, 352, 246, 48, 246)),
        ("polygon", "#fff8ec", (150, 156, 238, 156, 246, 226, 138, 226)), ("line", "#d9973f", (262, 218, 300, 152)),
        ("line", "#8b98a8", (158, 178, 230, 178)), ("line", "#8b98a8", (156, 198, 232, 198)),
    ]),
    "LGT-ARC": ("#33415a", "#7b573b", [
        ("polygon", "#6b6a5c", (226, 128, 128, 250, 318, 250)), ("line", "#d9973f", (110, 240, 92, 150, 188, 76)),
        ("ellipse", "#f0c274", (82, 140, 104, 162)), ("polygon", "#c9563c", (182, 58, 276, 110, 188, 146)),
        ("ellipse", "#fff3c9", (196, 104, 262, 142)), ("box", "#d9973f", (64, 238, 150, 254)),
    ]),
}  # fmt: skip


def draw(sku: str) -> Image.Image:
    """Return the drawing."""
    background, ground, shapes = _DRAWN[sku]
    scale = SCALE * _FINE
    image = Image.new("RGB", (round(SIZE[0] * scale), round(SIZE[1] * scale)), background)
    pen = ImageDraw.Draw(image)
    pen.rectangle((0, 246 * scale, image.width, image.height), ground)
    for kind, colour, points in shapes:
        at = [point * scale for point in points]
        match kind:
            case "polygon":
                pen.polygon(at, colour)
            case "ellipse":
                pen.ellipse(at, colour)
            case "box":
                pen.rounded_rectangle(at, 8 * scale, colour)
            case _:
                pen.line(at, colour, round(7 * scale), joint="curve")
    return image.reduce(_FINE)
