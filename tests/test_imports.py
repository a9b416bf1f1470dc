"""The rules of the house that a parser can check.

Imports point downward, a system keeps to itself, TensorFlow stays in data/,
names of mesh axes stay in parallel/, networks stay in systems and layers/,
nothing is unpickled, files stay short.
"""

import ast
import functools
import pathlib

_ROOT = pathlib.Path(__file__).parents[1]
_PACKAGE = _ROOT / "soundstorm_jax"
_SOURCES = sorted(_PACKAGE.rglob("*.py"))
_ALL_CODE = [
  *_SOURCES,
  *sorted((_ROOT / "configs").rglob("*.py")),
  *sorted((_ROOT / "tests").rglob("*.py")),
]

_SYSTEMS = {"audiolm", "semantic", "soundstorm", "soundstream"}
# A part may import its own floor and those below, never one above.
_FLOORS = (
  {"config"},
  {"weights"},
  {"data", "parallel"},
  {"layers"},
  {"training"},
  _SYSTEMS,
  {"speech"},
  {"benchmarking", "evaluation"},
  {
    "benchmark",
    "demo",
    "evaluate",
    "export",
    "generate",
    "pack",
    "synthesize",
    "tokenize",
    "train",
  },
)
_FLOOR_OF = {part: i for i, parts in enumerate(_FLOORS) for part in parts}
# What a system may use of another: the codec, by which all tokens are made.
_CODEC = {
  "soundstorm_jax.soundstream.audible",
  "soundstorm_jax.soundstream.codec",
  "soundstorm_jax.soundstream.quantizer",
  "soundstorm_jax.soundstream.tokenizer",
}
_UNSAFE = {"pickle", "cPickle", "cloudpickle", "dill", "joblib", "marshal"}


@functools.cache
def _tree(path):
  return ast.parse(path.read_text("utf-8"))


def _imports(path):
  """Full names of all modules that a file imports, inside functions too."""
  for node in ast.walk(_tree(path)):
    if isinstance(node, ast.Import):
      yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
      assert node.level == 0, f"{_at(path, node)}: relative import"
      yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _ours(path):
  """Those of them that are of this package."""
  return [name for name in _imports(path) if name.startswith("soundstorm_jax.")]


def _part(path):
  """The first name below the package: a module or a subpackage."""
  return path.relative_to(_PACKAGE).with_suffix("").parts[0]


def _at(path, node=None):
  """Where a rule is broken, for the message."""
  line = f":{node.lineno}" if node is not None else ""
  return f"{path.relative_to(_ROOT)}{line}"


def test_imports_point_downward():
  for path in _SOURCES:
    part = _part(path)
    if part == "__init__":
      continue
    assert part in _FLOOR_OF, f"{part} has no floor yet"
    for name in _ours(path):
      imported = name.split(".")[1]
      assert imported in _FLOOR_OF, f"{_at(path)}: no such part: {name}"
      assert _FLOOR_OF[imported] <= _FLOOR_OF[part], f"{_at(path)}: {name}"


def test_a_system_imports_no_other_but_the_codec():
  for path in _SOURCES:
    part = _part(path)
    if part not in _SYSTEMS:
      continue
    for name in _ours(path):
      imported = name.split(".")[1]
      allowed = any(f"{name}.".startswith(f"{module}.") for module in _CODEC)
      assert imported in {part} | (set(_FLOOR_OF) - _SYSTEMS) or allowed, (
        f"{_at(path)}: {name}"
      )


def test_commands_alone_lie_at_the_top():
  """And each is a story: it can be run, and is short."""
  for path in _PACKAGE.glob("*.py"):
    if path.stem in ("__init__", "config", "weights"):
      continue
    text = path.read_text("utf-8")
    assert '__name__ == "__main__"' in text, _at(path)
    assert len(text.splitlines()) <= 250, _at(path)


def test_every_system_says_what_to_read():
  for system in _SYSTEMS:
    path = _PACKAGE / system / "__init__.py"
    docstring = ast.get_docstring(_tree(path)) or ""
    assert "Read `" in docstring, _at(path)
    assert "arXiv" in docstring or "AudioLM" in docstring, _at(path)
    assert len(docstring.splitlines()) <= 14, _at(path)
    named = {word.strip("`.,;()") for word in docstring.split() if "`" in word}
    for name in named:
      if name.endswith(".py"):
        assert (path.parent / name).is_file(), f"{_at(path)}: no {name}"


def test_only_data_imports_tensorflow():
  for path in _SOURCES:
    for name in _imports(path):
      if name.startswith("tensorflow"):
        assert _part(path) == "data", f"{_at(path)}: {name}"


def test_only_parallel_names_mesh_axes():
  for path in _SOURCES:
    if _part(path) == "parallel":
      continue
    for node in ast.walk(_tree(path)):
      if isinstance(node, ast.Constant):
        assert node.value not in ("fsdp", "tensor"), _at(path, node)


def test_networks_live_in_systems_and_layers_and_know_no_devices():
  for path in _SOURCES:
    for node in ast.walk(_tree(path)):
      if isinstance(node, ast.ClassDef):
        bases = [ast.unparse(base) for base in node.bases]
        if "nn.Module" not in bases:
          continue
        assert _part(path) in _SYSTEMS | {"layers"}, _at(path, node)
        assert not any(
          name.startswith("soundstorm_jax.parallel") for name in _ours(path)
        ), _at(path)


def test_nothing_is_unpickled():
  for path in _ALL_CODE:
    for name in _imports(path):
      assert name.split(".")[0] not in _UNSAFE, f"{_at(path)}: {name}"
    for node in ast.walk(_tree(path)):
      if isinstance(node, ast.keyword):
        assert node.arg != "allow_pickle", _at(path, node.value)


def test_files_are_short():
  for path in _ALL_CODE:
    assert len(path.read_text("utf-8").splitlines()) <= 400, _at(path)


def test_every_folder_of_code_is_a_package():
  for path in [*_SOURCES, *(_ROOT / "tests").rglob("*.py")]:
    assert (path.parent / "__init__.py").is_file(), _at(path)


def test_tests_mirror_the_package():
  """A folder of tests is a folder of the package, or of the repository."""
  for path in (_ROOT / "tests").iterdir():
    if path.is_dir() and path.name != "__pycache__":
      has = (_PACKAGE / path.name).is_dir() or (_ROOT / path.name).is_dir()
      assert has, _at(path)
