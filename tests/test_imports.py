"""The rules of the house that a parser can check.

Imports point downward, TensorFlow stays in data/, names of mesh axes stay in
parallel/, modules stay in models/, nothing is unpickled, files stay short.
"""

import ast
import functools
import pathlib

import pytest

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
  {"config"},
  {"features", "models", "parallel"},
  {"masking", "sampling"},
  {"data", "tokenizers", "training", "weights"},
  {
    "api",
    "demo",
    "export",
    "generate",
    "jobs",
    "requests",
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
      assert node.level == 0, f"{path}:{node.lineno}: relative import"
      yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _part(path):
  """The first name below the package: a module or a subpackage."""
  return path.relative_to(_PACKAGE).with_suffix("").parts[0]


def _names(paths):
  return [path.relative_to(_ROOT).as_posix() for path in paths]


_each_source = pytest.mark.parametrize("path", _SOURCES, ids=_names(_SOURCES))


@_each_source
def test_imports_point_downward(path):
  part = _part(path)
  if part == "__init__":
    return
  assert part in _LAYER_OF, f"{part} has no layer yet"
  for name in _imports(path):
    if not name.startswith("soundstorm_jax."):
      continue
    imported = name.split(".")[1]
    assert imported in _LAYER_OF, f"{name} is not a part of the package"
    assert _LAYER_OF[imported] <= _LAYER_OF[part], f"{part} imports {name}"
    if part == "models":
      assert imported != "parallel", f"models name no mesh axes, yet: {name}"


@_each_source
def test_only_data_imports_tensorflow(path):
  if _part(path) == "data":
    return
  for name in _imports(path):
    assert not name.startswith("tensorflow"), name


@_each_source
def test_only_parallel_names_mesh_axes(path):
  if _part(path) == "parallel":
    return
  for node in ast.walk(_tree(path)):
    if isinstance(node, ast.Constant):
      assert node.value not in ("fsdp", "tensor"), f"line {node.lineno}"


@_each_source
def test_modules_with_parameters_live_in_models(path):
  if _part(path) == "models":
    return
  for node in ast.walk(_tree(path)):
    if isinstance(node, ast.ClassDef):
      for base in node.bases:
        assert "nn.Module" not in ast.unparse(base), node.name


@pytest.mark.parametrize("path", _ALL_CODE, ids=_names(_ALL_CODE))
def test_nothing_is_unpickled(path):
  for name in _imports(path):
    assert name.split(".")[0] not in _UNSAFE, name
  for node in ast.walk(_tree(path)):
    if isinstance(node, ast.keyword):
      assert node.arg != "allow_pickle", f"line {node.value.lineno}"


@pytest.mark.parametrize("path", _ALL_CODE, ids=_names(_ALL_CODE))
def test_files_are_short(path):
  assert len(path.read_text("utf-8").splitlines()) <= 450


def test_every_folder_of_code_is_a_package():
  for path in _SOURCES:
    assert (path.parent / "__init__.py").is_file(), path.parent
