"""The rules of the house that a parser can check.

Imports point downward, TensorFlow stays in data/, names of mesh axes stay in
parallel/, modules stay in models/, nothing is unpickled, files stay short.
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

# A part may import its own layer and those below, never one above.
_LAYERS = (
  {
    "config",
    "config_audiolm",
    "config_base",
    "config_semantic",
    "config_soundstream",
  },
  {"features", "flattening", "models", "parallel"},
  {"masking", "sampling"},
  {"data", "evaluation", "tokenizers", "training", "weights"},
  {
    "align",
    "arguments",
    "audiolm",
    "api",
    "benchmark",
    "benchmarking",
    "demo",
    "evaluate",
    "evaluate_rows",
    "evaluate_semantic",
    "evaluate_speech",
    "export",
    "generate",
    "jobs",
    "pack",
    "requests",
    "sampling_flags",
    "synthesize",
    "import_lyra",
    "import_whisper",
    "tokenize",
    "train",
  },
)
_LAYER_OF = {part: i for i, parts in enumerate(_LAYERS) for part in parts}
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
    assert part in _LAYER_OF, f"{part} has no layer yet"
    for name in _imports(path):
      if not name.startswith("soundstorm_jax."):
        continue
      imported = name.split(".")[1]
      assert imported in _LAYER_OF, f"{_at(path)}: no such part: {name}"
      assert _LAYER_OF[imported] <= _LAYER_OF[part], f"{_at(path)}: {name}"
      if part == "models":
        assert imported != "parallel", f"{_at(path)}: {name}"


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


def test_modules_with_parameters_live_in_models():
  for path in _SOURCES:
    if _part(path) == "models":
      continue
    for node in ast.walk(_tree(path)):
      if isinstance(node, ast.ClassDef):
        bases = [ast.unparse(base) for base in node.bases]
        assert "nn.Module" not in bases, _at(path, node)


def test_nothing_is_unpickled():
  for path in _ALL_CODE:
    for name in _imports(path):
      assert name.split(".")[0] not in _UNSAFE, f"{_at(path)}: {name}"
    for node in ast.walk(_tree(path)):
      if isinstance(node, ast.keyword):
        assert node.arg != "allow_pickle", _at(path, node.value)


def test_files_are_short():
  for path in _ALL_CODE:
    assert len(path.read_text("utf-8").splitlines()) <= 450, _at(path)


def test_every_folder_of_code_is_a_package():
  for path in [*_SOURCES, *(_ROOT / "tests").rglob("*.py")]:
    assert (path.parent / "__init__.py").is_file(), _at(path)
