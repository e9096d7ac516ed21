"""Mutation testing of the statistics: do the unit tests notice when a formula is changed?

    uv run --with cosmic-ray==8.7.0 python experiments/benchmarks/mutation.py
    uv run --with cosmic-ray==8.7.0 python experiments/benchmarks/mutation.py --all

A mutant is a copy of one file with one change: another operator, a number more or less by one, a condition negated.
Cosmic Ray makes it; the unit tests of that file run on it, until one fails: then the mutant is killed. Prints every
mutant that survives and the share of killed ones, by default of 200 random mutants, always the same ones.

Not mutated, as no test should notice:

- docstrings, types and signatures (defaults are mutated), and the text of errors;
- flags of `dataclass`, the size of `lru_cache`, and ``strict`` of `zip`, which guard against mistakes of programmers.

Operators are replaced by their opposites and comparisons by their opposites and their neighbours (< by <= and >=).
Replacements that nobody would write by mistake (* by <<) are left out: almost any test kills them, and the share would
look better than it is.

Each mutant is tested in a fork of one process that has imported the libraries: POSIX only.
"""

import argparse
import ast
import importlib.machinery
import importlib.util
import io
import multiprocessing
import os
import random
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import pytest
from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code
from cosmic_ray.plugins import get_operator

ROOT = Path(__file__).resolve().parents[2]
TESTS_OF = {
    "bloodcell.evaluation.scores": ("tests/evaluation/test_scores.py", "tests/evaluation/test_intervals.py"),
    "bloodcell.evaluation.intervals": ("tests/evaluation/test_intervals.py", "tests/comparison/test_verdicts.py"),
    "bloodcell.comparison.verdicts": ("tests/comparison/test_verdicts.py",),
    "bloodcell.comparison.certificate": ("tests/comparison/test_certificate.py",),
}
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
    """A change of one file: the occurrence of an operator of Cosmic Ray, at a line."""

    module: str
    operator: str
    occurrence: int
    line: int

    @property
    def path(self) -> Path:
        """The file."""
        return ROOT / (self.module.replace(".", "/") + ".py")

    def source(self) -> str:
        """Return the file with the change."""
        return str(mutate_code(self.path.read_text(encoding="utf-8"), _operator(self.operator), self.occurrence))

    def __str__(self) -> str:
        """Return the place, and the line before and after."""
        both = (self.path.read_text(encoding="utf-8"), self.source())
        before, after = (text.splitlines()[self.line - 1].strip() for text in both)
        return f"{self.path.relative_to(ROOT)}:{self.line}\n  - {before}\n  + {after}"


def main(n_mutants: int | None, *, seed: int, modules: Sequence[str]) -> None:
    """Test so many random mutants, or all, and print the survivors and the share of killed ones."""
    _import_libraries()
    for module in modules:
        if _killed(module, None):
            raise SystemExit(f"{', '.join(TESTS_OF[module])}: fail without a mutant; run pytest and fix them first")
    mutants = [mutant for module in modules for mutant in mutants_of(module)]
    if n_mutants is not None and n_mutants < len(mutants):
        mutants = sorted(random.Random(seed).sample(mutants, n_mutants), key=mutants.index)
    total, killed = Counter(each.module for each in mutants), Counter[str]()
    for number, mutant in enumerate(mutants, start=1):
        print(f"{number} of {len(mutants)}", end="\r", file=sys.stderr, flush=True)
        if _killed(mutant.module, mutant.source()):
            killed[mutant.module] += 1
        else:
            print(mutant, flush=True)
    for module, n in total.items():
        print(f"{module}: {killed[module]} of {n} mutants killed")
    print(f"{killed.total()} of {total.total()} mutants killed ({100 * killed.total() / total.total():.0f} %)")


def mutants_of(module: str) -> list[Mutant]:
    """Return all mutants of a module, without those in places that are `left_out`."""
    source = Mutant(module=module, operator="", occurrence=0, line=0).path.read_text(encoding="utf-8")
    out, nodes = list(left_out(ast.parse(source))), list(ast_nodes(get_ast(source)))
    return [
        Mutant(module=module, operator=name, occurrence=occurrence, line=start[0])
        for name in OPERATORS
        for occurrence, start in enumerate(
            start for node in nodes for start, _ in _operator(name).mutation_positions(node)
        )
        if not any(first <= start < last for first, last in out)
    ]


def left_out(tree: ast.AST) -> Iterator[tuple[Place, Place]]:
    """Yield the places, from and to, that are not mutated."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.Lambda):
            body = node.body[0] if isinstance(node, ast.FunctionDef) else node.body
            start = (node.lineno, node.col_offset)
            for default in [*node.args.defaults, *filter(None, node.args.kw_defaults)]:
                yield start, (default.lineno, default.col_offset)
                start = _end(default)
            yield start, (body.lineno, body.col_offset)
        named = isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id
        if isinstance(node, ast.AnnAssign):
            yield _whole(node.annotation)
        elif isinstance(node, ast.Raise) or named in ("dataclass", "lru_cache"):
            yield _whole(node)
        elif isinstance(node, ast.keyword) and node.arg == "strict":
            yield _whole(node)


def _whole(node: ast.expr | ast.stmt | ast.keyword) -> tuple[Place, Place]:
    return (node.lineno, node.col_offset), _end(node)


def _end(node: ast.expr | ast.stmt | ast.keyword) -> Place:
    return node.end_lineno or node.lineno, node.end_col_offset or node.col_offset


def _operator(name: str):  # noqa: ANN202
    return get_operator(f"core/{name}")()


def _import_libraries() -> None:
    """Import what the tests need, the mutated files excepted, so that no fork has to."""
    sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
    os.chdir(ROOT)
    for name in ("hypothesis", "pictures", "sklearn.metrics", "scipy.stats", "bloodcell.evaluation.photographs"):
        importlib.import_module(name)
    imported = sys.modules.keys() & TESTS_OF.keys()
    if imported:
        raise SystemExit(f"{', '.join(imported)}: imported before it could be mutated; import less in this file")


def _killed(module: str, source: str | None) -> bool:
    """Return whether a test of the module fails if this is its source, its own if None."""
    process = multiprocessing.get_context("fork").Process(target=_test, args=(module, source))
    process.start()
    process.join(SECONDS)
    if process.is_alive():
        process.kill()
        process.join()
    return process.exitcode != 0


def _test(module: str, source: str | None) -> None:
    if source is not None:
        sys.meta_path.insert(0, _Finder(module, source))
    options = ["-x", "-o", "addopts=", "-m", "not slow and not real", "-W", "ignore::pytest.PytestAssertRewriteWarning"]
    plugins = [f"-pno:{name}" for name in ("cacheprovider", "randomly", "xdist")]
    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        outcome = pytest.main([*options, *plugins, *TESTS_OF[module]])
    os._exit(int(outcome))


class _Finder(importlib.machinery.SourceFileLoader):
    """Finds and loads one module from a source that is not its file's."""

    def __init__(self, module: str, source: str) -> None:
        super().__init__(module, str(Mutant(module=module, operator="", occurrence=0, line=0).path))
        self.source = source

    def find_spec(self, name: str, path: object, target: object = None) -> importlib.machinery.ModuleSpec | None:
        return importlib.util.spec_from_file_location(name, self.path, loader=self) if name == self.name else None

    def get_code(self, fullname: str) -> object:
        return compile(self.source, self.path, "exec", dont_inherit=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Change formulas one at a time and see whether a unit test fails.")
    parser.add_argument("n_mutants", nargs="?", type=int, default=N_SAMPLED, help="how many random mutants (200)")
    parser.add_argument("--all", action="store_true", help="all mutants instead of random ones")
    parser.add_argument("--seed", type=int, default=0, help="of the random choice (0)")
    parser.add_argument("--module", choices=TESTS_OF, help="mutants of this module only")
    chosen = parser.parse_args()
    main(
        None if chosen.all else chosen.n_mutants,
        seed=chosen.seed,
        modules=[chosen.module] if chosen.module else list(TESTS_OF),
    )
