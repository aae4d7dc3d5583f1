"""Draw the two pictures of architecture.md from the code: the rooms with their arrows, and the way of the data.

`python docs/_hooks/architecture.py` writes them; a test fails while they are not what the code says.
"""

import ast
import tomllib
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape

import grimp

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "pairstill"
PICTURES = ROOT / "docs" / "images"
STYLE = """<style>
  text { font-family: system-ui, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; fill: #1f2937; }
  .name { font-size: 13px; font-weight: 650; } .soft { fill: #64748b; font-size: 11px; }
  .code { font-family: ui-monospace, "DejaVu Sans Mono", monospace; font-size: 12px; }
  .page { fill: #f8fafc; stroke: #e2e8f0; } .card { fill: #ffffff; stroke: #d5dde8; }
  .arc { fill: none; stroke: #0d9488; stroke-opacity: 0.55; } .band { fill: #eef2f7; } .dot { fill: #0d9488; }
  .line { stroke: #94a3b8; stroke-width: 1.6; }
</style>"""


@dataclass(frozen=True)
class Rooms:
    """The packages at the top of pairstill.

    Attributes:
        names: from the one that may import all others down to the one that imports none.
        arrows: the importing and the imported room of each.
    """

    names: tuple[str, ...]
    arrows: frozenset[tuple[str, str]]


def rooms() -> Rooms:
    """Return the rooms, in the order of the import contract, and the imports between them."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]
    names = tuple(name for floor in settings["contracts"][0]["layers"] for name in floor.split(" | "))
    graph = grimp.build_graph("pairstill", cache_dir=None)
    arrows = set()
    for module in graph.modules:
        for imported in graph.find_modules_directly_imported_by(module):
            ends = tuple(name.split(".")[1] if "." in name else "" for name in (module, imported))
            if ends[0] != ends[1] and not {"", "__main__"} & {*ends}:
                arrows.add((ends[0], ends[1]))
    return Rooms(names, frozenset(arrows))


def _svg(title: str, description: str, width: int, height: int, body: list[str]) -> str:
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
            'role="img" aria-labelledby="title description">',
            f'<title id="title">{escape(title)}</title>',
            f'<desc id="description">{escape(description)}</desc>',
            STYLE,
            f'<rect class="page" x="0.5" y="0.5" width="{width - 1}" height="{height - 1}" rx="10"/>',
            *body,
            "</svg>\n",
        ]
    )


def draw_rooms(found: Rooms) -> str:
    """Return the rooms from top to bottom; to the left arcs to what each imports, to the right the same as dots."""
    row, top, left, card, cell = 30, 56, 210, 112, 26
    at = {name: top + row * number for number, name in enumerate(found.names)}
    grid = left + card + 26
    width, height = grid + cell * len(found.names) + 20, top + row * len(found.names) + 34
    body = [f'<text class="soft" x="{grid}" y="24">a dot: the room of the row imports the room of the column</text>']
    for number, name in enumerate(found.names):
        x, y = grid + cell * number, at[name]
        if number % 2 == 0:
            body.append(f'<rect class="band" x="{x}" y="{top - 8}" width="{cell}" height="{row * len(found.names)}"/>')
        body.append(f'<text class="soft" text-anchor="middle" x="{x + cell / 2}" y="{top - 12}">{number + 1}</text>')
        body.append(f'<rect class="card" x="{left}" y="{y - 6}" width="{card}" height="{row - 6}" rx="5"/>')
        body.append(f'<text class="name" x="{left + 8}" y="{y + 11}">{number + 1} {escape(name)}</text>')
    for importer, imported in sorted(found.arrows):
        first, last = at[importer] + 6, at[imported] + 6
        reach = left - 12 - 170 * (last - first) / (row * len(found.names))
        body.append(f'<path class="arc" d="M{left},{first} C{reach:.0f},{first} {reach:.0f},{last} {left},{last}"/>')
        x = grid + cell * found.names.index(imported) + cell / 2
        body.append(f'<circle class="dot" cx="{x}" cy="{first}" r="5"/>')
    total = f"{len(found.names)} rooms, {len(found.arrows)} arrows; a room imports those below it alone"
    body.append(f'<text class="soft" x="{left}" y="{height - 14}">{total}</text>')
    imports = {
        name: [imported for importer, imported in sorted(found.arrows) if importer == name] for name in found.names
    }
    listed = "; ".join(f"{name} imports {', '.join(names) or 'none'}" for name, names in imports.items())
    return _svg("The rooms of pairstill", listed, width, height, body)


WAY = (
    ("real pairs", "data/sources/__init__.py", "read_source"),
    ("checked", "data/build.py", "build_manifest"),
    ("encoded", "encoders/split.py", "encode_split"),
    ("teachers", "teachers/training.py", "record_expert"),
    ("shortcut", "teachers/shortcut.py", "shortcut_path"),
    ("what is learned", "distill/initial.py", "initial_pairs"),
    ("segments of a step", "distill/bilevel/segments.py", "Draws.segments"),
    ("inner loops", "distill/bilevel/objective.py", "TrajectoryObjective.inner_loop"),
    ("hypergradient", "distill/bilevel/solvers/base.py", "mean_hypergradient"),
    ("outer steps", "distill/loop.py", "distill_phase"),
    ("distilled pairs", "distill/phases.py", "Distillation.run"),
    ("students", "evaluate/student.py", "train_student"),
    ("ranks", "evaluate/retrieval.py", "retrieval_ranks"),
    ("rows", "evaluate/results.py", "summarise"),
    ("table", "report/tables.py", "markdown"),
)
"""What the data are on their way from the source to the table, and what makes them so."""


def function(file: str, name: str) -> ast.FunctionDef:
    """Return a function or method of a file below `src/pairstill`.

    Raises:
        LookupError: it is not there.
    """
    body: list[ast.stmt] = ast.parse((SOURCE / file).read_text(encoding="utf-8")).body
    *classes, last = name.split(".")
    for one in classes:
        body = next((node.body for node in body if isinstance(node, ast.ClassDef) and node.name == one), [])
    found = next((node for node in body if isinstance(node, ast.FunctionDef) and node.name == last), None)
    if found is None:
        raise LookupError(f"src/pairstill/{file} has no {name}; say in docs/_hooks/architecture.py what came for it")
    return found


def draw_way() -> str:
    """Return the stations of the data, each with what makes it and what that returns, as the code has it."""
    row, top, left = 44, 28, 24
    width, height, body = 760, top + row * len(WAY) + 8, []
    for number, (what, file, name) in enumerate(WAY):
        y = top + row * number
        returns = function(file, name).returns
        made = "" if returns is None else f" -> {ast.unparse(returns)}"
        if number:
            body.append(f'<line class="line" x1="{left + 80}" x2="{left + 80}" y1="{y - 14}" y2="{y - 4}"/>')
        body.append(f'<rect class="card" x="{left}" y="{y - 4}" width="190" height="{row - 10}" rx="6"/>')
        body.append(f'<text class="name" x="{left + 12}" y="{y + 17}">{escape(what)}</text>')
        body.append(f'<text class="code" x="{left + 206}" y="{y + 10}">{escape(name + made)}</text>')
        body.append(f'<text class="soft" x="{left + 206}" y="{y + 26}">{escape(file)}</text>')
    told = "; ".join(f"{what}: {name} in {file}" for what, file, name in WAY)
    return _svg("The way of the data", told, width, height, body)


def pictures() -> dict[Path, str]:
    """Return both pictures by their files."""
    return {PICTURES / "rooms.svg": draw_rooms(rooms()), PICTURES / "way.svg": draw_way()}


if __name__ == "__main__":
    for path, picture in pictures().items():
        path.write_text(picture, encoding="utf-8")
