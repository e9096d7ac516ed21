"""Mutation testing: whether the unit tests of the statistics notice that a formula was changed.

    uv run --with cosmic-ray==8.7.0 python experiments/benchmarks/mutation.py
    uv run --with cosmic-ray==8.7.0 python experiments/benchmarks/mutation.py --all

A mutant is a module with one change: another operator, a number that is larger or smaller by one, a condition that is
negated. Cosmic Ray makes it. The module's own unit tests run on it, and if one fails the mutant is killed. Prints each
mutant that survives, and the share that is killed: of 200 random mutants, always the same, or of all.

Not mutated:

- docstrings, types, signatures (but defaults are mutated) and the text of errors: no test should depend on them;
- flags of `dataclass`, the size of `lru_cache`, and ``strict`` of `zip`: results are the same without them;
- unlikely replacements of operators, such as ``<<`` for ``*``: almost any test kills them, which would inflate the
  share. Each operator becomes its opposite, each comparison its opposite and its neighbour (``<`` becomes ``>=`` and
  ``<=``).

Each mutant is tested in a fork of one process that has imported the libraries, so this needs Linux or macOS.
"""

import argparse
import ast
import gc
import importlib
import io
import multiprocessing
import os
import random
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from importlib.machinery import SourceFileLoader
from pathlib import Path

import pytest
from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code
from cosmic_ray.plugins import get_operator

ROOT = Path(__file__).resolve().parents[2]
MODULES = (
    "bloodcell.evaluation.scores",
    "bloodcell.evaluation.intervals",
    "bloodcell.comparison.verdicts",
    "bloodcell.comparison.certificate",
)
OPERATORS = (
    *(f"ReplaceBinaryOperator_{pair}" for pair in ("Add_Sub", "Sub_Add", "Mul_Div", "Div_Mul", "Pow_Mul")),
    *(f"ReplaceBinaryOperator_{pair}" for pair in ("Mod_FloorDiv", "BitAnd_BitOr", "BitOr_BitAnd")),
    *(f"ReplaceComparisonOperator_{pair}" for pair in ("Eq_NotEq", "NotEq_Eq", "Is_IsNot", "IsNot_Is")),
    *(f"ReplaceComparisonOperator_{pair}" for pair in ("Lt_LtE", "Lt_GtE", "LtE_Lt", "LtE_Gt")),
    *(f"ReplaceComparisonOperator_{pair}" for pair in ("Gt_GtE", "Gt_LtE", "GtE_Gt", "GtE_Lt")),
    *(f"ReplaceUnaryOperator_{pair}" for pair in ("USub_UAdd", "Delete_Not", "Delete_Invert")),
    *("AddNot", "ReplaceTrueWithFalse", "ReplaceFalseWithTrue", "ReplaceAndWithOr", "ReplaceOrWithAnd"),
    *("ExceptionReplacer", "NumberReplacer", "ZeroIterationForLoop"),
)
N_SAMPLED = 200
SECONDS = 60
"""A mutant whose tests take longer is killed."""
Place = tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class Mutant:
    """A change of one module: the occurrence of an operator of Cosmic Ray, at a line."""

    module: str
    operator: str
    occurrence: int
    line: int

    def source(self) -> str:
        """Return the module's source with the change."""
        return mutate_code(file_of(self.module).read_text(), get_operator(self.operator)(), self.occurrence)

    def __str__(self) -> str:
        """Return the place, and the line before and after."""
        file = file_of(self.module)
        before, after = (text.splitlines()[self.line - 1].strip() for text in (file.read_text(), self.source()))
        return f"{file.relative_to(ROOT)}:{self.line}\n  - {before}\n  + {after}"


def main(modules: Sequence[str], *, n_mutants: int | None, seed: int) -> None:
    """Test so many random mutants, or all, and print those that survive and the share of those that are killed."""
    import_libraries()
    for module in modules:
        if is_killed(module, None):
            raise SystemExit(f"{test_of(module)}: fails without a mutant; run it with pytest and fix it first")
    mutants = [mutant for module in modules for mutant in mutants_of(module)]
    if n_mutants is not None:
        mutants = random.Random(seed).sample(mutants, min(n_mutants, len(mutants)))
    killed = Counter[str]()
    for number, mutant in enumerate(mutants, start=1):
        print(f"{number} of {len(mutants)}", end="\r", file=sys.stderr, flush=True)
        if is_killed(mutant.module, mutant.source()):
            killed[mutant.module] += 1
        else:
            print(mutant, flush=True)
    for module, n in Counter(mutant.module for mutant in mutants).items():
        print(f"{module}: {killed[module]} of {n} mutants killed")
    print(f"{killed.total()} of {len(mutants)} mutants killed ({100 * killed.total() / len(mutants):.0f} %)")


def file_of(module: str) -> Path:
    """Return the file of a module."""
    return ROOT / f"{module.replace('.', '/')}.py"


def test_of(module: str) -> Path:
    """Return the file of a module's unit tests."""
    _, folder, name = module.split(".")
    return ROOT / "tests" / folder / f"test_{name}.py"


def mutants_of(module: str) -> list[Mutant]:
    """Return all mutants of a module, without those in places that are `left_out`."""
    source = file_of(module).read_text()
    out, nodes = list(left_out(ast.parse(source))), list(ast_nodes(get_ast(source)))
    found = []
    for name in OPERATORS:
        operator = get_operator(f"core/{name}")()
        starts = [start for node in nodes for start, _ in operator.mutation_positions(node)]
        found += [
            Mutant(module=module, operator=f"core/{name}", occurrence=occurrence, line=start[0])
            for occurrence, start in enumerate(starts)
            if not any(first <= start < last for first, last in out)
        ]
    return found


def left_out(tree: ast.AST) -> Iterator[tuple[Place, Place]]:
    """Yield the ranges that are not mutated."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.Lambda):
            body = node.body[0] if isinstance(node, ast.FunctionDef) else node.body
            start = (node.lineno, node.col_offset)
            for default in [*node.args.defaults, *filter(None, node.args.kw_defaults)]:
                yield start, _start(default)
                start = _end(default)
            yield start, _start(body)
        match node:
            case ast.AnnAssign(annotation=whole):
                yield _start(whole), _end(whole)
            case ast.Raise() | ast.keyword(arg="strict") | ast.Call(func=ast.Name(id="dataclass" | "lru_cache")):
                yield _start(node), _end(node)


def _start(node: ast.expr | ast.stmt | ast.keyword) -> Place:
    return node.lineno, node.col_offset


def _end(node: ast.expr | ast.stmt | ast.keyword) -> Place:
    return node.end_lineno or node.lineno, node.end_col_offset or node.col_offset


def import_libraries() -> None:
    """Import what the tests need, except the mutated modules, so forks need not."""
    sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
    for name in ("hypothesis", "pictures", "sklearn.metrics", "scipy.stats", "bloodcell.evaluation.sources"):
        importlib.import_module(name)
    if imported := sys.modules.keys() & set(MODULES):
        raise SystemExit(f"{', '.join(imported)}: imported before it is mutated; import less in `import_libraries`")
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"  # otherwise forks would spend most of their time on imports
    gc.freeze()  # excludes libraries from pytest's final garbage collection


def is_killed(module: str, source: str | None) -> bool:
    """Return whether a test fails or times out with this source of the module; None: the original."""
    process = multiprocessing.get_context("fork").Process(target=_test, args=(module, source))
    process.start()
    process.join(SECONDS)
    process.kill()
    process.join()
    return process.exitcode != 0


def _test(module: str, source: str | None) -> None:
    """Run the tests of a module in this process, and exit with pytest's code."""
    if source is not None:
        _replace_source(module, source)
    options = ["-x", "-p", "no:cacheprovider", "-p", "pytest_timeout", "-o", "addopts=", "-m", "not slow and not real"]
    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        outcome = pytest.main(["--rootdir", str(ROOT), *options, str(test_of(module))])
    os._exit(int(outcome))


def _replace_source(module: str, source: str) -> None:
    """Import a module from the given source instead of its file."""
    of_file = SourceFileLoader.get_code

    def get_code(loader: SourceFileLoader, name: str) -> object:
        return compile(source, loader.path, "exec", dont_inherit=True) if name == module else of_file(loader, name)

    SourceFileLoader.get_code = get_code


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Change formulas one at a time and see whether a unit test fails.")
    parser.add_argument("--n", type=int, default=N_SAMPLED, help=f"how many random mutants ({N_SAMPLED})")
    parser.add_argument("--seed", type=int, default=0, help="of the random choice (0)")
    parser.add_argument("--all", action="store_true", help="all mutants instead")
    parser.add_argument("--module", choices=MODULES, action="append", help="mutants of this module only")
    chosen = parser.parse_args()
    main(chosen.module or MODULES, n_mutants=None if chosen.all else chosen.n, seed=chosen.seed)
